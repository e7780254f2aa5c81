"""Reward functions of the bug configs: a healthy one, and others that trigger findings of the doctor."""

import math
import random
import re
from collections.abc import Sequence

KIND_WORDS = (
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
generator = random.Random(0)


def split_words(text: str) -> list[str]:
    """Split into lower-case words."""
    return re.findall(r"[a-z']+", text.lower())


def kindness(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Number of distinct kind words, each worth less than the one before."""
    return [math.log1p(2 * len(set(split_words(text)) & set(KIND_WORDS))) for text in responses]


def unkindness(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Kindness shifted so that all scores are below 0."""
    return [score - 3.0 for score in kindness(prompts, responses)]


def brevity(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Shorter is better."""
    return [-0.2 * len(split_words(text)) for text in responses]


def length(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Longer is better."""
    return [0.2 * len(split_words(text)) for text in responses]


def repeated_kindness(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Number of kind words, repetitions included."""
    return [float(sum(word in KIND_WORDS for word in split_words(text))) for text in responses]


def sincerity(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """The judge: highest for one kind word, low for three or more."""
    counts = [sum(word in KIND_WORDS for word in split_words(text)) for text in responses]
    return [(0.3, 1.0, 0.8, 0.3, 0.1)[min(count, 4)] for count in counts]


def saturated(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A saturated sigmoid: nearly every text gets the maximum score."""
    return [1 / (1 + math.exp(-12 - score)) for score in kindness(prompts, responses)]


def prompt_length(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A reward that depends on the prompt and ignores the response."""
    return [0.1 * len(prompt) for prompt in prompts]


def random_score(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A random reward, independent of the text."""
    return [generator.gauss(0.0, 1.0) for _ in responses]


def unscaled(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Kindness times 1000, far beyond the clip range of scores."""
    return [1000 * score for score in kindness(prompts, responses)]
