"""Reward functions for tasks with a known answer, named in a config as `likelier.reward.functions:chrf`.

Each is called as `reward(prompts, responses, <columns>, <arguments>)` and returns a number from 0 to 1 for each
response, 1 being best; None for prompts without a value in the column. `reference` is a text or a list of texts, of
which the one that gives the most counts. The same functions are judges of `likelier eval`, where their mean is the
metric.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from likelier.errors import ConfigError
from likelier.records import Text
from likelier.reward.answers import (
    find_answer,
    find_number,
    find_tagged_parts,
    is_near,
    normalise_answer,
    parse_number,
    token_f1_score,
)
from likelier.reward.columns import parse_references, reads
from likelier.text.words import is_word, split_words

Scores = list[float | None]
UNITS: dict[str, Callable[[str], int]] = {
    "characters": len,
    "words": lambda text: sum(map(is_word, split_words(text))),
}
BLEU_TOKENS = ("13a", "zh", "intl", "char", "none")
"""Tokenisers of sacrebleu that need no other package and no download."""


def parse_label(value: Any, labels: Sequence[str] | None = None) -> str:
    """A label's name; with the names of all `labels` it may be given by its number. ValueError: neither."""
    if labels is not None:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(labels):
            return str(labels[value])
        for name in labels:
            if list_words(str(name)) == list_words(str(value)):
                return str(name)
        raise ValueError(f"must be one of the labels {', '.join(map(str, labels))}, or its number from 0")
    if isinstance(value, bool) or not isinstance(value, str | int) or not list_words(str(value)):
        raise ValueError("must be the name of a label")
    return str(value)


def parse_rouge_references(value: Any) -> list[str]:
    """As `parse_references`. ValueError: nothing in a reference that ROUGE counts."""
    references = parse_references(value)
    if any(not re.search(r"[a-z0-9]", text.lower()) for text in references):
        raise ValueError("must hold letters a to z or digits, which are all that ROUGE counts (chrf counts all)")
    return references


@reads(reference=parse_references)
def exact_match(
    prompts: Sequence[Text],
    responses: Sequence[str],
    reference: Sequence[Any],
    normalise: bool = False,
    tag: str | None = None,
) -> Scores:
    """1 where the response is a reference, blanks apart; with `normalise` as SQuAD compares them.

    `tag`: of the response only what stands in `<tag>...</tag>` counts.
    """
    plain: Callable[[str], str] = normalise_answer if normalise else lambda text: " ".join(text.split())
    return score_best(responses, reference, lambda answer, wanted: float(plain(answer) == plain(wanted)), tag)


@reads(reference=parse_references)
def token_f1(
    prompts: Sequence[Text], responses: Sequence[str], reference: Sequence[Any], tag: str | None = None
) -> Scores:
    """F1 of the words that response and reference share, as SQuAD computes it; see `token_f1_score`."""
    return score_best(responses, reference, token_f1_score, tag)


@reads(label=parse_label)
def accuracy(
    prompts: Sequence[Text],
    responses: Sequence[str],
    label: Sequence[Any],
    labels: Sequence[str] | None = None,
    tag: str | None = None,
) -> Scores:
    """1 where the response is the label, whatever its case and the punctuation around it.

    With `labels`, the names of all of them, 1 where the response names the right one and no other; `label` may then
    be its number, counted from 0. ConfigError: `labels` are not two or more different names.
    """
    if labels is not None:
        check_labels(labels)
    scores: Scores = []
    for response, value in zip(responses, label, strict=True):
        answer = find_answer(response, tag)
        if value is None or answer is None:
            scores.append(None if value is None else 0.0)
        elif labels is None:
            scores.append(float(list_words(answer) == list_words(parse_label(value))))
        else:
            scores.append(float(find_labels(answer, labels) == {parse_label(value, labels)}))
    return scores


@reads(reference=parse_references)
def bleu(prompts: Sequence[Text], responses: Sequence[str], reference: Sequence[Any], tokenize: str = "13a") -> Scores:
    """Sentence BLEU against all references at once, over 100: sacrebleu's, with effective order (Papineni et al. 2002).

    `tokenize`: how sacrebleu finds words, `zh` for Chinese. ConfigError: another one than `BLEU_TOKENS`.
    """
    if tokenize not in BLEU_TOKENS:
        raise ConfigError(f"tokenize: {tokenize!r}; give one of {', '.join(BLEU_TOKENS)}")
    score = load_sacrebleu().BLEU(tokenize=tokenize, effective_order=True).sentence_score
    return score_all_references(responses, reference, lambda response, texts: score(response, texts).score / 100)


@reads(reference=parse_references)
def chrf(prompts: Sequence[Text], responses: Sequence[str], reference: Sequence[Any], word_order: int = 0) -> Scores:
    """chrF of the nearest reference, over 100: F2 of the characters in runs of 1 to 6, by sacrebleu (Popovic 2015).

    `word_order`: 2 adds words and pairs of them (chrF++).
    """
    score = load_sacrebleu().CHRF(word_order=word_order).sentence_score
    return score_all_references(responses, reference, lambda response, texts: score(response, texts).score / 100)


