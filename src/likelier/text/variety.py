"""How much of what is written was written before, as a figure of many responses and as a reward for each."""

import re
from collections import Counter
from collections.abc import Sequence

WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams of words over all n-grams, in all texts together (Li et al. 2016); 0 without any.

    It falls with the amount of text: compare equal numbers of responses of like length.

    >>> distinct_n(["a b a b", "a b"], 2)
    0.5
    """
    grams = [gram for text in texts for gram in ngrams(WORD.findall(text.lower()), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def variety(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A reward function: each response's part in distinct-2 of the batch, minus the mean part.

    A pair of words that stands n times in the batch counts 1/n; a response's part is the mean over its pairs. What
    others say too earns nothing, so a batch cannot win by all saying the same.
    """
    found = [ngrams(WORD.findall(response.lower()), 2) for response in responses]
    counts = Counter(pair for pairs in found for pair in pairs)
    parts = [sum(1 / counts[pair] for pair in pairs) / max(1, len(pairs)) for pairs in found]
    mean = sum(parts) / max(1, len(parts))
    return [part - mean for part in parts]
