"""Numbers that are not finite, put in everywhere: no weight ever becomes one, the run stops, the batch is on disk."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from likelier.config import build_config
from likelier.errors import NumericError
from likelier.files import write_jsonl
from likelier.finetune import sft
from likelier.ppo import objective, policy
from likelier.records import Preference
from likelier.reward import train as reward_train
from likelier.rlhf import rollout, train
from likelier.runs.run import Run
from likelier.stages import STAGES
from tiny import save_tiny_model

BAD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
SMALL = {"device": "cpu", "batch_size": 2, "learning_rate": 0.01, "save_steps": 1}
PPO = SMALL | {"batch_size": 8, "total_episodes": 40, "response_length": 4, "num_ppo_epochs": 3, "num_mini_batches": 2}
PPO |= {"entropy_coef": 0.01, "kl_target": 1.0, "kl_horizon": 100.0}
VARIANTS = {
    "ppo": {},
    "shared": {"critic": "shared"},
    "rloo": {"algorithm": "rloo", "responses_per_prompt": 2},
    "in-loss": {"kl_place": "loss"},
}
MODULES = {"ppo": train, "sft": sft, "reward": reward_train}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    save_tiny_model(folder / "model", words=["a", "b"])
    (folder / "reward.py").write_text("def count(prompts, responses):\n    return [r.count('a') for r in responses]\n")
    texts = ["a", "b", "a b", "b a", "a a", "b b", "a b a", "b a b", "a a a", "b b b"]
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in texts])
    write_jsonl(folder / "sft.jsonl", [{"prompt": text, "completion": " a b"} for text in texts])
    pairs = [Preference(text, "a a", "b", conversation=text) for text in texts]
    for part in ("train", "valid"):
        write_jsonl(folder / "pairs" / f"{part}.jsonl", pairs)
    return folder


def settings(world, stage, variant):
    return build_config(
        {
            "model": str(world / "model"),
            "prompts": str(world / "prompts.jsonl"),
            "data": str(world / ("pairs" if stage == "reward" else "sft.jsonl")),
            "reward": [{"function": f"{world / 'reward.py'}:count"}],
            "sft": SMALL | {"num_epochs": 3},
            "reward_model": SMALL | {"num_epochs": 3},
            "ppo": PPO | VARIANTS.get(variant, {}),
        }
    )


def spoiled(tensor, bad):
    """A copy with `bad` in its first place."""
    found = tensor.clone()
    found.view(-1)[0] = bad
    return found


def spoilt_from(start, function, spoil):
    """The function, whose result is spoilt from that call on."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(1)
        result = function(*args, **kwargs)
        return spoil(result) if len(calls) >= start else result

    return wrapped


def field(name, bad):
    """Spoil one field of a named tuple."""
    return lambda result: result._replace(**{name: spoiled(getattr(result, name), bad)})


def nth(at, bad):
    """Spoil one part of a tuple."""
    return lambda result: tuple(spoiled(part, bad) if place == at else part for place, part in enumerate(result))


def in_state(key, bad, where):
    """Spoil what the optimizer remembers of a weight."""

    def spoil(optimizer):
        state = list(optimizer.state.values())[where]
        state[key].view(-1)[0] = bad

    return spoil


def in_weights(where, bad):
    def spoil(optimizer):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        with torch.no_grad():
            parameters[where].view(-1)[0] = bad

    return spoil


def in_gradient(where, bad):
    def spoil(optimizer):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        parameters[where].register_hook(lambda gradient: spoiled(gradient, bad))

    return spoil


def put(patch, stage, place, bad, optimizers):
    """Put `bad` into a place of a stage, from the second step on."""
    module, (name, *where) = MODULES[stage], place.split(":")
    at = int(where[0]) if where else 0
    touched = {
        "weight": in_weights(at, bad),
        "gradient": in_gradient(at, bad),
        "exp_avg": in_state("exp_avg", bad, at),
        "exp_avg_sq": in_state("exp_avg_sq", bad, at),
    }
    if name in touched:
        steps, original = [], module.set_learning_rate

        def begin_step(optimizer, factor):
            steps.append(1)
            if len(steps) == 2:
                touched[name](optimizer)
            return original(optimizer, factor)

        patch.setattr(module, "set_learning_rate", begin_step)
        return
    owner, function, spoil = {
        "logits": (torch.nn.Linear, "forward", lambda result: spoiled(result, bad)),
        "old logprobs": (policy, "concat_evaluations", field("logprobs", bad)),
        "old values": (policy, "concat_evaluations", field("values", bad)),
        "new logprobs": (rollout.TextPolicy, "evaluate", field("logprobs", bad)),
        "new values": (rollout.TextPolicy, "evaluate", field("values", bad)),
        "entropy": (rollout.TextPolicy, "evaluate", field("entropy", bad)),
        "reference": (rollout, "compute_sample_logprobs", lambda result: spoiled(result, bad)),
        "score": (rollout.Scorer, "combine", lambda result: spoiled(result, bad)),
        "advantages": (rollout, "compute_advantages", nth(0, bad)),
        "returns": (rollout, "compute_advantages", nth(1, bad)),
        "loss": (
            {"ppo": objective, "sft": sft, "reward": reward_train}[stage],
            {"ppo": "aggregate_terms", "sft": "token_sums", "reward": "preference_loss"}[stage],
            None,
        ),
    }[name]
    if name == "loss":
        spoil = (lambda result: result + bad) if stage != "sft" else (lambda result: (result[0] + bad, result[1]))
    start = FIRST_OF_STEP_2.get((stage, name), 2)
    patch.setattr(owner, function, spoilt_from(start, getattr(owner, function), spoil))


