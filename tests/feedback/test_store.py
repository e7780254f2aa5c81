"""The store: what goes in comes out once, nothing is half stored, and a file that is not ours is left alone."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from likelier.errors import ConfigError, DataError, LikelierError
from likelier.feedback import database, open_database
from likelier.feedback.store import Store
from likelier.feedback.tables import metadata
from likelier.records import Comparison, Judgement, Media, Prompt, Rating, Response
from likelier.records.media import read_media
from media_files import image

PROMPT = Prompt([{"role": "user", "content": "Tell me a story."}], conversation="c1", extra={"tools": []})
LONG, SHORT = Response(PROMPT.id, "Once upon a time …", "model-a", "length"), Response(PROMPT.id, "No.", "model-b")
COMPARISON = Comparison(PROMPT.id, LONG.id, SHORT.id)
JUDGEMENT = Judgement(
    COMPARISON.id,
    "ann",
    left=SHORT.id,
    right=LONG.id,
    choice="right",
    duration_seconds=2.5,
    created_at="2026-11-23T10:00:00Z",
    simulated=True,
    guideline="v2",
    key="k1",
    extra={"confidence": 7},
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "feedback.db", create=True) as opened:
        yield opened


def fill(store: Store) -> None:
    store.add_prompts([PROMPT])
    store.add_responses([LONG, SHORT])
    store.add_comparisons([COMPARISON])


def test_what_was_added_comes_back_whole(store: Store) -> None:
    fill(store)
    assert store.add_judgements([JUDGEMENT]) == 1
    assert store.prompts() == [PROMPT]
    assert sorted(store.responses(), key=lambda response: response.text) == [SHORT, LONG]
    assert store.comparisons() == [COMPARISON]
    assert store.judgements() == [JUDGEMENT]
    (judged,) = store.judged()
    assert (judged.judgement, judged.prompt, judged.left, judged.right) == (JUDGEMENT, PROMPT, SHORT, LONG)
    assert store.counts() == {"prompts": 1, "responses": 2, "comparisons": 1, "judgements": 1, "annotators": 1}


def test_it_is_all_there_after_reopening(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", create=True) as store:
        fill(store)
        store.add_judgement(JUDGEMENT)
    assert not (tmp_path / "a.db-wal").exists()  # all of it is in the one file
    with Store.open(str(tmp_path / "a.db")) as store:
        assert store.judgements() == [JUDGEMENT]


def test_adding_again_changes_nothing(store: Store) -> None:
    fill(store)
    assert store.add_prompts([PROMPT, Prompt("new")]) == 1
    assert store.add_responses([SHORT]) == 0
    assert store.add_comparisons([Comparison(PROMPT.id, SHORT.id, LONG.id)]) == 0
    assert store.add_judgement(JUDGEMENT) == JUDGEMENT
    assert store.add_judgement(replace(JUDGEMENT, choice="left")) == JUDGEMENT
    assert store.judgements() == [JUDGEMENT]


def test_judgements_without_a_key_are_told_apart_within_one_call_only(store: Store) -> None:
    fill(store)
    plain = replace(JUDGEMENT, key="")
    assert store.add_judgements([plain, plain, replace(plain, choice="tie")]) == 3
    assert store.add_judgements([plain, plain]) == 0
    assert len({judgement.key for judgement in store.judgements()}) == 3


def test_judgements_come_back_in_the_order_in_which_they_came(store: Store) -> None:
    fill(store)
    for key in ("z", "a", "m"):
        store.add_judgement(replace(JUDGEMENT, key=key))
    assert [judgement.key for judgement in store.judgements()] == ["z", "a", "m"]
    assert [judged.judgement.key for judged in store.judged_by_content()] == ["a", "m", "z"]


def test_a_transaction_is_stored_whole_or_not_at_all(store: Store) -> None:
    fill(store)
    with pytest.raises(RuntimeError), store.transaction() as writer:
        assert writer.add_judgements([JUDGEMENT]) == 1
        assert store.judgements() == []  # readers see nothing of it
        raise RuntimeError
    assert store.judgements() == []


def test_a_process_that_dies_while_writing_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    script = (
        "import os, sys; from likelier.feedback.store import Store; from likelier.records import Prompt\n"
        "with Store.open(sys.argv[1], create=True).transaction() as writer:\n"
        "    writer.add_prompts(Prompt(str(number)) for number in range(20_000)); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    with Store.open(path) as store:
        assert store.prompts() == []
        assert store.add_prompts([PROMPT]) == 1


def test_the_database_itself_refuses_to_change_a_judgement(store: Store, tmp_path: Path) -> None:
    fill(store)
    store.add_judgement(JUDGEMENT)
    connection = sqlite3.connect(tmp_path / "feedback.db")
    for statement in ("UPDATE judgements SET choice = 'tie'", "DELETE FROM judgements"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
            connection.execute(statement)
    connection.close()


def test_ratings_are_stored_once_and_only_added(store: Store, tmp_path: Path) -> None:
    fill(store)
    thumb = Rating(SHORT.id, "ann", 1.0, "thumbs", key="r1")
    stars = Rating(SHORT.id, "ann", 4.5, created_at="2026-01-01", simulated=True, key="r2", extra={"scale": [1, 5]})
    for added in (2, 0):
        with store.transaction() as writer:
            assert writer.add_ratings([thumb, stars]) == added
    assert [each.rating for each in store.rated_by_content()] == [thumb, stars]
    assert all(each.response == SHORT and each.prompt == PROMPT for each in store.rated_by_content())
    connection = sqlite3.connect(tmp_path / "feedback.db")
    for statement in ("UPDATE ratings SET value = 0", "DELETE FROM ratings"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
            connection.execute(statement)
    connection.close()
    with pytest.raises(ValueError, match=r"a thumb is 1 \(up\) or 0 \(down\), got 5"):
        Rating(SHORT.id, "ann", 5, "thumbs")


@pytest.mark.parametrize(
    "change", [{"comparison_id": "absent"}, {"left": "absent"}, {"right": SHORT.id}, {"choice": "middle"}]
)
def test_a_judgement_that_does_not_fit_is_refused(store: Store, change: dict[str, str]) -> None:
    fill(store)
    with pytest.raises(DataError, match="does not fit") as error:
        store.add_judgements([JUDGEMENT, replace(JUDGEMENT, key="k2", **change)])
    assert "\n" not in str(error.value)
    assert store.judgements() == []


def test_many_threads_write_and_nothing_is_lost(store: Store) -> None:
    fill(store)

    def judge(person: int) -> None:
        for number in range(10):
            store.add_judgement(replace(JUDGEMENT, annotator=f"p{person}", key=f"{person}-{number}"))

    threads = [threading.Thread(target=judge, args=(person,)) for person in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.counts()["judgements"] == 80
    assert store.counts()["annotators"] == 8


def test_an_unknown_annotator_is_not_counted_as_one(store: Store) -> None:
    fill(store)
    store.add_judgement(replace(JUDGEMENT, annotator=""))
    assert store.counts()["annotators"] == 0


def test_a_person_has_one_pseudonym_and_can_be_erased(store: Store, tmp_path: Path) -> None:
    fill(store)
    pseudonym = store.add_person("Ann Example")
    assert store.add_person("Ann Example") == pseudonym
    assert "Ann" not in pseudonym
    store.add_judgement(replace(JUDGEMENT, annotator=pseudonym))
    store.erase_person("Ann Example")
    assert store.judgements()[0].annotator == pseudonym
    assert store.add_person("Ann Example") != pseudonym


def test_a_name_in_other_capitals_or_another_unicode_form_is_the_same_person(store: Store) -> None:
    pseudonym = store.add_person("Jos\u00e9 Stra\u00dfe")
    for name in ("Jose\u0301 Stra\u00dfe", "JOS\u00c9 STRASSE", "jos\u00e9  stra\u00dfe"):
        assert store.add_person(name) == pseudonym
    assert store.add_person("Jose Stra\u00dfe") != pseudonym
    store.erase_person("jose\u0301 strasse")
    assert store.add_person("Jos\u00e9 Stra\u00dfe") != pseudonym


def test_the_settings_that_keep_what_was_acknowledged(store: Store) -> None:
    with store.transaction() as writer:
        values = [
            writer.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "application_id")
        ]
    assert values == ["wal", 2, 1, 0, 0x4C696B65]


def test_the_steps_make_exactly_the_tables_that_the_store_uses(store: Store) -> None:
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_one_process_writes_and_the_other_is_told_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.1)
    fill(store)
    with Store.open(tmp_path / "feedback.db") as other:
        assert other.prompts() == [PROMPT]  # reading is free
        with pytest.raises(LikelierError, match=r"feedback\.db: process \d+ is writing"):
            other.add_prompts([Prompt("mine")])


def test_the_lock_is_the_one_of_earlier_versions(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They called `flock` on the same file and wrote their number into it."""
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.1)
    store.close()
    with open(tmp_path / "feedback.db.lock", "w") as old:
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        print(4711, end="", file=old, flush=True)
        with pytest.raises(LikelierError, match="process 4711 is writing"):
            store.add_prompts([PROMPT])
    assert store.add_prompts([PROMPT]) == 1
    with open(tmp_path / "feedback.db.lock") as old, pytest.raises(BlockingIOError):
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)


