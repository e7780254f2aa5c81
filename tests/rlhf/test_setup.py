"""What is loaded before PPO begins: the reference that KL is measured from."""

import pytest
import torch

from likelier.config import RewardSource, build_config
from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.records import Preference
from likelier.reward.ensemble import load_ensemble
from likelier.reward.train import train_reward
from likelier.rlhf.setup import load_actors, make_evaluation
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text.prompts import load_prompts
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


def find_weight(module, name):
    """Address of a layer's weight, under an adapter too."""
    layer = module.get_submodule(name)
    return getattr(layer, "base_layer", layer).weight.data_ptr()


@pytest.fixture(scope="module")
def reward_runs(world):
    """Reward models with an adapter each, on the start of the policy and on another model."""
    write_jsonl(world / "pairs" / "train.jsonl", [Preference("a", "b a", "b", conversation=str(n)) for n in range(8)])
    for name in ("better", "first"):
        block = {"lora_rank": 2, "num_epochs": 1, "batch_size": 4, "device": "cpu", "learning_rate": 0.01}
        config = build_config({"model": str(world / name), "data": str(world / "pairs"), "reward_model": block})
        with Run(world / f"reward-{name}", "reward", config) as run:
            train_reward(config, run)
    return world


@pytest.mark.parametrize("rank", [None, 2])
def test_policy_reference_critic_reward_and_judge_stand_on_one_base(reward_runs, rank):
    world = reward_runs
    lora = {"lora_rank": rank, "critic": "adapter"} if rank else {}
    config = settings(world, reference=None, **lora)
    run = str(world / "reward-better")
    judge = config.eval.model_copy(update={"scorer": [RewardSource(model=f"{run}/adapter")]})
    config = config.model_copy(update={"reward": [RewardSource(model=run, name="rm")], "eval": judge})
    actors = load_actors(config)
    judges = make_evaluation(config, load_prompts(config), actors).judges
    (member,), (other,) = actors.scorer.sources["rm"].members, judges.sources["adapter"].members
    layer = "layers.0.self_attn.q_proj"
    model = find_weight(actors.policy.model, f"model.{layer}")
    shared = [find_weight(module, f"model.{layer}") for module in (actors.reference, member.reward.model)]
    shared.append(find_weight(other.reward.model, f"model.{layer}"))
    assert set(shared) == ({model} if rank else {shared[0]})
    assert (model in shared) == bool(rank)  # a whole policy is trained, and so no one's base
    assert find_weight(actors.policy.critic, layer) in (shared if rank else [find_weight(actors.policy.critic, layer)])
    alone, prompts = load_ensemble(run, "cpu"), (["a", "b a"], [" b", " a a"])
    assert torch.equal(actors.scorer.sources["rm"].score(*prompts), alone.score(*prompts))
    assert torch.equal(judges.sources["adapter"].score(*prompts), alone.score(*prompts))
    assert not torch.equal(alone.score(*prompts), torch.zeros(2))


def test_an_adapter_on_another_model_than_policy_and_reference_is_loaded_with_its_own(reward_runs):
    world = reward_runs
    config = settings(world, reference=None, lora_rank=2)
    for name, is_shared in (("better", True), ("first", False)):
        reward = [RewardSource(model=str(world / f"reward-{name}"), name="rm")]
        actors = load_actors(config.model_copy(update={"reward": reward}))
        (member,) = actors.scorer.sources["rm"].members
        own = find_weight(member.reward.model, "model.layers.0.mlp.up_proj")
        assert (own == find_weight(actors.reference, "model.layers.0.mlp.up_proj")) == is_shared
    with_reference = settings(world, lora_rank=2).model_copy(update={"reward": reward})  # whose reference is `first`
    actors = load_actors(with_reference)
    (member,) = actors.scorer.sources["rm"].members
    shared = find_weight(member.reward.model, "model.layers.0.mlp.up_proj")
    assert shared == find_weight(actors.reference, "model.layers.0.mlp.up_proj")
