"""Processes: as many at once as asked for, each on its own, ended by a signal or with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from likelier.jobs import run_jobs

PRELOAD = ["likelier.records"]


def work(job):
    """What a job does is in its name."""
    print(f"job {job.name}")
    if job.name.startswith("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name.startswith("fails"):
        sys.exit(3)
    if job.name.startswith("waits"):
        job.with_suffix(".started").write_text(str(os.getpid()))
        time.sleep(60)
    job.write_text(str(os.getpid()))


def log_of(job):
    return job.with_name("logs") / job.name


@pytest.mark.slow
def test_a_job_that_fails_or_dies_ends_no_other(tmp_path):
    jobs = [tmp_path / name for name in ("one", "fails", "dies", "two")]
    ended = []
    assert run_jobs(jobs, work, log_of, lambda job, code: ended.append((job.name, code)), 2, PRELOAD) is None
    assert sorted(ended) == [("dies", -9), ("fails", 3), ("one", 0), ("two", 0)]
    assert log_of(jobs[1]).read_text() == "job fails\n"
    assert int(jobs[0].read_text()) not in (os.getpid(), int(jobs[3].read_text()))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_reaches_what_runs_and_starts_nothing_more(tmp_path, number, code, capsys):
    jobs = [tmp_path / name for name in ("waits", "later")]
    ended = []

    def stop_it():
        while not jobs[0].with_suffix(".started").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop_it).start()
    assert run_jobs(jobs, work, log_of, lambda job, code: ended.append((job.name, code)), 1, PRELOAD) == code
    assert ended == [("waits", -signal.SIGTERM)]
    assert not jobs[1].exists()
    assert "Ctrl-C again" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_parent_takes_its_processes_with_it(tmp_path):
    code = (
        "from pathlib import Path; from test_jobs import *;"
        f"run_jobs([Path({str(tmp_path / 'waits')!r})], work, log_of, print, 1, PRELOAD)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    started = tmp_path / "waits.started"
    while not (started.exists() and started.read_text()):
        assert parent.poll() is None
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{started.read_text()}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{started.read_text()}").exists()
