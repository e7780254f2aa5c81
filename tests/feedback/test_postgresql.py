"""The same store on a real PostgreSQL: a cluster of its own on a unix socket, under an unprivileged user."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from likelier.errors import ConfigError, DataError, LikelierError
from likelier.feedback import migrations
from likelier.feedback.accounts import Accounts, InvitationError
from likelier.feedback.database import database_url
from likelier.feedback.draws import ASKED, Draw
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.projects import Gold, ProjectSettings, add_guideline, write_gold, write_settings
from likelier.feedback.questions import TRAINING
from likelier.feedback.shown import read_choices, read_draws
from likelier.feedback.store import Store, Superseded
from likelier.feedback.tables import metadata
from likelier.files import write_jsonl
from likelier.records import Comparison, Judgement, Prompt, Ranking, Rating, Response
from likelier.records.media import read_media
from media_files import image

pytestmark = pytest.mark.slow
PROMPT = Prompt("Tell me a story.")
LEFT, RIGHT = Response(PROMPT.id, "Once …", "m"), Response(PROMPT.id, "No.")
COMPARISON = Comparison(PROMPT.id, LEFT.id, RIGHT.id)
JUDGEMENT = Judgement(COMPARISON.id, "Zoë", LEFT.id, RIGHT.id, "left", 1.5, extra={"why": "kind"})


def programs() -> Path:
    """The folder of initdb and pg_ctl; Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "initdb").exists():
        pytest.skip("no PostgreSQL here: initdb was not found")
    return folders[-1]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of the database `postgres` of a fresh cluster."""
    pytest.importorskip("psycopg")
    folder, bin_folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp")), programs()  # a socket's path must be short
    user = "nobody" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run([bin_folder / command[0], *command[1:]], check=True, capture_output=True, user=user, cwd=folder)

    data, options = f"{folder}/data", f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("initdb", "-D", data, "-U", "likelier", "-A", "trust", "--locale=C.UTF-8")
    run("pg_ctl", "-D", data, "-o", options, "-l", f"{folder}/log", "-w", "start")
    try:
        yield f"postgresql://likelier@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_the_store_on_postgresql(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="an empty database"):
        Store.open(server)
    with Store.open(server, create=True) as store:
        assert [store.add_prompts([PROMPT, PROMPT]), store.add_responses([LEFT, RIGHT])] == [1, 2]
        assert store.add_comparisons([COMPARISON]) == 1
        kept = store.add_judgement(JUDGEMENT)
        assert kept == replace(JUDGEMENT, key=kept.key)
        assert store.add_judgement(replace(kept, choice="right")) == kept
        assert store.add_judgements([replace(JUDGEMENT, key="2"), replace(JUDGEMENT, key="10")]) == 2
        assert [judgement.key for judgement in store.judgements()] == [kept.key, "2", "10"]
        assert [judged.judgement.key for judged in store.judged_by_content()] == sorted([kept.key, "2", "10"])
        name = store.add_person("Ann")
        assert store.add_person("Ann") == name
        refused(store)
    with Store.open(server) as store:
        assert store.counts()["judgements"] == 3
        same_export(store, tmp_path)


def test_a_project_moves_to_sqlite_and_back_whole(server: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jsonl" for number in range(3)]
    with Store.open(new_database(server, "moved"), create=True) as store:
        with store.transaction() as writer:
            writer.add_prompts([PROMPT])
            writer.add_responses([LEFT, RIGHT])
            writer.add_comparisons([COMPARISON])
            write_settings(writer, ProjectSettings(tags=("rude",)))
            add_guideline(writer, "Be *kind*.")
            write_gold(writer, Gold(COMPARISON.id, "gold", LEFT.id))
        export_file(store, "likelier", files[0])
    for file, target, db in zip(files, files[1:], (str(tmp_path / "a.db"), new_database(server, "back")), strict=False):
        with Store.open(db, create=True) as store:
            counts = import_file(file, "likelier", store)
            assert (counts.settings, counts.guidelines, counts.gold) == ("taken", 1, 1)
            export_file(store, "likelier", target)
    assert len({file.read_bytes() for file in files}) == 1
    assert len(files[0].read_text().splitlines()) == 4


def test_a_person_is_erased_on_postgresql(server: str) -> None:
    with Store.open(new_database(server, "erased"), create=True) as store:
        ann = store.add_person("Ann")
        with store.transaction() as writer:
            writer.add_prompts([PROMPT, other := Prompt("I am Ann.", "talk")])
            writer.add_responses([LEFT, RIGHT])
            writer.add_comparisons([COMPARISON])
            writer.add_written([other.id], ann)
            writer.add_judgements([replace(JUDGEMENT, annotator=ann, key="k", extra={"comment": "I am Ann."})])
        assert store.erase_person("Ann") == ([ann], 1, 1, 0)
        assert [each.text for each in store.prompts()] == [PROMPT.text]
        assert [each.extra for each in store.judgements()] == [{}]
        refused(store)


def test_accounts_and_changed_answers_on_postgresql(server: str) -> None:
    with Store.open(server, create=True) as store:
        store.prepare_to_write()
        accounts = Accounts(store)
        token = accounts.invite("annotator")
        session = accounts.accept(token, "Nora")
        with pytest.raises(InvitationError):
            accounts.accept(token, "Eve")
        person = accounts.find(session)
        assert person is not None
        assert (person.name, person.role) == ("Nora", "annotator")
        store.add_prompts([PROMPT])
        store.add_responses([LEFT, RIGHT])
        store.add_comparisons([COMPARISON])
        before = store.counts()["judgements"]
        first = replace(JUDGEMENT, annotator=person.annotator, key="first")
        store.add_judgement(first)
        store.add_judgement(replace(first, key="second", choice="right", strength=2, supersedes="first"))
        assert store.counts()["judgements"] == before + 1
        assert [each.key for each in store.newest_judgements(1)] == ["second"]
        with pytest.raises(Superseded):
            store.add_judgement(replace(first, key="third", supersedes="first"))
        accounts.set_disabled(person.annotator, True)
        assert accounts.find(session) is None


def test_ratings_rankings_and_training_on_postgresql(server: str) -> None:
    with Store.open(server, create=True) as store:
        store.add_prompts([PROMPT])
        store.add_responses([LEFT, RIGHT])
        store.add_comparisons([COMPARISON])
        ranking = Ranking(PROMPT.id, "ann", ((RIGHT.id,), (LEFT.id,)), (LEFT.id, RIGHT.id), 2.0, key="k1")
        assert store.add_answer(ranking) == ranking
        changed = replace(ranking, key="k2", order=((LEFT.id, RIGHT.id),), supersedes="k1")
        assert store.add_answer(changed) == changed
        with pytest.raises(Superseded):
            store.add_answer(replace(changed, key="k3"))
        assert [each.ranking for each in store.ranked_by_content()] == [changed]
        assert [each.supersedes for each in store.shown_after(0, Ranking)] == [False, True]
        rating = store.add_answer(Rating(LEFT.id, "ann", 6.0, key="k1", duration_seconds=1.0, guideline="1"))
        assert [each.rating for each in store.rated_by_content()] == [rating]
        before = store.counts()["judgements"]
        store.add_judgement(replace(JUDGEMENT, annotator="new", key="lesson", extra={"training": True}))
        assert store.counts()["judgements"] == before
        assert [each.training for each in store.shown_after(0)][-1]


def test_draws_and_answers_for_a_strategy_on_postgresql(server: str) -> None:
    with Store.open(new_database(server, "drawn"), create=True) as store:
        store.add_prompts([PROMPT])
        store.add_responses([LEFT, RIGHT])
        store.add_comparisons([COMPARISON])
        draw = Draw(0.25, 8, False)
        given = replace(JUDGEMENT, extra={ASKED: draw._asdict()}, created_at="2026-01-01")
        store.add_judgements(
            [given, replace(given, annotator="ann", choice="tie"), replace(given, extra={TRAINING: True})]
        )
        with store.reading() as connection:
            assert read_draws(connection, "default") == {COMPARISON.id: draw}
            first, second = read_choices(connection, "default", 0, 10)
            assert read_choices(connection, "default", first[0], 1) == [second]
        assert sorted([first[1:], second[1:]]) == [("Zoë", COMPARISON.id, LEFT.id), ("ann", COMPARISON.id, None)]
        assert [entry.asked_weight for entry in store.judged()] == [0.5, 0.5]  # 7 of 8 are left: 1 / (8 x 0.25)


def refused(store: Store) -> None:
    with pytest.raises(DataError, match="does not fit"):
        store.add_judgements([replace(JUDGEMENT, key="3", comparison_id="absent")])
    with pytest.raises(LikelierError, match="only ever added"), store.transaction() as writer:
        writer.connection.exec_driver_sql("DELETE FROM judgements")


def same_export(store: Store, tmp_path: Path) -> None:
    """The same records give the same bytes from SQLite."""
    with Store.open(tmp_path / "a.db", create=True) as other:
        other.add_prompts(store.prompts())
        other.add_responses(store.responses())
        other.add_comparisons(store.comparisons())
        other.add_judgements(reversed(store.judgements()))
        for name, source in (("sqlite", other), ("postgresql", store)):
            export_file(source, "likelier", tmp_path / name)
    assert (tmp_path / "sqlite").read_bytes() == (tmp_path / "postgresql").read_bytes()


def test_an_import_is_whole_or_not_at_all(server: str, tmp_path: Path) -> None:
    good = [{"prompt": f"p{number}", "chosen": "a", "rejected": "b"} for number in range(1500)]
    write_jsonl(tmp_path / "bad.jsonl", [*good, {"prompt": "x"}])
    write_jsonl(tmp_path / "good.jsonl", good)
    with Store.open(server, create=True) as store:
        before = store.counts()["judgements"]
        with pytest.raises(DataError, match="bad.jsonl:1501"):
            import_file(tmp_path / "bad.jsonl", "trl", store)
        assert store.counts()["judgements"] == before
        assert import_file(tmp_path / "good.jsonl", "trl", store).stored == 1500
        assert import_file(tmp_path / "good.jsonl", "trl", store).stored == 0


OLD = Path(__file__).parents[1] / "data" / "old" / "feedback"


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(database_url(url), poolclass=sa.NullPool)


def new_database(server: str, name: str) -> str:
    with engine_of(server).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return server.replace("/postgres", f"/{name}")


def old_database(server: str, name: str) -> str:
    """A database of schema 0001 with the content of the old SQLite file."""
    url = new_database(server, name)
    old = sqlite3.connect(OLD / "feedback.sqlite")
    with engine_of(url).begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.upgrade(config, "0001")
        for table in ("prompts", "responses", "comparisons", "annotators", "people", "judgements"):
            cursor = old.execute(f"SELECT * FROM {table}")
            names = [name for name, *_ in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
            connection.execute(sa.insert(metadata.tables[table]), [as_booleans(row) for row in rows])
    old.close()
    return url


def as_booleans(row: dict[str, object]) -> dict[str, object]:
    return row | ({"simulated": bool(row["simulated"])} if "simulated" in row else {})


def version(url: str) -> str:
    with engine_of(url).connect() as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def export(url: str, path: Path) -> bytes:
    with Store.open(url) as store:
        export_file(store, "likelier", path)
    return path.read_bytes()


def test_an_old_database_is_read_as_it_is_and_migrated_by_the_first_write(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, expected = old_database(server, "old"), (OLD / "expected.jsonl").read_bytes()
    assert export(url, tmp_path / "before") == expected
    assert version(url) == "0001"
    with Store.open(url) as store:
        assert import_file(OLD / "expected.jsonl", "likelier", store).stored == 0
    said = capsys.readouterr().err
    assert said.endswith("migrated from version 0001 to 0007; in one transaction, without a copy (pg_dump makes one)\n")
    assert version(url) == "0007"
    assert export(url, tmp_path / "after") == expected


KILLED = """
import os, signal, sys
import sqlalchemy
from likelier.feedback.store import Store, Superseded
from likelier.records import Prompt
count, limit = 0, int(sys.argv[2])
def step(*_):
    global count
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)
with Store.open(sys.argv[1]) as store:
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", step)
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", step)
    store.add_prompts([Prompt("new")])
