"""A search on a tiny model: it finds a known best, goes on where it was killed, and the workers change nothing."""

import hashlib
import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest

from forked import Forked, run_command
from likelier.cli import main
from likelier.config import build_config, load_config
from likelier.errors import ConfigError, LikelierError
from likelier.files import write_jsonl
from likelier.records import Preference, read_preferences
from likelier.search.run import look_up, make_jobs, run_one, run_search
from tiny import save_tiny_model

REWARD = """
def count_a(prompts, responses):
    return [float(response.count("a")) for response in responses]
def raises(prompts, responses):
    raise ValueError("no such reward")
"""
RATES = [1e-6, 1e30, 0.02]
"""Learns nothing; the numeric guard stops it; learns the best answer."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    save_tiny_model(folder / "model", words=["a", "b"])
    (folder / "reward.py").write_text(REWARD)
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a", "a a", "b b")])
    texts = [" ".join(letters) for letters in itertools.product("ab", repeat=5)]
    write_jsonl(folder / "pairs/train.jsonl", [Preference(text, "a a a", "b b", conversation=text) for text in texts])
    return folder


def settings(world, space, function="count_a", **search):
    ppo = {"batch_size": 16, "total_episodes": 80, "response_length": 4, "num_mini_batches": 2, "kl_coef": 0.0}
    ppo |= {"save_steps": 2, "stop_token": None, "device": "cpu"}
    return {
        "model": str(world / "model"),
        "prompts": str(world / "prompts.jsonl"),
        "data": str(world / "pairs"),
        "reward": [{"function": f"{world / 'reward.py'}:{function}"}],
        "reward_model": {"batch_size": 4, "device": "cpu", "num_epochs": 2},
        "ppo": ppo,
        "search": {"space": space, "folds": 2, **search},
    }


@pytest.fixture(scope="module")
def serial(world):
    """A whole search, one run at a time."""
    folder = world / "serial"
    return folder, run_search(build_config(settings(world, {"ppo.learning_rate": RATES})), folder, workers=1)


def essence(folder, result):
    """A result without times and places."""
    kept = {key: result[key] for key in ("best", "trials", "metric", "direction", "folds")}
    return json.loads(json.dumps(kept).replace(str(folder), "OUT"))


def weights(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("trial-*/fold-*/model/model.safetensors"))
    }


@pytest.mark.slow
def test_a_known_best_is_found_and_a_failed_trial_is_last(serial):
    folder, result = serial
    assert [(row["trial"], row["status"]) for row in result["trials"]] == [(3, "done"), (1, "done"), (2, "failed")]
    assert result["best"]["values"] == {"ppo.learning_rate": 0.02}
    assert result["best"]["mean"] > 3.5  # four times "a" is the best there is
    assert result["trials"][1]["mean"] < 3.0
    assert "not finite" in result["trials"][2]["reason"]
    page = (folder / "search.html").read_text()
    assert result["plot"] == str(folder / "search.html")
    assert page.count("<figcaption>ppo.learning_rate") == 1
    assert '<span class="flag">failed</span>' in page
    best = load_config(folder / "best.yaml")
    assert (best.ppo.learning_rate, best.ppo.batch_size, best.seed) == (0.02, 16, 0)
    assert (folder / "best.yaml").read_text().startswith("# The best of 3 trials: score_after")


def catches_sigterm(pid):
    """Whether a process has a handler for SIGTERM by now (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next((line for line in status if line.startswith("SigCgt")), "SigCgt 0")  # a zombie has none
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def start_search(streams, words):
    """A search that handles SIGTERM by now; runs of one that was killed before may hold their folders for a moment."""
    while True:
        process = Forked(streams, run_command, *words)
        while process.is_running() and not catches_sigterm(process.process.pid):
            time.sleep(0.02)
        if process.is_running():
            return process
        assert "another process is training" in process.err.read_text(), process.err.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "ends",
    [
        [(signal.SIGKILL, -9)],
        pytest.param([(signal.SIGKILL, -9), (signal.SIGTERM, 75)], marks=pytest.mark.battery),
    ],
    ids=["killed", "killed-and-terminated"],
)
def test_killed_it_keeps_what_is_done_and_ends_the_same(world, serial, capfd, ends):
    """Two runs at once, killed and terminated, end with the bits of one run at a time."""
    path, out = world / "c.yaml", world / f"killed-{len(ends)}"
    path.write_text(json.dumps(settings(world, {"ppo.learning_rate": RATES})))
    words = ["search", str(path), "--out", str(out), "--workers", "2", "--resume", "auto"]
    for number, code in ends:
        process = start_search(world / "streams", words)
        known = len(list(out.glob("trial-*/fold-*/result.json")))
        while process.is_running() and len(list(out.glob("trial-*/fold-*/result.json"))) == known:
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait() == code
        if number == signal.SIGTERM:
            assert f"of 6 runs; go on with: likelier search {path} --out {out}" in process.err.read_text()
    done = {path: path.stat().st_mtime_ns for path in out.glob("trial-*/fold-*/result.json")}
    assert len(done) >= len(ends)
    assert main([*words, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert essence(out, result) == essence(*serial)
    assert weights(out) == weights(serial[0])
    assert len(weights(out)) == 4
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.slow
def test_a_finished_search_is_only_read(world, serial):
    folder, result = serial
    again = run_search(build_config(settings(world, {"ppo.learning_rate": RATES})), folder, "auto", 1)
    assert essence(folder, again) == essence(folder, result)
    with pytest.raises(ConfigError, match="started with search.folds=2, not 3"):
        run_search(build_config(settings(world, {"ppo.learning_rate": RATES}, folds=3)), folder, "auto", 1)
    with pytest.raises(ConfigError, match="not empty"):
        run_search(build_config(settings(world, {"ppo.learning_rate": RATES})), folder)


@pytest.mark.slow
def test_reward_models_are_judged_on_held_out_conversations(world, tmp_path):
    asked = settings(world, {"reward_model.learning_rate": [1e-6, 0.01]}, stage="reward")
    result = run_search(build_config(asked), tmp_path / "run", workers=1)
    assert (result["metric"], result["direction"]) == ("log_loss", "min")
    assert result["best"]["values"] == {"reward_model.learning_rate": 0.01}
    assert result["best"]["mean"] < 0.5 < result["trials"][1]["mean"]
    assert load_config(tmp_path / "run" / "best.yaml").data == str(world / "pairs")


@pytest.mark.battery
def test_dpo_is_judged_on_held_out_conversations(world, tmp_path):
    asked = settings(world, {"dpo.learning_rate": [1e-6, 0.01]}, stage="dpo")
    asked["dpo"] = {"batch_size": 4, "device": "cpu", "num_epochs": 2}
    result = run_search(build_config(asked), tmp_path / "run", workers=1)
    assert (result["metric"], result["direction"]) == ("log_loss", "min")
    assert result["best"]["values"] == {"dpo.learning_rate": 0.01}
    assert result["best"]["mean"] < 0.6 < result["trials"][1]["mean"] < 0.7  # log 2 for who does not move
    tests = [read_preferences(path) for path in sorted(tmp_path.glob("run/folds/*/test.jsonl"))]
    assert len({pair.conversation for test in tests for pair in test}) == sum(map(len, tests)) == 32


RIGHT = """
import gymnasium
class Right(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(1)
    action_space = gymnasium.spaces.Discrete(2)
    def reset(self, seed=None, options=None):
        return 0, {}
    def step(self, action):
        return 0, float(action), True, False, {}
"""


@pytest.mark.battery
def test_agents_are_judged_by_fresh_episodes_on_other_seeds(tmp_path):
    (tmp_path / "right.py").write_text(RIGHT)
    gym = {"env_id": f"{tmp_path / 'right.py'}:Right", "total_steps": 320, "num_envs": 4, "rollout_length": 8}
    gym |= {"num_eval_episodes": 20, "gif": False}
    search = {"stage": "gym", "folds": 2, "metric": "eval_sampled_mean", "direction": "max"}
    search |= {"space": {"gym.learning_rate": [1e-7, 0.05]}}
    result = run_search(build_config({"gym": gym, "search": search}), tmp_path / "run", workers=1)
    assert result["best"]["values"]["gym.learning_rate"] == 0.05
    assert result["best"]["mean"] > 0.9 > 0.8 > result["trials"][1]["mean"]  # always right is worth 1, by chance 1/2
    assert [load_config(tmp_path / f"run/trial-1/fold-{fold}/config.yaml").seed for fold in (1, 2)] == [0, 1]


@pytest.mark.slow
def test_where_every_trial_fails_the_first_reason_is_given(world, tmp_path):
    asked = settings(world, {"ppo.gamma": [0.9]}, "raises", folds=1)
    with pytest.raises(LikelierError, match=r"all 1 trials failed; the first: .*no such reward"):
        run_search(build_config(asked), tmp_path / "run", workers=1)


@pytest.mark.slow
def test_a_metric_that_is_not_there_is_named_after_the_first_run(world, tmp_path):
    asked = settings(world, {"ppo.gamma": [0.9, 1.0]}, metric="after.eval_klll", direction="min", folds=1)
    with pytest.raises(ConfigError, match=r"no `after.eval_klll`; it has .*score_after"):
        run_search(build_config(asked), tmp_path / "run", workers=1)
    assert not (tmp_path / "run" / "trial-2").exists()


def test_a_run_computes_with_the_threads_it_was_given(world, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("torch.set_num_threads", given.append)
    monkeypatch.setattr("likelier.stages.Stage.load_trainer", lambda stage: lambda config, run: run.finish({}))
    (job,) = make_jobs(build_config(settings(world, {"ppo.gamma": [0.9]}, folds=1, threads=3)), [{}], tmp_path)
    run_one(job)
    assert given == [3]


def test_keys_of_nested_results():
    found = {"kl": 1.0, "after": {"eval/reward.py:f": 2.0}, "a.b": 3.0}
    assert [look_up(found, name) for name in ("kl", "after.eval/reward.py:f", "a.b")] == [1.0, 2.0, 3.0]
    for name in ("kl.x", "after.x", "x", "after."):
        with pytest.raises(KeyError):
            look_up(found, name)


def test_nothing_is_written_for_a_wrong_search(world, tmp_path):
    with pytest.raises(ConfigError, match="got 1.5"):
        run_search(build_config(settings(world, {"ppo.gamma": [1.5]})), tmp_path / "run")
    assert not os.path.exists(tmp_path / "run")
