"""A backup holds the database of one moment and its media files, made while somebody writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from likelier.errors import ConfigError, DataError
from likelier.feedback.backup import back_up_store
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Media, Prompt, Response
from likelier.records.media import read_media
from media_files import image

PROMPT = Prompt("Tell me a story.")
ONE, TWO = Response(PROMPT.id, "Once upon a time."), Response(PROMPT.id, "No.")
PAIR = Comparison(PROMPT.id, ONE.id, TWO.id)


def judge(store: Store, key: str) -> None:
    store.add_judgement(Judgement(PAIR.id, "ann", ONE.id, TWO.id, "left", key=key))


def add_image(store: Store, tmp_path: Path) -> Media:
    (tmp_path / "a.png").write_bytes(image())
    media = read_media(tmp_path / "a.png")
    with store.transaction() as writer:
        writer.add_media(media, tmp_path / "a.png")
        writer.add_responses([Response(PROMPT.id, media=media)])
    return media


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "feedback.db", create=True) as store:
        store.add_prompts([PROMPT])
        store.add_responses([ONE, TWO])
        store.add_comparisons([PAIR])
        judge(store, "first")
        yield store


def test_a_backup_of_an_open_database_is_a_database(store: Store, tmp_path: Path) -> None:
    with store.reading():  # as a page that is being shown
        assert back_up_store(store, tmp_path / "copies" / "monday.db") == {"judgements": 1, "media": 0}
    judge(store, "second")
    with Store.open(tmp_path / "copies" / "monday.db") as copy:
        assert [judgement.key for judgement in copy.judgements()] == ["first"]
        judge(copy, "third")  # it can be written to


def test_a_backup_has_the_media_files(store: Store, tmp_path: Path) -> None:
    media = add_image(store, tmp_path)
    assert back_up_store(store, tmp_path / "monday.db") == {"judgements": 1, "media": 1}
    assert (tmp_path / "monday.db.media" / media.sha256).read_bytes() == image()
    with Store.open(tmp_path / "monday.db") as copy:
        assert copy.media_folder.find(media) == tmp_path / "monday.db.media" / media.sha256


def test_a_backup_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    media = add_image(store, tmp_path)
    (tmp_path / "feedback.db.media" / media.sha256).unlink()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DataError, match="missing"):
        back_up_store(store, tmp_path / "monday.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_is_no_place_for_a_backup(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        back_up_store(store, tmp_path)


def test_a_device_is_no_place_for_a_backup(store: Store) -> None:
    """The backup took the device's place."""
    with pytest.raises(ConfigError, match="/dev/null: a pipe or a device"):
        back_up_store(store, Path("/dev/null"))


def test_a_backup_is_not_packed(store: Store, tmp_path: Path) -> None:
    """`-o monday.db.gz` held a database that no gunzip unpacks."""
    with pytest.raises(ConfigError, match=r"monday\.db\.gz: a backup is a database, not packed"):
        back_up_store(store, tmp_path / "monday.db.gz")


def test_postgresql_has_pg_dump(store: Store, tmp_path: Path) -> None:
    store.database.path = None
    with pytest.raises(ConfigError, match="a PostgreSQL database; pg_dump backs it up"):
        back_up_store(store, tmp_path / "monday.db")
