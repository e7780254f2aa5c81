"""Keeps an acquisition strategy's priorities fresh while people judge: a process of its own computes them."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from likelier.asking.strategies import Strategy
from likelier.errors import LikelierError
from likelier.feedback.draws import Priorities
from likelier.feedback.shown import read_choices, read_draws
from likelier.records import Judgement, list_pictures
from likelier.terminal import print_stderr
from likelier.web.room import Room

COMMAND = (sys.executable, "-m", "likelier.asking.worker")
LOOK_SECONDS, END_SECONDS, AGAIN_SECONDS = 0.5, 5.0, 30.0
"""How often it is looked for new answers; how long the thread has to end; when a process that died is started again."""
REFRESH_EVERY = 16
"""New answers after which the strategy chooses again."""
BATCH = 32
"""Comparisons that it chooses at least: twice as many as there are answers until it chooses again."""
REST = 2
"""The process rests twice as long as it took."""
ROWS_AT_ONCE = 5000
"""Judgements that are read at once: an answer waits for no longer read."""


class RoomFeed:
    """Records of a room that the process has been sent."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.responses: set[str] = set()
        self.comparisons: set[str] = set()
        self.last_number = 0
        self.num_stored, self.num_questions = -REFRESH_EVERY, 0
        """Answers and comparisons that there were when the strategy last chose."""
        self.rest_until = 0.0
        """Monotonic time."""

    def begin(self, priorities: Priorities) -> None:
        """Draw by chance until the first choice, and note how; take over the draws of before."""
        with self.room.store.reading() as connection:
            draws = read_draws(connection, self.room.store.project)
        with self.room.pairing_lock:
            self.room.pairing.add_draws(draws)
            self.room.pairing.prioritise(priorities)

    def is_due(self) -> bool:
        """True if enough is new for the strategy to choose again."""
        pairing = self.room.update_pairing()
        has_new = pairing.num_stored >= self.num_stored + REFRESH_EVERY or len(pairing.questions) != self.num_questions
        return has_new and bool(pairing.questions) and time.monotonic() >= self.rest_until

    def list_requests(self) -> Iterator[dict[str, Any]]:
        """Yield what is new, in parts; the last one asks for a choice."""
        pairing, apart = self.room.pairing, {*self.room.gold, *self.room.training}
        new = [each for key, each in list(self.room.comparisons.items()) if key not in self.comparisons | apart]
        num_new = max(0, pairing.num_stored - max(self.num_stored, 0))
        size = max(BATCH, 2 * num_new if self.num_stored >= 0 else 0)
        self.num_stored, self.num_questions = pairing.num_stored, len(pairing.questions)
        self.comparisons.update(each.id for each in new)
        needed = dict.fromkeys(side for each in new for side in each.responses if side not in self.responses)
        self.responses.update(needed)
        request = {
            "project": self.room.store.project,
            "responses": [self.describe(each) for each in needed],
            "comparisons": [[each.id, *each.responses] for each in new],
        }
        while len(rows := self.read_answers()) == ROWS_AT_ONCE:
            yield request | {"answers": rows, "size": 0}
            request |= {"responses": [], "comparisons": []}
        yield request | {"answers": rows, "size": size}

    def describe(self, response_id: str) -> list[Any]:
        """Return a response as a request has it; the text is None of a media file, and where a prompt has pictures."""
        response = self.room.responses[response_id]
        prompt = self.room.prompts[response.prompt_id]
        return [response_id, prompt, None if response.media or list_pictures(prompt) else response.text]

    def read_answers(self) -> list[list[Any]]:
        """Return the next answers: person, comparison, preferred response."""
        with self.room.store.reading() as connection:
            rows = read_choices(connection, self.room.store.project, self.last_number, ROWS_AT_ONCE)
        self.last_number = rows[-1][0] if rows else self.last_number
        return [list(row[1:]) for row in rows]

    def take(self, chosen: Sequence[str], floor: float) -> None:
        """Draw these comparisons first from now on."""
        with self.room.pairing_lock:
            self.room.pairing.prioritise(Priorities(dict.fromkeys(chosen, 1.0), floor))


