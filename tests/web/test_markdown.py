"""What people see of Markdown, and what payloads become."""

import pytest

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


def test_a_very_long_text_is_shown_as_it_is():
    assert render_markdown("**x** " * 50_000) is None
