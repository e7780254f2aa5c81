"""The process that generates, as its server sees it: asked, restarted, ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fake_generation import COMMAND
from likelier.generation import process
from likelier.generation.process import Generator, NoResponses
from likelier.generation.protocol import GenerationSettings, Item


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.setattr(process, "FIRST_DELAY_SECONDS", 0.05)
    started = Generator(GenerationSettings(("one", "two")), COMMAND)
    started.start()
    yield started
    started.close()


def test_each_item_is_answered_by_its_policy_in_order(generator):
    answers = generator.ask([Item(0, "a"), Item(1, "b"), Item(0, "long")]).result(10)
    assert [answer.model for answer in answers] == ["one@00000001", "two@00000001", "one@00000001"]
    assert [answer.text.rpartition(" ")[2] for answer in answers] == ["a", "b", ""]
    assert [answer.error for answer in answers] == ["", "", "too_long"]
    assert generator.current == {0: "one@00000001", 1: "two@00000001"}


def test_urgent_requests_go_first(generator):
    order = []
    generator.ask([Item(0, "slow")])
    for name, urgent in (("stock", False), ("person", True)):
        generator.ask([Item(0, name)], urgent).add_done_callback(lambda _, name=name: order.append(name))
    generator.ask([Item(0, "last")]).result(10)
    assert order == ["person", "stock"]


def test_a_process_that_is_killed_is_started_again_and_answers_what_it_was_asked(generator, capfd):
    generator.ask([Item(0, "a")]).result(10)
    waiting = generator.ask([Item(0, "slow")])
    while not generator.asked:
        time.sleep(0.01)
    os.kill(generator.process.pid, signal.SIGKILL)
    assert waiting.result(10)[0].text.endswith("to slow")
    assert capfd.readouterr().err == "generation: its process ended by signal 9; it is started again\n"


def test_a_request_over_which_two_processes_died_is_given_up_and_others_are_answered(generator, capfd):
    poison, other = generator.ask([Item(0, "die")]), generator.ask([Item(0, "a")])
    with pytest.raises(NoResponses, match="the process that generates died over it"):
        poison.result(10)
    assert other.result(10)[0].text.endswith("to a")
    assert capfd.readouterr().err.count("\n") == 1


def test_one_policy_that_cannot_be_loaded_is_one_line_and_the_other_answers(capfd):
    generator = Generator(GenerationSettings(("broken", "two")), COMMAND)
    generator.start()
    assert generator.ask([Item(1, "a")]).result(10)[0].model == "two@00000001"
    generator.close()
    assert capfd.readouterr().err == "generation: no\n"


def test_closing_ends_the_process_and_fails_what_waits(generator):
    generator.ask([Item(0, "a")]).result(10)
    waiting, pid = generator.ask([Item(0, "slow")]), generator.process.pid
    generator.close()
    with pytest.raises(NoResponses, match="the server ends"):
        waiting.result(1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(NoResponses):
        generator.ask([Item(0, "b")]).result(1)


SERVER = """
import sys, time
from likelier.generation.process import Generator
from likelier.generation.protocol import GenerationSettings
generator = Generator(GenerationSettings(("no such folder",)))
generator.start()
while not generator.process:
    time.sleep(0.01)
print(generator.process.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid):
    """A process that is there, and no zombie."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_the_real_process_ends_when_its_server_is_killed():
    """While it imports torch: the thread that watches stdin runs before."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    pid = int(server.stdout.readline())
    assert is_alive(pid)
    server.kill()
    server.wait()
    server.stdout.close()
    end = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(pid)
