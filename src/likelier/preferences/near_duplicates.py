"""Near-duplicate texts by MinHash over character n-grams, so that a split can keep them together."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from likelier.text.words import is_unspaced, is_word, split_words

SHINGLE_BYTES = 5
MAX_TEXT_BYTES = 4000
"""Of a longer text only the beginning is looked at."""
NUM_BANDS, ROWS_PER_BAND = 20, 6
MAX_BUCKET_SIZE = 100
"""In a larger bucket each text is held against the first and the one before it only."""
PAIRS_PER_CHUNK = 50_000
THRESHOLDS = (0.8, 0.9)
"""Share of common letter sequences (Jaccard) from which two texts count as near-duplicates; the second is for texts
from a template, where the first would join most of them."""


class DisjointSets:
    """Disjoint-set forest (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def find(self, item: str) -> str:
        """Return the representative of an item's set."""
        root = item
        while (parent := self.parent.setdefault(root, root)) != root:
            root = parent
        while item != root:
            self.parent[item], item = root, self.parent[item]
        return root

    def join(self, one: str, other: str) -> None:
        """Merge two sets; the representative is the alphabetically first member, in whatever order sets are merged."""
        first, second = sorted((self.find(one), self.find(other)))
        self.parent[second] = first


def normalise(text: str) -> str:
    """Reduce a text to lower-case words and numbers, separated by one space where their script uses spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("i\u0307", "i")  # a Turkish capital I with dot
    words = [word for word in split_words(folded.replace("'", " ")) if is_word(word)]
    return "".join(words[:1]) + "".join(separator(*pair) + pair[1] for pair in pairwise(words))


def separator(word: str, following: str) -> str:
    """The separator between two words: nothing in scripts without blanks."""
    return "" if is_unspaced(word) and is_unspaced(following) else " "


def near_duplicates(texts: Sequence[str], max_share: float = 0.25) -> tuple[list[tuple[str, str]], float | None]:
    """Return pairs of near-duplicate texts, and the similarity threshold that was used.

    Detected: changes of case, punctuation or spacing, a few changed letters, a changed word in a long text. Not
    detected: a paraphrase, a translation, a short text inside a long one. The similarity is estimated from 120 hashes
    (standard error 0.037): a pair at the threshold is detected half of the time, one 0.1 above it nearly always. If a
    threshold would join more than `max_share` of the texts into one group (texts from a template), the next higher one
    is used; if all do, no pair is returned and the threshold is None. Source: Broder (1997), "On the resemblance and
    containment of documents".
    """
    texts = sorted(set(texts))
    if len(texts) < 2:
        return [], THRESHOLDS[0]
    signatures = np.stack([minhash_signature(text) for text in texts])
    pairs = find_candidate_pairs(signatures)
    likeness = similarity(signatures, pairs)
    for threshold in THRESHOLDS:
        duplicates = [(texts[one], texts[other]) for one, other in pairs[likeness >= threshold]]
        if largest_group(duplicates) <= max(10, max_share * len(texts)):
            return duplicates, threshold
    return [], None


def minhash_signature(text: str) -> NDArray[np.uint32]:
    """Return a text's MinHash signature: the minimum of each hash function over all five-byte shingles."""
    data = np.frombuffer(text.encode()[:MAX_TEXT_BYTES].ljust(SHINGLE_BYTES), dtype=np.uint8).astype(np.uint64)
    shingles = np.zeros(len(data) - SHINGLE_BYTES + 1, dtype=np.uint64)
    for offset in range(SHINGLE_BYTES):
        shingles = (shingles << np.uint64(8)) | data[offset : offset + len(shingles)]
    hashes = (np.unique(shingles)[:, None] * MULTIPLIERS + OFFSETS) >> np.uint64(32)
    smallest: NDArray[np.uint32] = hashes.min(axis=0).astype(np.uint32)
    return smallest


def hash_constants() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the constants of multiply-shift hashing, odd random factors and random offsets, from a fixed seed."""
    generator = np.random.Generator(np.random.PCG64(20_160_131))
    drawn = generator.integers(0, 2**64, size=(2, NUM_BANDS * ROWS_PER_BAND), dtype=np.uint64)
    return drawn[0] | np.uint64(1), drawn[1]


MULTIPLIERS, OFFSETS = hash_constants()


def find_candidate_pairs(signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return index pairs [pairs, 2] of texts whose signatures agree in a band (locality-sensitive hashing)."""
    candidates: set[tuple[int, int]] = set()
    for start in range(0, signatures.shape[1], ROWS_PER_BAND):
        buckets: dict[bytes, list[int]] = {}
        for index, row in enumerate(signatures[:, start : start + ROWS_PER_BAND]):
            buckets.setdefault(row.tobytes(), []).append(index)
        for bucket in buckets.values():
            if len(bucket) <= MAX_BUCKET_SIZE:
                candidates.update(combinations(bucket, 2))
            else:
                candidates.update(pairwise(bucket))
                candidates.update((bucket[0], other) for other in bucket[1:])
    return np.array(sorted(candidates), dtype=np.int64).reshape(-1, 2)


def similarity(signatures: NDArray[np.uint32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of equal hashes of each pair, an estimate of their Jaccard similarity."""
    parts = [pairs[start : start + PAIRS_PER_CHUNK] for start in range(0, len(pairs), PAIRS_PER_CHUNK)]
    return np.concatenate(
        [np.zeros(0), *((signatures[chunk[:, 0]] == signatures[chunk[:, 1]]).mean(axis=1) for chunk in parts)]
    )


def largest_group(pairs: Sequence[tuple[str, str]]) -> int:
    """Size of the largest connected component of the pairs."""
    groups = DisjointSets()
    for one, other in pairs:
        groups.join(one, other)
    sizes = Counter(groups.find(text) for text in list(groups.parent))
    return max(sizes.values(), default=0)
