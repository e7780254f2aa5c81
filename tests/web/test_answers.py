"""What a project asks beyond the choice of a side: reasons, guidelines, practice, gold items, ratings, rankings."""

from collections import Counter

import pytest

from likelier.feedback.projects import Gold, ProjectSettings, add_guideline, write_gold, write_settings
from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response
from likelier.web.app import create_app
from page_visitors import come_in


@pytest.fixture
def store(tmp_path):
    """Six prompts with four responses each, and a comparison of the first two."""
    with Store.open(tmp_path / "f.db", create=True) as opened:
        with opened.transaction() as writer:
            for number in range(6):
                prompt = Prompt(f"Story {number}.")
                responses = [Response(prompt.id, f"text {number}{letter}", f"m{letter}") for letter in "abcd"]
                writer.add_prompts([prompt])
                writer.add_responses(responses)
                writer.add_comparisons([Comparison(prompt.id, responses[0].id, responses[1].id)])
        yield opened


def open_page(store, gold=(), guidelines=(), **settings):
    """An app with these settings and a client of an annotator."""
    with store.transaction() as writer:
        write_settings(writer, ProjectSettings(**settings))
        for item in gold:
            write_gold(writer, item)
        for text in guidelines:
            add_guideline(writer, text)
    app = create_app(store)
    return app, come_in(app, "annotator")


def send(client, path, question, number=1, **fields):
    key = f"0000-{number:04d}"
    ids = {name: each for name, each in question["ids"].items() if name != "question_id"}
    return client.post(path, json={**ids, "key": key, "duration_seconds": 1.5, **fields})


def judge(client, question, number=1, **fields):
    return send(client, "/judgements", question, number, **{"choice": "left"} | fields)


def test_reasons_are_stored_with_the_answer(store):
    _, client = open_page(store, tags=("wrong", "rude"))
    question = client.get("/question").json()
    reply = judge(client, question, tags=["rude", "rude"], comment="  It shouts. ")
    assert reply.status_code == 200
    assert store.judgements()[0].extra == {"tags": ["rude"], "comment": "It shouts."}
    assert judge(client, reply.json(), 2).status_code == 200
    assert store.judgements()[1].extra == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tags": ["unknown"]}, "tags: 'unknown' is not one of this project"),
        ({"tags": ["rude"] * 21}, "tags: List should have at most 20 items"),
        ({"comment": "x" * 501}, "comment: String should have at most 500 characters"),
        ({"guideline": "3"}, "guideline: there is no version 3"),
        ({"guideline": "0"}, "guideline: there is no version 0"),
        ({"guideline": "new"}, "guideline: String should match pattern"),
        ({"extra": {"training": True}}, "extra: Extra inputs are not permitted"),
    ],
)
def test_reasons_and_versions_that_are_not_of_the_project_are_named(store, fields, words):
    _, client = open_page(store, tags=("rude",), guidelines=["One.", "Two."])
    reply = judge(client, client.get("/question").json(), **fields)
    assert reply.status_code == 422
    assert reply.json()["detail"].startswith(words)
    assert store.judgements() == []


def test_a_project_without_comments_takes_none(store):
    _, client = open_page(store, comment=False)
    question = client.get("/question").json()
    assert judge(client, question, comment="Why not?").status_code == 422
    assert 'data-choice="comment"' not in client.get("/").text


def test_each_judgement_records_the_version_that_was_shown(store):
    app, client = open_page(store, guidelines=["**Be kind.**"])
    owner = come_in(app, "admin")
    question = client.get("/question").json()
    assert question["progress"]["guideline"] == 1
    assert client.get("/guidelines").json() == {"version": 1, "html": "<p><strong>Be kind.</strong></p>\n"}
    assert owner.post("/owner/guidelines", json={"text": "Be short."}).status_code == 200
    reply = judge(client, question, 1, guideline="1").json()
    assert reply["progress"]["guideline"] == 2  # whoever judges on is told
    judge(client, reply, 2)
    assert [judgement.guideline for judgement in store.judgements()] == ["1", "2"]


def test_without_guidelines_there_is_no_version(store):
    _, client = open_page(store)
    assert client.get("/guidelines").json() == {"version": None}
    judge(client, client.get("/question").json())
    assert store.judgements()[0].guideline == ""


def test_practice_comes_first_teaches_and_counts_nowhere(store):
    pair = store.comparisons()[3]
    item = Gold(pair.id, "training", pair.response_b, "**Shorter.**")
    app, client = open_page(store, [item])
    question = client.get("/question").json()
    ids = app.state.room.ids
    assert ids.find(question["ids"]["comparison_id"]) == pair.id
    assert question["training"] == {"number": 1, "of": 1}
    assert "training" not in question["next"]
    better = "left" if ids.find(question["ids"]["left"]) == pair.response_b else "right"
    first, again = judge(client, question).json(), judge(client, question).json()
    assert first["lesson"] == again["lesson"] == {"better": better, "html": "<p><strong>Shorter.</strong></p>\n"}
    assert first["progress"]["judged"] == first["progress"]["own"] == 0
    assert store.judgements() == []
    assert "lesson" not in judge(client, first, 2).json()
    after = create_app(store).state.room  # a restart teaches nobody again
    person = next(each for each in after.accounts.list_people() if each.name == "annotator")
    assert after.next_question(person)["ids"]["comparison_id"] != ids.hide(pair.id)
    assert come_in(app, "reviewer").get("/question").json()["training"]


