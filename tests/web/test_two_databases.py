"""The same requests get the same replies from SQLite and from PostgreSQL (BATTERY L6)."""

import hashlib
import itertools
import json
import random
import re
import time
from collections import Counter
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from likelier.feedback.projects import Gold, ProjectSettings, add_guideline, write_gold, write_settings
from likelier.feedback.store import Store
from likelier.feedback.tables import DEFAULT_PROJECT
from likelier.generation.protocol import Sampled
from likelier.records import Comparison, Prompt, Response
from likelier.web.app import create_app
from likelier.web.figures import Figures
from likelier.web.live import Live
from likelier.web.owner import list_written
from page_visitors import HERE

pytestmark = pytest.mark.slow
ROLES = ["admin", "reviewer", "annotator", "annotator", "annotator"]
TAGS = ("rude", "wrong", "schön '\"")
PROJECTS = {
    DEFAULT_PROJECT: ProjectSettings(tags=TAGS, gold_share=0.2),
    "Zwei": ProjectSettings(per_comparison=3, show_totals=False),
    "ratings": ProjectSettings(ask="ratings", tags=TAGS, repeat_share=0.2),
    "thumbs": ProjectSettings(ask="ratings", rating="thumbs", comment=False),
    "rankings": ProjectSettings(ask="rankings", responses_per_ranking=3),
    "talk": ProjectSettings(ask="conversations"),
}
TEXTS = [name for name in list_written() if name != "parquet"]
SECONDS = 0.5
"""Between two calls, by a clock that does not depend on how fast a database is."""


def fill(store):
    """Projects of every kind, with a gold and a training item and two versions of guidelines in the first."""
    for name, settings in PROJECTS.items():
        with store.in_project(name).transaction() as writer:
            write_settings(writer, settings)
            for number in range(0 if name == "talk" else 20):
                prompt = Prompt(f"Story {number}: ünïcode 故事 '\"")
                trio = [Response(prompt.id, text, model=f"Model {text}") for text in ("yes", "No", "ärger")]
                writer.add_prompts([prompt])
                writer.add_responses(trio)
                pair = Comparison(prompt.id, trio[0].id, trio[1].id)
                writer.add_comparisons([pair])
                if number < 4 and name == DEFAULT_PROJECT:
                    kind = ("training", "gold")[number % 2]
                    write_gold(writer, Gold(pair.id, kind, trio[0].id, "**kind**"))
            add_guideline(writer, "Be *kind*.")
            add_guideline(writer, "Be kind, ünd right.")


class Generator:
    """Policies that answer at once, with numbers instead of a model's text."""

    def __init__(self):
        self.numbers, self.current = itertools.count(), {0: "policy@1"}

    def list_names(self):
        return ("policy@1",)

    def list_usable(self):
        return [0]

    def is_hopeless(self):
        return False

    def ask(self, items, urgent=False):
        done = Future()
        done.set_result([Sampled(f"answer {next(self.numbers)}", "end_token", "policy@1") for _ in items])
        return done


