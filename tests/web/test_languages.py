"""Each language has every word, each word is used, and the browser's language is taken unless another was chosen."""

import re
from importlib.resources import files

import pytest
from starlette.requests import HTTPConnection

from likelier.web.languages import LANGUAGES, choose_language, load_words

WEB = files("likelier.web")


def ask(accepted, cookie=""):
    headers = [(b"accept-language", accepted.encode())] + ([(b"cookie", cookie.encode())] if cookie else [])
    return choose_language(HTTPConnection({"type": "http", "headers": headers}))


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_each_word_is_there_in_each_language(language):
    english, other = load_words("en"), load_words(language)
    assert english.keys() == other.keys()
    assert [key for key, word in other.items() if not word.strip()] == []


def test_no_place_in_braces_is_one_that_nobody_fills():
    """`guessed` differs: the English one has the server's sentence, the Chinese one its numbers."""
    for key in load_words("en").keys() - {"guessed"}:
        places = [set(re.findall(r"\{(\w+)\}", load_words(language)[key])) for language in LANGUAGES]
        assert places[0] == places[1], key


def test_no_word_is_named_like_a_method():
    """`words.copy` in a template was a method of the table of words."""
    assert [key for key in load_words("en") if hasattr(dict, key)] == []


def test_each_word_is_used_and_each_that_is_used_is_there():
    pages = "".join(path.read_text("utf-8") for path in (WEB / "templates").iterdir())
    scripts = "".join(path.read_text("utf-8") for path in (WEB / "static").iterdir() if path.name.endswith(".js"))
    used = set(re.findall(r"words\.(\w+)", pages)) | set(re.findall(r'say\("([\w ]+)"', scripts))
    assert used <= load_words("en").keys()
    composed = (
        "ask_",
        "strategy_",
        "kind_",
        "no_entry_",
        "decide_",
        "choice_",
        "guess_",
        "refused_",
        "left_media",
        "right_media",
        "flag_",
        "annotator",
        "reviewer",
        "admin",
    )
    for key in load_words("en").keys() - used:
        assert key.startswith(composed) or f'"{key}"' in scripts, key


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("de,en;q=0.5,zh;q=0.1", "en"), ("", "en"), ("fr", "en"), ("ZH-tw", "zh")],
)
def test_the_browsers_language_is_taken(accepted, language):
    assert ask(accepted) == language


def test_a_choice_counts_over_it():
    assert ask("zh-CN", "likelier-language=en") == "en"
    assert ask("zh-CN", "likelier-language=xx") == "zh"
