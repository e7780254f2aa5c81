"""The answer in a response: its text as SQuAD normalises it, its tagged part, its number."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)

SIGNS = str.maketrans("−–﹣-", "----")
"""Minus signs and the en dash that is written for one."""
NUMBER = re.compile(
    r"(?<![\w.,/])"  # no part of a word, of a version such as 1.2.3, of a date, or of groups such as 1,22
    r"(?P<sign>[-+]?)(?P<whole>\d{1,3}(?:,\d{3}){1,30}|\d{1,99})(?P<decimals>\.\d{1,99})?"
    r"(?:/(?P<under>\d{1,99})|(?P<power>[eE][-+]?\d{1,3}))?"
    r"(?![\w/]|[.,]\d)"
)
EMPHASIS = re.compile(r"(?<![\w)*])(\*{1,2}|_{2}|`+|\$)(?=[^\s*])([^*`$\n]+?)(?<!\s)\1(?![\w(*])")
"""Markdown's bold, italics and code, and TeX's dollars, around a part of a line."""
JOINING = "or|and|to|plus|minus|times|x|over|by|divided|mod|of|from|less|maybe|perhaps|possibly|probably"
TAG = re.compile(r"</?[A-Za-z][\w-]*/?>")
"""A tag, such as the end of a tool's call: where it stands a new part of the text begins."""
BETWEEN_NUMBERS = re.compile(rf"(?:\b(?:{JOINING})\b|[^\w=:\n→⇒])*", re.IGNORECASE)
"""Text that may stand between two numbers that are one list, range or expression, so that neither is the answer."""
GOES_ON = re.compile(r"\s*(?:[+×÷/=?%^]|\*(?!\*))")
"""Behind a number: it is an operand of what follows, a question or a percentage, and no answer."""
DENIED = re.compile(r"\b(?:not|never|isn't)\s*(?:\w+\s+)?$|(?:≠|!=|[<>≤≥~≈]|-\s*[$€£]?)\s*$", re.IGNORECASE)
"""In front of a number: it is said not to be the answer, or only near it, or there is a sign apart from it."""


def normalise_answer(text: str) -> str:
    """Lower the case, drop ASCII punctuation, the articles a, an, the, and extra blanks.

    The `normalize_answer` of SQuAD's evaluation script (Rajpurkar et al. 2016).
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def token_f1_score(answer: str, reference: str) -> float:
    """F1 of the words that both normalised texts share, counted with repetition.

    P = shared / words of the answer, R = shared / words of the reference, F1 = 2 P R / (P + R). Where one has no words,
    1 if neither has, else 0: as in SQuAD 2.0, whose empty reference says that there is no answer.
    """
    found, wanted = normalise_answer(answer).split(), normalise_answer(reference).split()
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall) if shared else 0.0


def find_answer(response: str, tag: str | None) -> str | None:
    """The part of a response within `<tag>...</tag>`, without blanks around it; without a tag the whole response.

    None unless the opening and the closing tag each stand there once, in this order.
    """
    if tag is None:
        return response.strip()
    before, opened, rest = response.partition(f"<{tag}>")
    answer, closed, after = rest.partition(f"</{tag}>")
    repeated = any(mark in part for part in (before, answer, after) for mark in (f"<{tag}>", f"</{tag}>"))
    return answer.strip() if opened and closed and not repeated else None


def find_tagged_parts(response: str, tags: Sequence[str]) -> bool:
    """True if a response is these tagged parts in this order, none empty, and nothing but blanks between them."""
    if any(find_answer(response, tag) in (None, "") for tag in tags):
        return False
    parts = r"\s*".join(rf"<{re.escape(tag)}>.*</{re.escape(tag)}>" for tag in tags)
    return re.fullmatch(rf"\s*{parts}\s*", response, re.DOTALL) is not None


def find_number(text: str) -> Fraction | None:
    """The number that a text answers with: its last one. None if there is none, or it may be meant otherwise.

    Read are signs, thousands (`1,234`), decimals, fractions (`3/4`), powers (`1.2e3`); skipped are tags, Markdown's
    emphasis, TeX's dollars, and words and units around it. Otherwise meant: one of several ("12 or 13", "12, 13",
    "12-13"), an operand ("7 + 5", "12 * 2 ="), a question ("12?"), a percentage, a denial ("not 12", "> 12", "~12").
    """
    plain = EMPHASIS.sub(r"\2", TAG.sub("\n", text.translate(SIGNS)))
    numbers = list(NUMBER.finditer(plain))
    if not numbers or re.search(r"\d", plain[numbers[-1].end() :]):  # behind it a number that cannot be read
        return None
    last = numbers[-1]
    earlier = re.search(r".*\d", plain[: last.start()], re.DOTALL)  # also of words and versions
    if earlier and BETWEEN_NUMBERS.fullmatch(plain[earlier.end() : last.start()]):
        return None
    if GOES_ON.match(plain[last.end() :]) or DENIED.search(plain[: last.start()]):
        return None
    return read_number(last)


def read_number(match: re.Match[str]) -> Fraction | None:
    """The value of a match of `NUMBER`, exactly; None for a division by zero."""
    value = Fraction(match["whole"].replace(",", "") + (match["decimals"] or "") + (match["power"] or ""))
    under = int(match["under"] or 1)
    return None if under == 0 else (-value if match["sign"] == "-" else value) / under


def parse_number(value: Any) -> Fraction:
    """The number that a reference gives, at the end of a worked solution too. ValueError: it gives none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a number, or a text that ends with one")
    number = find_number(value if isinstance(value, str) else repr(value))
    if number is None:
        raise ValueError("must be a number, or a text that ends with one")
    return number


def is_near(number: Fraction, wanted: Fraction, tolerance: float) -> bool:
    """|number - wanted| <= tolerance * max(1, |wanted|), exactly."""
    return abs(number - wanted) <= Fraction(tolerance) * max(Fraction(1), abs(wanted))
