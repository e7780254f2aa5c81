"""Rows that Likelier never writes are one line that names the row, exit 3."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from likelier.cli import main
from likelier.errors import DataError
from likelier.feedback.store import Store
from likelier.records import Rating

OLD = Path(__file__).parents[1] / "data/old/feedback/feedback.sqlite"
SETTINGS = ("PRAGMA foreign_keys=OFF", "PRAGMA ignore_check_constraints=ON")


def change(path, *statements):
    """Do to a copy of a database what only another program does."""
    shutil.copy(OLD, path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for statement in (*(f"DROP TRIGGER {name}" for (name,) in triggers), *SETTINGS, *statements):
            connection.execute(statement)
    return path


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE prompts SET text = 'x'", r"prompt '\w+': 'x' is not JSON"),
        ("UPDATE prompts SET text = '[[1]]'", r"prompt '\w+': \[\[1\]\] is not what stands there"),
        ("UPDATE prompts SET extra = '5'", r"prompt '\w+': 5 is not what stands there"),
        ("UPDATE prompts SET conversation = x'ff'", r"conversation is b'\\xff', not a text"),
        ("UPDATE responses SET text = x'ff00'", r"response '\w+': text is b'\\xff\\x00', not a text"),
        ("UPDATE judgements SET choice = 'both' WHERE number = 1", r"judgement '.+': choice is 'both'"),
        ("UPDATE judgements SET duration_seconds = 'long'", r"judgement '.+': duration_seconds is 'long'"),
        ("UPDATE judgements SET duration_seconds = 9e999", r"duration_seconds is inf"),
        ("UPDATE judgements SET extra = '[1'", r"'\[1' is not JSON"),
        ("DELETE FROM responses", r"judgement '.+': no prompt or response"),
        ("DELETE FROM prompts", r"judgement '.+': no prompt or response"),
        ("DROP TABLE judgements", r"no such table: judgements"),
        ("ALTER TABLE judgements DROP COLUMN guideline", r"no such column: judgements.guideline"),
    ],
)
def test_a_damaged_row_is_named(tmp_path, statement, reason):
    path = change(tmp_path / "x.db", statement)
    with Store.open(path) as store, pytest.raises(DataError, match=reason) as caught:
        list(store.judged())
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE ratings SET kind = 'stars'", r"rating 'r': stars is 1.0"),
        ("UPDATE ratings SET value = 0.5", r"rating 'r': thumbs is 0.5"),
        ("UPDATE ratings SET value = 9e999, kind = 'scale'", r"rating 'r': scale is inf"),
        ("UPDATE ratings SET created_at = x'ff'", r"rating 'r': created_at is b'\\xff'"),
        ("UPDATE ratings SET extra = 'x'", r"rating 'r': 'x' is not JSON"),
        ("UPDATE ratings SET response_id = 'x'", r"rating 'r': no prompt or response 'x'"),
    ],
)
def test_a_damaged_rating_is_named(tmp_path, statement, reason):
    path = Path(shutil.copy(OLD, tmp_path / "x.db"))
    with Store.open(path) as store:
        assert list(store.rated_by_content()) == []  # the old tables have none
        with store.transaction() as writer:
            writer.add_ratings([Rating(store.responses()[0].id, "ann", 1.0, "thumbs", key="r")])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for line in ("DROP TRIGGER ratings_no_update", *SETTINGS, statement):
            connection.execute(line)
    with Store.open(path) as store, pytest.raises(DataError, match=reason):
        list(store.rated_by_content())


def test_check_ends_with_3_and_one_line(tmp_path, capsys):
    path = change(tmp_path / "x.db", "UPDATE prompts SET text = 'x'")
    assert main(["check", "--db", str(path), "--json"]) == 3
    assert capsys.readouterr().err.count("\n") == 1
