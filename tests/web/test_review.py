"""Reviewers see where people disagree, never who, and decide."""

import pytest

from likelier.feedback.store import Store
from likelier.web.app import create_app
from page_visitors import add_pair, come_in


@pytest.fixture
def app(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        yield create_app(store)


def judge(app, client, response, key):
    ids = client.get("/question").json()["ids"]
    choice = "left" if app.state.room.ids.find(ids["left"]) == response else "right"
    sent = {**ids, "choice": choice, "key": key, "duration_seconds": 1.0}
    assert client.post("/judgements", json=sent).status_code == 200


def test_a_disagreement_is_decided_once(app):
    (pair,) = app.state.room.store.comparisons()
    owner, ann, rita = (come_in(app, role) for role in ("admin", "annotator", "reviewer"))
    judge(app, owner, pair.response_a, "0000-0001")
    assert rita.get("/review/state").json() == {"disagreements": []}
    judge(app, ann, pair.response_b, "0000-0002")
    reply = rita.get("/review/state")
    (found,) = reply.json()["disagreements"]
    assert found["votes"] == {"left": 1, "right": 1, "tie": 0}
    assert "person-" not in reply.text
    sent = {**found["ids"], "choice": "left", "key": "0000-0003"}
    for _ in range(2):
        assert rita.post("/review", json=sent).json() == {"disagreements": []}
    decisions = [each for each in app.state.room.store.judgements() if each.adjudicates]
    assert [each.preferred for each in decisions] == [pair.response_a]
    assert rita.get("/review").status_code == 200
    assert rita.post("/review", json=sent | {"left": "x", "key": "0000-0004"}).status_code == 422


def test_annotators_see_no_votes(app):
    ann = come_in(app, "annotator")
    assert (ann.get("/review").status_code, ann.get("/review/state").status_code) == (403, 403)