class Visitor:
    """A person who does something at random, the same for each database."""

    def __init__(self, app, number, role):
        self.client = TestClient(app, base_url=HERE, headers={"origin": HERE})
        self.accounts, self.name, self.role, self.annotator = app.state.room.accounts, f"Zoë {number}", role, None
        self.questions, self.sent, self.keys, self.judged = {}, {}, {}, []
        self.come_in()
        self.annotator = self.accounts.list_people()[-1].annotator
        self.kinds = ["answer"] * 6 + ["again", "double", "change", "skip", "ask", "today", "guide", "wrong"]
        if role != "annotator":
            self.kinds += ["review", "decide"]
        if role == "admin":
            self.kinds += [*["look"] * 2, "export", "settings", "guidelines", "prompts", "file", "gold", "person"]

    def come_in(self):
        """By a new link, which opens the account of somebody who was shut out."""
        self.client.cookies.clear()
        self.client.get("/", params={"token": self.accounts.invite(self.role, self.annotator)})
        self.questions[DEFAULT_PROJECT] = self.client.post("/name", json={"name": self.name}).json()

    def act(self, draw):
        reply = getattr(self, draw.choice(self.kinds))(draw, draw.choice(list(PROJECTS)))
        if reply.status_code == 403 and draw.random() < 0.3:
            self.come_in()
        return reply

    def call(self, project, path, body=None, **params):
        """A request about a project; a question in its reply is on the screen from then on."""
        method = "GET" if body is None else "POST"
        reply = self.client.request(method, path, params={"project": project, **params}, json=body)
        if reply.headers["content-type"] == "application/json" and "ids" in reply.json():
            self.questions[project] = reply.json()
        return reply

    def answer(self, draw, project):
        ids = self.questions.pop(project, {}).get("ids")
        if ids is None:
            return self.write(draw) if project == "talk" else self.call(project, "/question")
        key = f"{draw.randrange(10**12):012d}"
        tags = PROJECTS[project].tags or draw.choice([(), (), (), TAGS])
        reasons = {
            "tags": draw.sample(tags, min(len(tags), draw.choice([0, 0, 1]))),
            "comment": draw.choice(["", "nö '\""]),
        }
        sent = {"key": key, "duration_seconds": draw.randrange(9), **reasons, **ids}
        if "comparison_id" in ids:
            path, choice = "/judgements", draw.choice(["left", "right", "tie"])
            more = {"both_bad": draw.random() < 0.5} if choice == "tie" else {"strength": draw.choice([None, 1, 2, 3])}
            sent |= {"choice": choice, **more}
            self.judged.append(ids["comparison_id"])
        elif "response_id" in ids:
            path, kind = "/ratings", draw.choice(["scale", "thumbs"])
            sent |= {"kind": kind, "value": draw.randrange(8 if kind == "scale" else 2)}
        else:
            path, sent = "/rankings", sent | {"ranks": [draw.randint(1, 3) for _ in ids["shown"]]}
            del sent["question_id"]
        self.sent[project] = path, sent
        self.keys.setdefault(project, []).append(key)
        return self.call(project, path, sent)

    def again(self, draw, project, **changes):
        if project not in self.sent:
            return self.answer(draw, project)
        path, sent = self.sent[project]
        changed = {"choice": "tie"} if path == "/judgements" else {}
        return self.call(project, path, {**sent, **changed, "comment": "", **changes})

    def double(self, draw, project):
        return self.again(draw, project, key=f"{draw.randrange(10**12):012d}")

    def change(self, draw, project):
        key = draw.choice(self.keys.get(project, ["0" * 12]))
        return self.again(draw, project, key=f"{draw.randrange(10**12):012d}", supersedes=key)

    def write(self, draw):
        after = draw.choice([None, *self.judged[-3:]])
        message = {"key": f"{draw.randrange(10**12):012d}", "text": draw.choice(["Hallo", "Why?", "故事"])}
        return self.call("talk", "/messages", message | {"after": after})

    def skip(self, draw, project):
        ids = self.questions.get(project, {}).get("ids", {"comparison_id": "0" * 16})
        name = next(each for each in ("comparison_id", "response_id", "question_id") if each in ids)
        return self.call(project, "/skip", {"question_id": ids[name]})

    def ask(self, draw, project):
        return self.call(project, "/question")

    def today(self, draw, project):
        return self.call(project, "/today", since=0)

    def guide(self, draw, project):
        return self.call(project, "/guidelines")

    def wrong(self, draw, project):
        bodies = [
            ("/judgements", {"key": "0" * 12, "choice": draw.choice(["left", "\0"]), "comparison_id": "'"}),
            ("/ratings", {"key": "0" * 12, "value": 9, "kind": "scale", "response_id": "'", "duration_seconds": 1}),
            ("/rankings", {"key": "0" * 12, "shown": ["a", "\0"], "ranks": [1, 2], "duration_seconds": 1}),
            ("/messages", {"key": "0" * 12, "text": "a", "after": "\0"}),
            ("/name", {"name": "Zoë 1"}),
        ]
        return self.call(project, *draw.choice(bodies))

    def review(self, draw, project):
        return self.call(project, "/review/state")

    def decide(self, draw, project):
        shown = self.call(project, "/review/state")
        if not shown.is_success or not shown.json()["disagreements"]:
            return shown
        sent = {"key": f"{draw.randrange(10**12):012d}", "choice": draw.choice(["left", "right", "tie"])}
        return self.call(project, "/review", sent | draw.choice(shown.json()["disagreements"])["ids"])

    def look(self, draw, project):
        path = draw.choice(["/owner/project", "/owner/comparisons", "/owner/state"])
        return self.call(project, path, start=draw.randrange(9))

    def export(self, draw, project):
        return self.call(
            project, f"/owner/export/{draw.choice([each for each in list_written() if each != 'parquet'])}"
        )

    def settings(self, draw, project):
        changes = draw.choice([{}, {"per_comparison": 4}, {"gold_share": 0.5}, {"strength": False}, {"tags": TAGS[:2]}])
        return self.call(project, "/owner/settings", {**PROJECTS[project].model_dump(mode="json"), **changes})

    def guidelines(self, draw, project):
        return self.call(project, "/owner/guidelines", {"text": f"Version **{draw.randrange(5)}** ünd"})

    def prompts(self, draw, project):
        return self.call(project, "/owner/prompts", {"texts": [f"Neu {draw.randrange(300)}", "Story 1"]})

    def file(self, draw, project):
        sides = {"left": {"text": f"Ä {draw.random()}", "model": "a"}, "right": {"text": "Fox.", "model": "B"}}
        line = {"record": "comparison", "prompt": f"Neu {draw.randrange(300)}", **sides}
        return self.call(project, "/owner/import", {"name": "pairs.jsonl", "content": json.dumps(line)})

    def gold(self, draw, project):
        listed = self.call(project, "/owner/comparisons", start=draw.randrange(60))
        if not listed.is_success or not listed.json()["comparisons"]:
            return listed
        item = draw.choice(listed.json()["comparisons"])
        better = draw.choice([None, *[each["id"] for each in item["responses"]]])
        kind = draw.choice([None, "gold", "training"])
        sent = {"comparison_id": item["comparison_id"], "kind": kind, "better": better, "explanation": "wéil"}
        return self.call(project, "/owner/gold", sent)

    def person(self, draw, project):
        people = self.call(project, "/owner/state").json()["people"]
        person = draw.choice(people)["annotator"]
        if draw.random() < 0.5:
            return self.call(project, "/owner/people", {"annotator": person, "disabled": draw.random() < 0.5})
        return self.call(project, "/owner/members", {"annotator": person, "member": draw.random() < 0.9})


