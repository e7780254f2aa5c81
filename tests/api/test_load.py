"""Loading what runs made: each kind of folder gives its kind of object, anything else is refused in one line."""

import numpy as np
import pytest
from transformers import LlamaConfig, LlamaForSequenceClassification

import likelier
from likelier.api.load import Agent, LanguageModel, RewardModel
from likelier.errors import ConfigError, DataError
from likelier.files import write_json, write_jsonl
from likelier.records import Preference
from tiny import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("load") / "model", words=["a", "b", "c"])


def test_a_language_model_generates_one_response_a_prompt(model):
    loaded = likelier.load(model)
    assert isinstance(loaded, LanguageModel)
    first = loaded.generate(["a b", "c"], response_length=5, seed=1)
    assert [type(text) for text in first] == [str, str]
    assert all(len(text.split()) <= 5 for text in first)
    assert loaded.generate(["a b", "c"], response_length=5, seed=1) == first
    many = loaded.generate(["a"] * 32, response_length=5, seed=2)
    assert len(set(many)) > 1
    assert set(loaded.generate(["a"] * 32, response_length=5, temperature=1e-3, seed=2)) != set(many)
    assert not any("b" in text for text in loaded.generate(["a"] * 32, response_length=5, stop_strings=["b"]))


def test_one_text_instead_of_a_list_is_refused(model):
    loaded = likelier.load(model)
    with pytest.raises(ConfigError, match="generate: prompts is one text or conversation; give a list of them"):
        loaded.generate("a b")
    with pytest.raises(ConfigError, match="generate: prompts is one text or conversation"):
        loaded.generate([{"role": "user", "content": "a"}])
    with pytest.raises(ConfigError, match="response_length 0 and temperature 1.0 must be above 0"):
        loaded.generate(["a"], response_length=0)


def save_reward_model(folder, base, seed, mean):
    import shutil

    import torch

    shutil.copytree(base, folder)
    torch.manual_seed(seed)
    config = LlamaConfig.from_pretrained(base, num_labels=1)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    write_json(folder / "card.json", {"score_mean": mean})


def test_a_reward_run_scores_by_the_mean_of_its_models(model, tmp_path):
    save_reward_model(tmp_path / "run/model", model, seed=0, mean=0.5)
    save_reward_model(tmp_path / "run/model-1", model, seed=1, mean=-0.25)
    run, first, second = (likelier.load(tmp_path / name) for name in ("run", "run/model", "run/model-1"))
    assert isinstance(run, RewardModel)
    prompts, responses = ["a", "b"], ["b c", "a"]
    scores = run.score(prompts, responses)
    assert scores == pytest.approx(
        [
            (one + two) / 2
            for one, two in zip(first.score(prompts, responses), second.score(prompts, responses), strict=True)
        ]
    )
    assert first.score(prompts, responses) != second.score(prompts, responses)
    assert run.score([], []) == []
    with pytest.raises(ConfigError, match="score: 2 prompts for 1 responses"):
        run.score(prompts, ["a"])


@pytest.mark.slow
def test_trained_models_are_found_in_their_runs(model, tmp_path):
    write_jsonl(tmp_path / "texts.jsonl", [{"text": "a b a b"}] * 8)
    pairs = [Preference("a", chosen="a b", rejected="b", comparison=str(at), conversation=str(at)) for at in range(6)]
    for part in ("train", "valid", "test"):
        write_jsonl(tmp_path / f"pairs/{part}.jsonl", pairs)
    small = {"batch_size": 4, "device": "cpu"}
    sft = likelier.train_sft({"model": model, "data": tmp_path / "texts.jsonl", "sft": small}, tmp_path / "sft")
    reward = likelier.train_reward(
        {"model": model, "data": tmp_path / "pairs", "reward_model": small | {"num_epochs": 1, "ensemble_size": 2}},
        tmp_path / "reward",
    )
    assert isinstance(likelier.load(sft.folder), LanguageModel)
    assert len(likelier.load(reward.folder).ensemble.members) == 2


@pytest.mark.slow
def test_an_agent_predicts_as_stable_baselines_does(tmp_path):
    pytest.importorskip("gymnasium")
    gym = {"total_steps": 64, "num_envs": 4, "rollout_length": 16, "num_eval_episodes": 1, "gif": False}
    agent = likelier.load(likelier.train_gym({"gym": gym}, tmp_path / "agent").folder)
    assert isinstance(agent, Agent)
    observation = np.zeros(4, np.float32)
    action, state = agent.predict(observation)
    assert (action in (0, 1), state) == (True, None)
    assert {int(agent.predict(observation)[0]) for _ in range(40)} == {int(action)}
    assert {int(agent.predict(observation, deterministic=False)[0]) for _ in range(40)} == {0, 1}


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder; give the folder of a run or of a model"):
        likelier.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no model; give the folder of a finished run or of a model"):
        likelier.load(tmp_path)
