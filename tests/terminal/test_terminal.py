"""What a terminal would obey is shown: prompts, names and file names may hold anything."""

import ast
import json
from pathlib import Path

import pytest
import yaml

from likelier.cli import main
from likelier.progress import print_note, progress
from likelier.terminal import echo, escape_controls, print_stderr, print_table

SOURCE = Path(__file__).parents[2] / "src" / "likelier"
CLEAR, OVERRIDE = "\x1b[2J", "\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
        ("safe\rfake", r"safe\u000dfake"),
        ("\x9b2J\x7f\x85", r"\u009b2J\u007f\u0085"),
        ("abc\u202egpj.exe\u2066\u2069", r"abc\u202egpj.exe\u2066\u2069"),
        ("tab\tand\nline, Umlaut ä, 中文, עברית, 🦊", "tab\tand\nline, Umlaut ä, 中文, עברית, 🦊"),
    ],
)
def test_controls_are_shown_and_letters_stay(text, shown):
    assert escape_controls(text) == shown


def test_every_way_to_print_escapes(capsys, monkeypatch):
    monkeypatch.setattr("likelier.progress.plain_lines", True)
    echo(CLEAR)
    print_stderr(OVERRIDE)
    print_note(CLEAR)
    print_table([f"a{CLEAR}"], [([f"[/b] {OVERRIDE}"], True)])  # and no markup of rich
    with progress(CLEAR, 1) as bar:
        bar.say(OVERRIDE)
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert shown.count(r"\u001b[2J") == 3
    assert shown.count(r"\u202e") == 3
    assert "[/b]" in shown
    assert escape_controls(shown) == shown


def test_a_bar_escapes(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress(f"ppo{OVERRIDE}", 1) as bar:
        bar.advance(note=f"[/b]{OVERRIDE}")
        bar.say(OVERRIDE)
    shown = capsys.readouterr().err
    assert OVERRIDE not in shown
    assert r"[/b]\u202e" in shown


def test_a_file_name_in_an_error_is_shown(capsys, tmp_path):
    assert main(["check", "--db", str(tmp_path / f"x{CLEAR}{OVERRIDE}.db")]) == 3
    assert r"x\u001b[2J\u202e.db: no such database" in capsys.readouterr().err


def test_settings_that_hold_controls_read_back_the_same(capsys, tmp_path):
    """An escape in YAML without quotes would be a backslash."""
    config = tmp_path / "gym.yaml"
    config.write_text(yaml.safe_dump({"gym": {"env_id": f"Cart{OVERRIDE}"}}), encoding="utf-8")
    for options in ([], ["--json"]):
        assert main(["config", "show", str(config), *options]) == 0
        shown = capsys.readouterr().out
        assert OVERRIDE not in shown
        assert (json.loads if options else yaml.safe_load)(shown)["gym"]["env_id"] == f"Cart{OVERRIDE}"


def test_nothing_else_prints():
    """`print`, and rich's console, stand in the two modules that escape what they print."""
    calls = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path not in (SOURCE / "terminal" / "__init__.py", SOURCE / "progress.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", "") == "print" or getattr(node.func, "attr", "") == "print")
    ]
    assert calls == []