def add_image(store: Store, tmp_path: Path, colour: str = "red") -> Response:
    """A response that is an image, with its prompt, in one transaction."""
    (tmp_path / f"{colour}.png").write_bytes(image(colour))
    record = read_media(tmp_path / f"{colour}.png")
    response = Response(PROMPT.id, model="painter", media=record)
    with store.transaction() as writer:
        writer.add_prompts([PROMPT])
        writer.add_media(record, tmp_path / f"{colour}.png")
        assert writer.add_responses([response]) == 1
    return response


def test_a_response_may_be_a_media_file(store: Store, tmp_path: Path) -> None:
    shown = add_image(store, tmp_path)
    fill(store)
    mixed = Comparison(PROMPT.id, shown.id, LONG.id)
    store.add_comparisons([mixed])
    store.add_judgement(Judgement(mixed.id, "ann", left=shown.id, right=LONG.id, choice="left"))
    assert shown in store.responses()
    assert store.media() == [shown.media]
    (judged,) = store.judged()
    assert (judged.left, judged.right, judged.is_text) == (shown, LONG, False)
    assert shown.media is not None
    assert [path.name for path in (tmp_path / "feedback.db.media").iterdir()] == [shown.media.sha256]


def test_a_response_whose_file_is_missing_is_refused(store: Store, tmp_path: Path) -> None:
    store.add_prompts([PROMPT])
    absent = Media("image/png", "0" * 64, 10)
    with pytest.raises(DataError, match=r"feedback\.db\.media/0+: missing"):
        store.add_responses([Response(PROMPT.id, media=absent)])
    assert store.media() == []


