"""Reward functions of the configs here: a healthy one, and others that provoke what the doctor looks for."""

import math
import random
import re
from collections.abc import Sequence

KIND = (
    "gave",
    "shared",
    "helped",
    "hugged",
    "smiled",
    "smile",
    "invited",
    "friends",
    "together",
    "warm",
    "soup",
    "tea",
)
chance = random.Random(0)


def words(text: str) -> list[str]:
    """Lower-case words."""
    return re.findall(r"[a-z']+", text.lower())


def kindness(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """How many different kind words there are, each worth less than the one before."""
    return [math.log1p(2 * len(set(words(text)) & set(KIND))) for text in responses]


def unkindness(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Nothing is ever good enough: all scores are below 0."""
    return [score - 3.0 for score in kindness(prompts, responses)]


def brevity(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Shorter is better."""
    return [-0.2 * len(words(text)) for text in responses]


def length(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Longer is better."""
    return [0.2 * len(words(text)) for text in responses]


def gushing(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Kind words, however often they are said."""
    return [float(sum(word in KIND for word in words(text))) for text in responses]


def sincerity(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """The judge: one kind word is good, three are too many."""
    counts = [sum(word in KIND for word in words(text)) for text in responses]
    return [(0.3, 1.0, 0.8, 0.3, 0.1)[min(count, 4)] for count in counts]


def squashed(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A saturated sigmoid: nearly every text scores as high as the best."""
    return [1 / (1 + math.exp(-12 - score)) for score in kindness(prompts, responses)]


def of_the_prompt(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A reward that depends on the prompt and ignores the response."""
    return [0.1 * len(prompt) for prompt in prompts]


def drawn(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A random reward, independent of the text."""
    return [chance.gauss(0.0, 1.0) for _ in responses]


def unscaled(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Kindness times a thousand, far beyond what score clipping allows."""
    return [1000 * score for score in kindness(prompts, responses)]
