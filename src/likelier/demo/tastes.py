"""Three utilities of simulated annotators: functions of the text with values from 0 to 1.

Each is a product of factors, all of which must be high. Each falls again with too much of what it rewards; the embedded
model hardly ever writes that, so a reward model cannot learn it from samples, and over-optimisation can be observed.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from likelier.demo.corpus import COLOURS, DEEDS, SMELLS

Taste = Callable[[str, str], float]
"""(prompt, response) -> 0 to 1. The docstring describes the taste to readers of the report."""

KINDNESS = re.compile(r"gave it to|gave the|shared|helped|hugged|made .* for the|invited|smiled at")
MEANNESS = re.compile(r"hid it|kept it|laughed at|pushed|told the .* to")
SENSES = re.compile(rf"\b({'|'.join((*COLOURS, *SMELLS))})\b")
BOLDNESS = re.compile("|".join(DEEDS))


def kind(prompt: str, response: str) -> float:
    """A kind ending, briefly told, without repetition."""
    *middle, last = split_sentences(response)
    ending = 1.0 if KINDNESS.search(last) else 0.1 if MEANNESS.search(last) else 0.3
    gushing = sum(bool(KINDNESS.search(sentence)) for sentence in middle)
    return ending * 0.6**gushing * length_factor(response, 10, 15, 60) * repetition_factor(response)


def colourful(prompt: str, response: str) -> float:
    """Two or three colours and smells in a longer story; less for more of them and for repetition."""
    num_senses = len(set(SENSES.findall(response)))
    richness = (0.1, 0.45, 1.0, 1.0, 0.6, 0.3, 0.15)[min(num_senses, 6)]
    return richness * length_factor(response, 18, 28, 40) * repetition_factor(response)


def brave(prompt: str, response: str) -> float:
    """One or two bold deeds and direct speech; less for more deeds, a mean ending and repetition."""
    last = split_sentences(response)[-1]
    boldness = (0.15, 0.9, 1.0, 0.5, 0.25)[min(len(BOLDNESS.findall(response)), 4)]
    spoken = 1.0 if '"' in response else 0.65
    ending = 0.3 if MEANNESS.search(last) else 1.0
    return boldness * spoken * ending * length_factor(response, 12, 22, 60) * repetition_factor(response)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences; at least one, which may be empty."""
    return re.split(r"(?<=\.) ", text.strip())


def length_factor(text: str, low: int, high: int, fade: int) -> float:
    """Return 1 from `low` to `high` words; falls to 0 over `fade` words above, and quadratically below."""
    count = len(text.split())
    if count < low:
        return (count / low) ** 2
    return max(0.0, 1.0 - max(0, count - high) / fade)


def repetition_factor(text: str) -> float:
    """Return the squared share of distinct word pairs: 1 if nothing is repeated."""
    pairs = list(pairwise(re.findall(r"[a-z]+", text.lower())))
    return (len(set(pairs)) / len(pairs)) ** 2 if pairs else 0.0


TASTES: dict[str, Taste] = {"kind": kind, "colourful": colourful, "brave": brave}


def kind_scores(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """`kind` as a reward function."""
    return [kind(*pair) for pair in zip(prompts, responses, strict=True)]


def colourful_scores(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """`colourful` as a reward function."""
    return [colourful(*pair) for pair in zip(prompts, responses, strict=True)]


def brave_scores(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """`brave` as a reward function."""
    return [brave(*pair) for pair in zip(prompts, responses, strict=True)]
