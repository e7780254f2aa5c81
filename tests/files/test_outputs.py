"""An output is never written over an input or a database, and over another file only if the user says so."""

import os
import sqlite3
from pathlib import Path

import pytest

from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.files.outputs import GENERATOR_MARK, check_output, is_stream, owning_database, unused_path


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "f.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return path


def test_a_new_file_may_be_written(tmp_path, database):
    check_output(tmp_path / "new.jsonl", inputs=[database])


def test_an_output_that_exists_needs_overwrite(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.jsonl: exists already; --overwrite replaces it"):
        check_output(path)
    check_output(path, overwrite=True)


@pytest.mark.parametrize("name", ["f.db", "link.db", "hard.db", "f.db-wal", "f.db-shm", "f.db-journal", "f.db.lock"])
def test_a_database_is_never_an_output(tmp_path, database, name):
    (tmp_path / "link.db").symlink_to(database)
    os.link(database, tmp_path / "hard.db")
    with pytest.raises(ConfigError, match="database"):
        check_output(tmp_path / name, overwrite=True)
    with pytest.raises(ConfigError, match="database"):  # however it comes to be written
        write_jsonl(tmp_path / name, [{"a": 1}])
    assert sqlite3.connect(database).execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_files_of_a_database_belong_to_it(tmp_path, database):
    assert owning_database(tmp_path / "f.db.media" / "0123") == database
    assert owning_database(tmp_path / "g.db-wal") is None
    assert owning_database(tmp_path / "other.media" / "0123") is None


def test_an_input_is_never_an_output(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("{}")
    (tmp_path / "link.jsonl").symlink_to(prompts)
    os.link(prompts, tmp_path / "hard.jsonl")
    for name in ("prompts.jsonl", "link.jsonl", "hard.jsonl"):
        with pytest.raises(ConfigError, match="an input of this command"):
            check_output(tmp_path / name, overwrite=True, inputs=[prompts])


def test_files_of_an_input_folder_are_inputs_but_our_own_page(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("{}")
    os.link(run / "metrics.jsonl", tmp_path / "hard.jsonl")
    (run / "report.html").write_text(f'<!doctype html>{GENERATOR_MARK} 1">')
    for path in (run / "metrics.jsonl", tmp_path / "hard.jsonl"):
        with pytest.raises(ConfigError, match="an input of this command"):
            check_output(path, overwrite=True, inputs=[run], mark=GENERATOR_MARK)
    check_output(run / "new.html", inputs=[run], mark=GENERATOR_MARK)
    check_output(run / "report.html", inputs=[run], mark=GENERATOR_MARK)


def test_a_stream_may_lead_to_a_file_of_the_shell():
    check_output(Path("/dev/stdout"))


def test_a_stream_that_is_appended_to_a_file_does_not_replace_it(tmp_path):
    """`-o /dev/stdout >> all.jsonl` replaced all.jsonl."""
    with (tmp_path / "all.jsonl").open("w") as file:
        path = Path(f"/dev/fd/{file.fileno()}")
        check_output(path)
        file.write("mine")
        file.flush()
        with pytest.raises(ConfigError, match="exists already"):
            check_output(path)


def test_files_in_shared_memory_are_no_streams():
    """Everything below /dev was replaced without asking."""
    assert [is_stream(Path(name)) for name in ("/dev/shm/a.jsonl", "/dev/stdout", "/dev/fd/63", "/dev/null", "a")] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_taken_name_gets_a_number(tmp_path):
    assert unused_path(tmp_path / "a.bad.jsonl") == tmp_path / "a.bad.jsonl"
    (tmp_path / "a.bad.jsonl").touch()
    (tmp_path / "a.bad-2.jsonl").symlink_to("nowhere")
    assert unused_path(tmp_path / "a.bad.jsonl") == tmp_path / "a.bad-3.jsonl"
