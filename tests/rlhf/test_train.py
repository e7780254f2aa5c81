"""The PPO loop: it learns a known best answer, resumes to the same bits, and refuses what it cannot use."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from forked import kill_when_changed
from likelier.config import build_config
from likelier.errors import ConfigError, DataError, LikelierError
from likelier.files import write_jsonl
from likelier.rlhf.setup import load_actors
from likelier.rlhf.train import train_ppo
from likelier.runs.checkpoints import list_checkpoints
from likelier.runs.inputs import hash_inputs
from likelier.runs.run import Run
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer
from peft_folders import load_by_peft, save_peft_adapter
from ppo_runs import fingerprint, write_world
from samplers import EngineSampler, ScriptedSampler


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def config(world, **ppo):
    settings = {"batch_size": 32, "total_episodes": 32 * 6, "response_length": 4, "learning_rate": 0.02, "kl_coef": 0.0}
    settings |= {"save_steps": 2, "stop_token": None, "num_mini_batches": 2, "num_eval_prompts": 1, **ppo}
    return build_config(
        {
            "model": str(world / "model"),
            "prompts": str(world / "prompts.jsonl"),
            "reward": [{"function": f"{world / 'reward.py'}:count_a"}],
            "ppo": settings,
        }
    )


def train(config, folder, resume="never"):
    with Run(folder, "ppo", config, resume) as run:
        return train_ppo(config, run)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        {"critic": "separate"},
        {"critic": "shared"},
        {"algorithm": "grpo", "responses_per_prompt": 4},
        pytest.param({"algorithm": "rloo", "responses_per_prompt": 4}, marks=pytest.mark.battery),
        pytest.param({"algorithm": "dr_grpo", "responses_per_prompt": 4}, marks=pytest.mark.battery),
        pytest.param({"algorithm": "reinforce_pp"}, marks=pytest.mark.battery),
    ],
    ids=["separate", "shared", "grpo", "rloo", "dr_grpo", "reinforce_pp"],
)
def test_learns_the_best_answer_of_two_tokens(world, tmp_path, variant):
    result = train(config(world, total_episodes=32 * 20, **variant), tmp_path)
    assert result["score_before"] < 3.2
    assert result["score_after"] > 3.8  # four times "a" is the best there is
    assert result["after"]["eval_distinct_2"] == pytest.approx(1 / 3)  # "a a a a": one pair, three times
    assert result["optimizer_steps"] == 20 * 4 * 2


@pytest.mark.slow
def test_the_first_ratio_is_one_and_costs_nothing(world, tmp_path):
    train(config(world, num_ppo_epochs=1, num_mini_batches=1, micro_batch_size=8), tmp_path)
    for line in metrics(tmp_path):
        assert line["ratio"] == 1.0
        assert line["approx_kl"] == 0.0
        assert line["clipfrac"] == 0.0


@pytest.mark.slow
def test_the_kl_penalty_holds_the_policy_back(world, tmp_path):
    free = train(config(world, total_episodes=32 * 12), tmp_path / "free")
    held = train(config(world, total_episodes=32 * 12, kl_coef=5.0), tmp_path / "held")
    assert held["kl"] < 0.2 * free["kl"]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "kind"), [("loss", "k2"), ("loss_ratio", "k3")])
def test_a_penalty_in_the_loss_is_paid_at_the_controllers_price(world, tmp_path, capfd, place, kind):
    settings = {"kl_place": place, "kl_estimator": kind, "whiten_advantages": False, "total_episodes": 32 * 4}
    train(config(world, **settings, kl_target=1e-3, kl_horizon=32.0, kl_coef=0.5), tmp_path)
    assert capfd.readouterr().err == ""
    lines = metrics(tmp_path)
    assert len({line["kl_coef"] for line in lines}) == 4  # the controller moved it every time
    for line in lines:
        assert line["reward"] == line["score"]
        parts = line["policy_loss"] + line["kl_coef"] * line["kl_loss"] + 0.1 * line["value_loss"]
        assert line["loss"] == pytest.approx(parts, abs=1e-5)


@pytest.mark.slow
def test_a_misplaced_estimator_is_named_at_the_start(world, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("likelier.progress.plain_lines", True)  # whatever a command line before this left
    settings = config(world, total_episodes=32, kl_coef=0.1, kl_estimator="k3")
    train(settings, tmp_path / "told")
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "k3 in the reward pushes down tokens" in err
    monkeypatch.setattr("likelier.progress.plain_lines", False)  # --json: the result says it
    found = train(settings, tmp_path / "json")["findings"]
    assert capfd.readouterr() == ("", "")
    assert "estimator_misplaced" in [finding["name"] for finding in found]


@pytest.mark.slow
@pytest.mark.parametrize("variant", [{"critic": "separate"}, {"algorithm": "rloo", "responses_per_prompt": 2}])
def test_killed_at_any_moment_it_ends_with_the_same_bits(world, tmp_path, variant):
    variant |= {"eval_steps": 3, "token_records": 2}
    settings = config(world, kl_coef=0.05, kl_target=1.0, total_episodes=32 * 8, **variant)
    found = train(settings, tmp_path / "whole")["findings"]
    wanted = fingerprint(tmp_path / "whole")
    assert "tokens.jsonl" in wanted
    killed = tmp_path / "killed"
    kill = partial(kill_when_changed, tmp_path, killed / "metrics.jsonl")
    hits = [kill(delay, train, settings, killed, "auto") for delay in (0.3, 0.05)]
    assert any(hits)
    assert train(settings, tmp_path / "killed", "auto")["findings"] == found
    assert fingerprint(tmp_path / "killed") == wanted


def test_a_prompt_longer_than_the_context_is_refused_before_anything_is_trained(world, tmp_path):
    write_jsonl(tmp_path / "long.jsonl", [{"prompt": "a"}, {"prompt": "b " * 200}])
    long = config(world).model_copy(update={"prompts": str(tmp_path / "long.jsonl")})
    with pytest.raises(DataError, match="at most"):
        train(long, tmp_path / "run")


@pytest.mark.parametrize("missing", ["model", "prompts", "reward"])
def test_what_is_missing_is_named(world, tmp_path, missing):
    empty = config(world).model_copy(update={missing: [] if missing == "reward" else ""})
    with pytest.raises(ConfigError, match=f"^{missing}: give"):
        train(empty, tmp_path / "run")


LOSSES = """
import torch

