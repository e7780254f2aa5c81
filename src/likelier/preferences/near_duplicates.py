"""Near-duplicate texts by MinHash over character n-grams, so that a split can keep them together."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from likelier.text.words import is_unspaced, is_word, split_words

SHINGLE_BYTES = 5
BYTES_READ = 4000
"""Of a longer text only the beginning is looked at."""
NUM_BANDS, ROWS_PER_BAND = 20, 6
BUCKET_LIMIT = 100
"""In a larger bucket each text is held against the first and the one before it only."""
PAIRS_AT_ONCE = 50_000
THRESHOLDS = (0.8, 0.9)
"""Share of common letter sequences (Jaccard) from which two texts count as near-duplicates; the second is for texts
from a template, where the first would join most of them."""


class DisjointSets:
    """Disjoint-set forest (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def find(self, thing: str) -> str:
        """Return the representative of an item's set."""
        root = thing
        while (parent := self.parent.setdefault(root, root)) != root:
            root = parent
        while thing != root:
            self.parent[thing], thing = root, self.parent[thing]
        return root

    def join(self, one: str, other: str) -> None:
        """Merge two sets; the representative is the alphabetically first member, in whatever order sets are merged."""
        first, second = sorted((self.find(one), self.find(other)))
        self.parent[second] = first


def normalise(text: str) -> str:
    """Reduce a text to lower-case words and numbers, separated by one space where their script uses spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")  # a Turkish capital I with dot
    words = [part for part in split_words(folded.replace("'", " ")) if is_word(part)]
    return "".join(words[:1]) + "".join(separator(*pair) + pair[1] for pair in pairwise(words))


def separator(word: str, following: str) -> str:
    """The separator between two words: nothing in scripts without blanks."""
    return "" if is_unspaced(word) and is_unspaced(following) else " "


def near_duplicates(texts: Sequence[str], most_share: float = 0.25) -> tuple[list[tuple[str, str]], float | None]:
    """Return pairs of near-duplicate texts, and the similarity threshold that was used.

    Detected: changes of case, punctuation or spacing, a few changed letters, a changed word in a long text. Not
    detected: a paraphrase, a translation, a short text inside a long one. The similarity is estimated from 120 hashes
    (standard error 0.037): a pair at the threshold is detected half of the time, one 0.1 above it nearly always. If a
    threshold would join more than `most_share` of the texts into one group (texts from a template), the next higher one
    is used; if all do, no pair is returned and the threshold is None. Source: Broder (1997), "On the resemblance and
    containment of documents".
    """
    texts = sorted(set(texts))
    if len(texts) < 2:
        return [], THRESHOLDS[0]
    signatures = np.stack([signature(text) for text in texts])
    pairs = candidates(signatures)
    likeness = similarity(signatures, pairs)
    for threshold in THRESHOLDS:
        found = [(texts[one], texts[other]) for one, other in pairs[likeness >= threshold]]
        if largest_group(found) <= max(10, most_share * len(texts)):
            return found, threshold
    return [], None


def signature(text: str) -> NDArray[np.uint32]:
    """Return a text's MinHash signature: the minimum of each hash function over all five-byte shingles."""
    data = np.frombuffer(text.encode()[:BYTES_READ].ljust(SHINGLE_BYTES), dtype=np.uint8).astype(np.uint64)
    shingles = np.zeros(len(data) - SHINGLE_BYTES + 1, dtype=np.uint64)
    for place in range(SHINGLE_BYTES):
        shingles = (shingles << np.uint64(8)) | data[place : place + len(shingles)]
    hashes = (np.unique(shingles)[:, None] * MULTIPLIERS + OFFSETS) >> np.uint64(32)
    smallest: NDArray[np.uint32] = hashes.min(axis=0).astype(np.uint32)
    return smallest


def hash_constants() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the constants of multiply-shift hashing, odd random factors and random offsets, from a fixed seed."""
    generator = np.random.Generator(np.random.PCG64(20_160_131))
    drawn = generator.integers(0, 2**64, size=(2, NUM_BANDS * ROWS_PER_BAND), dtype=np.uint64)
    return drawn[0] | np.uint64(1), drawn[1]


MULTIPLIERS, OFFSETS = hash_constants()


def candidates(signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return index pairs [pairs, 2] of texts whose signatures agree in a band (locality-sensitive hashing)."""
    found: set[tuple[int, int]] = set()
    for start in range(0, signatures.shape[1], ROWS_PER_BAND):
        buckets: dict[bytes, list[int]] = {}
        for index, row in enumerate(signatures[:, start : start + ROWS_PER_BAND]):
            buckets.setdefault(row.tobytes(), []).append(index)
        for bucket in buckets.values():
            if len(bucket) <= BUCKET_LIMIT:
                found.update(combinations(bucket, 2))
            else:
                found.update(pairwise(bucket))
                found.update((bucket[0], other) for other in bucket[1:])
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def similarity(signatures: NDArray[np.uint32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of equal hashes of each pair, an estimate of their Jaccard similarity."""
    parts = [pairs[start : start + PAIRS_AT_ONCE] for start in range(0, len(pairs), PAIRS_AT_ONCE)]
    return np.concatenate(
        [np.zeros(0), *((signatures[part[:, 0]] == signatures[part[:, 1]]).mean(axis=1) for part in parts)]
    )


def largest_group(pairs: Sequence[tuple[str, str]]) -> int:
    """Size of the largest connected component of the pairs."""
    groups = DisjointSets()
    for one, other in pairs:
        groups.join(one, other)
    sizes = Counter(groups.find(text) for text in list(groups.parent))
    return max(sizes.values(), default=0)