def test_files_of_a_transaction_that_fails_are_removed_again(store: Store, tmp_path: Path) -> None:
    kept = add_image(store, tmp_path)
    (tmp_path / "blue.png").write_bytes(image("blue"))
    with pytest.raises(RuntimeError), store.transaction() as writer:
        writer.add_media(read_media(tmp_path / "red.png"), tmp_path / "red.png")  # was there before
        writer.add_media(read_media(tmp_path / "blue.png"), tmp_path / "blue.png")
        raise RuntimeError
    assert kept.media is not None
    assert [path.name for path in (tmp_path / "feedback.db.media").iterdir()] == [kept.media.sha256]


def test_absent_is_an_error_unless_it_may_be_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such database"):
        Store.open(tmp_path / "a.db")
    assert list(tmp_path.iterdir()) == []
    Store.open(tmp_path / "new" / "a b?#%.db", create=True).close()
    Store.open(tmp_path / "new" / "a b?#%.db").close()


def test_a_file_made_for_something_that_failed_goes_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Store.open(tmp_path / "a.db", create=True):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), Store.open(tmp_path / "a.db", create=True) as store:
        store.add_prompts([PROMPT])
        raise RuntimeError
    with Store.open(tmp_path / "a.db") as store:
        assert store.prompts() == [PROMPT]


