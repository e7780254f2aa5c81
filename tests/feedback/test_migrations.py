"""Old databases: read as they are, migrated by the first write after a backup, usable whenever a process is killed."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from likelier.cli import main
from likelier.errors import LikelierError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.migrations.upgrade import back_up
from likelier.feedback.store import Store
from likelier.records import Prompt

OLD = Path(__file__).parents[1] / "data" / "old" / "feedback"
EXPECTED = (OLD / "expected.jsonl").read_bytes()
"""Its export by the version that made it."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of schema 0001, made by the release before media files."""
    return Path(shutil.copy(OLD / "feedback.sqlite", tmp_path / "old.db"))


def version(path: Path) -> str:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return str(found)


def export(path: Path) -> bytes:
    with Store.open(path) as store:
        export_file(store, "likelier", path.with_suffix(".out"))
    return path.with_suffix(".out").read_bytes()


def test_reading_verbs_change_no_byte(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, there = old.read_bytes(), str(tmp_path)
    assert main(["check", "--db", str(old), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judgements"] == 21
    assert main(["preferences", "--db", str(old), "-o", f"{there}/pairs", "--json"]) == 0
    for name in ("likelier", "trl", "anthropic", "openai-summaries"):
        assert main(["data", "export", "--db", str(old), "--format", name, "-o", f"{there}/{name}.jsonl"]) == 0
    assert (tmp_path / "likelier.jsonl").read_bytes() == EXPECTED
    assert (old.read_bytes(), version(old)) == (before, "0001")
    assert not list(tmp_path.glob("old.db.bak*"))


def test_the_first_write_backs_up_and_migrates(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(old) as store:
        before = [store.prompts(), store.responses(), store.comparisons(), store.judgements(), store.judged()]
        assert store.media() == []
        assert store.add_prompts([]) == 0  # nothing is added, but this is what writing does
        assert store.add_prompts([]) == 0
        assert [store.prompts(), store.responses(), store.comparisons(), store.judgements(), store.judged()] == before
    backup = old.with_name("old.db.bak-0001")
    assert capsys.readouterr().err == f"{old}: migrated from version 0001 to 0007; {backup} is the file as it was\n"
    assert (version(old), version(backup)) == ("0007", "0001")
    assert export(old) == export(backup) == EXPECTED
    assert backup.stat().st_mode == old.stat().st_mode & ~0o007  # it holds names


def test_importing_the_old_export_again_stores_nothing_new(old: Path) -> None:
    with Store.open(old) as store:
        assert import_file(OLD / "expected.jsonl", "likelier", store).stored == 0
    assert version(old) == "0007"
    assert export(old) == EXPECTED


def test_what_is_still_in_the_log_of_a_killed_process_is_in_the_backup(old: Path, tmp_path: Path) -> None:
    script = (
        "import os, sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        """connection.execute("INSERT INTO prompts VALUES ('x', '\\"late\\"', '', '{}')"); os._exit(9)\n"""
    )
    subprocess.run([sys.executable, "-c", script, str(old)], check=False)
    assert (tmp_path / "old.db-wal").stat().st_size > 0
    with Store.open(back_up(old, "0001")) as store:
        assert Prompt("late") in store.prompts()


def test_an_earlier_backup_is_never_overwritten(old: Path) -> None:
    mine = old.with_name("old.db.bak-0001")
    mine.write_text("mine")
    assert back_up(old, "0001").name == "old.db.bak-0001.2"
    assert back_up(old, "0001").name == "old.db.bak-0001.2"  # an equal one is enough
    with Store.open(old) as store:
        store.add_prompts([Prompt("new")])
    shutil.copy(OLD / "feedback.sqlite", old)
    sqlite3.connect(old).execute("PRAGMA user_version=7").connection.close()
    assert back_up(old, "0001").name == "old.db.bak-0001.3"
    assert mine.read_text() == "mine"


def test_a_backup_that_cannot_be_written_stops_the_migration(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    before = old.read_bytes()
    with monkeypatch.context() as patched, Store.open(old) as store:
        patched.setattr("likelier.feedback.migrations.upgrade.sync_file", full)
        with pytest.raises(LikelierError, match="No space left on device.; the database is as it was") as caught:
            store.add_prompts([Prompt("new")])
        assert "\n" not in str(caught.value)
    assert (old.read_bytes(), version(old)) == (before, "0001")
    assert not list(old.parent.glob("*bak*"))
    with Store.open(old) as store:
        assert store.add_prompts([Prompt("new")]) == 1


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import alembic.command, sqlalchemy.dialects.sqlite
from likelier.feedback.store import Store
from likelier.records import Prompt

old, folder = Path(sys.argv[1]), Path(sys.argv[2])
events = ("sqlite3.connect", "os.rename", "os.remove")
count = limit = 0

def step(*_):
    global count
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)

sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", step)
sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", step)
sys.addaudithook(lambda name, args: step() if limit and name in events else None)
for limit in range(1, 1000, int(sys.argv[3])):
    path = folder / f"{limit}.db"
    shutil.copy(old, path)
    count, child = 0, os.fork()
    if child == 0:
        with Store.open(path) as store:
            store.add_prompts([Prompt("new")])
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
print(limit)
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.battery)])
def test_killed_at_any_moment_it_is_old_or_new_and_usable(tmp_path: Path, step: int) -> None:
    """At each statement, commit, rename, deletion and connection of the first write, backup included."""
    command = [sys.executable, "-c", KILLED, str(OLD / "feedback.sqlite"), str(tmp_path), str(step)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    last, versions = int(done.stdout), []
    assert last > 15
    for number in range(1, last, step):
        path = tmp_path / f"{number}.db"
        versions.append(version(path))
        if versions[-1] == "0001":
            assert export(path) == EXPECTED
        else:
            assert export(tmp_path / f"{number}.db.bak-0001") == EXPECTED
        with Store.open(path) as store:
            store.add_prompts([Prompt("new")])
            assert store.counts()["judgements"] == 21
        assert version(path) == "0007"
        assert (tmp_path / f"{number}.db.bak-0001").exists()
        assert not (tmp_path / f"{number}.db.bak-0001.2").exists()
        assert not list(tmp_path.glob(f".{number}.db.bak*"))
    assert versions == sorted(versions)
    assert set(versions) == {"0001", "0007"}