def test_nothing_tells_a_gold_item_from_others(store):
    """The same fields, of the same kinds, in the same order, for each question and reply, and on the page."""
    gold = [Gold(pair.id, "gold", pair.response_a, "known") for pair in store.comparisons()[:3]]
    app, client = open_page(store, gold, gold_share=0.5, repeat_share=0.0)
    app.state.room.pairing.gold_share = 1.0  # so that all are asked, whatever the person's pseudonym
    question, shapes, asked = client.get("/question").json(), {}, []
    page = client.get("/").text
    for number in range(6):
        if question["done"]:
            break
        asked.append(app.state.room.ids.find(question["ids"]["comparison_id"]) in app.state.room.gold)
        reply = judge(client, question, number).json()
        for part in (question, reply):
            shape = describe_shape({key: value for key, value in part.items() if key in ("ids", "shown", "progress")})
            shapes.setdefault(asked[-1], set()).add(shape)
        question = reply
    assert set(asked) == {True, False}
    assert shapes[True] <= shapes[False] | {describe_shape({"progress": question["progress"]})}
    assert "gold" not in page + client.get("/question").text
    assert "known" not in client.get("/question").text
    assert all("gold" not in judgement.extra for judgement in store.judgements())


def describe_shape(value):
    """The names and kinds of all fields at any depth, as they stand."""
    if isinstance(value, dict):
        return tuple((key, describe_shape(each)) for key, each in value.items())
    return type(value).__name__


def test_gold_answers_count_as_any_other(store):
    gold = [Gold(pair.id, "gold", None) for pair in store.comparisons()[:3]]
    app, client = open_page(store, gold, gold_share=0.5, repeat_share=0.0)
    app.state.room.pairing.gold_share = 1.0
    question, number = client.get("/question").json(), 0
    while not question["done"]:
        number += 1
        question = judge(client, question, number).json()
    asked = Counter(judgement.comparison_id for judgement in store.judgements())
    assert len(asked) == number == len(store.judgements()) == 6


def test_ratings_are_given_changed_and_shared_out(store):
    app, client = open_page(store, ask="ratings", per_comparison=1, repeat_share=0.0)
    question, hide = client.get("/question").json(), app.state.room.ids.hide
    assert set(question["ids"]) == {"response_id", "ticket"}
    assert set(question["shown"]) == {"prompt", "turns", "response", "html", "cut", "media"}
    reply = send(client, "/ratings", question, kind="scale", value=6, comment="Good.").json()
    assert (reply["progress"]["judged"], reply["ids"] == question["next"]["ids"]) == (1, True)
    change = send(client, "/ratings", question, 2, kind="scale", value=2, supersedes="0000-0001").json()
    assert change["progress"]["judged"] == 1
    (rated,) = store.rated_by_content()
    assert (rated.rating.value, rated.rating.kind, rated.rating.extra) == (2.0, "scale", {"scale": [1, 7]})
    assert (hide(rated.response.id), rated.rating.duration_seconds) == (question["ids"]["response_id"], 1.5)
    other = come_in(app, "reviewer").get("/question").json()
    mine = client.get("/question").json()
    assert {mine["ids"]["response_id"], mine["next"]["ids"]["response_id"], hide(rated.response.id)}.isdisjoint(
        {other["ids"]["response_id"], other["next"]["ids"]["response_id"]}
    )
    skipped = client.post("/skip", json={"question_id": mine["ids"]["response_id"]}).json()
    assert skipped["ids"] == mine["next"]["ids"]
    assert client.post("/skip", json={}).status_code == 422


@pytest.mark.parametrize(
    ("ask", "path", "fields"),
    [("ratings", "/ratings", {"kind": "scale", "value": 2}), ("rankings", "/rankings", {"ranks": [1, 1, 1, 1]})],
)
def test_a_second_tab_changes_an_answer_and_adds_none(store, ask, path, fields):
    app, client = open_page(store, ask=ask, repeat_share=0.0)
    question = client.get("/question").json()
    changed = {key: value if key == "kind" else 5 if key == "value" else [2, 1, 3, 4] for key, value in fields.items()}
    send(client, path, question, 1, **fields)
    for number in (2, 2):  # a request that comes twice is stored once
        assert send(client, path, question, number, **changed).json()["progress"]["own"] == 1
    given = {"ratings": store.rated_by_content, "rankings": store.ranked_by_content}[ask]
    assert len(list(given())) == 1
    assert len(list(given(everything=True))) == 2
    person = next(each for each in app.state.room.accounts.list_people() if each.name == "annotator")
    pairing = app.state.room.pairing
    pairing.repeat_share, pairing.repeat_gap, repeats = 1.0, 1, 0
    for number in range(3, 8):
        question, before = client.get("/question").json(), len(list(given()))
        repeats += pairing.held[person.annotator][0].repeat
        send(client, path, question, number, **fields)
        assert len(list(given())) == before + 1  # a repeat on purpose is an answer of its own
    assert repeats


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "scale", "value": 0},
        {"kind": "scale", "value": 8},
        {"kind": "thumbs", "value": 2},
        {"kind": "stars", "value": 1},
        {"kind": "scale", "value": 3, "response_id": "unknown"},
    ],
)
def test_a_rating_that_is_none_is_refused(store, fields):
    _, client = open_page(store, ask="ratings")
    assert send(client, "/ratings", client.get("/question").json(), **fields).status_code == 422
    assert list(store.rated_by_content()) == []


