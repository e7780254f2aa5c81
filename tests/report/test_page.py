"""The report on a demo folder: its sections, missing parts, escaping, and its layout in a browser."""

import json
import re
import shutil
from pathlib import Path

import pytest

import demo_folder
from likelier.errors import DataError
from likelier.files import read_json, write_json
from likelier.report.charts import Series
from likelier.report.page import (
    column,
    draw_calibration,
    duration,
    mark_turning_point,
    number,
    percent,
    span,
    summarise_flags,
    write_report,
)
from likelier.report.runs import Training, draw_doubt, make_best_of_n_series
from report_page import PAYLOAD, find_headings, open_page, poison, render_page, write_agent

CSS = Path(__file__).parents[2] / "src" / "likelier" / "report" / "templates" / "report.css"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_folder.write_demo(tmp_path_factory.mktemp("runs") / "demo")


def test_the_whole_demo_in_order(demo):
    page = render_page(demo)
    assert find_headings(page) == [
        "Once around the circle in 3 min 41 s",
        "Before and after",
        "What the check was worth",
        "The annotators",
        "The reward model",
        "Training: PPO",
        "Training: Reward model",
        "The doctor",
        "Settings, versions, and how to do it again",
    ]
    assert "The people and their taste are simulated; no person judged anything here." in page
    text = " ".join(re.sub(r"<[^>]*>", "", re.search(r'<p class="result">(.*?)</p>', page, re.DOTALL)[1]).split())
    assert text == (
        "The new model’s answers are preferred in 84 % (79–88 %) of 288 comparisons on held-out prompts, "
        "3.1 nats from where it started."
    )


def test_doubt_is_drawn_beside_what_held_out_responses_show():
    lines = [{"step": at, "disagreement/rm": 0.1 * at, "high_distance/rm": 0.2 * at} for at in (1, 2, 3)]
    first, second, third = draw_doubt([Training("run", Path("run"), "ppo", lines, [], {}, {})])
    assert "<figcaption>Disagreement" in first
    assert "held-out responses" not in first
    assert not second  # of a single model nothing is logged
    assert "<figcaption>Unlike the training responses" in third
    assert "held-out responses" in third
    assert not any(draw_doubt([Training("run", Path("run"), "ppo", [{"step": 1}], [], {}, {})]))


def test_the_reliability_diagram_has_the_temperature_beside_it():
    bins = [{"expected": 0.6, "observed": 0.5, "pairs": 9}, {"expected": 0.9, "observed": 0.7, "pairs": 9}]
    cooler = [bins[0] | {"expected": 0.55}, bins[1] | {"expected": 0.7}]
    drawn = draw_calibration({"calibration": bins, "calibration_at_temperature": cooler, "temperature": 1.5})
    assert "at temperature 1.50" in drawn
    assert "at temperature" not in draw_calibration({"calibration": bins})


def test_numbers_stand_where_a_reader_looks(demo):
    page = render_page(demo)
    assert "The check recovered 83 % of what three spammers cost." in page
    assert "flagged exactly them" in page
    assert '<span class="flag">left</span> picks the left side regardless of content' in page
    assert "Tom smiled at the cat. He gave it to his friend" in page
    assert "torch 2.13.0+cpu" in page
    assert re.search(r"<dt>ppo.kl_coef</dt><dd>0.06</dd>", page)
    assert "<pre>likelier demo --seed 7 --taste kind</pre>" in page
    assert re.search(r"likelier ppo .*demo/policy/config.yaml", page)
    assert ">best of 16</text>" in page
    assert page.count(">turns down</text>") == 1


@pytest.mark.parametrize(
    ("gone", "heading"),
    [
        ("circle.json", "Once around the circle in 3 min 41 s"),
        ("arms.json", "What the check was worth"),
        ("check.json", "The annotators"),
        ("reward", "The reward model"),
        ("policy", "Training: PPO"),
    ],
)
def test_a_section_appears_only_with_its_numbers(demo, tmp_path, gone, heading):
    copy = Path(shutil.copytree(demo, tmp_path / "copy"))
    path = copy / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = render_page(copy)
    assert heading not in find_headings(page)
    assert len(find_headings(page)) >= 5
    assert ("simulated" in page) == (gone != "circle.json")


