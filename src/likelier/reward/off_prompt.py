"""Does a score read the prompt? Answers to other prompts tell, and as pairs they teach it.

The two sides of a comparison answer one prompt, and both mostly fit it. So a reward model may learn what people like in
any answer (short, polite) and nothing of whether it answers the prompt; a policy trained on that score ends with one
pleasant answer to everything.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from likelier.errors import ConfigError
from likelier.files import stable_id
from likelier.intervals import Floats, Interval, rate_interval
from likelier.records import Preference
from likelier.reward.check import compute_hits
from likelier.reward.judged import clusters
from likelier.training.setup import seeded_generator

MIN_PAIRS = 30
"""With fewer, an interval around one half says nothing (95 % interval of a share: ±0.18)."""


def add_off_prompt_pairs(pairs: Sequence[Preference], per_pair: float, seed: int) -> list[Preference]:
    """Return the pairs and, for each, `per_pair` more: its better response against one preferred after another prompt.

    The "non-contextual" pairs of Liu et al. (2024, arXiv 2409.13156, section 4). Nobody judged them: they count as
    certain as the pair that they are made of, with its weight and careless share. ConfigError: there are fewer than two
    prompts after which a response is preferred.
    """
    if not per_pair:
        return [*pairs]
    sources = [pair for pair in pairs if pair.target != 0.5]
    if len({stable_id(pair.prompt) for pair in sources}) < 2:
        raise ConfigError(
            "reward_model.off_prompt_pairs: takes responses that were preferred after other prompts, and the training "
            "pairs have one prompt, or ties alone; leave it out"
        )
    generator = seeded_generator(seed, 0, "off-prompt pairs")
    order = [row for _ in range(int(np.ceil(per_pair))) for row in permute(len(sources), generator)]
    picked = [sources[row] for row in order[: round(per_pair * len(sources))]]
    return [*pairs, *pair_with_other_prompts(picked, sources, generator)]


def make_prompt_pairs(pairs: Sequence[Preference], seed: int) -> list[Preference]:
    """Return pairs of a preferred response and one that was preferred after another prompt, to score; ties make none.

    None where there are fewer than `MIN_PAIRS`.
    """
    sources = [pair for pair in pairs if pair.target != 0.5]
    made = pair_with_other_prompts(sources, sources, seeded_generator(seed, 0, "answers to other prompts"))
    return made if len(made) >= MIN_PAIRS else []


def check_prompt_reading(difference: Floats, pairs: Sequence[Preference]) -> dict[str, Any]:
    """How often the response to its own prompt scores higher in `make_prompt_pairs`, with a 95 % interval.

    One half: the score does not tell whether an answer is one to its prompt.
    """
    right = compute_hits(difference, pairs)
    accuracy, interval = float(right.mean()), rate_interval(right, clusters(pairs))
    return {
        "off_prompt_accuracy": accuracy,
        "off_prompt_interval": interval,
        "prompt_in_words": describe_prompt_reading(accuracy, interval),
    }


def describe_prompt_reading(accuracy: float, interval: Interval | None) -> str:
    """Say whether the score reads the prompt, and what to do where it does not."""
    within = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f}%)" if interval else ""
    said = f"Of an answer to its prompt and one to another prompt it prefers the first in {100 * accuracy:.1f}%{within}"
    if interval and interval[0] > 0.5:
        return f"{said}."
    return (
        f"{said}: nothing shows that it reads the prompt, and a policy may learn one answer to all of them. Where "
        "answers should fit their prompts, set reward_model.off_prompt_pairs."
    )


def pair_with_other_prompts(
    pairs: Sequence[Preference], sources: Sequence[Preference], generator: torch.Generator
) -> list[Preference]:
    """Pair each pair's better response with one of another prompt, drawn from `sources`, which it is better than.

    Left out where there is no other prompt, or the same response was preferred there.
    """
    by_prompt: dict[str, list[Preference]] = {}
    for source in sources:
        by_prompt.setdefault(stable_id(source.prompt), []).append(source)
    names = list(by_prompt)
    if len(names) < 2:
        return []
    place, made = {name: number for number, name in enumerate(names)}, []
    as_sure: dict[str, Any] = {"target": 1.0, "margin": 0.0, "guess": 0.5, "lower": 0.0, "upper": None, "chance": 0.5}
    for pair in pairs:
        step, row = torch.randint(0, 2**31 - 1, (2,), generator=generator).tolist()
        others = by_prompt[names[(place[stable_id(pair.prompt)] + 1 + step % (len(names) - 1)) % len(names)]]
        own, other = get_better(pair), get_better(others[row % len(others)])
        if own != other:
            made.append(replace(pair, chosen=own, rejected=other, flip=min(pair.flip, 1 - pair.flip), **as_sure))
    return made


def get_better(pair: Preference) -> str:
    """Return the response that is likelier to be the better one."""
    return pair.rejected if (pair.flip > 0.5) != (pair.target < 0.5) else pair.chosen


def permute(count: int, generator: torch.Generator) -> list[int]:
    """Return the numbers below `count` in a random order."""
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