FIRST_OF_STEP_2 = {("ppo", name): 9 for name in ("new logprobs", "new values", "entropy")}
FIRST_OF_STEP_2 |= {("ppo", "loss"): 25, ("ppo", "score"): 3}
FIRST_OF_STEP_2 |= {("ppo", name): 4 for name in ("old logprobs", "old values")}
"""Which call is the first of the second step, where it is not the second."""


PLACES = [
    *(("ppo", "ppo", place) for place in ("old logprobs", "old values", "new logprobs", "new values", "entropy")),
    *(("ppo", "ppo", place) for place in ("reference", "score", "advantages", "returns", "loss")),
    *(("ppo", "ppo", place) for place in ("gradient:0", "gradient:-1", "weight:0", "weight:-1")),
    *(("ppo", "ppo", place) for place in ("exp_avg:0", "exp_avg:-1", "exp_avg_sq:0", "exp_avg_sq:-1")),
    *(("ppo", "shared", place) for place in ("new values", "gradient:-1")),
    *(("ppo", "rloo", place) for place in ("score", "reference", "gradient:0")),
    *(("ppo", "in-loss", place) for place in ("reference", "exp_avg:0")),
    *(("sft", "sft", place) for place in ("logits", "loss", "gradient:0", "weight:-1", "exp_avg:0", "exp_avg_sq:-1")),
    *(("reward", "reward", place) for place in ("loss", "gradient:-1", "weight:0", "exp_avg:-1", "exp_avg_sq:0")),
]
FEW = [("ppo", "ppo", "new logprobs"), ("ppo", "ppo", "score"), ("ppo", "ppo", "exp_avg_sq:0")]
FEW += [("sft", "sft", "gradient:0"), ("reward", "reward", "weight:0")]


def run_spoilt(world, folder, stage, variant, place, bad):
    """What the run says (None if it ends by itself), and the weights it had in memory."""
    config, optimizers = settings(world, stage, variant), []
    with pytest.MonkeyPatch.context() as patch:
        made = MODULES[stage].make_optimizer
        patch.setattr(MODULES[stage], "make_optimizer", lambda *args: optimizers.append(made(*args)) or optimizers[-1])
        put(patch, stage, place, bad, optimizers)
        try:
            with Run(folder, stage, config) as run:
                STAGES[stage].load_trainer()(config, run)
            said = None
        except NumericError as error:
            said = str(error)
    return said, [parameter for group in optimizers[-1].param_groups for parameter in group["params"]]


def check(world, folder, stage, variant, place, bad):
    said, weights = run_spoilt(world, folder, stage, variant, place, bad)
    if not place.startswith("weight"):
        assert all(torch.isfinite(weight).all() for weight in weights)
    for path in [*folder.glob("checkpoint-*/*.safetensors"), *folder.glob("model*/*.safetensors")]:
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path).values()), path
    kept = sorted(folder.glob("bad-batch-*.safetensors"))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return said, kept, sum(line.get("skipped_updates") or 0 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "variant", "place"), FEW, ids=[f"{stage}-{place}" for stage, _, place in FEW])
def test_the_run_stops_with_its_batch_on_disk_and_its_weights_whole(world, tmp_path, stage, variant, place):
    said, kept, _ = check(world, tmp_path / "run", stage, variant, place, math.nan)
    assert re.search("not finite in 5 updates in a row|is not finite; lower the learning rate and resume", said)
    assert ("updates in a row" in said) == said.endswith(f"a batch that led to this is in {kept[-1]}")
    assert load_file(kept[-1])
    about = json.loads(Path(str(kept[-1]).replace(".safetensors", ".json")).read_text())
    assert about["step"] == 2
    assert "not finite in this update" in about["reason"]


@pytest.mark.battery
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("stage", "variant", "place"), PLACES, ids=["-".join(case) for case in PLACES])
def test_everywhere(world, tmp_path, stage, variant, place, bad):
    said, kept, skipped = check(world, tmp_path / "run", stage, variant, place, BAD[bad])
    harmless = bad == "-inf" and place == "logits"  # a probability of 0 is a number like any other
    assert said or skipped or harmless
    if skipped or (said and "updates in a row" in said):
        assert kept
