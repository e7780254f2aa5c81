"""Numbers that describe a text cheaply: length, style, and which words go together. Numpy and scipy only."""

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.style import FEATURES, count_style
from likelier.text.topics import MAX_CHARACTERS, WORD, embed_words

Floats = NDArray[np.float64]

FIRST_PERSON = re.compile(r"\b(?:i|me|my|we|us|our)\b|我", re.IGNORECASE)
SECOND_PERSON = re.compile(r"\b(?:you|your)\b|[你您]", re.IGNORECASE)
STYLES: dict[str, Callable[[str], float]] = {
    "length": lambda text: np.log1p(len(text)),
    "words of many letters": lambda text: np.log1p(len(text)) - np.log1p(len(WORD.findall(text))),
    "paragraphs": lambda text: np.log1p(text.count("\n")),
    "numbers": lambda text: np.log1p(sum(map(str.isdigit, text))),
    "questions": lambda text: np.log1p(text.count("?") + text.count("？")),
    "direct speech": lambda text: np.log1p(sum(map(text.count, '"“「'))),
    "first person": lambda text: np.log1p(len(FIRST_PERSON.findall(text))),
    "second person": lambda text: np.log1p(len(SECOND_PERSON.findall(text))),
}
"""Counts on a logarithmic scale, by name, beside those of `style`."""
NUM_TOPICS = 8
"""Directions of words."""


def describe_texts(texts: Sequence[str]) -> tuple[list[str], Floats]:
    """Return names of features, and their values [texts, features] of mean 0 and variance 1; those that never vary are
    left out. Directions of words have the name of the word that weighs most."""
    texts = [text[:MAX_CHARACTERS] for text in texts]
    styles = [[*(count(text) for count in STYLES.values()), *np.log1p(count_style(text))] for text in texts]
    words, topics = embed_words(texts, NUM_TOPICS)
    names = [*STYLES, *FEATURES, *(f"word “{word}”" for word in words)]
    values = np.concatenate([np.array(styles).reshape(len(texts), len(STYLES) + len(FEATURES)), topics], axis=1)
    spread = values.std(axis=0) if len(texts) else np.zeros(len(names))
    kept = np.flatnonzero(spread > 1e-6)
    return [names[column] for column in kept], (values[:, kept] - values[:, kept].mean(axis=0)) / spread[kept]
