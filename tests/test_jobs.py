"""Processes: as many at once as asked for, each on its own, ended by a signal or with their parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from likelier.errors import LikelierError
from likelier.jobs import hold_back_interrupts, map_in_processes, run_jobs

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


def test_results_come_in_order_and_the_processes_end_with_the_generator():
    results = map_in_processes(time.sleep, [0.0, 0.0, 60.0, 60.0], 2, int)
    assert [next(results), next(results)] == [None, None]
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 10.0
    assert multiprocessing.active_children() == []


def test_a_process_that_was_killed_is_one_line():
    with pytest.raises(LikelierError, match="one of the processes was killed"):
        list(map_in_processes(os._exit, [3], 1, int))


@pytest.mark.parametrize("has_other_threads", [False, True])
def test_ctrl_c_is_held_back_while_processes_start_and_not_lost(has_other_threads):
    """Another thread, which does not hold it blocked, received it, and it was raised in the middle."""
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    if has_other_threads:
        other.start()
    started = []
    try:
        with pytest.raises(KeyboardInterrupt), hold_back_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            started.append(True)
        assert started
    finally:
        ended.set()
