"""PPO on prompts with pictures: first ratio 1, exact resume, an adapter, and what cannot be used with them."""

import json

import pytest

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.evaluation.compare import evaluate
from likelier.records import read_prompts
from likelier.reward.sources import check_pictures
from likelier.rlhf.setup import prepare
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from tiny import save_tiny_model
from vision_models import FAMILIES, write_prompts

REWARD = """
def reward(prompts, responses, reference, **columns):
    contents = [prompt[-1]["content"] for prompt in prompts]
    assert all(each == "Hello" or [part["type"] for part in each] == ["image", "text"] for each in contents)
    return [sum(ord(letter) % 2 for letter in response) + len(gold) for response, gold in zip(responses, reference)]
"""


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def world(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](folder / "model")
    write_prompts(folder)
    (folder / "reward.py").write_text(REWARD)
    return folder


def make_config(world, **settings):
    """Three steps of two minibatches of 4 rows, in micro-batches of 2: rows with pictures and without in each."""
    block = {"batch_size": 8, "total_episodes": 24, "response_length": 4, "learning_rate": 0.003}
    block |= {"num_mini_batches": 2, "micro_batch_size": 2, "num_ppo_epochs": 2, "save_steps": 1, "device": "cpu"}
    paths = {"model": str(world / "model"), "prompts": str(world / "prompts.jsonl")}
    reward = settings.pop("reward", [{"function": f"{world / 'reward.py'}:reward"}])
    return build_config({**paths, "reward": reward, "ppo": block | settings})


def train(config, folder, resume="never", steps=None):
    with Run(folder, "ppo", config, resume) as run:
        result = train_ppo(config, run)
    return result, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_training_starts_at_ratio_one_and_goes_on_to_the_bit(world, tmp_path):
    """Policy, critic and sampler read the same pictures; after a kill the last step is the same as without."""
    is_llava = "llava" in world.name
    config = make_config(world, **({"critic": "shared"} if is_llava else {"lora_rank": 2}))
    _, metrics = train(config, tmp_path / "whole")
    assert all(step["first_ratio_deviation"] == 0 and step["sampler_difference_max"] < 1e-4 for step in metrics)
    assert metrics[-1]["ratio_deviation"] > 0
    whole = (tmp_path / "whole" / "model" / "model.safetensors").read_bytes()
    for name in ("model", "checkpoint-3"):
        (tmp_path / "whole" / name).rename(tmp_path / f"gone-{name}")
    (tmp_path / "whole" / "result.json").unlink()
    _, again = train(config, tmp_path / "whole", "auto")
    assert again == metrics
    assert (tmp_path / "whole" / "model" / "model.safetensors").read_bytes() == whole
    assert (tmp_path / "whole" / "model" / "processor_config.json").is_file()


@pytest.mark.slow
def test_eval_compares_models_on_pictures(world, tmp_path):
    """The same weights have KL 0; every response is scored."""
    block = {"model_a": str(world / "model"), "model_b": str(world / "model"), "prompts": str(world / "prompts.jsonl")}
    block |= {"scorer": [{"function": f"{world / 'reward.py'}:reward"}], "response_length": 4, "device": "cpu"}
    result = evaluate(build_config({"eval": block}), tmp_path)
    assert result.kl == pytest.approx(0, abs=1e-6)
    assert next(iter(result.judges.values())).n == 4
    assert "[picture " in json.loads((tmp_path / "evaluation.json").read_text())["samples"][0]["prompt"]


def test_scores_by_models_of_texts_are_refused(tmp_path):
    prompts = read_prompts(write_prompts(tmp_path))
    config = build_config({"model": "m", "reward": [{"model": "somewhere"}]})
    with pytest.raises(ConfigError, match="reward.0.model: reads texts only, and prompts have pictures"):
        check_pictures(prompts, "reward", config.reward)
    check_pictures(prompts[3:], "reward", config.reward)


def test_a_critic_of_texts_is_refused(world, tmp_path):
    critic = save_tiny_model(tmp_path / "critic", ["a"])
    with pytest.raises(ConfigError, match="ppo.critic_model: reads texts only, and prompts have pictures"):
        prepare(make_config(world, critic_model=str(critic)))
