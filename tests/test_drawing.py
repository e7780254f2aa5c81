"""The drawings of docs/ are those that their script draws."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

DOCS = Path(__file__).parents[1] / "docs"


def test_the_drawings_are_the_generated_ones():
    spec = importlib.util.spec_from_file_location("drawing", DOCS / "drawing.py")
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    for name, words in (("relations.svg", drawing.ENGLISH), ("relations.zh.svg", drawing.CHINESE)):
        drawn = drawing.draw(words)
        ElementTree.fromstring(drawn)
        assert (DOCS / name).read_text(encoding="utf-8") == drawn
