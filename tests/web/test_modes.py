"""Each way of asking in a real browser: keys alone, a narrow screen, undo, offline and back, two people at once."""

import pytest

from likelier.feedback.projects import Gold, ProjectSettings, add_guideline, write_gold, write_settings
from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response
from served_page import start_serving, wait_until

pytestmark = pytest.mark.slow
BETWEEN_KEYS_MS = 200
"""What comes sooner is taken for a double key."""


def make_store(path, prompts=4, training=False, guidelines=(), **settings):
    """Prompts with three responses each, the first two of which are compared."""
    store = Store.open(path, create=True)
    with store.transaction() as writer:
        for number in range(prompts):
            prompt = Prompt(f"Story {number}.")
            responses = [Response(prompt.id, f"text {number}{letter}") for letter in "abc"]
            writer.add_prompts([prompt])
            writer.add_responses(responses)
            pair = Comparison(prompt.id, responses[0].id, responses[1].id)
            writer.add_comparisons([pair])
            if training and number == 0:
                write_gold(writer, Gold(pair.id, "training", responses[0].id, "It is **kind**."))
        write_settings(writer, ProjectSettings(repeat_share=0.0, **settings))
        for text in guidelines:
            add_guideline(writer, text)
    return store


def come_in(chromium, link, width=1280, name="Ann", **context):
    """A page of a person who has come in; what the console says is collected in `page.said`."""
    page = chromium.new_context(viewport={"width": width, "height": 740}, **context).new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(link)
    page.get_by_label("Your name").fill(name)
    page.locator("#who button").click()  # which waits for its script, on a slow machine too
    page.locator("#question").wait_for()
    return page


def press(page, *keys):
    for key in keys:
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press(key)


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), pytest.param(1280, "light", marks=pytest.mark.battery)])
def test_strength_reasons_and_guidelines_by_keys(chromium, tmp_path, monkeypatch, width, scheme):
    with make_store(tmp_path / "f.db", guidelines=["Be **kind**."], tags=("rude", "wrong")) as store:
        link, end = start_serving(store, monkeypatch, wanted=4)
        page = come_in(chromium, link, width, color_scheme=scheme)
        page.get_by_text("There are guidelines.").wait_for()
        page.keyboard.press("g")
        page.locator("dialog strong", has_text="kind").wait_for()
        page.keyboard.press("1")  # no answer while they are read
        page.keyboard.press("Escape")
        page.get_by_text("There are guidelines.").wait_for(state="hidden")
        press(page, "q")
        page.get_by_text("1 of 4").wait_for()
        page.get_by_text("today 1", exact=True).wait_for()
        page.get_by_role("button", name="rude").click()
        press(page, "c")
        page.keyboard.type("1 says u2 no")  # no answers, no undo
        page.keyboard.press("Enter")
        press(page, "o")
        page.get_by_text("2 of 4").wait_for()
        assert page.get_by_role("button", name="rude").get_attribute("aria-pressed") == "false"
        press(page, "u")
        page.get_by_text("Your last answer, to be changed").wait_for()
        assert page.get_by_role("button", name="rude").get_attribute("aria-pressed") == "true"
        assert page.locator("#comment").input_value() == "1 says u2 no"
        press(page, "1")
        page.get_by_text("Your last answer, to be changed").wait_for(state="hidden")
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        if width == 360:
            page.get_by_role("button", name="Right is slightly better").click()
        else:
            press(page, "0")
        page.get_by_text("3 of 4").wait_for()
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        page.evaluate(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'и', code: 'KeyB', bubbles: true}))"
        )
        page.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 4
        first, changed, third, last = store.judgements()
        assert (first.choice, first.strength, first.guideline, first.extra) == ("left", 3, "1", {})
        assert (changed.choice, changed.strength) == ("left", None)
        assert changed.extra == {"tags": ["rude"], "comment": "1 says u2 no"}
        assert (third.choice, third.strength) == (("right", 1) if width == 360 else ("tie", None))
        assert last.both_bad
        assert page.said == []
        page.context.close()


def test_practice_shows_the_owners_answer_before_it_goes_on(chromium, tmp_path, monkeypatch):
    with make_store(tmp_path / "f.db", 3, training=True) as store:
        link, end = start_serving(store, monkeypatch, wanted=2)
        page = come_in(chromium, link, 360)
        page.get_by_text("Practice 1 of 1.").wait_for()
        better = "left" if "0a" in page.locator("#left").text_content() else "right"
        press(page, "1" if better == "right" else "2")
        page.get_by_text(f"The owner chose: {better.title()}.").wait_for()
        page.locator("#lesson strong", has_text="kind").wait_for()
        press(page, "1", "2")  # it is answered already
        page.reload()  # and stays so
        page.locator("#question").wait_for()
        page.get_by_text("Practice").wait_for(state="hidden")
        assert page.locator("#undo").is_disabled()
        press(page, "2")
        page.get_by_text("1 of 2").wait_for()
        press(page, "2")
        page.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 2
        assert len(store.judgements()) == 2
        assert page.said == []
        page.context.close()


@pytest.mark.battery
def test_practice_goes_on_with_enter(chromium, tmp_path, monkeypatch):
    with make_store(tmp_path / "f.db", 2, training=True) as store:
        link, end = start_serving(store, monkeypatch, wanted=1)
        page = come_in(chromium, link)
        press(page, "0")
        page.get_by_role("button", name="Go on").wait_for()
        press(page, "Enter")
        page.get_by_text("Practice").wait_for(state="hidden")
        assert "Story 1" in page.locator("#prompt").text_content()
        press(page, "1")
        page.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 1
        page.context.close()


