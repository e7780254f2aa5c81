"""People as judges: their result by hand, pages that are closed or killed, the real page over HTTP, a circle."""

import http.cookiejar
import json
import re
import threading
import time
import urllib.request
import uuid
from dataclasses import replace

import numpy as np
import pytest

from forked import Forked, run_command
from likelier.config import build_config
from likelier.errors import ConfigError, DataError, Stopped
from likelier.evaluation import compare
from likelier.evaluation.people import EVALUATION_MARK, ResponsePair, ask_people, open_people
from likelier.evaluation.result import EvaluationResult, PeopleResult
from likelier.feedback.store import Store
from likelier.files import read_json, read_jsonl, write_jsonl
from likelier.intervals import clopper_pearson
from likelier.records import Judgement, Prompt, Response
from likelier.report.page import write_report
from likelier.web import server
from tiny import save_tiny_model


def make_pair(text, answers=("old", "new")):
    prompt = Prompt(text)
    return ResponsePair(
        prompt, *(Response(prompt.id, answer, model) for answer, model in zip(answers, "ab", strict=True))
    )


PAIRS = [make_pair(text) for text in ("one", "two", "three")]


def settings(folder, **more):
    scorer = [{"people": str(folder / "people.db")}]
    return build_config({"eval": {"model_a": "a", "model_b": "b", "scorer": scorer} | more}).eval


def answer_of(row, who, said):
    """A judgement with b on the left."""
    choice = {"b": "left", "a": "right", "tie": "tie"}[said]
    return Judgement(row.comparison.id, who, row.b.id, row.a.id, choice)


class Visitors:
    """A page at which people answer as was written down: (row, who, what), then close it or end it."""

    def __init__(self, *answers, closed=False):
        self.answers, self.closed, self.opened = answers, closed, []

    def __call__(self, store, *, port, per_comparison, only):
        self.opened.append((port, per_comparison, sorted(only)))
        store.add_judgements(answer_of(*each) for each in self.answers)
        if self.closed:
            raise KeyboardInterrupt
        return len(self.answers)


def test_the_result_of_people_by_hand(tmp_path):
    """Shares of b: 1, 3/4, 1/2, of variance 1/16: worth as much as (3/4 * 1/4) / (1/16 / 3) = 9 independent votes."""
    one, two, three = PAIRS
    page = Visitors(
        (one, "ann", "b"), (one, "bob", "b"), (two, "ann", "b"), (two, "bob", "tie"), (three, "ann", "a"),
        (three, "bob", "b"),
    )  # fmt: skip
    with open_people(settings(tmp_path)) as store:
        found = ask_people(store, PAIRS, settings(tmp_path, judgements_per_comparison=2, port=1234), page)
        assert page.opened == [(1234, 2, sorted(row.comparison.id for row in PAIRS))]
        assert found.shares == [1.0, 0.75, 0.5]
        interval = clopper_pearson(0.75, 9)
        assert found.result.interval == pytest.approx(interval)
        assert replace(found.result, interval=interval) == PeopleResult(
            win_rate=0.75, interval=interval, ties=1, n=3, unjudged=0, judgements=6, people=2
        )
        again = ask_people(store, PAIRS, settings(tmp_path, judgements_per_comparison=2), Visitors(closed=True))
        assert again == found  # everything is judged: no page is opened, nothing is stored twice
        assert store.counts() == {"prompts": 3, "responses": 6, "comparisons": 3, "judgements": 6, "annotators": 2}
        assert {response.model for response in store.responses()} == {"a", "b"}


def test_a_page_closed_early_leaves_out_what_nobody_judged(tmp_path):
    page = Visitors((PAIRS[0], "ann", "b"), (PAIRS[2], "ann", "tie"), closed=True)
    with open_people(settings(tmp_path)) as store:
        with pytest.raises(Stopped, match="nobody has judged anything yet, so there is no win rate") as caught:
            ask_people(store, PAIRS, settings(tmp_path), Visitors(closed=True))
        assert caught.value.exit_code == 130
        found = ask_people(store, PAIRS, settings(tmp_path), page)
    assert found.shares == [1.0, None, 0.5]
    assert (found.result.win_rate, found.result.n, found.result.unjudged) == (0.75, 2, 1)


