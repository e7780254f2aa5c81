"""Strategies while people judge: the process chooses, the pairing draws, and each judgement says with which chance."""

import sys
import time
from itertools import combinations

import pytest

from likelier.asking.strategies import Strategy
from likelier.feedback.accounts import Person
from likelier.feedback.draws import ASKED, Draw
from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Prompt, Response
from likelier.web import asking
from likelier.web.app import add_answer
from likelier.web.asking import Asking
from likelier.web.ids import UnfitAnswer
from likelier.web.owner import describe_strategy
from likelier.web.room import Room

ANN, BOB = Person("ann", "", "annotator"), Person("bob", "", "annotator")


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        with store.transaction() as writer:
            for number in range(10):
                prompt = Prompt(f"Story {number}.")
                responses = [Response(prompt.id, f"text {each}") for each in "abcd"]
                writer.add_prompts([prompt])
                writer.add_responses(responses)
                writer.add_comparisons(Comparison(prompt.id, one.id, two.id) for one, two in combinations(responses, 2))
        yield store


def answer(room: Room, person: Person, question: dict, key: str) -> Judgement:
    ids = question["ids"]
    sides = {name: room.ids.find(ids[name]) for name in ("comparison_id", "left", "right")}
    record = Judgement(**sides, annotator=person.annotator, choice="left", key=key)
    return add_answer(room, person, ids["ticket"], lambda: record)


def wait_for_choice(room: Room) -> None:
    ends = time.monotonic() + 60
    while not (room.pairing.priorities and room.pairing.priorities.weights):
        assert time.monotonic() < ends, "the process has chosen nothing"
        time.sleep(0.02)


@pytest.mark.slow
def test_what_the_process_chooses_is_asked_and_each_answer_says_with_which_probability(store, monkeypatch):
    monkeypatch.setattr(asking, "BATCH", 10)
    room = Room(store, None, None, per_comparison=1)
    room.pairing.repeat_share = 0.0
    runner = Asking(Strategy("entropy", 0.25), lambda: [room])
    runner.start()
    try:
        wait_for_choice(room)
        chosen = set(room.pairing.priorities.weights)
        for number in range(10):
            answer(room, ANN, room.next_question(ANN), f"{number:08d}")
    finally:
        runner.close()
    draws = [(each.comparison_id, Draw.from_extra(each.extra)) for each in store.judgements()]
    assert len(chosen) == 10
    # Nothing is known of any response, so the ten are of twenty.
    assert len({side for each in chosen for side in room.comparisons[each].responses}) == 20
    # The first of 60: 0.25 / 60 by chance, and 0.75 / 10 by the strategy if it is one of its ten.
    comparison, first = draws[0]
    expected = 0.25 / 60 + (0.075 if comparison in chosen else 0.0)
    assert first.of == 60
    assert first.probability == pytest.approx(expected)
    assert [draw.of for _, draw in draws] == list(range(60, 50, -1))
    assert {draw.random for _, draw in draws} == {True, False}
    assert all(comparison in chosen for comparison, draw in draws if not draw.random)


def begin_room(store: Store, weights: dict[str, float]) -> Room:
    room = Room(store, None, None, per_comparison=2)
    room.pairing.repeat_share = 0.0
    with room.pairing_lock:
        room.pairing.prioritise(asking.Priorities(weights, 0.5))
    return room


def test_a_restart_keeps_the_draw_for_whoever_has_it_on_screen_and_for_the_second_person(store):
    favourite = store.comparisons()[7].id
    room = begin_room(store, {favourite: 1.0})
    first = room.next_question(ANN)
    given = {each["ids"]["comparison_id"]: each for each in (first, first["next"])}
    drawn = {each.question.id: each.draw for each in room.pairing.held["ann"]}
    room.close()
    after = Room(store, None, None, per_comparison=2)  # without a strategy
    assert {each.question.id: each.draw for each in after.pairing.held["ann"]} == drawn
    second = after.next_question(BOB)  # what somebody has on screen comes first for the next person
    answer(after, ANN, given[second["ids"]["comparison_id"]], "a0000001")
    answer(after, BOB, second, "b0000001")
    stored = [(each.comparison_id, Draw.from_extra(each.extra)) for each in store.judgements()]
    assert stored[0] == stored[1]
    assert stored[0] in drawn.items()


def test_an_answer_from_a_day_offline_brings_its_draw_in_a_ticket_that_nobody_can_change(store):
    room = begin_room(store, {})
    question = room.next_question(ANN)
    lost = Room(store, None, None, per_comparison=2)  # a server that was killed: it knows nothing of the question
    assert not lost.pairing.draws
    ticket = question["ids"]["ticket"]
    assert ticket.partition(".")[2] == "0.0166666667-60-1"
    with pytest.raises(UnfitAnswer, match="not given to you"):
        lost.check_given(ANN, lost.ids.find(question["ids"]["comparison_id"]), ticket.replace("-60-", "-90-"))
    stored = answer(lost, ANN, question, "a0000001")
    assert stored.extra == {ASKED: {"probability": 0.0166666667, "of": 60, "random": True}}


@pytest.mark.slow
@pytest.mark.parametrize("code", ["raise SystemExit(3)", 'print(\'{"error": "no such file"}\')'])
def test_a_process_that_fails_leaves_the_choice_to_chance_and_is_said_once(store, capsys, code):
    room = Room(store, None, None, per_comparison=1)
    runner = Asking(Strategy("entropy"), lambda: [room], [sys.executable, "-c", code])
    runner.start()
    try:
        ends = time.monotonic() + 30
        while not runner.start_again_at and time.monotonic() < ends:
            time.sleep(0.02)
        assert room.next_question(ANN)["done"] is False
    finally:
        runner.close()
    assert room.pairing.held["ann"][0].draw == Draw(0.0166666667, 60, True)
    said = capsys.readouterr().err
    assert said.count("--ask entropy: ") == 1


def test_new_comparisons_come_first_where_the_strategy_says_so_and_ratings_are_asked_by_chance(store):
    with store.transaction() as writer:
        write_settings(writer.__class__(writer.connection, store.media_folder, "rated"), ProjectSettings(ask="ratings"))
    rooms = [Room(store, None, None, None), Room(store.in_project("rated"), None, None, None)]
    runner = Asking(Strategy("least_judged"), lambda: rooms)
    runner.start()
    try:
        assert rooms[0].pairing.priorities == Strategy("least_judged").begins_with
        assert rooms[1].pairing.priorities is None
        assert [describe_strategy(room) for room in rooms] == [{"name": "least_judged", "floor": 1.0}, None]
        first, second = (rooms[0].next_question(person)["ids"]["comparison_id"] for person in (ANN, BOB))
        assert first != second
    finally:
        runner.close()
