"""Three tastes that a panel can share: plain functions of the text, which a reader sees and a reward model guesses.

Each is a product, so that all of it must be right at once, and lies between 0 and 1.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from likelier.demo.corpus import COLOURS, DEEDS, SMELLS

KIND_WORDS = ("gave it to", "shared it", "helped", "together", "hugged", "thanked", "made supper for")
MEAN_WORDS = ("hid it", "kept it", "laughed at", "only for the best")


def sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=\.)", text) if part.strip()]


def freshness(text: str) -> float:
    """Share of word pairs that are not a repetition, squared: 1 where nothing is said twice."""
    words = re.findall(r"[a-z]+", text.lower())
    pairs = list(pairwise(words))
    return (len(set(pairs)) / len(pairs)) ** 2 if pairs else 0.0


def room(count: int, least: int, most: int, fade: int) -> float:
    """1 from `least` to `most` words; fades to 0 over `fade` words above, and towards 0 words below."""
    if count < least:
        return (count / least) ** 2
    return max(0.0, 1.0 - max(0, count - most) / fade)


def kind(prompt: str, response: str) -> float:
    """A kind ending, told briefly, nothing said twice."""
    told = sentences(response)
    if not told:
        return 0.0
    kind_end = any(word in told[-1] for word in KIND_WORDS)
    mean_end = any(word in told[-1] for word in MEAN_WORDS)
    ending = 1.0 if kind_end else 0.1 if mean_end else 0.35
    return ending * room(len(response.split()), 14, 20, 24) * freshness(response)


def colourful(prompt: str, response: str) -> float:
    """Colours and smells, different ones, in a story that is not over too soon; nothing said twice."""
    words = response.lower()
    seen = sum(colour in words for colour in COLOURS) + sum(smell in words for smell in SMELLS)
    richness = (0.15, 0.4, 0.7, 1.0)[min(seen, 3)]
    return richness * room(len(response.split()), 20, 36, 24) * freshness(response)


def brave(prompt: str, response: str) -> float:
    """Bold deeds, at most two, and an ending that is not mean; nothing said twice."""
    told = sentences(response)
    if not told:
        return 0.0
    deeds = sum(deed in response for deed in DEEDS)
    boldness = (0.2, 0.7, 1.0)[deeds] if deeds <= 2 else 0.5
    mean_end = any(word in told[-1] for word in MEAN_WORDS)
    return boldness * (0.4 if mean_end else 1.0) * room(len(response.split()), 16, 32, 24) * freshness(response)


TASTES: dict[str, Callable[[str, str], float]] = {"kind": kind, "colourful": colourful, "brave": brave}


def kind_scores(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """`kind` as a reward function."""
    return [kind(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]


def colourful_scores(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """`colourful` as a reward function."""
    return [colourful(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]


def brave_scores(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """`brave` as a reward function."""
    return [brave(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