def without_times(text):
    """A reply without the moment at which it was given, which is all that may differ; of a long one a hash."""
    text = re.sub(r'"tstamp": [\d.]+', "then", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00|\d{4}-\d\d-\d\d", "then", text)
    return text if len(text) < 20_000 else hashlib.sha256(text.encode()).hexdigest()


def record_replies(store, num_calls, monkeypatch):
    """Method, address, status and content of the replies to a fixed sequence of calls."""
    numbers, clock = itertools.count(), SimpleNamespace(seconds=0.0)
    with monkeypatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
        patch.setattr("secrets.token_urlsafe", lambda size: f"token-{next(numbers)}")
        patch.setattr(Figures, "read", lambda self, read=Figures.read: read(self, 60.0))  # not those of a while ago
        for module in ("app", "room", "converse"):
            fake = SimpleNamespace(monotonic=lambda: clock.seconds, time=time.time)
            patch.setattr(f"likelier.web.{module}.time", fake)
        fill(store)
        app, draw = create_app(store, all_projects=True, live=Live(Generator())), random.Random(0)
        visitors = [Visitor(app, number, role) for number, role in enumerate(ROLES)]
        for person, project in itertools.product(app.state.room.accounts.list_people(), PROJECTS):
            app.state.room.accounts.set_member(person.annotator, project, True)
        replies = []
        for _ in range(num_calls):
            clock.seconds += SECONDS
            reply = draw.choice(visitors).act(draw)
            replies.append((reply.request.method, str(reply.url), reply.status_code, without_times(reply.text)))
        return replies


@pytest.mark.parametrize("num_calls", [100, pytest.param(10_000, marks=pytest.mark.battery)])
def test_both_databases_answer_alike(tmp_path, cluster, monkeypatch, num_calls):
    with Store.open(tmp_path / "f.db", create=True) as store:
        expected = record_replies(store, num_calls, monkeypatch)
    name = f"calls_{num_calls}"
    cluster.create_database(name)
    with Store.open(cluster.url.replace("/postgres", f"/{name}"), create=True) as store:
        replies = record_replies(store, num_calls, monkeypatch)
    counts = Counter(
        (method, address.partition("?")[0].removeprefix(HERE), status) for method, address, status, _ in expected
    )
    print("\n".join(f"{count:6} {' '.join(map(str, each))}" for each, count in sorted(counts.items())))
    differing = [pair for pair in zip(expected, replies, strict=True) if pair[0] != pair[1]]
    assert not differing, (len(differing), *differing[:3])
    assert {200, 403, 422} <= {status for _, _, status, _ in replies}
