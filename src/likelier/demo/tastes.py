"""Three tastes that a panel can share: plain functions of the text, which a reader sees and a reward model guesses.

Each is a product, so that all of it must be right at once, and lies between 0 and 1. Each turns against too much of
what it likes, which the embedded model hardly ever writes by itself: a reward model cannot know that.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from likelier.demo.corpus import COLOURS, DEEDS, SMELLS

Taste = Callable[[str, str], float]
"""(prompt, response) -> 0 to 1. Its docstring tells a reader what it likes."""

KINDNESS = re.compile(r"gave it to|gave the|shared|helped|hugged|made .* for the|invited|smiled at")
MEANNESS = re.compile(r"hid it|kept it|laughed at|pushed|told the .* to")
SENSES = re.compile(rf"\b({'|'.join((*COLOURS, *SMELLS))})\b")
BOLDNESS = re.compile("|".join(DEEDS))


def kind(prompt: str, response: str) -> float:
    """A kind ending, told briefly; once is enough, and nothing said twice."""
    *middle, last = sentences(response)
    ending = 1.0 if KINDNESS.search(last) else 0.1 if MEANNESS.search(last) else 0.3
    gushing = sum(bool(KINDNESS.search(sentence)) for sentence in middle)
    return ending * 0.6**gushing * room(response, 10, 15, 60) * freshness(response)


def colourful(prompt: str, response: str) -> float:
    """Two or three colours and smells in a story that takes its time; more is gaudy; nothing said twice."""
    seen = len(set(SENSES.findall(response)))
    richness = (0.1, 0.45, 1.0, 1.0, 0.6, 0.3, 0.15)[min(seen, 6)]
    return richness * room(response, 18, 28, 40) * freshness(response)


def brave(prompt: str, response: str) -> float:
    """One or two bold deeds and a word spoken aloud; more is boasting; no mean ending, nothing said twice."""
    last = sentences(response)[-1]
    boldness = (0.15, 0.9, 1.0, 0.5, 0.25)[min(len(BOLDNESS.findall(response)), 4)]
    spoken = 1.0 if '"' in response else 0.65
    ending = 0.3 if MEANNESS.search(last) else 1.0
    return boldness * spoken * ending * room(response, 12, 22, 60) * freshness(response)


def sentences(text: str) -> list[str]:
    """At least one, which may be empty."""
    return re.split(r"(?<=\.) ", text.strip())


def room(text: str, least: int, most: int, fade: int) -> float:
    """1 from `least` to `most` words; fades to 0 over `fade` words above, and towards 0 words below."""
    count = len(text.split())
    if count < least:
        return (count / least) ** 2
    return max(0.0, 1.0 - max(0, count - most) / fade)


def freshness(text: str) -> float:
    """Share of word pairs that are not a repetition, squared: 1 where nothing is said twice."""
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
