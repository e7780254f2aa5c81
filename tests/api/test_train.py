"""Training from Python: configs in three shapes, run folders as on the command line, signals, threads."""

import os
import signal
import threading
from pathlib import Path

import pytest
import yaml

import likelier
from likelier.api.train import read_config
from likelier.config import Config
from likelier.errors import ConfigError, Stopped
from likelier.files import read_json, write_jsonl
from tiny import save_tiny_model

SMALL = {"batch_size": 4, "device": "cpu"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty current folder with a tiny model, prompts, and pairs."""
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "model", words=["a", "b"])
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a")])
    write_jsonl(tmp_path / "texts.jsonl", [{"text": "a b a b"}] * 8)
    (tmp_path / "length.py").write_text(
        "def length(prompts, responses):\n    return [float(len(r)) for r in responses]\n"
    )
    return tmp_path


def ppo_settings(**more):
    return {
        "model": Path("model"),
        "prompts": Path("prompts.jsonl"),
        "reward": [{"function": "length.py:length"}],
        "ppo": SMALL | {"total_episodes": 8, "response_length": 3, "num_eval_prompts": 2} | more,
    }


def test_a_config_is_a_path_a_dict_or_a_config(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: m\nseed: 3\n")
    expected = Config(model="m", seed=3)
    assert read_config("ppo", path, None, None) == (expected, "mine")
    assert read_config("ppo", str(path), None, None) == (expected, "mine")
    assert read_config("ppo", {"model": Path("m"), "seed": 3}, None, None) == (expected, "ppo")
    assert read_config("ppo", expected, None, None) == (expected, "ppo")
    for config in (path, {"model": "m"}, Config(model="m")):
        assert read_config("ppo", config, None, 7)[0] == Config(model="m", seed=7)


def test_another_config_or_an_unknown_setting_is_named():
    with pytest.raises(ConfigError, match="train_ppo: config is a list; give a YAML file, a dict or a Config"):
        read_config("ppo", [], None, None)
    with pytest.raises(ConfigError, match="unknown setting `ppo.learning_rat`; did you mean `learning_rate`"):
        read_config("ppo", {"ppo": {"learning_rat": 1.0}}, None, None)
    with pytest.raises(ConfigError, match="seed: .* got -1"):
        read_config("ppo", Config(), None, -1)


def test_sft_gives_its_folder_result_and_metrics(place):
    run = likelier.train_sft({"model": "model", "data": "texts.jsonl", "sft": SMALL})
    assert run.folder == Path("runs/sft-1")
    assert run.result == read_json(place / "runs/sft-1/result.json")
    assert [line["step"] for line in run.metrics()] == list(range(1, run.result["steps"] + 1))
    assert run.metrics()[0]["loss"] > 0
    assert likelier.train_sft({"model": "model", "data": "texts.jsonl", "sft": SMALL}).folder == Path("runs/sft-2")


@pytest.mark.slow
def test_a_seed_and_a_folder_as_on_the_command_line(place):
    run = likelier.train_ppo(ppo_settings(), "mine", seed=5)
    assert yaml.safe_load((place / "mine/config.yaml").read_text())["seed"] == 5
    assert run.result["run"] == "mine"
    with pytest.raises(ConfigError, match="mine: not empty"):
        likelier.train_ppo(ppo_settings(), "mine", seed=5)
    again = likelier.train_ppo(ppo_settings(), "mine", seed=5, resume="auto")
    assert again.metrics() == run.metrics()


@pytest.mark.slow
def test_a_stopped_run_says_how_to_go_on_from_python(place, monkeypatch):
    calls = []

    def stop(prompts, responses):
        calls.append(responses)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return [0.0] * len(responses)

    monkeypatch.setattr("likelier.reward.sources.find_function", lambda *where: stop)
    with pytest.raises(
        Stopped, match=r"stopped after step 1; go on with: likelier.train_ppo\(\.\.\., out='mine', resume='auto'\)"
    ):
        likelier.train_ppo(ppo_settings(), "mine")
    assert (place / "mine/checkpoint-1").is_dir()


@pytest.mark.slow
def test_training_in_another_thread_leaves_signal_handlers_alone(place):
    pytest.importorskip("gymnasium")
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2)}
    done = []
    gym = {"total_steps": 64, "num_envs": 4, "rollout_length": 16, "num_eval_episodes": 1, "gif": False}
    work = threading.Thread(target=lambda: done.append(likelier.train_gym({"gym": gym}, "agent")))
    work.start()
    work.join()
    assert done[0].result["steps"] == 64
    assert {each: signal.getsignal(each) for each in before} == before


def test_an_environments_id_comes_with_its_settings():
    config, name = read_config("gym", "CartPole-v1", None, 3)
    assert (config.gym.env_id, config.gym.lam, config.seed, name) == ("CartPole-v1", 0.8, 3, "CartPole-v1")


@pytest.mark.parametrize(
    ("verb", "why"), [("gym", "an environment gives its own rewards"), ("reward", "it learns the score")]
)
def test_a_reward_where_none_is_read_is_refused(verb, why):
    with pytest.raises(ConfigError, match=f"train_{verb}: {why}.*; leave out reward"):
        read_config(verb, {}, lambda prompts, responses: [], None)


def longest(prompts, responses):
    return [float(len(response)) for response in responses]


def test_a_reward_stands_in_for_that_of_the_config():
    settings = {"reward": [{"function": "length.py:length"}]}
    for config in (settings, Config(**settings)):
        (source,) = read_config("ppo", config, longest, None)[0].reward
        assert (source.function, source.label) == (longest, "longest")
    two = read_config("ppo", {}, [longest, {"model": Path("rm"), "weight": 0.5}], None)[0].reward
    assert [(source.label, source.weight) for source in two] == [("longest", 1.0), ("rm", 0.5)]
    assert read_config("ppo", {}, "length.py:length", None)[0].reward[0].function == "length.py:length"


@pytest.mark.slow
def test_a_callable_is_recorded_honestly_and_resumes_only_where_it_is_given_again(place):
    config = {key: value for key, value in ppo_settings().items() if key != "reward"}
    run = likelier.train_ppo(config, "mine", longest)
    assert run.metrics()[0]["score/longest"] == run.metrics()[0]["score"]
    settings = yaml.safe_load((place / "mine/config.yaml").read_text())
    assert settings["reward"][0]["function"] == f"python callable {__name__}.longest"
    again = likelier.train_ppo(config, "mine", longest, resume="auto")
    assert again.metrics() == run.metrics()
    with pytest.raises(
        ConfigError, match=r"longest` was passed from Python.*; give it again, reward=\.\.\. of likelier"
    ):
        likelier.train_ppo("mine/config.yaml", "mine", resume="auto")


def test_a_function_of_another_type_is_refused():
    with pytest.raises(ConfigError, match=r"reward.0.function: write file.py:name or package.module:name, got 5"):
        read_config("ppo", {"reward": [{"function": 5}]}, None, None)