class Asking:
    """A thread that lets the process choose for each open project, and gives its choice to the pairing.

    Nobody who judges waits for it: until it has chosen, and when it fails, new comparisons are drawn by chance.
    """

    def __init__(
        self, strategy: Strategy, list_rooms: Callable[[], Iterable[Room]], command: Sequence[str] | None = None
    ) -> None:
        self.strategy, self.list_rooms, self.command = strategy, list_rooms, command or COMMAND
        self.feeds: dict[str, RoomFeed] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.start_again_at = 0.0
        """Monotonic time."""
        self.said: set[str] = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.keep, daemon=True)

    def start(self) -> None:
        """Begin with the rooms that are open, and start the thread."""
        for room in self.list_asked():
            self.find_feed(room)
        self.thread.start()

    def list_asked(self) -> list[Room]:
        """Return the open rooms in which people judge comparisons; ratings and rankings are asked by chance."""
        return [room for room in self.list_rooms() if room.kind is Judgement]

    def close(self) -> None:
        """End the process, which has nothing to save, and the thread."""
        self.ended.set()
        if process := self.process:
            process.kill()
        if self.thread.is_alive():
            self.thread.join(END_SECONDS)
        if process := self.process:
            process.communicate()

    def keep(self) -> None:
        """Look for new answers until the end; what fails is said once."""
        while not self.ended.wait(LOOK_SECONDS):
            for room in self.list_asked():
                try:
                    self.look(self.find_feed(room))
                except (LikelierError, OSError) as error:
                    self.say(str(error))

    def find_feed(self, room: Room) -> RoomFeed:
        """Return a room's feed; let a room begin that has just been opened, or asks for comparisons again."""
        feed = self.feeds.setdefault(room.store.project, RoomFeed(room))
        if room.pairing.priorities is None:
            feed.begin(self.strategy.begins_with)
            room.strategy = self.strategy.name
        return feed

    def look(self, feed: RoomFeed) -> None:
        """Let the strategy choose if enough is new."""
        if not self.strategy.has_weights or time.monotonic() < self.start_again_at or not feed.is_due():
            return
        begun, chosen = time.monotonic(), None
        for request in feed.list_requests():
            chosen = self.ask(request)
            if chosen is None:
                return
        feed.rest_until = time.monotonic() + REST * (time.monotonic() - begun)
        feed.take(chosen or (), self.strategy.floor)

    def ask(self, request: dict[str, Any]) -> list[str] | None:
        """Return what the process chose; None if it died or could not, which is said."""
        process = self.process or self.launch()
        reply: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            write_line(process, request)
            assert process.stdout
            reply = json.loads(process.stdout.readline())
        if "chosen" in reply:
            return list(reply["chosen"])
        if not self.ended.is_set():
            self.say(reply.get("error", "its process ended; it is started again"))
        self.drop(process)
        return None

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start a process that the terminal's Ctrl-C does not reach: it ends when we end it, or die."""
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        write_line(self.process, {"name": self.strategy.name, "reward": self.strategy.reward})
        return self.process

    def drop(self, process: "subprocess.Popen[bytes]") -> None:
        """End a process that is of no use, and send the next one everything, after a while."""
        process.kill()
        process.communicate()
        self.process, self.start_again_at = None, time.monotonic() + AGAIN_SECONDS
        self.feeds = {name: RoomFeed(feed.room) for name, feed in self.feeds.items()}

    def say(self, line: str) -> None:
        """Print a line once."""
        if line not in self.said:
            self.said.add(line)
            print_stderr(f"--ask {self.strategy.name}: {line}")


def write_line(process: "subprocess.Popen[bytes]", record: dict[str, Any]) -> None:
    """Write a record to a process."""
    assert process.stdin
    process.stdin.write(json.dumps(record).encode() + b"\n")
    process.stdin.flush()
