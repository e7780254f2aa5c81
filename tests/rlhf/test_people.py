"""People rate the responses of PPO on the real page: in time, too late, not at all; killed, and resumed to the bit."""

import json
import os
import re
import signal
import time
import uuid

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from forked import Forked, run_command
from likelier.circle import run_circle
from likelier.config import build_config
from likelier.errors import ConfigError, Stopped
from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.raters import check_raters
from likelier.feedback.store import Store
from likelier.files import read_json, read_jsonl
from likelier.metrics import PPO
from likelier.records import Prompt, RatedResponse, Rating, Response
from likelier.rlhf import people
from likelier.rlhf.people import open_people, read_ratings
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.web import server
from likelier.web.rating_page import open_rating_page
from page_visitors import Visitor
from ppo_runs import fingerprint
from rater_panel import rate_all
from tiny_ppo import make_config, make_world

LENGTH = "def reward(prompts, responses):\n    return [0.5 * len(response) for response in responses]\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), LENGTH)


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    monkeypatch.setattr(people, "LOOK_SECONDS", 0.01)


def configure(world, db, minutes=30.0, more=(), **settings):
    told = make_config(world).model_dump(mode="json", exclude_unset=True)
    reward = [{"people": str(db), "wait_minutes": minutes, "weight": 2.0}, *more]
    return build_config(told | {"reward": reward, "ppo": told["ppo"] | settings})


def like_a(text):
    return 1 + 2 * min(text.count("a"), 3)


class Rater(Visitor):
    """Somebody at the real page over HTTP who rates up to `most` responses, and tells each time what they see."""

    def __init__(self, most=999, before=lambda rater: None):
        super().__init__(most)
        self.before, self.was_told = before, False

    def wait(self, question):
        if not question["writing"]:  # the page says that no more comes
            self.was_told = True
            return None
        time.sleep(0.01)
        return json.loads(self.get("/question"))

    def answer(self, question):
        self.before(self)
        self.seen.append((question["shown"]["prompt"], question["shown"]["response"]))
        given = {"value": like_a(self.seen[-1][1]), "kind": "scale", "key": str(uuid.uuid4())}
        return self.post("/ratings", question["ids"] | given | {"duration_seconds": 1.0})


def train(config, folder, rater, monkeypatch, resume="never"):
    """Train with a rater at the page; the metrics of each step."""
    monkeypatch.setattr(server, "print_stderr", rater.follow)
    with Run(folder, "ppo", config, resume) as run:
        train_ppo(config, run, open_page=open_rating_page)
    return [line for _, line in read_jsonl(folder / "metrics.jsonl")]


def read_used(folder):
    return [line for _, line in read_jsonl(folder / "people.jsonl")]


@pytest.mark.slow
def test_who_rates_in_time_is_the_reward_and_a_resume_asks_nothing_twice(world, tmp_path, monkeypatch):
    """Three steps; another run breaks off in the second, whose ratings its folder has, and no checkpoint."""
    whole = train(configure(world, tmp_path / "whole.db", save_steps=2), tmp_path / "whole", Rater(), monkeypatch)
    used, samples = read_used(tmp_path / "whole"), list(read_jsonl(tmp_path / "whole" / "samples.jsonl"))
    assert [(step["people/rated"], step["people/by_model"]) for step in whole] == [(8, 0)] * 3
    names = {metric.name for metric in PPO if metric.name.startswith("people/")}
    assert {name for name in whole[-1] if name.startswith("people/")} == names
    assert {line["scored_by"] for _, line in samples} == {"people"}
    assert [line["score"] for _, line in samples[:4]] == pytest.approx([2 * score for score in used[0]["scores"][:4]])
    scores = {value: [] for value in (1, 3, 5, 7)}
    for _, line in samples:
        scores[like_a(line["response"])].append(line["score"])
    assert np.mean(scores[1]) < np.mean(scores[5] + scores[7])
    result = read_json(tmp_path / "whole" / "result.json")
    assert result["score_before"] is not None  # by the model that the ratings of the run gave

    config, first, second = configure(world, tmp_path / "broken.db", save_steps=2), Rater(), Rater()

    def break_off(*args, **kwargs):
        raise OSError("killed")

    with monkeypatch.context() as patch:
        update = people.PeopleSource.measure
        patch.setattr(people.PeopleSource, "measure", lambda self: break_off() if self.step == 1 else update(self))
        with pytest.raises(OSError, match="killed"):
            train(config, tmp_path / "broken", first, patch)
    assert [line["step"] for line in read_used(tmp_path / "broken")] == [0, 1]
    train(config, tmp_path / "broken", second, monkeypatch, "auto")
    asked = [{(prompt, text) for prompt, text in rater.seen} for rater in (first, second)]
    assert asked[1]
    assert not asked[0] & asked[1]
    assert fingerprint(tmp_path / "broken") == fingerprint(tmp_path / "whole")
    assert read_used(tmp_path / "broken") == [
        line | {"until": other["until"]} for line, other in zip(used, read_used(tmp_path / "broken"), strict=True)
    ]


