"""The pages: a site without a broken link, every page reachable, no file named that is not there, one word an idea."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from likelier.stages import STAGES
from test_docs import INTERFACE_VERBS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
ROOT_PAGES = [ROOT / name for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md", "SECURITY.md")]
READMES = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "examples" / "README.md"]
GUIDES = ROOT / "docs" / "guide"
GENERAL = {"demo", "config", "env", "data"}
"""Verbs that stand in README and reference, and the one guide for both verbs of `data`."""


def links(page):
    """Targets of the links and pictures of a page that lie in the checkout."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            yield (page.parent / target.partition("#")[0]).resolve()


@pytest.mark.parametrize("page", [*DOCS, *ROOT_PAGES, *READMES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert [str(target) for target in links(page) if not target.exists()] == []


def test_every_page_is_reachable_from_the_index():
    index = (ROOT / "docs" / "index.md").resolve()
    reached, waiting = set(), [index]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            waiting += links(page)
    assert [page.name for page in [*DOCS, *ROOT_PAGES] if page.resolve() not in reached] == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "README.md", "README.zh.md"])
def test_every_path_named_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = set(re.findall(r"(?<!/)\b(?:src/likelier|tests|docs|configs|examples|bench)/[\w./-]*\w", text))
    made_up = {path for path in paths if re.search(r"/a/(test_)?b\.py|/decisions/NNNN", path)}
    assert {path for path in paths - made_up if not (ROOT / path).exists()} == set()


def test_the_architecture_shows_every_room():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "src" / "likelier").glob("*/__init__.py")}
    assert {room for room in rooms if f"src/likelier/{room}/" not in text} == set()


def test_each_verb_has_its_guide():
    verbs = {verb.partition(" ")[0] for verb in INTERFACE_VERBS | set(STAGES)}
    assert {path.stem for path in GUIDES.glob("*.md")} >= verbs - GENERAL | {"data"}


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda guide: guide.stem)
def test_a_guide_says_what_is_read_and_written_works_an_example_and_says_what_can_go_wrong(guide):
    text = guide.read_text(encoding="utf-8")
    assert "| reads | writes |" in text
    assert f"\nlikelier {guide.stem}" in text
    assert "\n## What can go wrong\n" in text


def test_a_word_stands_once_in_the_glossary():
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|", (ROOT / "docs" / "glossary.md").read_text(), flags=re.MULTILINE)
    words = [row.strip() for row in rows if row.strip() not in ("our word", "---")]
    assert len(words) > 50
    assert sorted(words) == sorted(set(words))


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda page: page.stem)
def test_a_decision_says_context_decision_and_consequence(page):
    text = page.read_text(encoding="utf-8")
    heads = [text.index(f"**{head}.**") for head in ("Context", "Decision", "Consequence")]
    assert heads == sorted(heads)
    assert f"]({page.name})" in (page.parent / "index.md").read_text(encoding="utf-8")


def test_each_experiment_of_the_log_has_the_same_head_newest_first():
    _, *entries = re.split(r"^## ", (ROOT / "LOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    dates = [entry[:10] for entry in entries]
    assert dates == sorted(dates, reverse=True)
    for entry in entries:
        heads = [entry.index(f"**{head}.**") for head in ("Question", "Command", "Result", "So what")]
        assert heads == sorted(heads), entry[:60]


def test_the_site_builds_without_a_broken_link_and_loads_nothing_from_elsewhere(tmp_path):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {"index.html", "LOG.html", "python.html"} <= {page.name for page in pages}
    for page in pages:
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]*src="([^"]+)"|<link[^>]*href="([^"]+)"', page.read_text("utf-8")
        )
        assert [url for pair in loaded for url in pair if url.startswith(("http:", "https:", "//"))] == []
