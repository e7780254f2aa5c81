"""The page of tokens: what it shows of a run, in a real browser by mouse, keys and touch, and what it refuses."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from likelier.cli import main
from likelier.errors import ConfigError, DataError
from likelier.report.tokens import (
    choose_steps,
    cluster_bytes,
    find_limit,
    read_records,
    write_score_page,
    write_token_page,
)
from report_page import PAYLOAD

COLUMNS = ("old_logprobs", "sampler_logprobs", "ref_logprobs", "values", "rewards", "advantages", "ratios", "clipped")
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  return [...document.querySelectorAll(".t")].map((token) => {
    const style = getComputedStyle(token);
    const [low, high] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  });
}"""
"""Contrast of each token's text with its ground; axe cannot tell it of colours that are mixed."""
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
CHINESE = ["有", "一只", "<0xE7>", "<0x8B>", "<0x90>", " 吃<0xE8>", "<0x8B><0xB9>", "。\n", "  ", "<0xFF>", "", "</s>"]


def make_record(step, tokens, prompt="Tell me.", **columns):
    numbers = {name: [-0.25 * place for place in range(len(tokens))] for name in COLUMNS}
    numbers["ratios"] = [1.0 + 0.1 * place for place in range(len(tokens))]
    numbers["clipped"] = [place == 1 for place in range(len(tokens))]
    about = {"prompt": prompt, "response": "".join(tokens), "score": 1.5, "stop_reason": "end_token", "tokens": tokens}
    return {"step": step, "token_ids": [7] * len(tokens), **about, **numbers, **columns}


