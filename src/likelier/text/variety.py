"""How much of what is written was written before."""

import re
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