def test_people_are_asked_about_as_many_as_wanted_and_correct_the_other_judges(tmp_path):
    """Of 40 prompts 20 are drawn, the same ones again; a judge who always prefers b is of no help."""
    pairs = [make_pair(str(number), ("old", "the newer")) for number in range(40)]
    with open_people(settings(tmp_path)) as store:
        page = Visitors()
        with pytest.raises(DataError, match="no judgement of these answers"):
            ask_people(store, pairs, settings(tmp_path, num_judged=20), page)
        ((_, _, asked),) = page.opened
        assert len(asked) == 20
        page = Visitors(*((pair, "ann", "b") for pair in pairs if pair.comparison.id in asked))
        found = ask_people(store, pairs, settings(tmp_path, num_judged=20), page)
        assert page.opened[0][2] == asked
    assert (found.result.win_rate, found.result.n, found.result.unjudged) == (1.0, 20, 20)
    record = compare.correct_judges(pairs, found, {"judge": np.ones(40)})["judge"]
    assert (record["win_rate"], record["power"], record["judged"], record["others"]) == (1.0, 0.0, 20, 20)
    assert found.result.length_controlled > 0.95  # all are longer by as much, and all are preferred
    assert record["agreement"]["n"] == record["agreement_longer"]["n"] == 20


def test_what_was_judged_before_a_kill_counts(tmp_path):
    with open_people(settings(tmp_path)) as store, pytest.raises(DataError, match="no judgement of these answers"):
        ask_people(store, PAIRS, settings(tmp_path), None)
    with Store.open(tmp_path / "people.db") as store:  # what a killed page left
        store.add_judgement(answer_of(PAIRS[1], "ann", "a"))
    with open_people(settings(tmp_path)) as store:
        found = ask_people(store, PAIRS, settings(tmp_path), Visitors((PAIRS[0], "bob", "b"), (PAIRS[2], "bob", "b")))
    assert found.shares == [1.0, 0.0, 1.0]
    assert (found.result.judgements, found.result.people) == (3, 2)


def test_equal_answers_are_ties_that_nobody_is_asked_about(tmp_path):
    """Two of four rows are equal. All judged: (1 + 1 + 1/2 + 1/2) / 4; half of the others judged: one of the two."""
    rows = [make_pair("x", ("same", "same")), *PAIRS[:2], make_pair("y", ("same", "same"))]
    with open_people(settings(tmp_path)) as store:
        early = ask_people(store, rows, settings(tmp_path), Visitors((PAIRS[0], "ann", "b"), closed=True))
        late = ask_people(store, rows, settings(tmp_path), Visitors((PAIRS[1], "ann", "b")))
        assert store.counts()["comparisons"] == 2
        only_equal = ask_people(store, rows[:1], settings(tmp_path), None)
    assert (early.result.win_rate, early.result.n, early.result.unjudged) == (0.75, 2, 1)
    assert (late.result.win_rate, late.result.n, late.result.ties) == (0.75, 4, 2)
    assert (only_equal.result.win_rate, only_equal.result.judgements) == (0.5, 0)


def test_the_database_holds_nothing_that_is_trained_on(tmp_path):
    with Store.open(tmp_path / "people.db", create=True) as store:
        store.add_prompts([Prompt("Once")])
    with pytest.raises(ConfigError, match=r"people.db holds other comparisons.*give people a database of its own"):
        open_people(settings(tmp_path))


def test_people_judge_in_a_project_of_their_own(tmp_path):
    """What stands in another project of the database is neither mixed up with it nor in its way."""
    with Store.open(tmp_path / "people.db", create=True, project="training") as store:
        store.add_prompts([Prompt("Once")])
    with open_people(settings(tmp_path, project="evaluation")) as store:
        ask_people(store, PAIRS, settings(tmp_path), Visitors((PAIRS[0], "ann", "b"), closed=True))
        assert [each.counts()["judgements"] for each in (store, store.in_project("training"))] == [1, 0]


def test_columns_stay_with_the_prompts_that_people_judge(tmp_path):
    row = replace(PAIRS[0], prompt=replace(PAIRS[0].prompt, extra={"reference": "r"}))
    with open_people(settings(tmp_path)) as store:
        ask_people(store, [row], settings(tmp_path), Visitors((row, "ann", "b")))
        assert [prompt.extra for prompt in store.prompts()] == [{"reference": "r"} | EVALUATION_MARK]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for seed, name in enumerate(("secret-old", "secret-new")):
        save_tiny_model(folder / name, words=["a", "b", "c"], seed=seed)
    (folder / "judge.py").write_text("def longer(prompts, responses):\n    return [float(len(r)) for r in responses]\n")
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a b", "b c", "c a", "a a")])
    return folder


def config_of(world, db, **more):
    block = {
        "model_a": str(world / "secret-old"),
        "model_b": str(world / "secret-new"),
        "prompts": str(world / "prompts.jsonl"),
        "scorer": [{"people": str(db)}],
        "response_length": 6,
        "stop_token": None,
        "device": "cpu",
    }
    return build_config({"eval": block | more})


