"""The same requests get the same replies from SQLite and from PostgreSQL (BATTERY L6)."""

import itertools
import random
import re

import pytest
from cluster import Cluster, find_programs
from fastapi.testclient import TestClient

from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response
from likelier.web.app import create_app
from likelier.web.figures import Figures
from page_visitors import HERE

pytestmark = pytest.mark.slow
PEOPLE = 4


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("psycopg")
    if find_programs() is None:
        pytest.skip("no PostgreSQL here: initdb was not found")
    made = Cluster()
    yield made
    made.close()


def fill(store):
    with store.transaction() as writer:
        for number in range(40):
            prompt = Prompt(f"Story {number}: ünïcode 故事 '\"")
            pair = Response(prompt.id, "yes"), Response(prompt.id, "no")
            writer.add_prompts([prompt])
            writer.add_responses(pair)
            writer.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])


class Visitor:
    """A person who does something at random, the same for each database."""

    def __init__(self, app, number):
        self.client = TestClient(app, base_url=HERE, headers={"origin": HERE})
        self.client.get("/", params={"token": app.state.room.token})
        self.question = self.client.post("/name", json={"name": f"Zoë {number}"}).json()
        self.keys = []

    def act(self, draw):
        kinds = ["judge"] * 5 + ["again", "change", "skip", "ask", "state", "export", "wrong"]
        return getattr(self, draw.choice(kinds))(draw)

    def post(self, path, body):
        reply = self.client.post(path, json=body)
        if reply.status_code == 200 and "progress" in reply.json():
            self.question = reply.json()
        return reply

    def judge(self, draw, **changes):
        if "ids" not in self.question:
            return self.client.get("/question")
        self.keys.append(f"{draw.randrange(10**12):012d}")
        sent = {**self.question["ids"], "choice": draw.choice(["left", "right", "tie"]), "key": self.keys[-1]}
        self.last = sent | {"duration_seconds": draw.randrange(9)} | changes
        return self.post("/judgements", self.last)

    def again(self, draw):
        return self.post("/judgements", self.last | {"choice": "tie"}) if self.keys else self.ask(draw)

    def change(self, draw):
        if not self.keys:
            return self.ask(draw)
        changed = self.last | {"key": f"{draw.randrange(10**12):012d}", "supersedes": draw.choice(self.keys)}
        return self.post("/judgements", changed)

    def skip(self, draw):
        ids = self.question.get("ids", {"comparison_id": "0" * 16})
        return self.post("/skip", {"comparison_id": ids["comparison_id"]})

    def ask(self, draw):
        return self.client.get("/question")

    def state(self, draw):
        return self.client.get("/owner/state")

    def export(self, draw):
        return self.client.get(f"/owner/export/{draw.choice(['likelier', 'trl'])}")

    def wrong(self, draw):
        return self.post("/judgements", {"key": "0" * 12, "choice": draw.choice(["left", "\0"]), "comparison_id": "'"})


def without_times(text):
    """A reply without the moment at which it was given, which is all that may differ."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00|\d{4}-\d\d-\d\d", "then", text)


def record_replies(store, num_calls, monkeypatch):
    """Status and content of the replies to a fixed sequence of calls."""
    numbers = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
        patch.setattr("secrets.token_urlsafe", lambda size: f"token-{next(numbers)}")
        patch.setattr(Figures, "read", lambda self, read=Figures.read: read(self, 60.0))  # not those of a while ago
        fill(store)
        app, draw = create_app(store, per_comparison=2), random.Random(0)
        visitors = [Visitor(app, number) for number in range(PEOPLE)]
        replies = [draw.choice(visitors).act(draw) for _ in range(num_calls)]
        return [(str(reply.url), reply.status_code, without_times(reply.text)) for reply in replies]


@pytest.mark.parametrize("num_calls", [90, pytest.param(10_000, marks=pytest.mark.battery)])
def test_both_databases_answer_alike(tmp_path, cluster, monkeypatch, num_calls):
    with Store.open(tmp_path / "f.db", create=True) as store:
        expected = record_replies(store, num_calls, monkeypatch)
    name = f"calls_{num_calls}"
    cluster.create_database(name)
    with Store.open(cluster.url.replace("/postgres", f"/{name}"), create=True) as store:
        replies = record_replies(store, num_calls, monkeypatch)
    assert [status for _, status, _ in replies] == [status for _, status, _ in expected]
    assert replies == expected
    assert {200, 409, 422} <= {status for _, status, _ in replies}
