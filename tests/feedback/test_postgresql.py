"""The same store on a real PostgreSQL: a cluster of its own on a unix socket, under an unprivileged user."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from likelier.errors import DataError, LikelierError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.records import Comparison, Judgement, Prompt, Response

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
