"""The process that computes what is asked next: reads requests from stdin, answers on stdout, ends as stdin does.

First line: the strategy. Then a line for each request: a project, what is new in it, and how many comparisons to
choose; the answer has their ids, or `error`. It gives way to whoever judges, and remembers what it was sent.
"""

import json
import os
import sys
import threading
from queue import Queue
from typing import Any, BinaryIO

from likelier.errors import LikelierError

NICENESS = 19


def main() -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not stand between the replies
    requests: Queue[dict[str, Any]] = Queue()
    threading.Thread(target=read_requests, args=(sys.stdin.buffer, requests), daemon=True).start()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if nice := getattr(os, "nice", None):  # Windows has none
        nice(NICENESS)
    try:
        answer_requests(requests, replies)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)


def read_requests(lines: BinaryIO, requests: "Queue[dict[str, Any]]") -> None:
    """Queue the records of a stream; end the process with it, whatever it does."""
    for line in lines:
        requests.put(json.loads(line))
    os._exit(0)


def answer_requests(requests: "Queue[dict[str, Any]]", replies: BinaryIO) -> None:
    """Answer one request after another."""
    settings = requests.get()
    chooser = Chooser(settings["name"], settings["reward"])
    while True:
        request = requests.get()
        try:
            reply: dict[str, Any] = {"chosen": chooser.choose(request)}
        except LikelierError as error:
            reply = {"error": " ".join(str(error).split())}
        except Exception as error:  # one line instead of a traceback, whatever libraries raise
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


class Chooser:
    """A strategy, the reward run that it goes by, and what it knows of each project."""

    def __init__(self, strategy: str, reward: str) -> None:
        from likelier.asking.pool import Pool  # only once the thread that watches stdin runs

        self.strategy, self.reward = strategy, reward
        self.pools: dict[str, Pool] = {}
        self.make_pool = Pool
        self.run: Any = None

    def choose(self, request: dict[str, Any]) -> list[str]:
        """Return the ids of the comparisons that are to be begun next. LikelierError: the reward run has no model."""
        pool = self.pools.setdefault(request["project"], self.make_pool())
        pool.add(request)
        if self.reward and request["size"] and (self.run is None or self.run.has_changed()):
            from likelier.asking.reward_run import LoadedRun

            self.run = LoadedRun(self.reward)
            for each in self.pools.values():
                each.forget_run()
        return pool.choose(self.strategy, request["size"], self.run) if request["size"] else []


if __name__ == "__main__":
    main()
