"""`likelier data`: its help names the formats that there are; no verb writes over what it reads."""

from pathlib import Path

import pytest
import typer

from likelier.cli import app, main
from likelier.cli.reference import list_commands
from likelier.feedback.formats import FORMATS


def test_the_help_names_every_format():
    """The list stands in the help by itself, so that `--help` does not import the database."""
    commands = dict(list_commands(typer.main.get_command(app).commands))
    for name in ("data import", "data export"):
        (option,) = (parameter for parameter in commands[name].params if "--format" in parameter.opts)
        assert option.help == f"{', '.join(FORMATS)}."


def run(*words):
    return main(list(map(str, words)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a database of one judgement."""
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('{"prompt": "p", "left": "a", "right": "b", "choice": "left", "annotator": "x"}\n')
    assert run("data", "import", "in.jsonl", "--format", "likelier", "--db", "f.db") == 0
    return tmp_path


def test_no_verb_writes_over_the_database_it_reads(folder, capsys):
    """`data export -o f.db` wrote JSON over the database and exited 0."""
    Path("link.db").symlink_to("f.db")
    before = Path("f.db").read_bytes()
    for out in ("f.db", "link.db", "f.db.lock"):
        for words in (["data", "export", "--format", "likelier"], ["report"]):
            assert run(*words, "--db", "f.db", "-o", out, "--overwrite") == 2
            assert "never written over" in capsys.readouterr().err
    assert Path("f.db").read_bytes() == before


def test_an_output_that_exists_is_replaced_only_on_request(folder, capsys):
    export = ["data", "export", "--format", "trl", "--db", "f.db", "-o", "out.jsonl"]
    assert run(*export) == 0
    assert run(*export) == 2
    assert "out.jsonl: exists already; --overwrite replaces it" in capsys.readouterr().err
    assert run(*export, "--overwrite") == 0


def test_pairs_that_exist_are_replaced_only_on_request(folder, capsys):
    Path("pairs").mkdir()
    Path("pairs/valid.jsonl").write_text("mine")
    assert run("preferences", "--db", "f.db", "-o", "pairs") == 2
    assert "pairs/valid.jsonl: exists already" in capsys.readouterr().err
    assert [path.name for path in Path("pairs").iterdir()] == ["valid.jsonl"]


def test_a_report_replaces_a_report_and_nothing_else(folder, capsys):
    words = ["report", "--db", "f.db", "-o", "page.html"]
    Path("page.html").write_text("<p>mine")
    assert run(*words) == 2
    assert run(*words, "--overwrite") == 0
    assert run(*words) == 0


def test_candidates_spare_their_prompts(folder, capsys):
    Path("prompts.jsonl").write_text('{"prompt": "p"}\n')
    words = ["candidates", "--model", "nowhere", "--prompts", "prompts.jsonl", "-o", "prompts.jsonl", "--overwrite"]
    assert run(*words) == 2
    assert "an input of this command" in capsys.readouterr().err
