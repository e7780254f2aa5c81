"""The page beside PPO: what it asks, what it no longer asks, and what it says when its owner changes the project."""

import threading

import pytest

from likelier.errors import LikelierError
from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.store import Store
from likelier.records import Prompt, Rating, Response
from likelier.web.rating_page import RatingPage
from likelier.web.room import Room

PROMPT = Prompt("p")
FIRST, SECOND, THIRD = (Response(PROMPT.id, text) for text in ("one", "two", "three"))


@pytest.fixture
def page(tmp_path):
    with Store.open(tmp_path / "r.db", create=True) as store:
        store.prepare_to_write()
        with store.transaction() as writer:
            write_settings(writer, ProjectSettings(ask="ratings", per_comparison=1))
        yield RatingPage(Room(store, None, None, None), threading.current_thread())


def list_asked(page, who):
    """The texts that somebody is asked about, if they rate none."""
    assigned = page.room.pairing.assign(who, 0.0, 9)
    return {page.room.responses[each.question.id].text for each in assigned}


def test_only_the_newest_responses_are_asked_and_one_that_comes_again_too(page):
    page.ask([PROMPT], [FIRST, SECOND])
    assert page.count_missing() == 2
    assert page.room.more_comes
    page.ask([PROMPT], [THIRD])
    assert (page.count_missing(), list_asked(page, "ann")) == (1, {"three"})
    page.ask([PROMPT], [FIRST, THIRD])
    assert (page.count_missing(), list_asked(page, "bob")) == (2, {"one"})  # the other is on ann's screen
    page.room.store.add_answer(Rating(FIRST.id, "cyd", 4.0))
    assert page.count_missing() == 1
    page.end()
    assert (page.count_missing(), list_asked(page, "dan"), page.room.more_comes) == (0, set(), False)


def test_a_page_that_asks_something_else_or_has_ended_is_one_line(page):
    page.ask([PROMPT], [FIRST])
    with page.room.store.transaction() as writer:
        write_settings(writer, replace_ask("comparisons"))
    page.room.load()
    with pytest.raises(LikelierError, match="what is asked was changed; its owner can set it back to ratings"):
        page.count_missing()
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    with pytest.raises(LikelierError, match="the judging page has ended"):
        RatingPage(page.room, ended).count_missing()


def replace_ask(ask):
    return ProjectSettings(ask=ask)