@pytest.mark.slow
def test_what_nobody_rated_in_time_has_the_models_score_and_a_late_rating_counts_for_the_model(
    world, tmp_path, monkeypatch
):
    """Three are rated, and the fourth only once its step has ended; then nobody rates any more."""
    folder = tmp_path / "run"

    def wait_for_the_next_step(rater):
        while len(rater.seen) == 3 and not (folder / "people.jsonl").is_file():
            time.sleep(0.01)

    rater = Rater(4, wait_for_the_next_step)
    steps = train(configure(world, tmp_path / "r.db", minutes=0.02), folder, rater, monkeypatch)
    used, late = read_used(folder), rater.seen[3]
    rater.join(20)
    late_id = Response(Prompt(late[0]).id, late[1]).id
    assert late_id in used[0]["responses"]
    assert not used[0]["rated"][used[0]["responses"].index(late_id)]
    assert steps[0]["people/by_model"] > 0
    assert steps[0]["people/rated"] + steps[0]["people/by_model"] == 8
    assert [step["people/responses_rated"] for step in steps] == [3, 4, 4]
    assert None not in [score for line in used for score in line["scores"]]
    named = {line.get("scored_by") for _, line in read_jsonl(folder / "samples.jsonl")}
    assert "model of their ratings" in named


@pytest.mark.slow
def test_where_nobody_rates_other_sources_stand_and_alone_the_run_waits_on(world, tmp_path, monkeypatch):
    other = {"function": f"{world / 'reward.py'}:reward", "name": "length"}
    config = configure(world, tmp_path / "r.db", minutes=0.0, more=[other])
    steps = train(config, tmp_path / "both", Rater(0), monkeypatch)
    assert [(step["people/rated"], step["people/by_model"]) for step in steps] == [(0, 0)] * 3
    assert [step["score"] for step in steps] == pytest.approx([step["score/length"] for step in steps])
    assert not any("scored_by" in line for _, line in read_jsonl(tmp_path / "both" / "samples.jsonl"))

    notes = []

    def note(line):
        notes.append(line)
        if "the run waits on" in line:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(people, "print_note", note)
        with pytest.raises(Stopped, match="stopped after step 0") as stopped:
            train(configure(world, tmp_path / "alone.db", minutes=0.0), tmp_path / "alone", Rater(0), patch)
    assert stopped.value.exit_code == 130
    assert [re.sub("[0-9] ratings", "N ratings", line) for line in notes] == [
        "people: step 1: N ratings are wanted, within 0 minutes",
        "people: nobody has rated anything, and there is no other source: the run waits on",
    ]
    steps = train(
        configure(world, tmp_path / "alone.db", minutes=0.0), tmp_path / "alone", Rater(1), monkeypatch, "auto"
    )
    assert len(steps) == 3


