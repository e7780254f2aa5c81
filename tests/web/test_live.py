"""Live comparisons: a stock ahead of the people, by the present policies alone."""

import time

import pytest

from fake_generation import COMMAND
from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.store import Store
from likelier.generation.process import Generator
from likelier.generation.protocol import GenerationSettings
from likelier.records import Prompt
from likelier.web.app import create_app
from likelier.web.live import STOCK, Live, LiveStock, choose_policies
from page_visitors import come_in


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "feedback.db", create=True) as opened:
        opened.add_prompts([Prompt(f"Story {number}.") for number in range(3)])
        yield opened


@pytest.fixture
def serve(store):
    """An app with live policies, whose stock is filled when a test says so."""
    begun = []

    def begin(*policies):
        generator = Generator(GenerationSettings(tuple(map(str, policies))), COMMAND)
        generator.start()
        begun.append(generator)
        app = create_app(store, per_comparison=2, live=Live(generator))
        while not generator.list_names():
            time.sleep(0.01)
        return app, LiveStock(generator, app.state.rooms.list_open)

    yield begin
    for generator in begun:
        generator.close()


def fill(stock):
    while stock.fill():
        pass


def test_a_stock_is_written_for_people_who_are_there_and_never_named(serve, store):
    app, stock = serve("one")
    ann = come_in(app, "annotator")
    assert ann.get("/question").json()["done"]
    fill(stock)
    assert len(store.comparisons()) == STOCK
    question = ann.get("/question")
    assert "one@" not in question.text
    shown = question.json()["shown"]
    assert shown["left"] != shown["right"]
    assert shown["left"].startswith("answer")
    assert not stock.fill() or len(store.comparisons()) == STOCK + 2  # two are on her screen
    assert {response.model for response in store.responses()} == {"one@00000001"}
    assert {response.stop_reason for response in store.responses()} == {"end_token"}


def test_of_several_policies_two_answer_each_prompt_in_turn():
    assert [choose_policies([0], turn) for turn in range(2)] == [(0, 0), (0, 0)]
    assert [choose_policies([0, 2, 3], turn) for turn in range(4)] == [(0, 2), (0, 3), (2, 3), (0, 2)]
    assert [choose_policies([0, 2], turn, 1) for turn in range(3)] == [(0,), (2,), (0,)]
    assert choose_policies([0, 2], 1, 3) == (0, 2, 0)


@pytest.mark.parametrize(("ask", "path", "count"), [("ratings", "/ratings", 1), ("rankings", "/rankings", 3)])
def test_answers_are_written_to_be_rated_or_ranked_too(serve, store, tmp_path, ask, path, count):
    """They were written for comparisons alone: people who rate or rank were told that there was nothing."""
    with store.transaction() as writer:
        write_settings(writer, ProjectSettings(ask=ask, responses_per_ranking=3))
    (tmp_path / "policy").write_text("aaaaaaaa")
    app, stock = serve(tmp_path / "policy")
    fill(stock)
    assert (len(store.responses()), store.comparisons()) == (STOCK * count, [])
    ann, given = come_in(app, "annotator"), {"kind": "scale", "value": 5} if count == 1 else {"ranks": [1, 3, 2]}
    question = ann.get("/question").json()
    ids = {name: each for name, each in question["ids"].items() if name != "question_id"}
    sent = {**ids, **given, "key": "0000-0001", "duration_seconds": 1.0}
    reply = ann.post(path, json=sent)
    assert (reply.status_code, reply.json()["done"]) == (200, False)
    (tmp_path / "policy").write_text("bbbbbbbb")
    stock.generator.ask([]).result(10)
    fill(stock)
    room = app.state.rooms.first
    former = [each for each in room.pairing.questions if room.responses[each.responses[0]].model.endswith("a" * 8)]
    assert (len(former), len(room.pairing.withdrawn)) == (STOCK, STOCK - 1)  # but what Ann answered


def test_two_policies_answer_one_against_the_other(serve, store):
    _, stock = serve("one", "two")
    fill(stock)
    responses = {response.id: response.model for response in store.responses()}
    for comparison in store.comparisons():
        assert {responses[comparison.response_a], responses[comparison.response_b]} == {"one@00000001", "two@00000001"}


def test_when_a_better_policy_comes_only_its_answers_and_what_was_begun_are_asked(serve, store, tmp_path):
    (tmp_path / "policy").write_text("aaaaaaaa")
    app, stock = serve(tmp_path / "policy")
    fill(stock)
    ann, bob = come_in(app, "annotator"), come_in(app, "reviewer")
    first = ann.get("/question").json()
    answer = {**first["ids"], "choice": "left", "key": "0000-0001", "duration_seconds": 1.0}
    assert ann.post("/judgements", json=answer).status_code == 200
    (tmp_path / "policy").write_text("bbbbbbbb")
    stock.stocks.clear()
    app.state.rooms.first.load()
    stock.generator.ask([]).result(10)
    fill(stock)
    models = {response.id: response.model[-8:] for response in store.responses()}
    asked, find = [], app.state.room.ids.find
    while not (question := bob.get("/question").json())["done"] and len(asked) < 8:
        asked.append((question["ids"]["comparison_id"], models[find(question["ids"]["left"])]))
        bob.post("/skip", json={"comparison_id": asked[-1][0]})
    former = {comparison for comparison, version in asked if version == "aaaaaaaa"}
    assert first["ids"]["comparison_id"] in former
    assert len(former) <= 3  # hers: one judged, two on her screen
    assert len(asked) == 8
    assert len(store.judgements()) == 1


def test_prompts_that_make_no_comparison_are_passed_over(serve, tmp_path, capfd):
    with Store.open(tmp_path / "other.db", create=True) as store:
        store.add_prompts([Prompt("long"), Prompt("same")])
        generator = Generator(GenerationSettings(("one",)), COMMAND)
        generator.start()
        app = create_app(store, live=Live(generator))
        stock = LiveStock(generator, app.state.rooms.list_open)
        while not generator.list_names():
            time.sleep(0.01)
        fill(stock)
        generator.close()
        assert store.comparisons() == []
    assert "some prompts leave the policy no room" in capfd.readouterr().err
