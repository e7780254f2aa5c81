"""What people see of Markdown, and what payloads become."""

import re
import unicodedata
from pathlib import Path

import pytest

from likelier.web import markdown
from likelier.web.markdown import render_markdown


def test_code_keeps_its_indentation_and_tables_are_tables():
    assert (
        render_markdown("```python\ndef f():\n    return 1\n```")
        == "<pre><code>def f():\n    return 1\n</code></pre>\n"
    )
    html = render_markdown("| a | b |\n|---|---|\n| 1 | 2 |")
    assert "<th>a</th>" in html
    assert "<td>2</td>" in html
    assert render_markdown("**three**") == "<p><strong>three</strong></p>\n"


@pytest.mark.parametrize("text", ["", "plain words", "two\nlines", "a\n\nb", "1 < 2 & 3", "    "])
def test_a_text_without_markup_is_shown_as_it_is(text):
    assert render_markdown(text) is None


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "![x](https://evil.example/pixel.png)",
        "<https://evil.example>",
        "<svg/onload=alert(1)>",
        '```"><script>alert(1)</script>\ncode\n```',
        "| <iframe src=//evil.example> |\n|---|\n| x |",
        "<style>*{display:none}</style>",
    ],
)
def test_nothing_of_a_payload_is_left_but_its_text(payload):
    html = render_markdown(f"**bold**\n\n{payload}")
    assert html.startswith("<p><strong>bold</strong></p>")
    for tag in ("<script", "<img", "<svg", "<iframe", "<style", "<a", "onerror=alert(1)>", "<link", "href="):
        assert tag not in html, html


BOX = '<span class="control" title="RIGHT-TO-LEFT OVERRIDE">U+202E</span>'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**a\u202eb**", f"<p><strong>a{BOX}b</strong></p>\n"),
        ("`x\u202e`", f"<p><code>x{BOX}</code></p>\n"),
        ("*a*\x1b", '<p><em>a</em><span class="control" title="CONTROL CHARACTER">U+001B</span></p>\n'),
        ("*a*\u200f", '<p><em>a</em><span class="control" title="RIGHT-TO-LEFT MARK">U+200F</span></p>\n'),
        ("*a*\tb\r\nc", "<p><em>a</em>\tb<br>\nc</p>\n"),
    ],
)
def test_characters_that_a_browser_obeys_are_shown(text, html):
    """A response could turn around what stands after a word, or hide it."""
    assert render_markdown(text) == html


def test_no_text_makes_a_box_of_its_own():
    html = render_markdown('**x** <span class="control" title="U">U+202E</span>')
    assert '<span class="control"' not in html


def test_without_markup_the_page_shows_the_same_characters():
    assert render_markdown("a\u202eb") is None
    script = (Path(markdown.__file__).parent / "static" / "controls.js").read_text("utf-8")
    (line,) = re.findall(r"^const CONTROLS = /\((.*)\)/;$", script, re.MULTILINE)
    shown = {chr(code) for code in range(0x3000) if markdown.CONTROLS.match(chr(code))}
    assert {
        chr(code) for code in range(0x3000) if re.match(line, chr(code))
    } == shown  # in JavaScript, \r\n ends a line
    named = {chr(int(code, 16)) for code in re.findall(r'"([0-9A-F]{4})": "', script)}
    assert {each: unicodedata.name(each) for each in named} == {
        chr(int(code, 16)): name for code, name in re.findall(r'"([0-9A-F]{4})": "([A-Z -]+)"', script)
    }
    assert named == {each for each in shown if unicodedata.name(each, "")}


def test_a_very_long_text_is_shown_as_it_is():
    assert render_markdown("**x** " * 50_000) is None
