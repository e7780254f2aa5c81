"""Topics of texts without a language model: latent semantic analysis and k-means. Imports no torch."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

WORD = re.compile(r"\w+")
MAX_CHARACTERS = 4000
"""Of a longer text only the beginning is looked at."""
MAX_WORDS, MIN_TEXTS = 2000, 5
"""Words that are looked at, each in at least so many texts."""
NUM_NAMED = 3
"""Words in the name of a topic."""
MIN_FOR_TOPICS, MAX_TOPICS, NUM_STARTS, NUM_STEPS = 20, 20, 5, 30


def embed_words(texts: Sequence[str], dimensions: int) -> tuple[list[str], Floats]:
    """Return the leading directions of the texts' words (Deerwester et al. 1990): the word that weighs most in each,
    and where the texts lie, [texts, dimensions].

    Words weigh by inverse document frequency and texts have unit length. No directions where too few words recur.
    """
    words_of = [set(WORD.findall(text[:MAX_CHARACTERS].lower())) for text in texts]
    counts = Counter(word for words in words_of for word in words)
    common = sorted(word for word, count in counts.most_common(MAX_WORDS) if MIN_TEXTS <= count < len(texts))
    if len(common) <= dimensions or len(texts) <= dimensions:
        return [], np.zeros((len(texts), 0))
    column = {word: number for number, word in enumerate(common)}
    entries = [(row, column[word]) for row, words in enumerate(words_of) for word in sorted(words) if word in column]
    rows, columns = np.array(entries).T
    weight = np.log(len(texts) / np.array([counts[word] for word in common]))[columns]
    norm = np.sqrt(np.bincount(rows, weight**2, len(texts)))[rows]
    table = csr_array((weight / norm, (rows, columns)), shape=(len(texts), len(common)))
    left, size, right = svds(table, dimensions, v0=np.ones(min(table.shape)))
    leading = np.abs(right).argmax(axis=1)
    signs = np.sign(right[np.arange(dimensions), leading])
    return [common[number] for number in leading.tolist()], np.asarray(left * size * signs)


def run_k_means(
    places: Floats, count: int, generator: np.random.Generator, steps: int = NUM_STEPS
) -> tuple[Indices, float]:
    """Assign each row to one of `count` clusters (Lloyd 1982) from rows drawn as centres; returns the clusters and the
    sum of squared distances to their centres."""
    centres = places[generator.choice(len(places), count, replace=False)]
    nearest = np.full(len(places), -1, np.int64)
    for _ in range(steps):
        distance = ((places**2).sum(axis=1)[:, None] - 2 * places @ centres.T + (centres**2).sum(axis=1)).clip(0)
        previous, nearest = nearest, np.asarray(distance.argmin(axis=1), np.int64)
        if (nearest == previous).all():
            break
        centres = np.stack([
            places[nearest == number].mean(axis=0) if (nearest == number).any() else centres[number]
            for number in range(count)
        ])  # fmt: skip
    return nearest, float(((places - centres[nearest]) ** 2).sum())


def find_topics(texts: Sequence[str]) -> list[int] | None:
    """Return the topic of each text, from 0 on: clusters of their words. None where there are too few to have any.

    There are as many as the square root of half the different texts, `MAX_TOPICS` at most. Deterministic.
    """
    different = sorted(set(texts))
    count = min(MAX_TOPICS, round(np.sqrt(len(different) / 2)))
    if len(different) < MIN_FOR_TOPICS:
        return None
    _, places = embed_words(different, min(2 * count, 16))
    if not places.shape[1]:
        return None
    places = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-9)
    generator = np.random.default_rng(0)
    clusters, _ = min((run_k_means(places, count, generator) for _ in range(NUM_STARTS)), key=lambda tried: tried[1])
    topic_of = dict(zip(different, clusters.tolist(), strict=True))
    return [topic_of[text] for text in texts]


def name_topics(texts: Sequence[str]) -> list[str]:
    """Return for each text the words that set its topic apart, such as `dragon, castle, king`; empty without topics.

    Those whose share of the topic's texts is furthest above their share of the others.
    """
    topics = find_topics(texts)
    if topics is None:
        return [""] * len(texts)
    words_of = [set(WORD.findall(text[:MAX_CHARACTERS].lower())) for text in texts]
    totals, sizes = Counter(word for words in words_of for word in words), Counter(topics)
    names = {}
    for topic, size in sizes.items():
        inside = Counter(word for words, own in zip(words_of, topics, strict=True) if own == topic for word in words)
        rest = max(len(texts) - size, 1)
        lift = {word: count / size - (totals[word] - count) / rest for word, count in inside.items()}
        names[topic] = ", ".join(sorted(lift, key=lambda word: (-lift[word], word))[:NUM_NAMED])
    return [names[topic] for topic in topics]
