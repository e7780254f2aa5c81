"""Responses as people write them: Markdown to HTML that can do nothing but be read."""

import re
import unicodedata
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt

TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
"""No links and no images: neither may lead a judge away, or load anything."""
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and Unicode's marks, embeddings, overrides and isolates of direction: they
change what is seen of the words around them. static/controls.js has the same, for texts without markup."""
MAX_CHARACTERS = 200_000
"""A longer text is shown as it is: a page that hangs helps nobody."""
MAX_KEPT, MAX_KEPT_CHARACTERS = 1000, 20_000
"""How many texts of up to so many characters are kept with their HTML: some 40 MB at the most."""
parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])


def render_markdown(text: str) -> str | None:
    """Return the HTML of a text; None if it says no more than the text itself, or is too long.

    HTML in the text is shown as it stands. What the parser makes is cleaned all the same: two locks.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    return render_kept(text) if len(text) <= MAX_KEPT_CHARACTERS else render(text)


def render_all(text: str) -> str:
    """Return the HTML of a text of the owner's."""
    return nh3.clean(parser.render(text), tags=TAGS, attributes={"ol": {"start"}})


def render(text: str) -> str | None:
    """Return the HTML of a text; None if it says no more than the text itself."""
    html = render_all(text)
    is_plain = not any(f"<{tag}" in html for tag in TAGS - {"p", "br"})
    return None if is_plain else CONTROLS.sub(draw_control, html)


def draw_control(match: re.Match[str]) -> str:
    """Return the box of a character that a browser obeys or hides: its code, and its name where it has one."""
    name = unicodedata.name(match[0], "CONTROL CHARACTER")
    return f'<span class="control" title="{name}">U+{ord(match[0]):04X}</span>'


render_kept = lru_cache(MAX_KEPT)(render)
"""A pair is sent ahead and shown, and to several people: its texts are rendered once."""