def write_run(folder, *records):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    (folder / "tokens.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path):
    first = [make_record(1, [" a", " dog", "."], "One"), make_record(1, [" b"], "Two", values=None)]
    return write_run(tmp_path / "run", *first, make_record(5, CHINESE, "讲一个故事"), make_record(9, [" z"], "Last"))


@pytest.fixture
def open_tokens(chromium, run, tmp_path):
    """Writes the page of the run and opens it; at the end nothing was complained of, and nothing loaded."""
    contexts, said, asked, out = [], [], [], tmp_path / "tokens.html"

    def open_page(width=1280, scheme="light", language="en", **settings):
        write_token_page(run, out, (), language)
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(out.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert set(asked) == {out.as_uri()}


def numbers_of(tab):
    """The numbers of the chosen token by their names."""
    rows = tab.locator("#numbers dl > div").all()
    return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in rows}


@pytest.mark.slow
def test_by_keys(open_tokens):
    tab = open_tokens()
    assert tab.locator(".response .prompt").inner_text() == "Last"  # the last step comes first
    for _ in range(2):
        tab.keyboard.press("p")
    assert tab.locator(".response h2").inner_text() == "step 1"
    assert tab.locator("#place").inner_text() == "response 2 of 2"
    tab.keyboard.press("p")
    assert tab.locator("#previous").is_disabled()
    tab.keyboard.press("p")
    assert tab.locator(".response .prompt").inner_text() == "One"
    tab.locator(".t").first.focus()
    for key in ("End", "ArrowRight", "ArrowLeft"):
        tab.keyboard.press(key)
    chosen = tab.locator('.t[aria-selected="true"]')
    assert chosen.inner_text() == " dog"
    assert chosen.get_attribute("aria-label") == " dog: −0.25"
    assert tab.evaluate("document.activeElement.textContent") == " dog"
    assert tab.locator('.t[tabindex="0"]').count() == 1
    assert numbers_of(tab) == {
        "advantage": "−0.25", "ratio": "1.1", "clipped": "yes", "reward": "−0.25", "value": "−0.25",
        "policy − reference": "0", "log p, policy": "−0.25", "log p, reference": "−0.25", "log p, sampler": "−0.25",
        "policy − sampler": "0",
    }  # fmt: skip
    tab.locator("#quantity").select_option("clipped")
    assert tab.locator("#numbers .now").inner_text().split() == ["clipped", "yes"]  # the token is still chosen
    assert tab.locator(".t.hit").all_inner_texts() == [" dog"]


@pytest.mark.slow
def test_by_mouse_two_steps_side_by_side(open_tokens):
    tab = open_tokens()
    tab.locator("#right").select_option("1")
    assert tab.locator(".response h2").all_inner_texts() == ["step 9", "step 1"]
    boxes = [box.bounding_box() for box in tab.locator(".response").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    tab.locator("#next").click()
    assert tab.locator(".response").all_inner_texts()[0].splitlines()[-1] == "no such response here"
    assert numbers_of(tab) == {}
    tab.locator("#previous").click()
    tab.get_by_role("option", name="dog").hover()
    assert numbers_of(tab)["ratio"] == "1.1"
    tab.mouse.move(5, 5)
    assert numbers_of(tab) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme", "language"), [(360, "dark", "zh"), (1280, "dark", "en")])
def test_on_a_phone_in_the_dark_and_for_everybody(open_tokens, width, scheme, language):
    tab = open_tokens(width, scheme, language, has_touch=True, bypass_csp=True)
    tab.locator("#left").select_option("5")
    tab.locator("#with-numbers").check()
    tab.get_by_role("option", name="一只").tap()
    assert list(numbers_of(tab).values())[:2] == ["−0.25", "1.1"]
    cluster = tab.get_by_role("group", name="狐")
    assert cluster.get_by_role("option").all_inner_texts() == ["E7", "8B", "90"]
    assert tab.get_by_role("group", name=" 吃苹").get_by_role("option").count() == 2
    assert "<0xFF>" in tab.locator(".letters").inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(tab, options=WCAG).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    assert (tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)") == (scheme == "dark")


@pytest.mark.slow
def test_colours_are_readable_and_differ(open_tokens, run):
    tokens = ["a", "b", "c"]
    write_run(
        run, make_record(1, tokens, advantages=[-1.0, 0.0, 1.0], ratios=[0.5, 1.0, 2.0], clipped=[True, False, None])
    )
    for scheme in ("light", "dark"):
        tab = open_tokens(600, scheme)
        for name in ("advantages", "ratios", "old_logprobs", "clipped"):
            tab.locator("#quantity").select_option(name)
            paint = "tokens => tokens.map((token) => getComputedStyle(token).backgroundColor)"
            colours = tab.locator(".t").evaluate_all(paint)
            assert len(set(colours)) == (2 if name == "clipped" else 3), (name, colours)
            assert min(tab.evaluate(CONTRASTS)) >= 4.5


@pytest.mark.slow
def test_hostile_texts_run_nothing(open_tokens, run):
    write_run(run, make_record(1, [PAYLOAD, "w" * 500, "</script>"], PAYLOAD, stop_reason=PAYLOAD))
    tab = open_tokens(360)
    assert tab.locator(".t").first.inner_text() == PAYLOAD
    assert tab.locator(".prompt").inner_text() == PAYLOAD
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_scores_of_both_sides_by_tokens_and_by_words(open_tokens, tmp_path):
    part = {"prompt": "Who?", "score": 0.5, "prompt_part": 0.1, "tokens": [" Al", "ice"], "gradient": [0.3, -0.1]}
    part |= {"words": [" Alice"], "left_out": [0.25]}
    tab = open_tokens()
    out = tmp_path / "tokens.html"
    write_score_page("r", [{"side": side, **part} for side in ("chosen", "rejected", "chosen", "rejected")], out)
    tab.reload()
    assert tab.locator(".response h2").all_inner_texts() == ["chosen", "rejected"]
    facts = tab.locator(".facts").first.inner_text().split("\n")
    assert facts == ["score", "0.5", "sum of its tokens’ parts", "0.2", "of the prompt’s", "0.1"]
    tab.keyboard.press("n")
    assert tab.locator("#place").inner_text() == "response 2 of 2"
    assert tab.locator(".t").all_inner_texts() == [" Al", "ice"] * 2
    tab.locator("#quantity").select_option("left_out")
    assert tab.locator(".t").all_inner_texts() == [" Alice"] * 2
    tab.locator(".t").last.click()
    assert tab.locator("#numbers h2").inner_text() == "word 1 of 1: “ Alice”"
    assert numbers_of(tab) == {"left out": "0.25"}


def test_bytes_stand_together_where_they_make_letters():
    assert cluster_bytes(CHINESE) == [(2, 5, "狐"), (5, 7, " 吃苹")]
    assert cluster_bytes(["<0xE7>", "a", "<0x8B>", "<0xC3>"]) == []


def test_colours_end_where_nearly_all_numbers_do():
    assert find_limit([-1.0] * 98 + [50.0, 60.0], "diverging") == 1.0
    assert find_limit([0.0] * 99 + [-2.0], "diverging") == 2.0
    assert find_limit([2.0, 0.5, None], "ratio") == pytest.approx(0.6931, abs=1e-4)
    assert find_limit([None], "diverging") == 0.0


def test_a_page_has_evenly_spaced_steps_of_a_long_run(monkeypatch):
    records = [{"step": step, "tokens": [""] * 10} for step in range(1, 101)]
    monkeypatch.setattr("likelier.report.tokens.MAX_TOKENS", 50)
    assert choose_steps(records, [*range(1, 101)]) == [1, 26, 51, 75, 100]
    monkeypatch.setattr("likelier.report.tokens.MAX_TOKENS", 5)
    assert choose_steps(records, [*range(1, 101)]) == [1, 100]
    assert choose_steps(records[:1], [1]) == [1]


def test_the_command(run, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["tokens", str(run), "-o", str(out), "--step", "5", "--step", "1", "--json"]) == 0
    shown = {"file": str(out), "steps": [1, 5], "recorded_steps": 3, "responses": 3, "tokens": 16}
    assert json.loads(capsys.readouterr().out) == shown
    assert main(["tokens", str(run), "-o", str(out), "--step", "7"]) == 2
    assert "--step 7: " in (said := capsys.readouterr().err)
    assert said.endswith("has none of it; it has 1, 5, 9\n")
    out.write_text("mine")
    assert main(["tokens", str(run), "-o", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_run_that_goes_on_is_read_up_to_its_last_whole_line(run):
    with (run / "tokens.jsonl").open("a") as file:
        file.write('{"step": 12, "tokens": [')
    assert [record["step"] for record in read_records(run / "tokens.jsonl")] == [1, 1, 5, 9]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"advantages": [1.0]}, "`advantages` is no list of 2 numbers, one for each token"),
        ({"ratios": ["1", 2]}, "`ratios` is no list of 2 numbers"),
        ({"tokens": "ab"}, "no `step`, or no list of `tokens`"),
        ({"step": None}, "no `step`"),
        ({"prompt": 3}, "no `prompt`"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, change, said):
    run = write_run(tmp_path / "run", make_record(1, ["a", "b"]), make_record(1, ["a", "b"]) | change)
    with pytest.raises(DataError, match=re.escape(f"tokens.jsonl:2: {said}")):
        read_records(run / "tokens.jsonl")


def test_a_run_without_records_says_how_to_get_some(tmp_path):
    with pytest.raises(DataError, match=r"no such file; a run of `likelier ppo` with ppo.token_records=4 writes it"):
        write_token_page(tmp_path, tmp_path / "t.html")
    with pytest.raises(DataError, match="no step yet"):
        write_token_page(write_run(tmp_path / "run"), tmp_path / "t.html")
    with pytest.raises(ConfigError, match="--step 2"):
        write_token_page(write_run(tmp_path / "run", make_record(1, ["a"])), tmp_path / "t.html", [2])
