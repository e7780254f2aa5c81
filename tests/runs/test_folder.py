"""The lock of a folder: one process at a time, gone with its process, the same lock that earlier versions took."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from likelier.errors import ConfigError
from likelier.runs.folder import is_unused, make_folder, take_lock

HOLD = "import sys, time; from pathlib import Path; from likelier.runs.folder import take_lock\n"
HOLD += "lock = take_lock(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)\n"


def test_a_second_process_is_refused_at_once_and_a_kill_frees_the_folder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigError) as caught:
            take_lock(tmp_path)
        assert str(caught.value) == f"{tmp_path}: another process is training in this folder"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    os.close(take_lock(tmp_path))
    os.close(take_lock(tmp_path))  # closing is releasing


def test_the_lock_is_the_one_of_earlier_versions(tmp_path):
    """They called `flock` on the same file: neither works in a folder where the other does."""
    with open(tmp_path / ".lock", "w") as old:
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(ConfigError, match="another process"):
            take_lock(tmp_path)
    lock = take_lock(tmp_path)
    with open(tmp_path / ".lock") as old, pytest.raises(BlockingIOError):
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


def test_a_folder_with_nothing_but_a_lock_is_unused(tmp_path):
    assert is_unused(tmp_path / "absent")
    made = make_folder(tmp_path / "new" / "run")
    assert made == [tmp_path / "new" / "run", tmp_path / "new"]
    os.close(take_lock(tmp_path / "new" / "run"))
    assert is_unused(tmp_path / "new" / "run")
    (tmp_path / "new" / "run" / "config.yaml").write_text("")
    assert not is_unused(tmp_path / "new" / "run")
