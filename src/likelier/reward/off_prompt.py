"""Does a score read the prompt? Answers to other prompts tell, and as pairs they teach it.

The two sides of a comparison answer one prompt, and both mostly fit it. So a reward model may learn what people like in
any answer (short, polite) and nothing of whether it answers the prompt; a policy trained on that score ends with one
pleasant answer to everything.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likelier.errors import ConfigError
from likelier.files import stable_id
from likelier.intervals import Interval, rate_interval
from likelier.records import Preference, Text
from likelier.reward.judged import clusters
from likelier.reward.pairs import columns
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
    foreign = draw_other_answers(picked, sources, generator)
    made = [
        # Of somebody who mostly answers wrongly the rejected response is the better one.
        replace(
            pair,
            chosen=get_better(pair),
            rejected=answer,
            flip=min(pair.flip, 1 - pair.flip),
            target=1.0,
            margin=0.0,
            guess=0.5,
            lower=0.0,
            upper=None,
            chance=0.5,
        )
        for pair, answer in zip(picked, foreign, strict=True)
        if answer is not None and answer != get_better(pair)
    ]
    return [*pairs, *made]


def check_prompt_reading(
    score: Callable[[Sequence[Text], Sequence[str]], Tensor], pairs: Sequence[Preference], seed: int
) -> dict[str, Any]:
    """How often the preferred response scores higher than one preferred after another prompt, with a 95 % interval.

    One half: the score does not tell whether an answer is one to its prompt. Equal scores count one half. None with
    fewer than `MIN_PAIRS` pairs, or where all prompts are the same.
    """
    pairs, generator = (
        [pair for pair in pairs if pair.target != 0.5],
        seeded_generator(seed, 0, "answers to other prompts"),
    )
    others = draw_other_answers(pairs, pairs, generator)
    asked = [(pair, other) for pair, other in zip(pairs, others, strict=True) if other not in (None, get_better(pair))]
    if len(asked) < MIN_PAIRS:
        return dict.fromkeys(("off_prompt_accuracy", "off_prompt_interval", "prompt_in_words"))
    own = [pair for pair, _ in asked]
    prompts, _, _ = columns(own)
    texts = [*map(get_better, own), *[other or "" for _, other in asked]]
    mine, theirs = score([*prompts, *prompts], texts).double().numpy().reshape(2, -1)
    right = (np.sign(mine - theirs) + 1) / 2
    accuracy, interval = float(right.mean()), rate_interval(right, clusters(own))
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


def draw_other_answers(
    pairs: Sequence[Preference], sources: Sequence[Preference], generator: torch.Generator
) -> list[str | None]:
    """Draw for each pair the better response of another prompt; None where there is no other prompt."""
    by_prompt: dict[str, list[Preference]] = {}
    for source in sources:
        by_prompt.setdefault(stable_id(source.prompt), []).append(source)
    names = list(by_prompt)
    place = {name: number for number, name in enumerate(names)}
    found: list[str | None] = []
    for pair in pairs:
        if len(names) < 2:
            found.append(None)
            continue
        step, row = torch.randint(0, 2**31 - 1, (2,), generator=generator).tolist()
        others = by_prompt[names[(place[stable_id(pair.prompt)] + 1 + step % (len(names) - 1)) % len(names)]]
        found.append(get_better(others[row % len(others)]))
    return found


def get_better(pair: Preference) -> str:
    """Return the response that is likelier to be the better one."""
    return pair.rejected if (pair.flip > 0.5) != (pair.target < 0.5) else pair.chosen


def permute(count: int, generator: torch.Generator) -> list[int]:
    """Return the numbers below `count` in a random order."""
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
