"""What is loaded before PPO begins: the reference that KL is measured from."""

import pytest
import torch

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.rlhf.setup import load_actors
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from tiny import save_tiny_model

PPO = {"batch_size": 4, "total_episodes": 4, "num_mini_batches": 1, "response_length": 3, "num_eval_prompts": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for seed, name in enumerate(("first", "better")):
        save_tiny_model(folder / name, words=["a", "b"], seed=seed)
    save_tiny_model(folder / "other-words", words=["a", "b", "c"])
    reward = "def count(prompts, responses):\n    return [float(text.count('a')) for text in responses]\n"
    (folder / "reward.py").write_text(reward)
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a", "a a", "b b")])
    return folder


def settings(world, **ppo):
    reward = [{"function": f"{world}/reward.py:count"}]
    block = PPO | {"device": "cpu", "reference": str(world / "first")} | ppo
    return build_config(
        {"model": str(world / "better"), "prompts": str(world / "prompts.jsonl"), "reward": reward, "ppo": block}
    )


def first_weight(model):
    return next(iter(model.parameters())).detach()


@pytest.mark.parametrize("rank", [None, 2])
def test_the_reference_may_be_another_model_than_the_start(world, rank):
    actors = load_actors(settings(world, lora_rank=rank))
    first = load_actors(settings(world).model_copy(update={"model": str(world / "first")})).reference
    assert torch.equal(first_weight(actors.reference), first_weight(first))
    assert not torch.equal(first_weight(actors.reference), first_weight(actors.policy.model))
    assert not any(parameter.requires_grad for parameter in actors.reference.parameters())


def test_kl_is_measured_from_it_before_the_first_step(world, tmp_path):
    """From its own start a policy is 0 nats away; from another model it is as far as that is."""
    config = settings(world)
    for name, reference, is_zero in (("own", None, True), ("other", str(world / "first"), False)):
        ppo = config.ppo.model_copy(update={"reference": reference})
        with Run(tmp_path / name, "ppo", config.model_copy(update={"ppo": ppo})) as run:
            result = train_ppo(config.model_copy(update={"ppo": ppo}), run)
        assert (abs(result["before"]["eval_kl"]) < 1e-6) == is_zero


def test_a_reference_with_other_tokens_is_refused(world):
    with pytest.raises(ConfigError, match=r"^ppo\.reference: .*other-words: has other tokens"):
        load_actors(settings(world, reference=str(world / "other-words")))
