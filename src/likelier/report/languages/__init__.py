"""The language of a report: the code holds English sentences, and a file for each other language their translations.

As in gettext, the English sentence is the key, with places as `%(name)s`. `page` holds sentences of the page itself;
`records` those that stages write into their files in English, with their numbers already in them: there a place of one
letter holds a number, any other a few words.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "zh")
"""The first is the language of the code and of all files that stages write."""
PLACE = re.compile(r"%\((\w+)\)s")
NUMBER, WORDS = r"[-−+]?(?:\d[\d.,]*(?:e[-+]?\d+)?|nan|inf)", r"[^;]+?"
SEPARATORS = (("; ", "；"), (", ", "，"))
"""Between the figures of a sentence, and in its translation."""
_language: ContextVar[str] = ContextVar("language", default=LANGUAGES[0])


@contextmanager
def use_language(language: str) -> Iterator[None]:
    """Write in a language within the block: charts and filters deep in a page need not be handed it one by one."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def get_language() -> str:
    """Return the language of the page that is being written."""
    return _language.get()


@cache
def load_catalogue(language: str) -> dict[str, dict[str, str]]:
    """Return the translations into a language by section and English sentence; none into English."""
    if language == LANGUAGES[0]:
        return {"page": {}, "records": {}}
    catalogue: dict[str, dict[str, str]] = json.loads(
        (files("likelier.report.languages") / f"{language}.json").read_text("utf-8")
    )
    return catalogue


@cache
def compile_patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    """Return (pattern of an English sentence, translation) of each record, the longest sentences first."""
    records = sorted(load_catalogue(language)["records"].items(), key=lambda item: -len(PLACE.sub("", item[0])))
    return [(compile_pattern(message), translation) for message, translation in records]


def compile_pattern(message: str) -> re.Pattern[str]:
    """Return the pattern of a sentence with anything in its places.

    >>> compile_pattern("%(share)s%% of %(n)s").fullmatch("84% of 12").groupdict()
    {'share': '84', 'n': '12'}
    """
    parts = PLACE.split(message)
    texts = [re.escape(text.replace("%%", "%")) for text in parts[::2]]
    places = [f"(?P<{name}>{NUMBER if len(name) == 1 else WORDS})" for name in parts[1::2]]
    return re.compile("".join(text + place for text, place in zip(texts, [*places, ""], strict=True)))


def find_message(message: str) -> str:
    """Return a sentence of the page, its places unfilled, in the page's language, or else in English."""
    return load_catalogue(get_language())["page"].get(message, message)


def find_plural(one: str, many: str, count: int) -> str:
    """Return the sentence for a count; the translations have one form for all counts, under the English plural."""
    page = load_catalogue(get_language())["page"]
    return page.get(many, one if count == 1 else many)


def translate(message: str, **values: Any) -> str:
    """Return a sentence in the page's language with its places filled."""
    return find_message(message) % values


def translate_record(text: Any) -> Any:
    """Return a sentence that a stage wrote, in the page's language; what has no translation stays as it is.

    What stands in a sentence's places is translated in turn, and so are the figures of a list.
    """
    if not isinstance(text, str):
        return text
    for pattern, translation in compile_patterns(get_language()):
        if match := pattern.fullmatch(text):
            return translation % {name: translate_record(value) for name, value in match.groupdict().items()}
    for separator, translated in SEPARATORS:
        parts = text.split(separator)
        if len(parts) > 1 and (figures := [translate_record(part) for part in parts]) != parts:
            return translated.join(figures)
    return text
