"""Numbers that describe a text cheaply: length, style, and which words go together. Numpy and scipy only."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from likelier.feedback.style import FEATURES, count_style

Floats = NDArray[np.float64]

MAX_CHARACTERS = 4000
"""Of a longer text only the beginning is looked at."""
WORD = re.compile(r"\w+")
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
NUM_TOPICS, MAX_WORDS, MIN_TEXTS = 8, 2000, 5
"""Directions of words; words that are looked at, each in at least so many texts."""


def describe_texts(texts: Sequence[str]) -> tuple[list[str], Floats]:
    """Return names of features, and their values [texts, features] of mean 0 and variance 1; those that never vary are
    left out. Directions of words have the name of the word that weighs most."""
    texts = [text[:MAX_CHARACTERS] for text in texts]
    styles = [[*(count(text) for count in STYLES.values()), *np.log1p(count_style(text))] for text in texts]
    words, topics = find_topics(texts)
    names = [*STYLES, *FEATURES, *(f"word “{word}”" for word in words)]
    values = np.concatenate([np.array(styles).reshape(len(texts), len(STYLES) + len(FEATURES)), topics], axis=1)
    spread = values.std(axis=0) if len(texts) else np.zeros(len(names))
    kept = np.flatnonzero(spread > 1e-6)
    return [names[column] for column in kept], (values[:, kept] - values[:, kept].mean(axis=0)) / spread[kept]


def find_topics(texts: Sequence[str]) -> tuple[list[str], Floats]:
    """Return the leading directions of the texts' words (latent semantic analysis, Deerwester et al. 1990).

    Words weigh by inverse document frequency and texts have unit length. None where too few words recur.
    """
    words_of = [set(WORD.findall(text.lower())) for text in texts]
    counts = Counter(word for words in words_of for word in words)
    common = [word for word, count in counts.most_common(MAX_WORDS) if MIN_TEXTS <= count < len(texts)]
    if len(common) <= NUM_TOPICS or len(texts) <= NUM_TOPICS:
        return [], np.zeros((len(texts), 0))
    column = {word: number for number, word in enumerate(sorted(common))}
    entries = [(row, column[word]) for row, words in enumerate(words_of) for word in words if word in column]
    rows, columns = np.array(entries).T
    weight = np.log(len(texts) / np.array([counts[word] for word in column]))[columns]
    norm = np.sqrt(np.bincount(rows, weight**2, len(texts)))[rows]
    table = csr_array((weight / norm, (rows, columns)), shape=(len(texts), len(column)))
    table.sum_duplicates()
    left, size, right = svds(table, NUM_TOPICS, v0=np.ones(min(table.shape)))
    vocabulary = list(column)
    leading = np.abs(right).argmax(axis=1)
    signs = np.sign(right[np.arange(NUM_TOPICS), leading])
    return [vocabulary[number] for number in leading], np.asarray(left * size * signs)