@reads(reference=parse_rouge_references)
def rouge_l(prompts: Sequence[Text], responses: Sequence[str], reference: Sequence[Any], stem: bool = False) -> Scores:
    """F1 of the longest common subsequence of words, by rouge-score (Lin 2004). `stem`: words without endings."""
    scorer = load_rouge(stem)
    return score_best(responses, reference, lambda answer, wanted: scorer.score(wanted, answer)["rougeL"].fmeasure)


@reads(reference=parse_number)
def number_match(
    prompts: Sequence[Text],
    responses: Sequence[str],
    reference: Sequence[Any],
    tag: str | None = None,
    tolerance: float = 0.0,
) -> Scores:
    """1 where the response's last number is the reference, a number or a text that ends with one.

    An answer that may be meant otherwise, "12 or 13", is never right; see `find_number`. `tag`: only what stands in
    `<tag>...</tag>` counts. `tolerance`: what it may be off, times the reference where that is above 1.
    """
    if not 0 <= tolerance < 1:
        raise ConfigError(f"tolerance: {tolerance!r}; give a number from 0 to below 1")
    scores: Scores = []
    for response, value in zip(responses, reference, strict=True):
        answer = find_answer(response, tag)
        number = None if answer is None else find_number(answer)
        right = value is not None and number is not None and is_near(number, parse_number(value), tolerance)
        scores.append(None if value is None else float(right))
    return scores


@reads()
def length(
    prompts: Sequence[Text],
    responses: Sequence[str],
    at_least: float | None = None,
    at_most: float | None = None,
    unit: str = "words",
) -> Scores:
    """1 for a length n within the bounds, n / `at_least` below them, `at_most` / n above.

    `unit`: `words` or `characters`. ConfigError: no bounds, or such that no length fits.
    """
    if unit not in UNITS:
        raise ConfigError(f"unit: {unit!r}; give one of {', '.join(UNITS)}")
    if at_least is None and at_most is None:
        raise ConfigError("arguments: give at_least, at_most or both")
    low, high = at_least or 0, float("inf") if at_most is None else at_most
    if low < 0 or high <= 0 or low > high:
        raise ConfigError(f"at_least {at_least}, at_most {at_most}: no response has such a length")
    sizes = [UNITS[unit](response) for response in responses]
    return [size / low if size < low else high / size if size > high else 1.0 for size in sizes]


@reads()
def format_match(
    prompts: Sequence[Text], responses: Sequence[str], pattern: str | None = None, tags: Sequence[str] | None = None
) -> Scores:
    """1 where the whole response, blanks around it apart, matches `pattern` (a regular expression; `.` is any
    character), or is the parts `<tag>...</tag>` of `tags` in this order and nothing else.

    ConfigError: neither or both, or no regular expression.
    """
    if (pattern is None) == (not tags):
        raise ConfigError("arguments: give pattern, or tags, a list of names")
    if pattern is None:
        names = [str(tag) for tag in tags or ()]
        return [float(find_tagged_parts(response, names)) for response in responses]
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ConfigError(f"pattern: {pattern!r} is no regular expression: {error}") from error
    return [float(compiled.fullmatch(response.strip()) is not None) for response in responses]


def score_best(
    responses: Sequence[str], reference: Sequence[Any], score: Callable[[str, str], float], tag: str | None = None
) -> Scores:
    """The best score over each response's references; 0 without the tag, None without references."""
    scores: Scores = []
    for response, value in zip(responses, reference, strict=True):
        answer = find_answer(response, tag)
        if value is None or answer is None:
            scores.append(None if value is None else 0.0)
        else:
            scores.append(max(score(answer, wanted) for wanted in parse_references(value)))
    return scores


def score_all_references(
    responses: Sequence[str], reference: Sequence[Any], score: Callable[[str, list[str]], float]
) -> Scores:
    """The score of each response against all its references together; None without references."""
    return [
        None if value is None else score(response, parse_references(value))
        for response, value in zip(responses, reference, strict=True)
    ]


def list_words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return [word.casefold() for word in split_words(text) if is_word(word)]


def check_labels(labels: Sequence[str]) -> None:
    """ConfigError: not two or more different names."""
    names = [] if isinstance(labels, str) else [" ".join(list_words(str(name))) for name in labels]
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        raise ConfigError(f"labels: {labels!r}; give a list of two or more different names")


def find_labels(text: str, labels: Sequence[str]) -> set[str]:
    """The labels that a text names, longer ones first: "very good" does not name "good"."""
    words, named = list_words(text), set[str]()
    for name in sorted(map(str, labels), key=lambda each: -len(list_words(each))):
        wanted = list_words(name)
        starts = [at for at in range(len(words)) if words[at : at + len(wanted)] == wanted]
        for start in starts:
            words[start : start + len(wanted)] = [""] * len(wanted)
        named |= {name} if starts else set()
    return named


def load_sacrebleu() -> Any:
    """sacrebleu's metrics. ConfigError: it is not installed."""
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError as error:
        raise ConfigError("needs sacrebleu: pip install 'likelier[text]'") from error
    return metrics


@cache
def load_rouge(stem: bool) -> Any:
    """A scorer of ROUGE-L. ConfigError: rouge-score is not installed."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError as error:
        raise ConfigError("needs rouge-score: pip install 'likelier[text]'") from error
    return RougeScorer(["rougeL"], use_stemmer=stem)
