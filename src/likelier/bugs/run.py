"""Reproductions of PPO bugs: a small config for each finding of the doctor, and a healthy one.

A config is named for the finding that it triggers, with a hyphen before the name of a variant. Some bugs cannot be
caused by settings; they are monkeypatched for the duration of the run.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likelier.config import Config, RewardSource, build_config, read_yaml
from likelier.files import write_jsonl
from likelier.ppo.policy import Evaluation
from likelier.progress import progress
from likelier.records import Preference, read_prompts
from likelier.reward.responses import ResponseBatch
from likelier.reward.sources import make_scorer
from likelier.reward.train import train_reward
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text import exact_sampler
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import load_tokenizer
from likelier.text.policy import TextPolicy
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import seeded_generator

CONFIGS = Path(str(files("likelier.bugs")))
HEALTHY = "healthy"
LEARNED = {"out_of_distribution"}
"""Findings whose configs train on a reward model, which is learned from what their reward prefers."""
PAIRS_PER_PROMPT = 4
TOP_K = 3
"""Top-k of the truncated sampler."""
TEMPERATURE_FACTOR = 0.6
"""Factor on the sampler's temperature."""


def run_bugs(out: Path, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train every config (or the named ones) into `out/<name>`; returns expected and actual findings."""
    chosen = names or config_names()
    rows = []
    with progress("bugs", len(chosen)) as job:
        for name in chosen:
            rows.append(run_config(name, out / name))
            job.advance(note=name)
    return {"zoo": rows, "holds": all(row["caught"] for row in rows), "findings": [], "out": str(out)}


def config_names() -> tuple[str, ...]:
    """Names of all bug configs."""
    return tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


def run_config(name: str, out: Path) -> dict[str, Any]:
    """Train one config, patching its bug in if settings cannot cause it. `caught`: the doctor reported its finding."""
    start_time = time.monotonic()
    config = load_bug_config(name)
    if expected_finding(name) in LEARNED:
        config = learn_reward(config, out.with_name(f"{out.name}-reward"))
    with FAULTS.get(name, contextlib.nullcontext)(), Run(out, "ppo", config) as run:
        findings = train_ppo(config, run)["findings"]
    expected, found = expected_finding(name), [finding["name"] for finding in findings]
    return {
        "config": f"{name}.yaml",
        "expected": expected,
        "found": found,
        "caught": not found if expected is None else expected in found,
        "causes": {finding["name"]: finding["cause"] for finding in findings},
        "seconds": round(time.monotonic() - start_time, 1),
    }


def learn_reward(config: Config, folder: Path) -> Config:
    """Train a reward model on what the config's reward prefers among its model's own responses; returns the config
    with that in the reward's place."""
    prompts = [prompt for prompt in read_prompts(Path(config.prompts)) for _ in range(PAIRS_PER_PROMPT)]
    device = torch.device("cpu")
    sampler = ExactSampler(load_policy(config.model, device), load_tokenizer(config.model), 64)
    scorer, sides = make_scorer(config.reward, "cpu"), []
    for side in range(2):
        draws = draw_uniforms(seeded_generator(side, 0, "bugs"), len(prompts), config.ppo.response_length, device)
        texts = sampler.sample([prompt.text for prompt in prompts], Sampling.from_config(config.ppo), draws).texts
        sides.append((texts, scorer(ResponseBatch(prompts, texts)).tolist()))
    pairs = []
    for prompt, *both in zip(prompts, *(zip(*side, strict=True) for side in sides), strict=True):
        (rejected, low), (chosen, high) = sorted(both, key=lambda each: each[1])
        if high > low:
            pairs.append(Preference(prompt.text, chosen, rejected))
    for part, rows in {"train": slice(0, None, 2), "valid": slice(1, None, 4), "test": slice(3, None, 4)}.items():
        write_jsonl(folder / "pairs" / f"{part}.jsonl", pairs[rows])
    block = {"learning_rate": 1e-3, "num_epochs": 2, "device": "cpu"}
    reward = build_config({"model": config.model, "data": str(folder / "pairs"), "reward_model": block})
    with Run(folder / "run", "reward", reward) as run:
        train_reward(reward, run)
    return config.model_copy(update={"reward": [RewardSource(model=str(folder / "run"), name="reward")]})


def expected_finding(name: str) -> str | None:
    """The finding that a config should trigger; None for a healthy one."""
    expected = name.partition("-")[0]
    return None if expected == HEALTHY else expected


def load_bug_config(name: str, *overrides: str) -> Config:
    """Load a config; its paths are relative to its file."""
    path = CONFIGS / f"{name}.yaml"
    settings = read_yaml(path)
    for key in ("model", "prompts"):
        settings[key] = str((CONFIGS / settings[key]).resolve())
    for source in [*settings["reward"], *settings.get("eval", {}).get("scorer", [])]:
        source["function"] = str(CONFIGS / source["function"])
    return build_config(settings, overrides, str(path))


def draw_top_k(
    logits: Float[Tensor, "B V"], temperature: float, uniforms: Float[Tensor, " B"]
) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
    """Top-k sampling."""
    least = logits.topk(TOP_K, dim=1).values[:, -1:]
    return plain_draw_tokens(logits.masked_fill(logits < least, -1e9), temperature, uniforms)


def draw_at_lower_temperature(
    logits: Float[Tensor, "B V"], temperature: float, uniforms: Float[Tensor, " B"]
) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
    """Sampling at a lower temperature than the trainer assumes."""
    return plain_draw_tokens(logits, TEMPERATURE_FACTOR * temperature, uniforms)


def evaluate_with_padding(
    policy: TextPolicy, inputs: Mapping[str, Tensor], actions: Tensor, mask: Tensor
) -> Evaluation:
    """The trainer's forward pass with padding treated as prompt tokens."""
    padded_inputs = {**inputs, "prompt_mask": torch.ones_like(inputs["prompt_mask"])}
    return plain_evaluate(policy, padded_inputs, actions, mask)


def evaluate_with_noise(policy: TextPolicy, inputs: Mapping[str, Tensor], actions: Tensor, mask: Tensor) -> Evaluation:
    """The trainer's forward pass with dropout-like noise, different in every call."""
    evaluation = plain_evaluate(policy, inputs, actions, mask)
    noise = 0.05 * torch.randn(evaluation.logprobs.shape, device=evaluation.logprobs.device)
    return evaluation._replace(logprobs=evaluation.logprobs + torch.where(mask, noise, 0.0))


plain_draw_tokens, plain_evaluate = exact_sampler.draw_tokens, TextPolicy.evaluate


@contextlib.contextmanager
def seed_noise() -> Iterator[None]:
    """Seed the noise, so that a bug shows the same every time."""
    with torch.random.fork_rng(devices=[]), patch.object(TextPolicy, "evaluate", evaluate_with_noise):
        torch.manual_seed(0)
        yield


FAULTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "kl_negative-truncated": lambda: patch.object(exact_sampler, "draw_tokens", draw_top_k),
    "kl_negative-temperature": lambda: patch.object(exact_sampler, "draw_tokens", draw_at_lower_temperature),
    "kl_negative-padding": lambda: patch.object(TextPolicy, "evaluate", evaluate_with_padding),
    "sampler_mismatch": lambda: patch.object(exact_sampler, "draw_tokens", draw_at_lower_temperature),
    "ratio_not_one": seed_noise,
}
"""Bugs that no setting can cause, by config name."""
