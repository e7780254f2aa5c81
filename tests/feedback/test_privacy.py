"""Names of people lie in no file that everybody may read, whatever the umask."""

import os
import stat
import sys

import pytest

from likelier.feedback.backup import back_up_store
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.preferences.make import make_preferences
from likelier.preferences.split import Split
from likelier.report.page import write_report

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files have no modes there")
LINE = {"prompt": "Hi.", "left": "Hello.", "right": "Go away.", "choice": "left", "annotator": "Ann Example"}


@pytest.fixture
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path, usual_umask):
    """A folder with a database of one judgement by a person with a name, and one bad line."""
    write_jsonl(tmp_path / "in" / "answers.jsonl", [LINE, {"prompt": "Hi."}])
    path = tmp_path / "all" / "feedback.db"
    with Store.open(path, create=True) as store:
        import_file(tmp_path / "in" / "answers.jsonl", "likelier", store, skip_bad=True)
        store.add_person("Bob Example")
    return path.parent


def test_a_database_and_all_beside_it_are_its_owners_alone(folder):
    with Store.open(folder / "feedback.db") as store:
        store.add_person("Cyd Example")
        open_files = modes(folder)  # with the write-ahead log, its index and the lock
        back_up_store(store, folder / "backup.db")
        export_file(store, "likelier", folder / "export.jsonl")
    assert {"feedback.db", "feedback.db-wal", "feedback.db-shm", "feedback.db.lock"} <= open_files.keys()
    assert any("rejected" in name or "bad" in name for name in open_files)
    assert {"backup.db", "export.jsonl"} <= modes(folder).keys()
    assert set((open_files | modes(folder)).values()) == {0o600}


def test_preferences_and_a_report_of_a_database_are_too(folder):
    with Store.open(folder / "feedback.db") as store:
        make_preferences(store, folder / "pairs", None, Split(valid_share=0.0, test_share=0.0))
    write_report([], folder / "report.html", str(folder / "feedback.db"))
    made = {name: mode for name, mode in modes(folder).items() if not name.endswith(".md")}
    assert {"train.jsonl", "card.json", "report.html"} <= made.keys()
    assert set(made.values()) == {0o600}


def test_a_group_that_was_let_in_may_read_the_backup_and_others_may_not(folder):
    (folder / "feedback.db").chmod(0o664)  # or made by an older version
    with Store.open(folder / "feedback.db") as store:
        back_up_store(store, folder / "backup.db")
    assert modes(folder)["backup.db"] == 0o660


def test_a_replaced_export_does_not_keep_its_open_mode(folder):
    out = folder / "export.jsonl"
    out.write_text("")
    assert modes(folder)["export.jsonl"] == 0o644
    with Store.open(folder / "feedback.db") as store:
        export_file(store, "trl", out)
    assert modes(folder)["export.jsonl"] == 0o600