class Browser:
    """Somebody at the real page, without a screen."""

    def __init__(self, link, name):
        self.at = link.partition("/?")[0]
        self.client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.seen = self.client.open(link, timeout=20).read().decode()
        self.question = self.post("/name", {"name": name})

    def post(self, path, body):
        headers = {"Content-Type": "application/json", "Origin": self.at}
        text = self.client.open(urllib.request.Request(self.at + path, json.dumps(body).encode(), headers)).read()
        self.seen += text.decode()
        return json.loads(text)

    def judge(self, choose, most=99):
        """Answer up to `most` questions, until there are no more; how many were answered."""
        for number in range(most):
            if self.question["done"]:
                return number
            answer = {"choice": choose(self.question["shown"]), "key": str(uuid.uuid4()), "duration_seconds": 1.0}
            self.question = self.post("/judgements", self.question["ids"] | answer)
        return most


def evaluate(config, out, page=None):
    return compare.evaluate(config, out, page).to_json()


def more_a(shown):
    left, right = (shown[side].count("a") for side in ("left", "right"))
    return "tie" if left == right else "left" if left > right else "right"


def test_the_real_page_over_http_with_two_people(world, tmp_path, monkeypatch):
    """Both answer each question; the page tells nobody which model wrote what, and ends by itself."""
    links, visitors = [], []

    def visit(name, link):
        visitors.append(Browser(link, name))
        threading.Thread(target=visitors[-1].judge, args=(more_a,), daemon=True).start()

    def say(line):
        links.append(line.rpartition(" ")[2])
        if len(links) <= 2:
            threading.Thread(target=visit, args=(f"person {len(links)}", links[-1]), daemon=True).start()

    monkeypatch.setattr(server, "print_stderr", say)
    config = config_of(world, tmp_path / "people.db", judgements_per_comparison=2)
    found = evaluate(config, tmp_path / "out", server.serve)
    whole = read_json(tmp_path / "out" / "evaluation.json")
    assert list(found["judges"]) == ["people"]
    assert (found["n"], found["judgements"], found["people"], found["unjudged"]) == (4, 8, 2, 0)
    assert (found["score_a"], found["score_b"]) == (None, None)
    expected = [
        {"left": 0.0, "right": 1.0, "tie": 0.5}[more_a({"left": sample["response_a"], "right": sample["response_b"]})]
        for sample in whole["samples"]
    ]
    assert [sample["share_b"] for sample in whole["samples"]] == expected
    assert found["win_rate"] == sum(expected) / 4
    assert not any("secret" in visitor.seen for visitor in visitors)
    with Store.open(tmp_path / "people.db") as store:
        assert all(prompt.extra == EVALUATION_MARK for prompt in store.prompts())
    page = write_page(tmp_path)
    assert "8 judgements by 2 people" in page
    assert "mean score" not in page


def write_page(folder):
    write_report([folder / "out"], folder / "report.html")
    return " ".join((folder / "report.html").read_text().split())


