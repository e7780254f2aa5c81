"""Diversity of responses: distinct n-grams as a metric, and each text's contribution to them as a reward."""

from collections import Counter
from collections.abc import Sequence

from likelier.text.words import split_words


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams of words divided by all n-grams, over all texts (Li et al. 2016); 0 if there are none.

    It falls with the amount of text: compare equal numbers of responses of similar length.

    >>> distinct_n(["a b a b", "a b"], 2)
    0.5
    """
    grams = [gram for text in texts for gram in make_ngrams(split_words(text.lower()), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def make_ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All n-grams of a list of words, in order."""
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def variety(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """A reward function: each response's share of distinct-2 of the batch, minus the mean share.

    A bigram that occurs n times in the batch counts 1/n; a response's share is the mean over its bigrams. Bigrams that
    all responses share earn nothing, so the policy cannot gain by making them all alike.
    """
    pairs_by_response = [make_ngrams(split_words(response.lower()), 2) for response in responses]
    counts = Counter(pair for pairs in pairs_by_response for pair in pairs)
    shares = [sum(1 / counts[pair] for pair in pairs) / max(1, len(pairs)) for pairs in pairs_by_response]
    mean = sum(shares) / max(1, len(shares))
    return [share - mean for share in shares]
