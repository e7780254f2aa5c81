"""The server's side of generation: starts the process, asks it, and starts it again when it dies."""

import contextlib
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any, NamedTuple

from likelier.errors import LikelierError
from likelier.generation.protocol import GenerationSettings, Item, Sampled, read_line, write_line
from likelier.terminal import print_stderr

COMMAND = (sys.executable, "-m", "likelier.generation.worker")
MAX_ITEMS = 16
"""Responses that are written at once."""
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 1.0, 60.0
"""Before a process that died is started again; doubled each time until one has answered."""
REPLY_SECONDS = 600.0
"""A process that has not answered so long is ended, and another one started."""
MAX_TRIES = 2
"""A request over which so many processes died is given up: it may be what they died of."""
END_SECONDS = 5.0
"""How long the threads have to end."""


class NoResponses(LikelierError):
    """A request that no process has answered."""


class Request(NamedTuple):
    """Prompts to be answered together, and how often a process has died over them."""

    items: Sequence[Item]
    future: "Future[list[Sampled]]"
    tries: int = 0


class Generator:
    """A process that generates, the requests that wait for it, and the policies that it has loaded.

    Two threads: one reads the process's replies, and starts another when they end; one writes. Nothing of it waits for
    the database, and nobody who judges waits for it.
    """

    def __init__(self, settings: GenerationSettings, command: Sequence[str] | None = None) -> None:
        self.settings, self.command = settings, command or COMMAND
        self.current: dict[int, str] = {}
        """Names of the loaded policies, by their numbers in the settings."""
        self.refused: set[int] = set()
        """Policies that could not be loaded at the last try."""
        self.said: set[str] = set()
        """Lines that were printed since the last response: each is said once."""
        self.urgent: deque[Request] = deque()
        self.waiting: deque[Request] = deque()
        self.asked: list[Request] = []
        """What the process is answering."""
        self.asked_at, self.num_asked = 0.0, 0
        self.process: subprocess.Popen[bytes] | None = None
        self.is_closed = False
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self.keep_running, self.keep_asking)]

    def start(self) -> None:
        """Start the process and the threads."""
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        """End the process, which has nothing to save, and the threads; what nobody has answered fails."""
        with self.changed:
            self.is_closed = True
            if self.process:
                self.process.kill()
            self.changed.notify_all()
        for thread in self.threads:
            if thread.is_alive():
                thread.join(END_SECONDS)
        for request in (*self.asked, *self.urgent, *self.waiting):
            fail(request, "the server ends")

    def is_ready(self) -> bool:
        """True if there is a process that has tried to load every policy, and has loaded one."""
        known = self.refused | self.current.keys()
        return bool(self.process and self.current and len(known) == len(self.settings.policies))

    def list_names(self) -> tuple[str, ...]:
        """Return the names of the present policies, sorted; nothing before all are loaded that can be."""
        with self.changed:
            return tuple(sorted(self.current.values())) if self.is_ready() else ()

    def list_usable(self) -> list[int]:
        """Return the numbers of the policies that are loaded or may be yet."""
        unusable = self.refused - self.current.keys()
        return [number for number in range(len(self.settings.policies)) if number not in unusable]

    def is_hopeless(self) -> bool:
        """True if no policy can be loaded, for now."""
        return not self.list_usable()

    def ask(self, items: Sequence[Item], urgent: bool = False) -> "Future[list[Sampled]]":
        """Return a future of one response to each item; urgent requests are answered first.

        It fails with `NoResponses` if process after process dies over it, or the server ends.
        """
        request = Request(items, Future())
        with self.changed:
            if self.is_closed:
                fail(request, "the server ends")
            (self.urgent if urgent else self.waiting).append(request)
            self.changed.notify_all()
        return request.future

    def keep_running(self) -> None:
        """Run one process after another, each until its replies end."""
        delay = FIRST_DELAY_SECONDS
        while not self.is_closed:
            try:
                process = self.launch()
            except OSError as error:
                self.say(f"no process can be started ({error.strerror})")
            else:
                self.read_replies(process)
                code = process.wait()
                self.give_back()
                close_pipes(process)
                if self.is_closed:
                    return
                delay = delay if self.said else FIRST_DELAY_SECONDS
                how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                self.say(f"its process ended {how}; it is started again")
            with self.changed:
                self.changed.wait_for(lambda: self.is_closed, delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start a process that the terminal's Ctrl-C does not reach: it ends when we end it, or die.

        OSError: there can be no more processes.
        """
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        with self.changed:
            self.process = process
            if self.is_closed:
                process.kill()
        self.write(process, self.settings.to_json())
        return process

    def say(self, line: str) -> None:
        """Print a line, unless it was said since the last response."""
        if line not in self.said:
            self.said.add(line)
            print_stderr(f"generation: {line}")

    def write(self, process: "subprocess.Popen[bytes]", record: dict[str, Any]) -> None:
        """Write a line to a process; one that has just died is found by the thread that reads."""
        assert process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(write_line(record))
            process.stdin.flush()

    def keep_asking(self) -> None:
        """Write one batch of requests after another, each once the last is answered."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.is_closed or self.may_ask(), timeout=5.0)
                if self.is_closed:
                    return
                process, batch = self.process, self.take_batch() if self.may_ask() else []
                if self.asked and process and time.monotonic() - self.asked_at > REPLY_SECONDS:
                    process.kill()
                number = self.num_asked
            if batch and process:
                items = [list(item) for request in batch for item in request.items]
                self.write(process, {"id": number, "items": items})

    def may_ask(self) -> bool:
        """True if the process is ready and not busy, and there is something to ask."""
        return self.is_ready() and not self.asked and bool(self.urgent or self.waiting)

    def take_batch(self) -> list[Request]:
        """Take the requests that are answered next: all urgent ones that fit, or else one that is not."""
        queue = self.urgent or self.waiting
        while queue and (not self.asked or count_items(self.asked) + len(queue[0].items) <= MAX_ITEMS):
            request = queue.popleft()
            if request.future.set_running_or_notify_cancel() if not request.tries else True:
                self.asked.append(request)
            if queue is self.waiting:
                break
        self.num_asked += 1
        self.asked_at = time.monotonic()
        return list(self.asked)

    def read_replies(self, process: "subprocess.Popen[bytes]") -> None:
        """Take what a process writes, until it ends."""
        assert process.stdout is not None
        for line in process.stdout:
            try:
                self.take(read_line(line))
            except (ValueError, LookupError, TypeError) as error:
                self.say(f"its process wrote what is no reply ({error})")
                process.kill()

    def take(self, reply: dict[str, Any]) -> None:
        """Take one reply: responses, a policy that was loaded, or a line for the terminal."""
        if "responses" in reply:
            self.deliver(int(reply["id"]), [Sampled(**each) for each in reply["responses"]])
        elif "name" in reply:
            with self.changed:
                self.current[int(reply["policy"])] = str(reply["name"])
                self.refused.discard(int(reply["policy"]))
                self.changed.notify_all()
        elif "policy" in reply:
            self.say(str(reply["error"]))
            with self.changed:
                self.refused.add(int(reply["policy"]))
                self.changed.notify_all()
        else:
            self.say(str(reply["fatal"]))

    def deliver(self, number: int, responses: list[Sampled]) -> None:
        """Hand the responses of a batch to those who asked."""
        with self.changed:
            if number != self.num_asked or len(responses) != count_items(self.asked):
                raise ValueError("responses that nobody asked for")
            batch, self.asked = self.asked, []
            self.said.clear()
            self.changed.notify_all()
        for request in batch:
            own, responses = responses[: len(request.items)], responses[len(request.items) :]
            request.future.set_result(own)

    def give_back(self) -> None:
        """Let what a dead process was asked be answered by the next one, or give it up."""
        with self.changed:
            batch, self.asked, self.process = self.asked, [], None
            self.current, self.refused = {}, set()
            again = [request._replace(tries=request.tries + 1) for request in batch if request.tries + 1 < MAX_TRIES]
            self.urgent.extendleft(reversed(again))
        for request in batch:
            if request.tries + 1 >= MAX_TRIES:
                fail(request, "the process that generates died over it")


def close_pipes(process: "subprocess.Popen[bytes]") -> None:
    """Close our ends of the pipes of a process that has ended; what it has not read is lost."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def count_items(requests: Sequence[Request]) -> int:
    """Count the responses that requests ask for."""
    return sum(len(request.items) for request in requests)


def fail(request: Request, reason: str) -> None:
    """Fail a request, unless it is answered or was cancelled."""
    with contextlib.suppress(InvalidStateError):
        request.future.set_exception(NoResponses(f"no responses: {reason}"))