def test_the_columns_of_a_prompt_stand_beneath_it(demo, tmp_path):
    folder = shutil.copytree(demo, tmp_path / "demo")
    evaluation = read_json(folder / "evaluation" / "evaluation.json")
    assert 'class="columns"' not in render_page(folder)
    evaluation["samples"][0]["extra"] = {"reference": "the <right> answer", "points": 3}
    write_json(folder / "evaluation" / "evaluation.json", evaluation)
    shown = "<dt>reference</dt><dd>the &lt;right&gt; answer</dd><dt>points</dt><dd>3</dd>"
    assert shown in render_page(folder)


def test_separate_runs_make_one_page(tmp_path):
    demo_folder.write_demo(tmp_path / "demo")
    parts = [tmp_path / name for name in ("reward-1", "ppo-1", "ppo-2", "eval-1")]
    for source, part in zip(("reward", "policy", "policy", "evaluation"), parts, strict=True):
        shutil.copytree(tmp_path / "demo" / source, part)
    page = render_page(*parts)
    assert "The new model’s answers are preferred" in page
    assert find_headings(page)[:3] == ["Before and after", "Score over distance", "The reward model"]
    score = re.search(r"<figcaption>Score .*?</figure>", page, re.DOTALL)[0]
    assert [re.search(rf"</svg>{name}</li>", score) is not None for name in ("ppo-1", "ppo-2", "training")] == [
        True,
        True,
        False,
    ]
    judged = re.search(r"<figcaption>Judged by true taste .*?</figure>", page, re.DOTALL)[0]
    assert "ppo-1: 0.31 at 0" in judged  # the start, from result.json
    assert "best of n from the start: 0.61 at 1.84" in judged


