"""People compare clips of an agent on the real page, over HTTP: asked, answered late, killed, and gone on with."""

import json
import threading
import time
import uuid

import pytest

from likelier.config import PreferencesConfig, build_config
from likelier.control.preferences import judges, reward_model
from likelier.control.preferences.learned import LearnedReward
from likelier.control.train import train_gym
from likelier.errors import ConfigError, LikelierError
from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.store import Store
from likelier.files import read_json, read_jsonl
from likelier.records import Judgement
from likelier.runs.run import Run
from likelier.web import server
from likelier.web.clip_page import PROJECT, ClipPage, open_clip_page
from likelier.web.room import Room
from page_visitors import Visitor

SMALL = {"env_id": "CartPole-v1", "num_envs": 2, "rollout_length": 64, "num_mini_batches": 1, "total_steps": 512}
SMALL |= {"num_ppo_epochs": 1, "num_eval_episodes": 2, "gif": False, "save_steps": 1}


def configure(db, **more):
    preferences = {"db": str(db), "comparisons": 6, "clip_seconds": 0.4, "ensemble_size": 2}
    return build_config({"gym": SMALL | {"preferences": preferences | more}})


class Person(Visitor):
    """Somebody at the page who takes the larger file for the better clip, up to `most` times."""

    def __init__(self, most=999):
        super().__init__(most)

    def wait(self, question):
        self.heard = question["run"]
        if self.heard["over"]:
            return None
        assert question["writing"]
        time.sleep(0.02)
        return json.loads(self.get("/question"))

    def answer(self, question):
        media = question["shown"]["media"]
        files = {side: self.get(media[side]["url"]) for side in ("left", "right")}
        assert {file[:6] for file in files.values()} == {b"GIF89a"}
        assert {each["kind"] for each in media.values()} == {"image/gif"}
        self.seen.append(question["shown"]["prompt"])
        choice = max(files, key=lambda side: len(files[side]))
        given = {"choice": choice, "key": str(uuid.uuid4()), "duration_seconds": 1.0}
        return self.post("/judgements", question["ids"] | given)


def train(config, folder, person, monkeypatch, resume="never"):
    monkeypatch.setattr(judges, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(reward_model, "FIRST_STEPS", 20)
    monkeypatch.setattr(reward_model, "STEPS", 20)
    monkeypatch.setattr(server, "print_stderr", person.follow)
    with Run(folder, "gym", config, resume) as run:
        return train_gym(config, run, open_clip_page)


@pytest.mark.slow
def test_people_teach_an_agent_and_a_resume_asks_nothing_twice(tmp_path, monkeypatch):
    """The run breaks off after a round was answered and before its checkpoint; the same answers are used again."""
    first, second = Person(), Person()
    config = configure(tmp_path / "clips.db", question="Which pole stands better?")

    def break_off(learned):
        if learned.step == 1:
            raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(LearnedReward, "measure", break_off)
        with pytest.raises(OSError, match="killed"):
            train(config, tmp_path / "run", first, patch)
    used = [line for _, line in read_jsonl(tmp_path / "run" / "preferences.jsonl")]
    result = train(config, tmp_path / "run", second, monkeypatch, "auto")
    assert set(first.seen + second.seen) == {"Which pole stands better?"}
    assert len(first.seen) + len(second.seen) == 6 == result["preferences"]["answered"]
    after = [line for _, line in read_jsonl(tmp_path / "run" / "preferences.jsonl")]
    assert after[: len(used)] == used
    assert len(used[-1]["answers"]) == len(first.seen)
    with Store.open(tmp_path / "clips.db", project=PROJECT) as store:
        assert len(store.judgements()) == 6
        by_id = {each.comparison_id: each for each in store.judgements()}
    ids = [each.split() for line in after for each in line["ids"]]
    assert after[-1]["answers"] == [float(by_id[each].preferred == better) for each, better in ids]
    assert read_json(tmp_path / "run" / "result.json")["preferences"] == result["preferences"]


@pytest.mark.slow
def test_who_does_not_answer_in_time_is_not_waited_for_and_a_late_answer_counts(tmp_path, monkeypatch):
    """One answer, and then none: the run goes on with it, and NaN stands for the others."""
    person = Person(most=1)
    config = configure(tmp_path / "clips.db", wait_minutes=0.0)
    result = train(config, tmp_path / "run", person, monkeypatch)
    lines = [line for _, line in read_jsonl(tmp_path / "run" / "preferences.jsonl")]
    assert (result["preferences"]["asked"], result["preferences"]["answered"]) == (6, 1)
    assert sum(answer is not None for answer in lines[0]["answers"]) == 1
    with Store.open(tmp_path / "clips.db", project=PROJECT) as store:
        page = ClipPage(Room(store, None, None, None), threading.current_thread(), "Which?")
        ids = [each for line in lines for each in line["ids"]]
        answers = page.read(ids)
        at = answers.index(None)
        comparison, first = ids[at].split()
        (other,) = {*next(each for each in store.comparisons() if each.id == comparison).responses} - {first}
        for who, left, right, choice in (("Ann", first, other, "right"), ("Bob", other, first, "tie")):
            store.add_judgement(Judgement(comparison, who, left, right, choice))
        assert page.read(ids) == [0.25 if place == at else answer for place, answer in enumerate(answers)]


def test_what_cannot_be_asked_is_one_line(tmp_path):
    with Store.open(tmp_path / "r.db", create=True, project=PROJECT) as store:
        store.prepare_to_write()
        with store.transaction() as writer:
            write_settings(writer, ProjectSettings(ask="ratings"))
        ended = threading.Thread(target=lambda: None)
        ended.start()
        ended.join()
        with pytest.raises(LikelierError, match="the judging page has ended"):
            ClipPage(Room(store, None, None, None), ended, "Which?").read([])
        with pytest.raises(LikelierError, match="its owner can set it back to comparisons"):
            ClipPage(Room(store, None, None, None), threading.current_thread(), "Which?").read([])
    with (
        pytest.raises(ConfigError, match="the project clips of .* asks for ratings"),
        open_clip_page(PreferencesConfig(db=str(tmp_path / "r.db"))),
    ):
        pass
    config = configure(tmp_path / "s.db")
    with (
        Run(tmp_path / "run", "gym", config) as run,
        pytest.raises(ConfigError, match=r"gym\.preferences\.db: no page can be opened here; run `likelier gym`"),
    ):
        train_gym(config, run)