def test_thumbs(store):
    _, client = open_page(store, ask="ratings", rating="thumbs")
    send(client, "/ratings", client.get("/question").json(), kind="thumbs", value=1)
    assert [(each.rating.kind, each.rating.value, each.rating.extra) for each in store.rated_by_content()] == [
        ("thumbs", 1.0, {})
    ]
    assert 'data-key="u 1"' in client.get("/").text


def test_rankings_are_given_with_ties_and_changed(store):
    app, client = open_page(store, ask="rankings", responses_per_ranking=3, per_comparison=1, repeat_share=0.0)
    question = client.get("/question").json()
    shown = list(map(app.state.room.ids.find, question["ids"]["shown"]))
    assert set(question["shown"]) == {"prompt", "turns", "0", "1", "2", "html", "cut", "media"}
    reply = send(client, "/rankings", question, ranks=[2, 1, 2]).json()
    assert reply["progress"]["judged"] == 1
    send(client, "/rankings", question, 2, ranks=[1, 2, 3], supersedes="0000-0001")
    (ranked,) = store.ranked_by_content()
    assert (ranked.ranking.order, ranked.ranking.shown) == (tuple((each,) for each in shown), tuple(shown))
    first = next(store.ranked_by_content(everything=True)).ranking
    assert first.ranks in ([2, 1, 2], [1, 2, 3])
    number = 2
    while not reply["done"]:
        number += 1
        reply = send(client, "/rankings", reply, number, ranks=[1, 1, 1]).json()
    assert reply["progress"]["judged"] == number - 1 == 12  # two sets of each of the six prompts


def test_a_ranking_that_is_none_is_refused(store):
    app, client = open_page(store, ask="rankings", responses_per_ranking=2)
    question, ids = client.get("/question").json(), app.state.room.ids
    (one, two), ticket = question["ids"]["shown"], question["ids"]["ticket"]
    other = question["next"]["ids"]["shown"][0]
    for shown, ranks in [([one, two], [1]), ([one, one], [1, 2]), ([one, "x"], [1, 2]), ([one, two], [0, 1])]:
        reply = send(client, "/rankings", {"ids": {"shown": shown, "ticket": ticket}}, ranks=ranks)
        assert reply.status_code == 422, (shown, ranks)
    prompt = find(store, ids.find(one)).prompt_id
    mixed = [one, ids.hide(next(each.id for each in store.responses() if each.prompt_id != prompt))]
    reply = send(client, "/rankings", {"ids": {"shown": mixed, "ticket": ticket}}, ranks=[1, 2])
    assert (reply.status_code, reply.json()["detail"]) == (422, "ticket: this question was not given to you")
    assert other
    assert list(store.ranked_by_content()) == []


def find(store, response_id):
    return next(each for each in store.responses() if each.id == response_id)


def test_an_answer_that_waited_while_the_owner_changed_what_is_asked_is_stored(store):
    app, client = open_page(store)
    question, owner = client.get("/question").json(), come_in(app, "admin")
    settings = ProjectSettings(ask="ratings").model_dump(mode="json")
    assert owner.post("/owner/settings", json=settings).status_code == 200
    reply = judge(client, question)
    assert reply.status_code == 200
    assert set(reply.json()["ids"]) == {"response_id", "ticket"}
    assert reply.json()["progress"]["judged"] == 0  # of what is asked now
    assert len(store.judgements()) == 1


def test_totals_can_be_hidden(store):
    app, client = open_page(store, show_totals=False)
    judge(come_in(app, "reviewer"), come_in(app, "admin").get("/question").json())
    judge(client, client.get("/question").json())
    progress = client.get("/question").json()["progress"]
    assert (progress["judged"], progress["wanted"], progress["own"]) == (None, None, 1)


def test_todays_answers_are_counted_once_each(store):
    _, client = open_page(store)
    question = client.get("/question").json()
    judge(client, question)
    judge(client, question, 2, choice="right", supersedes="0000-0001")
    assert client.get("/today", params={"since": 0}).json() == {"count": 1}
    assert client.get("/today", params={"since": 4e9}).json() == {"count": 0}
    assert client.get("/today", params={"since": -1}).status_code == 422
