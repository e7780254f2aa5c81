"""The responses that each step learns from: drawn by the policy as it is, or ahead of the updates by an older one.

What decides the responses of a step is its own seed and the weights that draw them. With `async_steps: n` step k takes
those that the policy of n updates before has drawn (of the start, in the first steps), whoever is faster, sampler or
trainer: so the same seed gives the same bits, and a resumed run needs of a run that was killed only what was under way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from likelier.config import Config, PPOConfig
from likelier.distributed import get_rank
from likelier.records import Prompt
from likelier.text.exact_sampler import Decoded, restore_samples
from likelier.text.policy import TextPolicy
from likelier.text.prompts import PromptPlan
from likelier.text.sampler import AsyncSampler, Sampler, Samples, Sampling, draw_uniforms
from likelier.training.setup import seeded_generator
from likelier.training.state import load_arrays, save_arrays

FILE = "responses.safetensors"
"""In a checkpoint: responses that the steps after it learn from, and that its weights can no longer draw."""


@dataclass(frozen=True)
class Plan:
    """Prompts and random draws of a step: with the weights they decide its responses."""

    prompts: list[Prompt]
    """Of each row."""
    group: Int[Tensor, " B"]
    """Number of the prompt of each row."""
    draws: Float[Tensor, "B T"]
    """See `Sampler.sample`."""
    generator: torch.Generator
    """As it is behind these draws: it goes on to shuffle minibatches."""


@dataclass(frozen=True)
class Responses:
    """The responses of one step."""

    plan: Plan
    samples: Samples
    staleness: int
    """Updates since then of the policy that drew them."""


class Asked(NamedTuple):
    """Responses of one step that may still be under way."""

    plan: Plan
    wait: Callable[[], Samples]
    version: int
    """Updates that the policy which draws them has seen."""


def plan_responses(prompts: list[Prompt], config: PPOConfig, generator: torch.Generator, device: torch.device) -> Plan:
    """Plan `responses_per_prompt` responses to each prompt, in random order: the first epoch does not shuffle."""
    # Shuffled before sampling, so that neither prompts nor the groups of RLOO and GRPO stay together in a minibatch.
    group = shuffle_groups(len(prompts), config.responses_per_prompt, generator)
    # Drawn here and not in the sampler: the same seed gives the same responses, whatever writes them.
    draws = draw_uniforms(generator, len(group), config.response_length, device)
    return Plan([prompts[number] for number in group.tolist()], group, draws, generator)


def shuffle_groups(num_prompts: int, responses_per_prompt: int, generator: torch.Generator) -> Int[Tensor, " B"]:
    """Return the prompt index of each row, in random order."""
    # The order is drawn on the generator's device and moved: one seed then gives one order on any device.
    group = torch.arange(num_prompts).repeat_interleave(responses_per_prompt)
    return group[torch.randperm(len(group), generator=generator, device=generator.device).cpu()]


class ResponseQueue:
    """Asks a sampler for the responses of the next steps, and hands them out step by step."""

    def __init__(
        self,
        config: Config,
        policy: TextPolicy,
        tokenizer: PreTrainedTokenizerBase,
        prompts: PromptPlan,
        sampler: Sampler | AsyncSampler,
    ) -> None:
        self.config, self.policy, self.tokenizer = config, policy, tokenizer
        self.prompts, self.sampler = prompts, sampler
        self.asked: dict[int, Asked] = {}
        """By step; all that a checkpoint of this step or of the next one needs."""

    def take(self, step: int) -> Responses:
        """Return the responses of a step, and have those of `async_steps` later drawn by the policy as it is."""
        ppo = self.config.ppo
        self.asked = {number: asked for number, asked in self.asked.items() if number >= step}
        wanted = range(step, min(step + ppo.async_steps, ppo.steps - 1) + 1)
        missing = [number for number in wanted if number not in self.asked]
        if missing:
            self.sampler.load_weights(self.policy.model)
        for number in missing:
            self.asked[number] = self.ask(number, version=step)
        return self.wait(step)

    def ask(self, step: int, version: int) -> Asked:
        """Have the responses of a step drawn by the weights that the sampler has."""
        plan = self.plan(step)
        request = [prompt.text for prompt in plan.prompts], Sampling.from_config(self.config.ppo), plan.draws
        if isinstance(self.sampler, AsyncSampler):
            return Asked(plan, self.sampler.ask(*request), version)
        return Asked(plan, partial(self.sampler.sample, *request), version)

    def plan(self, step: int) -> Plan:
        """Return what decides the responses of a step."""
        # One generator for sampling and for shuffling minibatches: a resumed run needs no other random state.
        device = self.policy.device
        generator = seeded_generator(self.config.seed, step, "ppo", device)
        return plan_responses(self.prompts.batch(step), self.config.ppo, generator, device)

    def wait(self, step: int) -> Responses:
        """Return the responses of a step, which have been asked for."""
        plan, wait, version = self.asked[step]
        samples = wait()
        self.asked[step] = Asked(plan, lambda: samples, version)
        return Responses(plan, samples, step - version)

    def save(self, folder: Path) -> None:
        """Write the responses that have been asked for into a checkpoint, once they are drawn."""
        if not self.config.ppo.async_steps:
            return
        arrays: dict[str, NDArray[Any]] = {}
        for step in sorted(self.asked):
            decoded = Decoded.from_samples(self.wait(step).samples)
            tensors = {**decoded._asdict(), "version": torch.tensor(self.asked[step].version)}
            arrays |= {f"{step}/{name}": tensor.cpu().numpy() for name, tensor in tensors.items()}
        if get_rank() == 0:
            save_arrays(folder / FILE, arrays)

    def load(self, checkpoint: Path) -> None:
        """Load what `save` has written."""
        if not self.config.ppo.async_steps:
            return
        tensors: dict[int, dict[str, Tensor]] = {}
        for key, array in load_arrays(checkpoint / FILE).items():
            step, _, name = key.partition("/")
            tensors.setdefault(int(step), {})[name] = torch.from_numpy(array).to(self.policy.device)
        for number, parts in tensors.items():
            plan, version = self.plan(number), int(parts.pop("version"))
            self.asked[number] = Asked(plan, partial(self.restore, plan, Decoded(**parts)), version)

    def restore(self, plan: Plan, decoded: Decoded) -> Samples:
        """Return responses that were drawn before."""
        ppo, texts = self.config.ppo, [prompt.text for prompt in plan.prompts]
        return restore_samples(
            self.policy.model, self.tokenizer, texts, Sampling.from_config(ppo), decoded, bool(ppo.tools)
        )