def test_runs_of_one_name_are_told_apart_and_an_empty_folder_beside_them_is_named(tmp_path):
    one, two = (write_agent(tmp_path / name / "policy") for name in "ab")
    curve = re.search(r"<figcaption>Return .*?</figure>", render_page(one, two), re.DOTALL)[0]
    assert re.findall(r"</svg>([^<]*)</li>", curve) == [str(one), str(two)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^\S*empty: no metrics.jsonl"):
        write_report([one, tmp_path / "empty"], tmp_path / "page.html")


def test_of_a_circle_the_last_round_that_is_done_is_shown(tmp_path):
    for turn in (2, 9, 10):
        folder = demo_folder.write_demo(tmp_path / "c" / f"round-{turn}")
        write_json(folder / "circle.json", read_json(folder / "circle.json") | {"title": f"Round {turn}"})
    assert "<h1>Round 10</h1>" in render_page(tmp_path / "c")
    (tmp_path / "c" / "round-10" / "circle.json").unlink()
    assert "<h1>Round 9</h1>" in render_page(tmp_path / "c")


def test_baselines_share_the_curve(tmp_path):
    """One folder with PPO, DPO and SFT: a curve each, under its stage's name; other models as dots with theirs."""
    folder = demo_folder.write_demo(tmp_path / "demo")
    (folder / "arms.json").unlink()
    for stage, gold in (("dpo", 0.5), ("sft", 0.4)):
        write_json(folder / stage / "run.json", {"verb": stage})
        write_json(folder / stage / "result.json", {"before": {"eval_kl": 0.0, "eval/true taste": 0.31}})
        lines = [{"step": 5, "loss": 0.6}, {"step": 10, "loss": 0.5, "eval_kl": 2.0, "eval/true taste": gold}]
        (folder / stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = folder / "evaluation" / "evaluation.json"
    mine = {"name": "mine", "kl": 1.5, "judges": {"true taste": {"score_b": 0.45}}}
    write_json(path, read_json(path) | {"others": [mine]})
    judged = re.search(r"<figcaption>Judged by true taste .*?</figure>", render_page(folder), re.DOTALL)[0]
    assert re.findall(r"</svg>([^<]*)</li>", judged) == [
        "SFT",
        "DPO",
        "PPO",
        "best of n from the start",
        "other models",
    ]
    assert "DPO: 0.5 at 2" in judged
    assert "SFT: 0.31 at 0" in judged
    assert ">mine</text>" in judged
    alone = tmp_path / "alone"
    shutil.copytree(folder / "evaluation", alone)
    judged = re.search(r"<figcaption>Judged by true taste .*?</figure>", render_page(alone), re.DOTALL)[0]
    assert ">new model</text>" in judged


def test_what_the_doctor_found_stands_in_full(tmp_path):
    page = render_page(demo_folder.write_demo(tmp_path / "well"))
    assert "<p>No findings.</p>" in page
    folder = demo_folder.write_demo(tmp_path / "ill")
    result = json.loads((folder / "policy" / "result.json").read_text())
    finding = {"name": "kl_explodes", "severity": "error", "step": 60, "evidence": "kl 41 in steps 50 to 60"}
    result["findings"] = [finding | {"cause": "Nothing holds the policy", "remedy": "Raise ppo.kl_coef"}]
    write_json(folder / "policy" / "result.json", result)
    page = render_page(folder)
    assert "1 finding, from the metrics" in page
    for text in ("kl_explodes</span>", "error, step 60", "kl 41 in steps 50 to 60. Nothing holds the policy."):
        assert text in page
    result["findings"] = None  # not looked at: nothing is claimed
    write_json(folder / "policy" / "result.json", result)
    assert "The doctor" not in find_headings(render_page(folder))


def test_a_lone_reward_run(demo):
    page = render_page(demo / "reward")
    assert re.search(r"The reward model ranks <b>78\u00a0%</b> \(73–83\u00a0%\) of unseen pairs", page)
    assert find_headings(page) == [
        "The reward model",
        "Training: Reward model",
        "Settings, versions, and how to do it again",
    ]


def test_a_run_that_was_measured_at_its_ends_alone_has_both_and_one_with_its_start_alone_no_chart(tmp_path):
    run = tmp_path / "ppo"
    write_json(run / "run.json", {"verb": "ppo"})
    (run / "metrics.jsonl").write_text('{"step": 1, "score": 0.5}\n')
    start, end = {"eval_kl": 0.0, "eval_score": 0.25}, {"eval_kl": 3.0, "eval_score": 0.75}
    write_json(run / "result.json", {"before": start, "after": end, "score_after": None})
    chart = re.search(r"<figcaption>The score PPO is trained against .*?</figure>", render_page(run), re.DOTALL)[0]
    assert re.findall(r"<title>(.*?)</title>", chart) == ["ppo: 0.25 at 0", "ppo: 0.75 at 3"]
    write_json(run / "result.json", {"before": start})
    assert "Score over distance" not in find_headings(render_page(run))


def test_a_lone_run_of_ppo_says_what_became_of_its_score(tmp_path):
    folder = demo_folder.write_demo(tmp_path / "demo") / "policy"
    write_json(folder / "result.json", {"score_before": 0.31, "score_after": 1.25, "kl": 3.125})
    text = " ".join(
        re.sub(r"<[^>]*>", "", re.search(r'<p class="result">(.*?)</p>', render_page(folder), re.DOTALL)[1]).split()
    )
    assert text == (
        "On held-out prompts the score that PPO is trained against went from 0.31 to 1.25, "
        "3.12 nats from where it started."
    )


@pytest.mark.parametrize("half", ['{"step": 3, "sco', '{"step": 3, "score": 0.5'])
def test_a_run_that_is_writing_a_step_or_was_killed_there_is_shown_up_to_it(tmp_path, half):
    folder = demo_folder.write_demo(tmp_path / "demo") / "policy"
    whole = render_page(folder)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(half)
    assert render_page(folder) == whole


def test_a_run_before_its_first_step_is_shown(tmp_path):
    folder = demo_folder.write_demo(tmp_path / "demo") / "policy"
    (folder / "metrics.jsonl").write_text('{"step": 1, "sc')
    assert "Settings, versions, and how to do it again" in find_headings(render_page(folder))


def test_a_lone_dpo_run_is_not_taken_for_a_reward_run(tmp_path):
    """Both results have an accuracy; only a reward model's has an interval."""
    run = tmp_path / "dpo"
    write_json(run / "run.json", {"verb": "dpo"})
    write_json(run / "result.json", {"accuracy": 0.75, "log_loss": 0.6})
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 0.7}\n{"step": 2, "loss": 0.6}\n')
    assert find_headings(render_page(run)) == ["Training: DPO", "Settings, versions, and how to do it again"]


def test_an_agent_with_its_returns_curves_and_moving_picture(tmp_path):
    page = render_page(write_agent(tmp_path / "run"))
    text = " ".join(re.sub(r"<[^>]*>", "", re.search(r'<p class="result">(.*?)</p>', page, re.DOTALL)[1]).split())
    assert text == "The agent reaches a return of 487 (± 20.5) in 100 fresh episodes of CartPole-v1."
    assert find_headings(page) == [
        "The trained agent",
        "Training: Gymnasium",
        "Settings, versions, and how to do it again",
    ]
    assert re.findall(r'src="([^"]*)"', page) == ["data:image/gif;base64,R0lGODlhLW1vdmluZw=="]
    drawn = re.findall(r"<figcaption>(\w[\w ]*?) *<", page)
    assert {"Return", "Policy loss", "Value loss", "Entropy", "Approximate KL"} <= set(drawn)


def test_an_agent_that_cannot_be_drawn_says_why(tmp_path):
    page = render_page(write_agent(tmp_path / "run", picture=None))
    assert "<img" not in page
    assert "DependencyNotInstalled" in page


def test_a_training_that_has_not_ended_has_no_agent_yet(tmp_path):
    run = write_agent(tmp_path / "run")
    (run / "result.json").unlink()
    assert find_headings(render_page(run))[0] == "Training: Gymnasium"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: None, "no such run folder"),
        (lambda folder: folder.mkdir(), "no metrics.jsonl, circle.json, evaluation.json or search.json to show"),
        (lambda folder: write_json(folder / "check.json", {"comparisons": 3}), "check.json: no field `judgements`"),
        (lambda folder: write_json(folder / "evaluation.json", {}), "evaluation.json: no field `win_rate`"),
        (
            lambda folder: write_json(folder / "evaluation.json", []),
            "evaluation.json: expected a JSON object, got list",
        ),
        (lambda folder: write_text(folder / "metrics.jsonl", '{"step": "x"}\n'), "metrics.jsonl:1: step is 'x', not a"),
        (lambda folder: write_text(folder / "arms.json", "{'arms': "), "arms.json: broken JSON"),
        (lambda folder: write_text(folder / "metrics.jsonl", '{"step": 1}\n{"st\n'), "metrics.jsonl:2: broken JSON"),
    ],
)
def test_what_cannot_be_shown_is_named_in_one_line(tmp_path, make, text):
    folder, out = tmp_path / "run", tmp_path / "page.html"
    make(folder)
    with pytest.raises(DataError) as caught:
        write_report([folder], out)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("arms.json", lambda record: record | {"arms": "x"}),
        ("arms.json", lambda record: record | {"arms": [{"a": 1}]}),
        ("arms.json", lambda record: record | {"best_of": [1e308]}),
        ("check.json", lambda record: record | {"annotators": [{"id": 3}]}),
        ("circle.json", lambda record: record | {"stages": 5}),
        ("evaluation/evaluation.json", lambda record: record | {"judges": [1]}),
        ("policy/result.json", lambda record: record | {"findings": 5}),
        ("policy/run.json", lambda record: {"verb": []}),
        ("policy/run.json", lambda record: {"versions": 5}),
    ],
)
def test_a_record_of_another_shape_is_named(tmp_path, name, damage):
    path = demo_folder.write_demo(tmp_path / "run") / name
    write_json(path, damage(read_json(path)))
    with pytest.raises(DataError) as caught:
        write_report([tmp_path / "run"], tmp_path / "page.html")
    assert str(caught.value).startswith((f"{path}: ", f"{path.parent}: damaged"))
    assert not (tmp_path / "page.html").exists()