@pytest.mark.parametrize(
    ("rating", "keys", "values"),
    [("1-7", "73", [7.0, 3.0]), pytest.param("thumbs", "ud", [1.0, 0.0], marks=pytest.mark.battery)],
)
def test_ratings_by_keys_and_undo(chromium, tmp_path, monkeypatch, rating, keys, values):
    with make_store(tmp_path / "f.db", 1, ask="ratings", rating=rating) as store:
        link, end = start_serving(store, monkeypatch, wanted=2)
        page = come_in(chromium, link, 360 if rating == "thumbs" else 1280)
        press(page, keys[1])
        page.get_by_text("1 of 2").wait_for()
        press(page, "Backspace")
        page.get_by_text("Your last answer, to be changed").wait_for()
        press(page, keys[0])
        page.get_by_text("Your last answer, to be changed").wait_for(state="hidden")
        press(page, "s", keys[1])
        page.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 2
        rated = [each.rating for each in store.rated_by_content()]
        assert sorted(each.value for each in rated) == sorted(values)
        assert len({each.response_id for each in rated}) == 2
        assert page.said == []
        page.context.close()


def test_rankings_by_keys_with_ties_and_undo(chromium, tmp_path, monkeypatch):
    with make_store(tmp_path / "f.db", 2, ask="rankings", responses_per_ranking=3) as store:
        link, end = start_serving(store, monkeypatch, wanted=2)
        page = come_in(chromium, link, 360)
        press(page, "Enter")  # nothing is placed yet
        press(page, "2", "u", "3", "=", "1")  # a pick is taken back; 3 and 1 share the first place, 2 is left
        assert page.locator(".place").all_text_contents() == ["place 1", "place 2", "place 1"]
        press(page, "Enter")
        page.get_by_text("1 of 2").wait_for()
        page.wait_for_timeout(BETWEEN_KEYS_MS)  # an order that is sent sooner is taken for a double key
        page.get_by_role("button", name="Answer 2").click()
        page.get_by_role("button", name="Answer 1").click()
        page.get_by_role("button", name="Send the order").click()
        page.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 2
        ranks = sorted(each.ranking.ranks for each in store.ranked_by_content())
        assert ranks == [[1, 2, 1], [2, 1, 3]]
        assert page.said == []
        page.context.close()


def test_two_people_at_once_and_one_of_them_offline(chromium, tmp_path, monkeypatch, capfd):
    """No question is both people's; what was answered offline is sent when the connection is back."""
    with make_store(tmp_path / "f.db", 3, ask="ratings", per_comparison=1) as store:
        link, end = start_serving(store, monkeypatch, wanted=9)
        ann = come_in(chromium, link)
        bob = come_in(chromium, capfd.readouterr().err.split()[-1], 360, "Bob")
        ann.context.set_offline(True)
        shown = [ann.locator("#response").text_content()]
        press(ann, "7")
        wait_until(ann, f"document.querySelector('#response').textContent !== {shown[0]!r}")
        shown.append(ann.locator("#response").text_content())
        press(ann, "7")
        ann.get_by_text("No connection. Your answers are kept here").wait_for()
        for number in range(7):
            bob.get_by_text(f"{number} of 9").wait_for()
            press(bob, "1")
        wait_until(bob, "!document.querySelector('#wait').hidden || !document.querySelector('#done').hidden")
        ann.context.set_offline(False)
        ann.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 9
        rated = {each.response.text: each.rating.value for each in store.rated_by_content()}
        assert {text for text, value in rated.items() if value == 7.0} == set(shown)
        assert len(rated) == 9
        for page in (ann, bob):
            page.context.close()


def test_what_waits_in_the_browser_is_not_asked_again(chromium, tmp_path, monkeypatch):
    with make_store(tmp_path / "f.db", 4) as store:
        link, end = start_serving(store, monkeypatch, wanted=4)
        page = come_in(chromium, link)
        page.route("**/judgements", lambda route: route.abort())
        press(page, "1", "1")
        page.locator("#wait").wait_for()
        page.reload()
        page.get_by_text("No connection.").wait_for()
        page.unroute("**/judgements")
        page.get_by_text("2 of 4").wait_for()
        press(page, "2", "2")
        page.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 4
        assert sorted(each.choice for each in store.judgements()) == ["left", "left", "right", "right"]
        page.context.close()


def change_settings(page, **settings):
    """As the owner's page does; the first person who came in is the owner."""
    origin = page.url.rstrip("/")
    body = ProjectSettings(repeat_share=0.0, **settings).model_dump_json()
    headers = {"content-type": "application/json", "origin": origin}
    assert page.context.request.post(f"{origin}/owner/settings", data=body, headers=headers).ok


def test_the_owner_changes_what_is_asked_while_people_judge(chromium, tmp_path, monkeypatch):
    """A tag that is gone costs no answer; another kind of question brings its own page."""
    with make_store(tmp_path / "f.db", tags=("rude",)) as store:
        link, end = start_serving(store, monkeypatch, wanted=2)
        page = come_in(chromium, link)
        change_settings(page, tags=())
        page.get_by_role("button", name="rude").click()
        press(page, "p")
        page.get_by_text("1 of 2").wait_for()
        (stored,) = store.judgements()
        assert (stored.choice, stored.strength, stored.extra) == ("right", 3, {})
        change_settings(page, ask="ratings")
        press(page, "2")
        page.locator("#response").wait_for()
        press(page, "5")
        page.get_by_text("1 of 2").wait_for()
        press(page, "5")
        page.get_by_text("That was all. Thank you.").wait_for()
        assert end() == 2
        assert [each.rating.value for each in store.rated_by_content()] == [5.0, 5.0]
        assert len(store.judgements()) == 2
        page.context.close()