def clipped(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    ratio = (logprobs - old_logprobs).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))

def held(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    whole = (logprobs - ref_logprobs).sum(1, keepdim=True)
    return -advantages * (logprobs - old_logprobs).exp() + kl_coef * whole.square() / 2 / mask.sum(1, keepdim=True)

def mean(*given):
    return held(*given).mean()

def misspelt(logprobs, old_logprobs, ref_logprobs, advantages, mask, beta):
    return logprob
"""


@pytest.fixture(scope="module")
def losses(world):
    (world / "losses.py").write_text(LOSSES)
    return world / "losses.py"


@pytest.mark.slow
def test_an_own_loss_trains_as_the_same_one_built_in(world, losses, tmp_path):
    settings = {"total_episodes": 64, "cliprange_value": None}
    train(config(world, **settings), tmp_path / "built-in")
    train(config(world, **settings, loss=f"{losses}:clipped"), tmp_path / "own")
    weights, own = (
        load_file(list_checkpoints(tmp_path / name)[0] / "policy.safetensors") for name in ("built-in", "own")
    )
    for name, tensor in weights.items():
        torch.testing.assert_close(own[name], tensor, atol=1e-5, rtol=1e-4)
    assert [line["clipfrac"] for line in metrics(tmp_path / "own")] == [None, None]
    assert metrics(tmp_path / "own")[0]["policy_loss"] == pytest.approx(
        metrics(tmp_path / "built-in")[0]["policy_loss"], abs=1e-6
    )


@pytest.mark.slow
def test_an_own_loss_holds_the_policy_at_the_controllers_price_and_resumes_to_the_same_bits(world, losses, tmp_path):
    grouped = {"algorithm": "rloo", "responses_per_prompt": 4, "whiten_advantages": False, "save_total_limit": 9}
    settings = config(
        world, **grouped, loss=f"{losses}:held", kl_coef=0.5, kl_target=0.01, kl_horizon=32.0, micro_batch_size=8
    )
    train(settings, tmp_path)
    lines = metrics(tmp_path)
    assert lines[-1]["kl_coef"] > lines[0]["kl_coef"] == 0.5
    assert all(line["reward"] == pytest.approx(line["score"], abs=1e-6) for line in lines)  # without KL
    free = tmp_path / "free"
    train(config(world, **grouped, loss=f"{losses}:held", kl_coef=0.0), free)
    assert lines[-1]["kl"] < 0.5 * metrics(free)[-1]["kl"]
    wanted = fingerprint(tmp_path)
    train(settings, tmp_path, str(tmp_path / "checkpoint-4"))
    assert fingerprint(tmp_path) == wanted


@pytest.mark.parametrize(
    ("name", "failure", "words"),
    [
        ("losses.py:nowhere", ConfigError, "loss function `.*losses.py:nowhere`: .* has no function `nowhere`"),
        ("absent.py:held", ConfigError, "loss function `.*absent.py:held`: no such file"),
        ("losses.py:mean", ConfigError, "returned one number for a part of a minibatch.*without ppo.micro_batch_size"),
        ("losses.py:misspelt", LikelierError, "raises NameError: name 'logprob' is not defined"),
    ],
)
def test_a_wrong_own_loss_is_named_before_a_model_is_loaded(world, losses, tmp_path, name, failure, words):
    wrong = config(world, loss=f"{world}/{name}", micro_batch_size=3).model_copy(update={"model": "no such model"})
    with pytest.raises(failure, match=words) as caught:
        train(wrong, tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["shared", "adapter"])
def test_an_adapter_learns_resumes_to_the_same_bits_and_is_merged(world, tmp_path, critic):
    settings = config(world, lora_rank=4, save_total_limit=9, critic=critic, learning_rate=0.03)
    train(settings, tmp_path)
    assert all(line["first_ratio_deviation"] == 0.0 for line in metrics(tmp_path))
    assert metrics(tmp_path)[-1]["score"] > metrics(tmp_path)[0]["score"] + 0.2
    assert metrics(tmp_path)[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert metrics(tmp_path)[-1]["value_loss"] < metrics(tmp_path)[0]["value_loss"]
    base, whole = load_causal_lm(world / "model"), load_causal_lm(tmp_path / "model")
    changed = {name for name, weight in whole.named_parameters() if not torch.equal(weight, base.get_parameter(name))}
    assert changed
    assert all(name.split(".")[-2].endswith("_proj") for name in changed)
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    saved = load_file(list_checkpoints(tmp_path)[0] / "policy.safetensors")
    assert not any(tensor.shape == base.get_input_embeddings().weight.shape for tensor in saved.values())
    wanted = fingerprint(tmp_path)
    train(settings, tmp_path, str(tmp_path / "checkpoint-4"))
    assert fingerprint(tmp_path) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("critic", "more"),
    [
        ("adapter", {}),
        ("separate", {"modules_to_save": ["lm_head"]}),
        ("shared", {"modules_to_save": ["embed_tokens"]}),
    ],
)
def test_an_adapter_of_peft_goes_on(world, tmp_path, critic, more):
    save_peft_adapter(world / "model", tmp_path / "start", **more)
    lora = {"lora_rank": 4, "lora_alpha": 8, "critic": critic}
    settings = config(world, **lora, save_total_limit=9, learning_rate=0.03, total_episodes=32 * 4)
    settings = settings.model_copy(update={"model": str(tmp_path / "start")})
    train(settings, tmp_path / "run")
    lines = metrics(tmp_path / "run")
    assert lines[0]["kl"] == 0.0
    assert all(line["first_ratio_deviation"] == 0.0 for line in lines)
    assert abs(lines[-1]["kl"]) > 0.01
    wanted = fingerprint(tmp_path / "run")
    train(settings, tmp_path / "run", str(tmp_path / "run" / "checkpoint-2"))
    assert fingerprint(tmp_path / "run") == wanted
    tokens, whole = torch.tensor([[1, 4, 5, 4]]), load_causal_lm(tmp_path / "run" / "model")
    again = load_by_peft(world / "model", tmp_path / "run" / "adapter")
    torch.testing.assert_close(again(tokens).logits, whole(tokens).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_without_a_rank_an_adapter_is_merged_and_trained_whole(world, tmp_path):
    theirs = save_peft_adapter(world / "model", tmp_path / "start")
    settings = config(world, total_episodes=64).model_copy(update={"model": str(tmp_path / "start")})
    actors = load_actors(settings)
    tokens = torch.tensor([[1, 4, 5, 4]])
    torch.testing.assert_close(actors.policy.model(tokens).logits, theirs(tokens).logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(actors.reference(tokens).logits, theirs(tokens).logits, rtol=1e-4, atol=1e-5)
    train(settings, tmp_path / "run")
    assert metrics(tmp_path / "run")[0]["kl"] == 0.0
    assert not (tmp_path / "run" / "adapter").exists()
    hashes = hash_inputs("ppo", settings)["model"]
    assert {str(tmp_path / "start" / "adapter_model.safetensors"), str(world / "model" / "model.safetensors")} <= set(
        hashes
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "4bit"])
def test_a_stored_base_keeps_the_ratio_the_reference_and_the_bits(world, tmp_path, dtype):
    more = {"critic": "adapter", "model_dtype": dtype, "gradient_checkpointing": True, "learning_rate": 0.03}
    settings = config(world, lora_rank=4, save_total_limit=9, total_episodes=32 * 6, **more)
    train(settings, tmp_path)
    lines = metrics(tmp_path)
    assert all(line["first_ratio_deviation"] == 0.0 for line in lines)
    assert all(line["sampler_difference"] < 1e-5 for line in lines)
    assert lines[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert lines[-1]["score"] > lines[0]["score"] + 0.1
    wanted = fingerprint(tmp_path)
    train(settings, tmp_path, str(tmp_path / "checkpoint-4"))
    assert fingerprint(tmp_path) == wanted


@pytest.mark.slow
def test_the_model_folder_loads_in_transformers_alone(world, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train(config(world), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model(torch.tensor([tokenizer("a b")["input_ids"]])).logits.shape[-1] == model.config.vocab_size


def train_with(world, folder, sampler, steps, **ppo):
    """Train with a sampler; the result and the metrics."""
    settings = config(world, total_episodes=32 * steps, **ppo)
    with Run(folder, "ppo", settings) as run:
        result = train_ppo(settings, run, sampler)
    return result, metrics(folder)


@pytest.mark.slow
def test_it_learns_from_an_engine_that_is_given_the_weights_each_step(world, tmp_path):
    sampler = EngineSampler(load_tokenizer(world / "model"))
    _, lines = train_with(world, tmp_path / "run", sampler, 8)
    assert sampler.loaded == 1 + 8 + 1  # the evaluation before, each rollout, the evaluation after
    assert lines[-1]["score"] > lines[0]["score"] + 1
    for line in lines:  # bfloat16 keeps 8 bits of a log-probability of about -2; weights of a step ago would show
        assert 0.0 < line["sampler_difference"] < 0.01
        assert line["first_ratio_deviation"] == 0.0  # old_logprobs: recompute


@pytest.mark.slow
def test_it_trains_on_scripted_responses_of_another_distribution(world, tmp_path):
    sampler = ScriptedSampler(load_tokenizer(world / "model"), vocabulary=6)
    _, lines = train_with(world, tmp_path / "run", sampler, 2, importance_cap=2.0)
    policy = sampler.loaded[1]
    assert [policy is each for each in sampler.loaded] == [False, True, True, True]
    before = load_causal_lm(world / "model")
    assert not torch.equal(policy.lm_head.weight, before.lm_head.weight)
    assert [line["response_length"] for line in lines] == [4.0, 4.0]


@pytest.mark.slow
def test_our_own_is_taken_where_none_is_given(world, tmp_path):
    model, tokenizer = load_causal_lm(world / "model"), load_tokenizer(world / "model")
    given = train_with(world, tmp_path / "given", ExactSampler(model, tokenizer, rows=32), 2)
    assert given[1] == train_with(world, tmp_path / "none", None, 2)[1]
