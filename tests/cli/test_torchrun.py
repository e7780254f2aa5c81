"""Which of torchrun's processes speaks, and of what."""

import os
import signal
import sys
import threading

import pytest

from likelier.cli import main, torchrun
from likelier.cli.process import raise_on_signals
from likelier.distributed import LostProcess
from likelier.errors import ConfigError, DataError, LikelierError, NumericError, Stopped, Terminated


def place(monkeypatch, rank, size, **more):
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}
    for name, value in (variables | more).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torchrun, "WAIT_SECONDS", 0.01)


def test_without_torchrun_there_is_one_process(monkeypatch):
    assert torchrun.torchrun_rank() == (0, 1)
    monkeypatch.setenv("RANK", "3")  # a cluster's own variable, and nobody to meet
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert torchrun.torchrun_rank() == (0, 1)
    torchrun.check_verb("gym")
    assert torchrun.should_report(Stopped("stopped"))


def test_where_torchrun_started_this_process(monkeypatch):
    place(monkeypatch, 3, 4)
    assert torchrun.torchrun_rank() == (3, 4)
    torchrun.check_verb("ppo")


@pytest.mark.parametrize("verb", ["circle", "serve", "gym"])
def test_other_verbs_are_refused_in_one_line(monkeypatch, capsys, verb):
    place(monkeypatch, 0, 2)
    assert main([verb, "nowhere.yaml"]) == 2
    line = f"likelier: {verb}: runs in one process, and torchrun started 2; only sft, reward, dpo, ppo run in several\n"
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_prints(monkeypatch, capsys, rank):
    place(monkeypatch, rank, 2)
    with torchrun.silence_other_ranks():
        print("result")
        print("progress", file=sys.stderr)
    assert capsys.readouterr() == (("result\n", "progress\n") if rank == 0 else ("", ""))


MET_BY_ALL = [ConfigError("x"), DataError("x"), NumericError("x")]
OF_ONE = [LikelierError("a reward function raises"), MemoryError(), RuntimeError("x"), OSError(28, "no space")]
TOLD_BY_FIRST = [Stopped("x"), Terminated(), KeyboardInterrupt(), LostProcess("x")]


@pytest.mark.parametrize("error", [*MET_BY_ALL, *OF_ONE, *TOLD_BY_FIRST], ids=repr)
def test_the_first_process_always_says_what_ended_it(monkeypatch, error):
    place(monkeypatch, 0, 2)
    assert torchrun.should_report(error)


@pytest.mark.parametrize("error", OF_ONE, ids=repr)
def test_what_one_process_alone_knows_it_says_at_once(monkeypatch, error):
    place(monkeypatch, 1, 2)
    monkeypatch.setattr(torchrun, "wait_unless_terminated", lambda seconds: pytest.fail("it waits"))
    assert torchrun.should_report(error)


@pytest.mark.parametrize("error", TOLD_BY_FIRST, ids=repr)
def test_others_leave_the_end_of_the_run_to_the_first(monkeypatch, error):
    place(monkeypatch, 1, 2)
    assert not torchrun.should_report(error)


@pytest.mark.parametrize("error", MET_BY_ALL, ids=repr)
def test_others_speak_where_the_first_does_not(monkeypatch, error):
    place(monkeypatch, 1, 2)
    assert torchrun.should_report(error)


@pytest.mark.parametrize("error", MET_BY_ALL, ids=repr)
def test_others_keep_quiet_where_torchrun_ends_them_meanwhile(monkeypatch, error):
    place(monkeypatch, 1, 2)
    monkeypatch.setattr(torchrun, "WAIT_SECONDS", 30.0)
    with raise_on_signals():
        alarm = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
        alarm.start()
        assert not torchrun.should_report(error)
        alarm.join()