def test_a_model_is_not_compared_with_itself(world, tmp_path):
    with pytest.raises(ConfigError, match=r"eval.model_b: people would compare .*secret-old with itself"):
        evaluate(config_of(world, tmp_path / "people.db", model_b=str(world / "secret-old")), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_people_stand_beside_judges_that_score(world, tmp_path):
    longer = {"function": f"{world / 'judge.py'}:longer"}

    def page(store, *, port, per_comparison, only):
        pairs = store.comparisons()
        models = {response.id: response.model for response in store.responses()}
        for pair in pairs:
            left, right = sorted((pair.response_a, pair.response_b), key=lambda each: models[each])  # new before old
            store.add_judgement(Judgement(pair.id, "ann", left, right, "left"))
        return len(pairs)

    def judged(name, scorer, **more):
        found = evaluate(config_of(world, "", scorer=scorer, **more), tmp_path / name / "out", page)
        return found, write_page(tmp_path / name)

    people = {"people": str(tmp_path / "people.db"), "name": "the team"}
    first, page_of_first = judged("first", [people, longer], best_of=[2], selector=[longer])
    assert list(first["judges"]) == ["the team", "judge.py:longer"]
    assert (first["win_rate"], first["judgements"], first["people"]) == (1.0, 4, 1)
    assert list(first["best_of"][0]["judges"]) == ["judge.py:longer"]
    assert "Preferred by the team (4 judgements by 1 person)" in page_of_first
    second, page_of_second = judged("second", [longer, people])
    assert list(second["judges"]) == ["judge.py:longer", "the team"]
    assert "judgements" not in second
    assert EvaluationResult.from_json(first).to_json() == first
    assert second["judges"]["the team"] == first["judges"]["the team"]
    assert second["win_rate"] == second["judges"]["judge.py:longer"]["win_rate"]
    assert "the team (4 judgements by 1 person)" in page_of_second


def start(config, out):
    """`likelier eval` in a process of its own, and the link that it prints."""
    process = Forked(out.with_name("streams"), run_command, "eval", str(config), "--out", str(out), "--json")
    while process.is_running():
        if found := re.search(r"judge here: (\S+)\n", process.err.read_text()):
            return process, found[1]
        time.sleep(0.02)
    raise AssertionError(process.err.read_text())


@pytest.mark.slow
def test_killed_terminated_interrupted_and_ended(world, tmp_path):
    """One answer before each end; the last page asks for the one that is left."""
    config = tmp_path / "config.yaml"
    config.write_text(config_of(world, tmp_path / "people.db").model_dump_json(include={"eval"}, exclude_defaults=True))
    for signal, code, said in ((9, -9, ""), (15, 75, "1 new judgement is stored")):
        process, link = start(config, tmp_path / "out")
        assert Browser(link, "Ann").judge(more_a, most=1) == 1
        process.send_signal(signal)
        assert (process.wait(), process.out.read_text()) == (code, "")
        assert said in process.err.read_text()
        assert not (tmp_path / "out" / "evaluation.json").exists()
    process, link = start(config, tmp_path / "out")
    assert Browser(link, "Ann").judge(more_a, most=1) == 1
    process.send_signal(2)
    assert process.wait() == 0
    found = json.loads(process.out.read_text())
    assert (found["n"], found["judgements"], found["unjudged"]) == (3, 3, 1)
    process, link = start(config, tmp_path / "whole")
    assert Browser(link, "Ann").judge(more_a) == 1
    assert (process.wait(), json.loads(process.out.read_text())["n"]) == (0, 4)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"eval": {"scorer": [{"people": "OUT/feedback.db"}]}}, r"eval.scorer: the circle trains on .*feedback.db"),
        ({"eval": {"scorer": [{"people": "p.db"}]}, "circle": {"db": "./p.db"}}, "give people a database of its own"),
        (
            {"eval": {"scorer": [{"people": "p.db"}]}, "circle": {"baselines": ["sft"]}},
            "circle.baselines: people judge",
        ),
    ],
)
def test_a_circle_says_before_it_begins_what_people_cannot_judge(tmp_path, block, words):
    from likelier.circle import run_circle

    told = json.loads(json.dumps({"model": "m", "prompts": "p.jsonl"} | block).replace("OUT", str(tmp_path / "out")))
    with pytest.raises(ConfigError, match=words):
        run_circle(build_config(told), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_people_judge_two_rounds_of_a_circle_and_nothing_of_it_is_trained_on(world, tmp_path, monkeypatch):
    from likelier.circle import run_circle
    from test_circle import judge_all

    texts = [f"{one} {two} {three}" for one in "abc" for two in "abc" for three in "abc"]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in texts])
    small = {"batch_size": 8, "device": "cpu", "learning_rate": 0.01}
    told = {
        "model": str(world / "secret-old"),
        "prompts": str(tmp_path / "prompts.jsonl"),
        "circle": {"num_eval_prompts": 4, "responses_per_prompt": 2, "check_feedback": False},
        "reward_model": small | {"num_epochs": 1},
        "ppo": small
        | {"total_episodes": 16, "response_length": 4, "num_mini_batches": 1, "num_eval_prompts": 2, "eval_steps": 1}
        | {"anyway": True},
        "eval": {"scorer": [{"people": str(tmp_path / "people.db")}], "device": "cpu"},
    }

    def page(store, *, port, per_comparison, only, access):
        store.add_judgements(
            Judgement(pair.id, "cyd", pair.response_a, pair.response_b, "left")
            for pair in store.comparisons()
            if pair.id in only
        )
        return len(only)

    monkeypatch.setattr("likelier.web.server.serve", page)
    result = run_circle(build_config(told), tmp_path / "out", rounds=2, collect=judge_all)
    assert 0.0 <= result["win_rate"] <= 1.0
    for turn in (1, 2):
        folder = tmp_path / "out" / f"round-{turn}"
        evaluation = read_json(folder / "evaluation.json")
        assert (list(evaluation["judges"]), evaluation["people"]) == (["people"], 1)
        trained = "".join((folder / "preferences" / f"{part}.jsonl").read_text() for part in ("train", "valid", "test"))
        assert '"cyd"' not in trained
        held_out = [line["prompt"] for _, line in read_jsonl(folder / "prompts" / "kept_out.jsonl")]
        assert not any(json.dumps({"prompt": text})[1:-1] in trained for text in held_out)
    with Store.open(tmp_path / "people.db") as store:
        assert {judgement.annotator for judgement in store.judgements()} == {"cyd"}
        assert {prompt.text for prompt in store.prompts()} <= set(held_out)