def write_text(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("into", [str, (str, float, int)])
def test_payloads_stay_text(tmp_path, into):
    """Every field of every file: what was text, then what was a number too."""
    page = render_page(poison_demo(tmp_path, into))
    assert "<script" not in page
    assert "<img" not in page
    assert "{{7*7}}" in page
    assert page.count("&lt;script&gt;boom") > 100


def poison_demo(folder, into):
    demo = demo_folder.write_demo(folder / "demo")
    for path in demo.rglob("*.json"):
        verb = read_json(path).get("verb") if path.name == "run.json" else None
        write_json(path, poison(read_json(path), into) | ({"verb": verb} if verb else {}))
    evaluation = read_json(demo / "evaluation" / "evaluation.json")
    evaluation["judges"] = {f"{name} {PAYLOAD}": each for name, each in evaluation["judges"].items()}
    write_json(demo / "evaluation" / "evaluation.json", evaluation)
    for path in demo.rglob("metrics.jsonl"):
        lines = [json.loads(line) | {f"eval/{PAYLOAD}": 1.0} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in demo.rglob("config.yaml"):
        path.write_text(json.dumps({PAYLOAD: PAYLOAD, "ppo": {PAYLOAD: [PAYLOAD]}}))
    return demo


def test_the_page_asks_for_nothing(demo):
    page = render_page(demo)
    assert re.findall(r"https?:|src=|href=(?!\"#)|url\(|@import|<script|<link|<iframe", page) == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.8403), "84\u00a0%"),
        (percent(None), "–"),
        (percent("text"), "text"),
        (span([0.7917, 0.8785]), "79–88\u00a0%"),
        (span(None), ""),
        (number(2700), "2,700"),
        (number(0.31249), "0.312"),
        (number(31.25), "31.2"),
        (number(-0.2), "−0.2"),
        (number(float("nan")), "nan"),
        (number(True), "True"),
        (number(None), "–"),
        (column("as it is"), "as it is"),
        (column(1234), "1,234"),
        (column(True), "true"),
        (column(None), "–"),
        (column(["é", 1]), '["é", 1]'),
        (column("x" * 401), "x" * 400 + " …"),
        (duration(221.4), "3 min 41 s"),
        (duration(58.8), "59 s"),
        (duration(59.7), "1 min 0 s"),
        (duration(119.8), "2 min 0 s"),
    ],
)
def test_numbers_as_a_person_reads_them(shown, expected):
    assert shown == expected


