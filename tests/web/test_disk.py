"""A disk that fails or is full: nothing is acknowledged that is not stored, and no answer is lost (BATTERY D4, D5).

With a real `likelier serve`: strace lets one of its calls fail, and the disk that fills up is a tmpfs of a few MB.
"""

import contextlib
import http.client
import os
import shutil
import sqlite3
import subprocess
import time

import pytest
from judges import Server, come_in, fill, read_acknowledged

pytestmark = pytest.mark.slow
FAULTS = {
    "fdatasync:error=EIO": 12,
    "pwrite64:error=ENOSPC": 6,
    "pwrite64:error=EIO": 6,
    "pwrite64:retval=0": 6,
    "ftruncate:error=EIO": 22,
}
"""Answers in which each call is made forty times: an answer takes 4, 19 and 2 of them. The fourth is a short write."""


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    made = {}

    def make(db):
        if db not in made:
            made[db] = Server(folder, db, warm=True)
        made[db].start()
        return made[db]

    yield make
    for each in made.values():
        each.close()


@contextlib.contextmanager
def failing(pid, injection, log):
    """Let one call of a process fail."""
    call = injection.partition(":")[0]
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(log),
        "-p",
        str(pid),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={injection}",
    ]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while (status := read_tracer(pid)) == 0:
            assert tracer.poll() is None, tracer.stderr.read()
            time.sleep(0.005)
        assert status == tracer.pid
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


def read_tracer(pid):
    """The process that traces one; 0: none."""
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("TracerPid"))


def judge(person, count):
    """Statuses of so many tries; what was not acknowledged is tried again, as the page does."""
    statuses = []
    for _ in range(count):
        try:
            statuses.append(person.judge())
        except (OSError, http.client.HTTPException):
            statuses.append(0)
    return statuses


def check_stored(db, people):
    """All that was acknowledged is there, once, in a database that is whole."""
    acknowledged = read_acknowledged(people)
    with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = dict(row for row in connection.execute("SELECT key, choice FROM judgements"))
    stored = {key.partition(":")[2]: choice for key, choice in stored.items()}
    assert acknowledged.items() <= stored.items()
    return len(acknowledged)


def run_fault(tmp_path, server, injection):
    """One call fails while a person judges; then the server is killed and started again."""
    db = tmp_path / "f.db"
    for file in (db, tmp_path / "f.db-wal", tmp_path / "f.db-shm"):
        file.unlink(missing_ok=True)
    fill(db, 40)
    served = server(db)
    people = come_in(served, served.wait(), 1, tmp_path)
    with failing(served.pid, injection, tmp_path / "calls"):
        statuses = judge(people[0], FAULTS[injection.rpartition(":")[0]])
    assert "INJECTED" in (tmp_path / "calls").read_text()
    assert set(statuses) <= {200, 503}, (injection, statuses, served.read_log())
    served.end()
    people[0].close()
    before = check_stored(db, people)
    served.start()
    served.wait()
    assert judge(people[0], 1) == [200], injection  # the answer that failed was kept, and goes in now
    served.end()
    people[0].close()
    assert check_stored(db, people) == before + 1
    (tmp_path / "acknowledged-0").unlink()
    return statuses


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here to let a call fail")
@pytest.mark.parametrize(
    "points",
    [
        ["fdatasync:error=EIO:when=2"],
        pytest.param([f"{fault}:when={k}" for fault in FAULTS for k in range(1, 41)], marks=pytest.mark.battery),
    ],
    ids=["one", "all"],
)
def test_a_call_that_fails_acknowledges_nothing_that_is_not_stored(tmp_path, server, points):
    refused = [injection for injection in points if 503 in run_fault(tmp_path, server, injection)]
    print(f"{len(points)} points, {len(refused)} with refused answers")
    assert refused


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_refuses_answers_until_there_is_room(tmp_path, small_disk, server):
    db = small_disk / "f.db"
    fill(db, 400)
    served = server(db)
    people = come_in(served, served.wait(), 2, tmp_path)
    assert [judge(each, 2) for each in people] == [[200, 200]] * 2
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    statuses = [status for _ in range(40) for each in people for status in judge(each, 1)]
    assert set(statuses) <= {200, 503}, served.read_log()
    assert 503 in statuses
    check_stored(db, people)
    (small_disk / "ballast").unlink()
    assert [judge(each, 2) for each in people] == [[200, 200]] * 2
    served.end()
    check_stored(db, people)
    for each in people:
        each.close()
