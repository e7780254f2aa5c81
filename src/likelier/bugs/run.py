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

from likelier.config import Config, build_config, read_yaml
from likelier.ppo.policy import Evaluation
from likelier.progress import progress
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text import exact_sampler
from likelier.text.policy import TextPolicy

CONFIGS = Path(str(files("likelier.bugs")))
HEALTHY = "healthy"
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