def test_the_verdict_and_the_doctors_errors_lead(demo, tmp_path):
    """Also of a folder that an earlier version wrote, without a verdict."""
    folder = Path(shutil.copytree(demo, tmp_path / "demo"))
    finding = {"name": "kl_explodes", "severity": "error", "step": 60, "evidence": "kl 41", "cause": "C", "remedy": "R"}
    result = read_json(folder / "policy" / "result.json")
    write_json(folder / "policy" / "result.json", result | {"findings": [finding]})
    path = folder / "evaluation" / "evaluation.json"
    write_json(path, read_json(path) | {"num_prompts": 12, "kl": -0.1, "interval": [0.4, 0.9]})
    head = render_page(folder).partition("<main>")[0]
    places = [head.index(text) for text in ("Cannot tell.", "Only 12 prompts", "none is below 0", "kl_explodes</span>")]
    assert places == sorted(places)
    assert '<a href="#samples">Before and after</a>' in head
    assert re.search(r'<p class="note">\S+ against \S+, \d+ \w+ 20\d\d</p>', head)


def test_of_too_few_steps_no_findings_is_no_health(tmp_path):
    folder = demo_folder.write_demo(tmp_path / "demo") / "policy"
    (folder / "metrics.jsonl").write_text('{"step": 1, "score": 0.5}\n')
    assert "No findings in 1 step, too few to find much out" in render_page(folder)


