"""The commands of the guides: the program takes each, the quick ones run, and messages are word for word."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from likelier.cli import app, main
from likelier.cli.reference import list_commands

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))
VERBS = {name for name, _ in list_commands(typer.main.get_command(app).commands)}
ORDER = (
    "candidates",
    "data",
    "check",
    "preferences",
    "reward",
    "sft",
    "dpo",
    "ppo",
    "eval",
    "report",
    "doctor",
    "search",
)
QUICK = ("data", "check", "preferences", "mdp")
"""Guides whose examples take seconds; `make battery` runs all."""


def commands(guide, kind):
    """The `likelier` lines in blocks of one kind: `sh`, `sh no-run`, `sh slow`."""
    text = guide.read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def messages():
    """(guide, command, what stderr then says) of all that can go wrong."""
    for guide in GUIDES:
        lines = commands(guide, "console")
        assert len(lines) % 2 == 0, guide
        for command, message in zip(lines[::2], lines[1::2], strict=True):
            assert command.startswith("$ likelier "), command
            yield pytest.param(command.removeprefix("$ likelier "), message, id=f"{guide.stem}: {message[10:50]}")


def words_of(line):
    return shlex.split(line.removeprefix("likelier "), comments=True)


def place_in(folder):
    """A folder as the guides find it: the root of a checkout."""
    for name in ("src", "configs"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "examples" / "tour", folder / "examples" / "tour")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place_in(tmp_path_factory.mktemp("tour")))
        for name in QUICK:
            for line in commands(ROOT / "docs" / "guide" / f"{name}.md", "sh"):
                assert main(words_of(line)) == 0, line
        yield Path.cwd()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_command_is_one(guide):
    lines = [line for kind in ("sh", "sh no-run", "sh slow") for line in commands(guide, kind)]
    assert lines
    for line in lines:
        first, second, *_ = [*words_of(line), ""]
        assert first in VERBS or f"{first} {second}" in VERBS, line


def test_the_quick_examples_run_and_leave_what_the_guides_say(place):
    assert (place / "tour/feedback.db").is_file()
    assert len((place / "tour/preferences/train.jsonl").read_text(encoding="utf-8").splitlines()) == 466


def test_the_check_prints_what_its_guide_shows(place, capfd):
    assert main(["check", "--db", "tour/feedback.db"]) == 0
    shown = re.search(r"```text\n(.*?)```", (ROOT / "docs/guide/check.md").read_text(), flags=re.DOTALL).group(1)
    assert [line.rstrip() for line in capfd.readouterr().out.splitlines()] == shown.splitlines()


@pytest.mark.parametrize(("command", "message"), list(messages()))
def test_what_can_go_wrong_is_said_word_for_word(place, capfd, command, message):
    assert main(shlex.split(command)) in (2, 3)
    assert capfd.readouterr().err.strip().splitlines()[-1] == message


@pytest.mark.battery
def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(place_in(tmp_path))
    guides = {guide.stem: guide for guide in GUIDES}
    for name in (*ORDER, *sorted(guides.keys() - set(ORDER))):
        for line in commands(guides[name], "sh") + commands(guides[name], "sh slow"):
            assert main(words_of(line)) == 0, line