def other_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (id)")
    connection.commit()
    connection.close()


def changed(sql: str) -> "type[Spoil]":
    class Changed(Spoil):
        statement = sql

    return Changed


class Spoil:
    """Makes a good database and spoils it with one statement."""

    statement = ""

    def __init__(self, path: Path) -> None:
        make(path)
        connection = sqlite3.connect(path)
        connection.execute(self.statement)
        connection.commit()
        connection.close()


def make(path: Path) -> None:
    with Store.open(path, create=True) as store:
        store.add_prompts(Prompt("x" * 500 + str(number)) for number in range(100))


def truncated(path: Path) -> None:
    make(path)
    path.write_bytes(path.read_bytes()[:20_000])


def overwritten(path: Path) -> None:
    make(path)
    data = bytearray(path.read_bytes())
    data[40_960:49_152] = b"\xa5" * 8192
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.write_bytes(b""), "empty database"),
        (lambda path: path.write_text("prompt,chosen,rejected\n" * 100), "not a database"),
        (other_program, "another program"),
        (changed("PRAGMA application_id=7"), "another program"),
        (changed("UPDATE alembic_version SET version_num = '0099'"), "version 0099"),
        (truncated, r"damaged|malformed"),
        (overwritten, r"damaged|malformed"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_left_alone(tmp_path: Path, spoil: type, message: str) -> None:
    path = tmp_path / "a.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(DataError, match=message) as error:
        Store.open(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    if path.is_file():
        assert path.read_bytes() == before


def test_create_does_not_touch_another_programs_file(tmp_path: Path) -> None:
    other_program(tmp_path / "a.db")
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(DataError, match="another program"):
        Store.open(tmp_path / "a.db", create=True)
    assert (tmp_path / "a.db").read_bytes() == before


@pytest.mark.parametrize(
    "db",
    ["mysql://somewhere/feedback", "sqlite://", "sqlite:///:memory:", "no such ://", "postgresql://u@h:port/feedback"],
)
def test_a_url_that_cannot_be_used(db: str) -> None:
    with pytest.raises(ConfigError, match="--db"):
        Store.open(db, create=True)


def test_a_database_with_two_names_is_not_written(tmp_path: Path) -> None:
    """Two servers on one file, each with a lock and a write-ahead log beside the name that it knew."""
    with Store.open(tmp_path / "a.db", create=True) as store:
        store.add_prompts([PROMPT])
    os.link(tmp_path / "a.db", tmp_path / "b.db")
    with Store.open(tmp_path / "b.db") as store:
        assert store.prompts() == [PROMPT]
        with pytest.raises(LikelierError, match="b.db: has a second name"):
            store.add_prompts([Prompt("Another.")])


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(DataError) as error:
        Store.open(f"postgresql://ann:secret@/feedback?host={tmp_path}")
    assert "secret" not in str(error.value)


def test_a_sqlite_url_is_a_path(tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path}/a.db", create=True).close()
    assert (tmp_path / "a.db").is_file()


def test_a_copy_of_a_closed_file_is_the_same_database(tmp_path: Path) -> None:
    make(tmp_path / "a.db")
    shutil.copy(tmp_path / "a.db", tmp_path / "b.db")
    with Store.open(tmp_path / "b.db") as store:
        assert store.counts()["prompts"] == 100


def test_a_disk_that_is_full_is_one_line_and_nothing_half_stored(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from likelier.errors import LikelierError\n"
        "from likelier.feedback.store import Store; from likelier.records import Prompt\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n"
        "    with Store.open(sys.argv[1], create=True) as store:\n"
        "        store.add_prompts(Prompt(f'{number}' * 500) for number in range(1000))\n"
        "except LikelierError as error:\n"
        "    print(error); sys.exit(error.exit_code)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert "a.db: the database failed" in done.stdout
    assert list(tmp_path.iterdir()) == []


def stored_keys(path: Path) -> list[str]:
    with Store.open(path) as store:
        return [judgement.key for judgement in store.judgements()]


def test_a_copy_of_the_file_alone_holds_what_was_acknowledged(store: Store, tmp_path: Path) -> None:
    """The answers stood in `-wal` until the server ended, and a backup by `cp` lacked them."""
    fill(store)
    store.add_judgement(JUDGEMENT)
    shutil.copy(tmp_path / "feedback.db", tmp_path / "copy.db")
    with store.reading():
        pass
    assert stored_keys(tmp_path / "copy.db") == [judgement.key for judgement in store.judgements()]
    assert (tmp_path / "feedback.db-wal").stat().st_size == 0  # nothing to be played into a file put in its place


def test_an_answer_that_a_reader_keeps_out_of_the_file_is_not_acknowledged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.1)
    store.database.writer.dispose()  # connects again, with the shorter wait
    with store.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM judgements").scalar_one()
        with pytest.raises(LikelierError, match="another process keeps reading it; answer again when it is done"):
            store.add_judgement(replace(JUDGEMENT, key="late"))
    assert store.add_judgement(replace(JUDGEMENT, key="late")).key == "late"


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_acknowledged_once_the_file_was_moved(store: Store, tmp_path: Path, replaced: bool) -> None:
    fill(store)
    store.add_judgement(replace(JUDGEMENT, key="before"))
    (tmp_path / "feedback.db").rename(tmp_path / "moved.db")
    if replaced:
        (tmp_path / "feedback.db").write_text("of another program")
    for use in (lambda: store.add_judgement(replace(JUDGEMENT, key="after")), store.judgements):
        with pytest.raises(LikelierError, match=r"feedback\.db: moved or replaced since it was opened"):
            use()
    assert "before" in stored_keys(tmp_path / "moved.db")
    assert "after" not in stored_keys(tmp_path / "moved.db")
    (tmp_path / "moved.db").rename(tmp_path / "feedback.db")  # put back, it goes on
    assert store.add_judgement(replace(JUDGEMENT, key="after")).key == "after"


def test_a_file_that_was_written_over_is_seen(store: Store, tmp_path: Path) -> None:
    fill(store)
    shutil.copy(tmp_path / "feedback.db", tmp_path / "old.db")
    store.add_judgement(replace(JUDGEMENT, key="before"))
    shutil.copy(tmp_path / "old.db", tmp_path / "feedback.db")
    with pytest.raises(LikelierError, match="changed by another program, so nothing is stored; start again"):
        store.add_judgement(replace(JUDGEMENT, key="after"))


def test_the_log_of_a_file_put_in_our_place_stays(store: Store, tmp_path: Path) -> None:
    """The last connection to close removes the log of the name that it opened, whosever it is by then."""
    fill(store)
    (tmp_path / "feedback.db").rename(tmp_path / "moved.db")
    (tmp_path / "feedback.db-wal").unlink()
    for name in ("feedback.db", "feedback.db-wal"):
        (tmp_path / name).write_text("of another program")
    store.close()
    assert (tmp_path / "feedback.db-wal").read_text() == "of another program"


def test_a_second_server_is_told_the_address_of_the_first(store: Store, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(database, "WAIT_FOR_SERVER_SECONDS", 0.1)
    fill(store)
    store.show_address("http://127.0.0.1:8000")
    with Store.open(tmp_path / "feedback.db") as other:
        message = r"in use by process \d+, serving it at http://127\.0\.0\.1:8000; stop it first$"
        with pytest.raises(LikelierError, match=message):
            other.prepare_to_write()


def test_a_database_on_read_only_media_is_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so that the media are played: SQLite cannot make its files, `access` says no."""
    fill(store)
    store.close()
    for name in ("-wal", "-shm", ".lock"):
        (tmp_path / f"feedback.db{name}").unlink(missing_ok=True)
    options = []
    real = database.open_connection

    class ReadOnly(sqlite3.Connection):
        def execute(self, sql, *arguments):
            if sql == "PRAGMA schema_version" and "immutable" not in options[-1]:
                raise sqlite3.OperationalError("attempt to write a readonly database")
            return super().execute(sql, *arguments)

    def open_connection(path, wanted):
        options.append(wanted)
        return real(path, wanted) if "immutable" in wanted else sqlite3.connect(path, factory=ReadOnly)

    monkeypatch.setattr(database, "open_connection", open_connection)
    monkeypatch.setattr(database.os, "access", lambda path, mode: False)
    assert database.connect_sqlite(tmp_path / "feedback.db", "ro").execute("SELECT count(*) FROM prompts").fetchone()
    assert options == ["mode=ro", "mode=ro&immutable=1"]
    (tmp_path / "feedback.db-wal").write_text("more")  # what it holds would be missing: SQLite says what is wrong
    database.connect_sqlite(tmp_path / "feedback.db", "ro").close()
    assert options[-1] == "mode=ro"


def test_a_pipe_or_a_device_is_no_database(tmp_path):
    os.mkfifo(tmp_path / "pipe.db")
    (tmp_path / "device.db").symlink_to("/dev/zero")
    for name in ("pipe.db", "device.db"):
        with pytest.raises(DataError, match="a pipe or a device, not a database file"):
            Store.open(tmp_path / name)


def fail_checkpoints(store: Store, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def fail(connection: sa.Connection) -> bool:
        raise sqlite3.OperationalError(message)

    monkeypatch.setattr(open_database, "checkpoint_wal", fail)


def test_a_disk_that_failed_gets_nothing_more_until_a_restart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later fsync may succeed although pages of an earlier one are lost."""
    with monkeypatch.context() as patch:
        fail_checkpoints(store, patch, "disk I/O error")
        with pytest.raises(LikelierError, match=r"the database failed \(disk I/O error\)"):
            store.add_prompts([Prompt("lost?")])
    with pytest.raises(LikelierError, match="the disk has failed; nothing more is stored; check it, and start again"):
        store.add_prompts([Prompt("later")])


def test_a_disk_that_was_full_is_written_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a checkpoint changed the file, which then looked as if another program had written to it."""

    def fill_disk(connection: sa.Connection) -> bool:
        with open(store.path or "", "ab") as file:
            file.write(bytes(4096))
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(open_database, "checkpoint_wal", fill_disk)
        with pytest.raises(LikelierError, match="database or disk is full"):
            store.add_prompts([Prompt("first")])
    assert store.add_prompts([Prompt("second")]) == 1


def test_a_snapshot_keeps_nothing_out_of_the_file(store: Store, tmp_path: Path) -> None:
    fill(store)
    store.add_judgement(JUDGEMENT)
    with store.snapshot() as copy:
        store.add_judgement(replace(JUDGEMENT, key="later"))  # a reader of the file would keep it in the log
        assert "later" not in [judgement.key for judgement in copy.judgements()]
        shutil.copy(tmp_path / "feedback.db", tmp_path / "alone.db")
        assert "later" in stored_keys(tmp_path / "alone.db")
    assert store.add_judgements([replace(JUDGEMENT, key="last")]) == 1
