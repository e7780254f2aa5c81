"""The process that generates: reads requests from stdin, answers on stdout, and ends as soon as stdin does.

torch is imported only once the thread that watches stdin runs: the process ends with its server at any time, also while
it loads or samples.
"""

import os
import queue
import sys
import threading
from typing import Any, BinaryIO

from likelier.errors import LikelierError
from likelier.generation.protocol import GenerationSettings, Item, read_line, write_line

WATCH_SECONDS = 2.0
"""How often the folders of the policies are looked at."""
NICENESS = 10
"""Judging goes before generation: see BATTERY, row L1."""


def main() -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not stand between the replies
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=read_requests, args=(sys.stdin.buffer, requests), daemon=True).start()
    give_way()
    try:
        answer_requests(requests, replies)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)
    except Exception as error:  # one line instead of a traceback, whatever libraries raise
        reply(replies, {"fatal": describe(error)})
        os._exit(1)


def read_requests(lines: BinaryIO, requests: "queue.Queue[dict[str, Any]]") -> None:
    """Queue the records of a stream; end the process with it, in the middle of a response too."""
    for line in lines:
        requests.put(read_line(line))
    os._exit(0)


def give_way() -> None:
    """Leave half of the processors, and the first right to all of them, to others."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    if nice := getattr(os, "nice", None):  # Windows has none
        nice(NICENESS)


def answer_requests(requests: "queue.Queue[dict[str, Any]]", replies: BinaryIO) -> None:
    """Load the policies, and answer; between two requests, load those that have changed."""
    settings = requests.get()
    from likelier.generation.sampling import LivePolicies

    policies = LivePolicies(GenerationSettings(**settings | {"policies": tuple(settings["policies"])}))
    while True:
        for change in policies.refresh():
            reply(replies, change)
        try:
            request = requests.get(timeout=WATCH_SECONDS)
        except queue.Empty:
            continue
        responses = policies.sample([Item(*item) for item in request["items"]])
        reply(replies, {"id": request["id"], "responses": [each._asdict() for each in responses]})


def reply(replies: BinaryIO, record: dict[str, Any]) -> None:
    """Write a line to the server."""
    replies.write(write_line(record))
    replies.flush()


def describe(error: Exception) -> str:
    """Return an error as one line."""
    message = str(error) if isinstance(error, LikelierError) else f"{type(error).__name__}: {error}"
    return " ".join(message.split())[:500]


if __name__ == "__main__":
    main()
