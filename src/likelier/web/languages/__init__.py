"""The words of the pages, one file for each language."""

import json
from functools import cache
from importlib.resources import files

from starlette.requests import HTTPConnection

LANGUAGES = ("en", "zh")
"""The first is taken where a browser asks for none of them."""
COOKIE_SECONDS = 365 * 86_400.0
COOKIE = "likelier-language"


@cache
def load_words(language: str) -> dict[str, str]:
    """Return the words of a language by their keys."""
    words: dict[str, str] = json.loads((files("likelier.web.languages") / f"{language}.json").read_text("utf-8"))
    return words


def choose_language(connection: HTTPConnection) -> str:
    """Return the language that a person has chosen, or else the first of ours that their browser asks for.

    Browsers list languages in the order of their preference, which their weights only repeat.
    """
    chosen = connection.cookies.get(COOKIE, "")
    asked = [part.partition(";")[0].strip() for part in connection.headers.get("accept-language", "").split(",")]
    return next((name[:2].lower() for name in (chosen, *asked) if name[:2].lower() in LANGUAGES), LANGUAGES[0])