def kill_and_resume(config, tmp_path, most):
    """Run `likelier ppo` into `run`, killed by -9 after `most` ratings, and again to its end; all that was rated."""
    with server.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    config = config.model_copy(update={"ppo": config.ppo.model_copy(update={"port": port})})
    (tmp_path / "config.yaml").write_text(config.model_dump_json(exclude_unset=True))
    seen = []
    for number, signal_sent, code in ((most, 9, -9), (999, None, 0)):
        resume = () if signal_sent else ("--resume", "auto")
        command = ("ppo", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run"), *resume, "--json")
        process, rater = Forked(tmp_path / "streams", run_command, *command), Rater(number)
        while process.is_running() and rater.link is None:
            if found := re.search(rf"(judge here: http://127.0.0.1:{port}/\S+)\n", process.err.read_text()):
                rater.follow(found[1])
            time.sleep(0.02)
        if signal_sent:
            rater.join(30)
            process.send_signal(signal_sent)
        assert process.wait() == code, process.err.read_text()
        seen += rater.seen
    return seen


@pytest.mark.slow
def test_the_command_is_killed_while_it_waits_and_goes_on(world, tmp_path):
    """kill -9 after two ratings of the first step; the second run asks for the others alone."""
    seen = kill_and_resume(configure(world, tmp_path / "r.db", total_episodes=8), tmp_path, 2)
    assert len(set(seen)) == len(seen)
    assert read_used(tmp_path / "run")[0]["rated"] == [True] * 8


@pytest.mark.battery
def test_people_rate_what_an_older_policy_wrote_and_a_killed_run_ends_with_the_same_bits(world, tmp_path, monkeypatch):
    """kill -9 while people are waited for, with responses of a later step drawn already."""
    ahead, whole = {"total_episodes": 24, "async_steps": 1}, Rater()
    lines = train(configure(world, tmp_path / "whole.db", **ahead), tmp_path / "whole", whole, monkeypatch)
    assert [line["staleness"] for line in lines] == [0, 1, 1]
    most = len(set(read_used(tmp_path / "whole")[0]["responses"])) + 2
    seen = kill_and_resume(configure(world, tmp_path / "r.db", **ahead), tmp_path, most)
    assert sorted(set(seen)) == sorted(set(whole.seen))
    assert len(set(seen)) == len(seen)
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


@pytest.mark.slow
def test_ratings_in_postgresql_end_a_killed_run_as_those_in_sqlite_end_a_whole_one(
    world, tmp_path, cluster, monkeypatch
):
    """kill -9 in the second step, which waits for ratings; no rating is lost, and nobody rates twice."""
    whole = Rater()
    train(configure(world, tmp_path / "whole.db", total_episodes=16), tmp_path / "whole", whole, monkeypatch)
    most = len(set(read_used(tmp_path / "whole")[0]["responses"])) + 2
    assert most < len(whole.seen)
    seen = kill_and_resume(configure(world, cluster.url, total_episodes=16), tmp_path, most)
    assert len(read_used(tmp_path / "run")) == 2
    assert set(seen) == set(whole.seen)
    assert len(set(seen)) == len(seen)
    rated = cluster.query("SELECT response_id FROM ratings")
    assert len(set(rated)) == len(rated) == len(seen)
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


def test_where_people_cannot_rate_is_one_line(world, tmp_path):
    config = configure(world, tmp_path / "r.db")
    with pytest.raises(ConfigError, match=r"reward: people: a circle asks people for comparisons"):
        run_circle(config, tmp_path / "circle")
    with pytest.raises(ConfigError, match="no page can be opened here"), open_people(config, tmp_path, None):
        pass
    with Store.open(tmp_path / "r.db", create=True, project="reward") as store, store.transaction() as writer:
        write_settings(writer, ProjectSettings(ask="rankings"))
    with (
        pytest.raises(ConfigError, match=r"the project reward of .*r.db asks for rankings, not for ratings"),
        open_people(config, tmp_path, open_rating_page),
    ):
        pass


def test_ratings_on_several_scales_add_up_in_precision():
    """One scale on which all are the same says next to nothing; thumbs say that the first is better."""
    prompt = Prompt("p")
    one, two = (Response(prompt.id, text) for text in ("one", "two"))

    def rate(response, value, kind="scale"):
        return RatedResponse(Rating(response.id, "ann", value, kind), prompt, response)

    equal = [rate(one, 3.0), rate(two, 3.0)]
    assert read_ratings(equal) == {one.id: (0.0, 1000.0), two.id: (0.0, 1000.0)}
    alone = read_ratings([rate(one, 1.0, "thumbs"), rate(two, 0.0, "thumbs")])
    both = read_ratings([*equal, rate(one, 1.0, "thumbs"), rate(two, 0.0, "thumbs")])
    assert alone[one.id][0] == pytest.approx(-alone[two.id][0], abs=1e-4)
    assert alone[one.id][0] > 1.0
    assert both[one.id][1] == pytest.approx(1 / (1 / alone[one.id][1] + 0.001))
    assert both[one.id][0] == pytest.approx(alone[one.id][0] * both[one.id][1] / alone[one.id][1])


def test_ratings_of_who_does_not_look_are_left_out_and_named_once(world, tmp_path, monkeypatch):
    """Six of eight read, two rate at random: the scores are those that the six alone give."""
    notes = []
    monkeypatch.setattr(people, "print_note", notes.append)
    config = configure(world, tmp_path / "r.db")
    rated = rate_all(8, 2)
    with open_people(config, tmp_path, open_rating_page) as source:
        source.store.add_prompts([rated[0].prompt])
        source.store.add_responses({entry.response.id: entry.response for entry in rated}.values())
        with source.store.transaction() as writer:
            writer.add_ratings(entry.rating for entry in rated)
        model = AutoModelForCausalLM.from_pretrained(config.model)
        source.read_with(model, AutoTokenizer.from_pretrained(config.model))
        for _ in range(2):
            source.fit(source.store.find_newest_rating())
    honest = [entry for entry in rated if entry.rating.annotator not in ("p0", "p1")]
    assert source.num_left_out == len(rated) - len(honest) == 120
    assert source.scored.keys() == {entry.response.id for entry in honest}
    assert notes == [
        f"people: {name} is flagged random beside the others' ratings of the same responses: 60 ratings are left out"
        for name in ("p0", "p1")
    ]
    careless = {name: rater.careless or 0.0 for name, rater in check_raters(rated).items()}
    said, plain = read_ratings(honest, careless), read_ratings(honest)
    assert max(careless[f"p{number}"] for number in range(2, 8)) < 0.05
    ids = sorted(said)
    assert np.corrcoef([said[each][0] for each in ids], [plain[each][0] for each in ids])[0, 1] > 0.999
    assert np.corrcoef([said[each][0] for each in ids], [source.scored[each] for each in ids])[0, 1] > 0.9