def test_settings_that_differ_and_phases_of_a_step(tmp_path):
    folder = demo_folder.write_demo(tmp_path / "demo")
    one, two = (Path(shutil.copytree(folder / "policy", tmp_path / name)) for name in ("one", "two"))
    config = (two / "config.yaml").read_text()
    (two / "config.yaml").write_text(config.replace("kl_coef: 0.06", "kl_coef: 0.5"))
    (one / "timing.jsonl").write_text('{"step": 1, "sample_seconds": 3.0, "update_seconds": 1.0}\n')
    page = render_page(one, two)
    table = re.search(r"<table[^>]*>\s*<caption>PPO: settings in which the runs differ.*?</table>", page, re.DOTALL)[0]
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == ["ppo.kl_coef"]
    assert re.findall(r"<td[^>]*>(.*?)</td>", table) == ["0.06", "0.5"]
    assert "sample 3 s (75\u00a0%), update 1 s (25\u00a0%)" in page
    assert "settings in which" not in render_page(one)


def test_who_was_missed_and_who_was_wronged():
    annotators = [{"id": "a", "flags": ["left"]}, {"id": "b", "flags": []}, {"id": "c", "flags": ["random"]}]
    found = summarise_flags({"annotators": annotators, "planted": ["a", "b"]})
    assert (found["flagged"], found["missed"], found["wronged"]) == (["a", "c"], ["b"], ["c"])
    assert summarise_flags({"annotators": annotators})["wronged"] == []


def test_only_a_clear_fall_is_called_a_turn():
    falls = Series("a", [(0, 0.3), (4, 0.7), (9, 0.6)])
    dips = Series("b", [(0, 0.3), (4, 0.7), (9, 0.68)])
    assert mark_turning_point(falls).labels == {(4, 0.7): "turns down"}
    assert mark_turning_point(dips).labels == {}


def test_best_of_n_without_a_score_is_not_drawn():
    assert make_best_of_n_series(
        [({"n": 4, "kl_bound": 0.64}, {}), ({"n": 16, "kl_bound": 1.8}, {"score": 0.6})]
    ).points == [(1.8, 0.6)]


def colours(scheme):
    """The page's colours in one scheme, as 0..1 linear light."""
    css = CSS.read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    block = blocks[0] + (blocks[1] if scheme == "dark" else "")
    return {name: luminance(value) for name, value in re.findall(r"--([\w]+): (#[0-9a-f]{6});", block)}


def luminance(colour):
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(scheme):
    """WCAG AA: 4.5 for text, 3 for what is drawn."""
    found = colours(scheme)
    for least, names in ((4.5, ("ink", "soft", "accent", "warm")), (3.0, ("c0", "c1", "c2", "c3", "c4", "c5"))):
        for name in names:
            for ground in ("ground", "card"):
                light, dark = sorted((found[name], found[ground]), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= least, (name, ground)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")])
def test_in_a_browser(chromium, demo, tmp_path, width, scheme):
    tab, messages, requests = open_page(chromium, render_page(demo), width, scheme, tmp_path)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    assert requests == [(tmp_path / "page.html").as_uri()]
    assert [tab.locator(landmark).count() for landmark in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    assert tab.locator("svg[role=img]:not([aria-label])").count() == 0
    assert tab.locator("table:not(:has(caption))").count() == 0
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    assert dark == (scheme == "dark")
    tab.context.close()


@pytest.mark.slow
def test_hostile_texts_in_a_browser(chromium, tmp_path):
    """Payloads run nothing; words without end and a prompt of many lines do not widen a phone's page."""
    demo = poison_demo(tmp_path, str)
    evaluation = read_json(demo / "evaluation" / "evaluation.json")
    evaluation["samples"] = [
        {
            "prompt": "w" * 400,
            "extra": {"n" * 90: "<script>alert(1)</script>" * 30, "reference": ["x" * 90], "no": None},
            "response_a": "中" * 300 + "\n" * 9,
            "response_b": "<b>" * 90,
            "score_a": 1,
            "score_b": None,
        }
    ]
    write_json(demo / "evaluation" / "evaluation.json", evaluation)
    check = read_json(demo / "check.json")
    check["annotators"][0] |= {"id": "n" * 200, "flags": ["left", "fast", "f" * 120]}
    write_json(demo / "check.json", check)
    tab, messages, requests = open_page(chromium, render_page(demo), 360, "light", tmp_path)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert messages == []
    assert len(requests) == 1
    tab.context.close()
