"""`likelier data`: its help names the formats that there are; no verb writes over what it reads."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from likelier.cli import app, main
from likelier.cli.reference import list_commands
from likelier.feedback.accounts import Accounts
from likelier.feedback.formats import FORMATS
from likelier.feedback.store import Store


def test_the_help_names_every_format():
    """The list stands in the help by itself, so that `--help` does not import the database."""
    commands = dict(list_commands(typer.main.get_command(app).commands))
    for name, formats in {
        "data import": FORMATS,
        "data export": [key for key in FORMATS if FORMATS[key].lines],
    }.items():
        (option,) = (parameter for parameter in commands[name].params if "--format" in parameter.opts)
        assert option.help == f"{', '.join(formats)}."


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


def test_a_file_without_a_format_is_recognised(folder, capsys):
    """The format is named on stderr, and in the result."""
    Path("pairs.jsonl").write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    capsys.readouterr()
    assert run("data", "import", "pairs.jsonl", "--db", "f.db") == 0
    assert "pairs.jsonl: read as trl" in capsys.readouterr().err
    assert run("data", "import", "pairs.jsonl", "--db", "f.db", "--json") == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["format"], err) == ("trl", "")


def test_a_file_of_no_known_format_is_answered_with_the_nearest(folder, capsys):
    """A ShareGPT file ended in `broken JSON`."""
    Path("chats.json").write_text('[\n{"conversations": [{"from": "human", "value": "Hi"}]}\n]\n')
    capsys.readouterr()
    assert run("data", "import", "chats.json", "--db", "f.db") == 3
    line, *example = capsys.readouterr().err.splitlines()
    assert line == (
        "likelier: chats.json: a JSON array of objects with conversations: no format that is known; the nearest is "
        "llama-factory, with records as below; or name its columns: --columns prompt=NAME,chosen=NAME,rejected=NAME"
    )
    assert len(example) == 3
    assert json.loads("".join(example)).keys() == {"conversations", "chosen", "rejected"}
    assert run("data", "import", "chats.json", "--db", "f.db", "--json") == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_columns_are_named(folder, capsys):
    Path("pairs.jsonl").write_text('{"q": "q", "a": "a", "b": "b", "prompt": "other"}\n')
    words = ["data", "import", "pairs.jsonl", "--db", "f.db", "--columns"]
    capsys.readouterr()
    assert run(*words, "prompt=q,chosen=a,rejected=b") == 0
    assert "columns passed over, since trl has no place for them: prompt" in capsys.readouterr().err
    assert run(*words, "prompt=q,chosen=x,rejected=b") == 3
    assert "pairs.jsonl:1: no column `x` for chosen (found a, b, prompt, q)" in capsys.readouterr().err
    assert run(*words, "prompt") == 2
    assert "--columns 'prompt': write NAME=COLUMN" in capsys.readouterr().err


def test_a_person_is_erased_from_the_file_itself_and_their_judgements_stay(folder, capsys):
    with Store.open("f.db") as store:
        accounts = Accounts(store)
        session = accounts.accept(accounts.invite("annotator"), "Ann Example")
        annotator = accounts.find(session).annotator
        (earlier,) = store.judgements()
        store.add_judgement(replace(earlier, annotator=annotator, key="hers", extra={"comment": "My own reason."}))
    assert b"Ann Example" in Path("f.db").read_bytes()
    capsys.readouterr()
    assert run("data", "erase", "ANN example", "--db", "f.db", "--json") == 0
    printed = {"erased": [annotator], "reasons": 1, "prompts": 0, "judgements": 0}
    assert json.loads(capsys.readouterr().out) == printed
    assert not any(words in Path("f.db").read_bytes() for words in (b"Ann Example", b"My own reason"))
    with Store.open("f.db") as store:
        assert [each.annotator for each in store.judgements()] == ["x", annotator]
        assert Accounts(store).find(session) is None
        assert Accounts(store).list_people() == []


def test_nobody_of_that_name_is_an_error(folder, capsys):
    assert run("data", "erase", "Eve", "--db", "f.db") == 3
    assert "nobody is called 'Eve'" in capsys.readouterr().err


def test_a_page_of_a_project_with_a_wrong_name_is_refused(folder, capsys):
    assert run("serve", "--db", "f.db", "--project", "defaults", "--port", "0") == 3
    line = "likelier: --project defaults: no such project in f.db; did you mean default?\n"
    assert capsys.readouterr().err == line


def test_a_page_without_a_comparison_is_refused(folder, capsys):
    """It was served, and said thank you."""
    assert run("serve", "--db", "new.db", "--port", "0") == 3
    assert capsys.readouterr().err.startswith("likelier: new.db: no comparison to judge; `likelier data import`")
    assert not Path("new.db").exists()


def test_check_names_people_beside_their_pseudonyms_and_nothing_sent_to_others_does(folder, capsys):
    with Store.open("f.db", create=True) as store:
        pseudonym = store.add_person("Ann Example")
    line = {"prompt": "q", "left": "a", "right": "b", "choice": "left"}
    judged = [json.dumps(line | {"annotator": name}) + "\n" for name in (pseudonym, "w7")]
    Path("two.jsonl").write_text("".join(judged))
    assert run("data", "import", "two.jsonl", "--format", "likelier", "--db", "f.db") == 0
    capsys.readouterr()
    assert run("check", "--db", "f.db", "--json") == 0
    people = {person["id"]: person["name"] for person in json.loads(capsys.readouterr().out)["annotators"]}
    assert (people[pseudonym], people["w7"]) == ("Ann Example", None)
    assert run("check", "--db", "f.db") == 0
    table = capsys.readouterr().out
    assert re.search(rf"^annotator +name +judgements.*^{pseudonym} +Ann Example +1 ", table, re.MULTILINE | re.DOTALL)
    assert run("data", "export", "--format", "likelier", "--db", "f.db", "-o", "out.jsonl") == 0
    assert run("report", "--db", "f.db", "-o", "out.html") == 0
    assert "Ann Example" not in Path("out.jsonl").read_text() + Path("out.html").read_text()


def test_names_that_differ_in_capitals_only_are_told(folder, capsys):
    """In a file they may be ids, so they stay two; nothing about it is silent."""
    line = {"prompt": "q", "left": "a", "right": "b", "choice": "left"}
    Path("two.jsonl").write_text("".join(json.dumps(line | {"annotator": name}) + "\n" for name in ("Ann", "ann")))
    assert run("data", "import", "two.jsonl", "--format", "likelier", "--db", "f.db") == 0
    capsys.readouterr()
    assert run("check", "--db", "f.db") == 0
    said = capsys.readouterr().err
    assert said == "annotators 'Ann', 'ann' differ in capitals or spaces only, and count as 2 people\n"