"""


def test_a_migration_that_is_killed_leaves_the_old_database(server: str, tmp_path: Path) -> None:
    """At a few statements; the last of them is the commit."""
    url, expected = old_database(server, "killed"), (OLD / "expected.jsonl").read_bytes()
    for limit in (5, 8, 10):
        done = subprocess.run([sys.executable, "-c", KILLED, url, str(limit)], check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert version(url) == "0001", limit
        assert export(url, tmp_path / "killed") == expected
    subprocess.run([sys.executable, "-c", KILLED, url, "1000"], check=True)
    assert version(url) == "0007"


def test_two_processes_that_migrate_at_once(server: str) -> None:
    url = old_database(server, "twice")
    started = [subprocess.Popen([sys.executable, "-c", KILLED, url, "1000"], stderr=subprocess.PIPE) for _ in range(2)]
    for process in started:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert version(url) == "0007"


def test_media_files_are_in_the_folder_that_the_url_names(server: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image())
    record = read_media(tmp_path / "a.png")
    shown = Response(PROMPT.id, model="m", media=record)
    url = new_database(server, "media")
    refused = pytest.raises(ConfigError, match="media files need a folder")
    with Store.open(url, create=True) as store, refused, store.transaction() as writer:
        writer.add_media(record, tmp_path / "a.png")
    with Store.open(f"{url}&media_folder={tmp_path}/files", create=True) as store:
        with store.transaction() as writer:
            writer.add_prompts([PROMPT])
            writer.add_media(record, tmp_path / "a.png")
            writer.add_responses([shown])
        assert store.responses() == [shown]
        assert store.media_folder.find(record) == tmp_path / "files" / record.sha256
