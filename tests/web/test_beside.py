"""A page beside a run tells those who look at it that the run is over, whatever ended it; it says nothing of a kill."""

import json
import time

import pytest
from PIL import Image

from likelier.config import PPOConfig, PreferencesConfig
from likelier.errors import Stopped
from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.store import Store
from likelier.records import Prompt, Response
from likelier.web import beside, server
from likelier.web.clip_page import open_clip_page
from likelier.web.rating_page import open_rating_page
from likelier.web.run_status import PRESENT_SECONDS, RunStatus
from page_visitors import Visitor

PROMPT = Prompt("p")


class Onlooker(Visitor):
    """Somebody who looks at a question and does not answer it."""

    def __init__(self):
        super().__init__(1)
        self.heard = None

    def answer(self, question):
        self.heard = question["run"]["over"]
        time.sleep(0.02)
        return json.loads(self.get("/question"))

    def wait(self, question):
        self.heard = question["run"]["over"]
        assert not question["writing"]


def look(db, monkeypatch, stop=None):
    """Serve a rating page until somebody looks at it; returns them once they are gone."""
    onlooker = Onlooker()
    monkeypatch.setattr(server, "print_stderr", onlooker.follow)
    with Store.open(db, create=True) as store:
        store.prepare_to_write()
        with store.transaction() as writer:
            write_settings(writer, ProjectSettings(ask="ratings", per_comparison=1))
        with open_rating_page(store, PPOConfig()) as page:
            page.ask([PROMPT], [Response(PROMPT.id, "one")])
            until = time.monotonic() + 20
            while onlooker.heard is None and time.monotonic() < until:
                time.sleep(0.01)
            if stop:
                raise stop
    return onlooker


@pytest.mark.slow
def test_who_has_a_question_on_the_screen_hears_that_the_run_is_over(tmp_path, monkeypatch):
    """As when `ppo.stop_on` ends a run before its last step: nobody waits for the answer, nor for the whole time."""
    began = time.monotonic()
    onlooker = look(tmp_path / "r.db", monkeypatch)
    assert onlooker.heard is True
    assert time.monotonic() - began < beside.TELL_SECONDS


@pytest.mark.slow
def test_a_run_that_will_be_resumed_does_not_say_that_it_is_over(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(beside, "tell_people", told.append)
    with pytest.raises(Stopped):
        look(tmp_path / "r.db", monkeypatch, Stopped("killed"))
    assert told == []


def test_whoever_closed_the_page_is_not_waited_for(monkeypatch):
    status, now = RunStatus("agent", "Which?"), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert status.tell("ann") == {"trains": "agent", "question": "Which?", "over": False}
    now[0] += 4
    status.tell("bob")
    assert status.count_untold() == 2
    now[0] += PRESENT_SECONDS - 3  # ann last asked 11 seconds ago
    assert status.count_untold() == 1
    status.is_over = True
    assert status.tell("bob")["over"]
    assert status.count_untold() == 0


@pytest.mark.slow
def test_clips_are_asked_about_in_the_visitors_language_until_the_end(chromium, tmp_path, monkeypatch):
    """An open tab with a question on it: Chinese words, and at the end that nothing more is wanted, not an alert."""
    for name, shade in (("one", 20), ("two", 200)):
        Image.new("L", (8, 8), shade).save(tmp_path / f"{name}.gif")
    links = []
    monkeypatch.setattr(server, "print_stderr", lambda line: links.append(line.rpartition(" ")[2]))
    tab = chromium.new_context(locale="zh-CN").new_page()
    with open_clip_page(PreferencesConfig(db=str(tmp_path / "clips.db"))) as page:
        page.ask([(tmp_path / "one.gif", tmp_path / "two.gif")])
        tab.goto(next(link for link in links if "token" in link))
        tab.locator("#name").fill("Ann")
        tab.keyboard.press("Enter")
        tab.locator("#question").wait_for()
        assert tab.locator("#prompt").inner_text() == "哪种行为更好？"
    assert tab.locator("#done").is_visible()
    assert "不再需要更多回答" in tab.locator("#run-over").inner_text()
    assert not tab.locator("#question").is_visible()
    assert not tab.locator("#trouble").is_visible()
    tab.context.close()
    with Store.open(tmp_path / "clips.db", project="clips") as store:
        assert [prompt.text for prompt in store.prompts()] == ["Which behaviour is better?"]
