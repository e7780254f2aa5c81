"""Style of a text: how much of it is lists, bold words, headings, exclamation marks and words that hedge."""

import re

FEATURES = ("list items", "bold words", "headings", "exclamation marks", "hedges")
"""The order of the counts of `count_style`."""
LIST_ITEM = re.compile(r"\n[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]")
HEADING = re.compile(r"\n#{1,6} ")
HEDGES = frozenset({
    "perhaps", "maybe", "might", "possibly", "probably", "presumably", "likely", "generally", "typically", "usually",
    "seem", "seems", "appear", "appears", "roughly", "somewhat", "arguably", "apparently",
})  # fmt: skip
HEDGES_WITHOUT_SPACES = ("也许", "或许", "可能", "大概", "似乎")
PUNCTUATION = str.maketrans(',.;:!?()"*_', " " * 11)


def count_style(text: str) -> tuple[int, ...]:
    """Return how often each of `FEATURES` stands in a text, in Markdown where it has any.

    >>> count_style("# Foxes\\n- They **run**!\\n- Perhaps they rest.")
    (2, 1, 1, 1, 1)
    """
    if not text:
        return (0,) * len(FEATURES)
    num_items = len(LIST_ITEM.findall("\n" + text))
    num_headings = len(HEADING.findall("\n" + text)) if "#" in text else 0
    num_hedges = sum(map(HEDGES.__contains__, text.lower().translate(PUNCTUATION).split()))
    if not text.isascii():
        num_hedges += sum(map(text.count, HEDGES_WITHOUT_SPACES))
    return num_items, text.count("**") // 2, num_headings, text.count("!") + text.count("！"), num_hedges
