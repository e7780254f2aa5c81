"""`kill -9` of `likelier serve` under load, started again at once: how soon does it answer, and are all outboxes empty?

`python bench/restart.py [--people 100] [--interval 1] [--restarts 5] [--warm]` lets people judge as the page does: up
to two answers wait in a browser that reaches nobody, and it tries again after half a second, then twice as long, up to
eight. Prints, for each restart, seconds from the kill to the first answered request, processor seconds of the server
until then, and seconds until the last answer that had waited was acknowledged; and what was lost or doubled.
`--warm` forks the server from a process that has imported everything.
"""

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from judges import Judge, Server, come_in, fill
from load import Browser
from slow_clients import read_seconds

SHOWN_AHEAD = 2
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0


@dataclass
class Client:
    """A page in a browser: what it can ask, and its outbox."""

    judge: Judge
    questions: deque[dict[str, Any]] = field(default_factory=deque)
    outbox: deque[dict[str, Any]] = field(default_factory=deque)
    known: set[str] = field(default_factory=set)
    acknowledged: dict[str, str] = field(default_factory=dict)
    last: float = 0.0
    """When an answer was acknowledged last."""

    def take(self, reply: dict[str, Any]) -> None:
        """Keep the questions of a reply that were not here before."""
        for each in (reply, reply.get("next") or {}):
            if (ids := each.get("ids")) and ids["comparison_id"] not in self.known:
                self.known.add(ids["comparison_id"])
                self.questions.append(ids)

    async def answer_steadily(self, interval: float) -> None:
        """Answer once in each interval, as long as there is a question."""
        draw = random.Random(self.judge.name)
        await asyncio.sleep(draw.uniform(0, interval))
        while True:
            if self.questions:
                self.judge.count += 1
                key = f"{self.judge.name.encode().hex()[-12:]}-{self.judge.count:08d}"
                choice = draw.choice(("left", "right", "tie"))
                self.outbox.append({**self.questions.popleft(), "choice": choice, "key": key, "duration_seconds": 1.5})
            await asyncio.sleep(interval)

    async def send(self) -> None:
        """Send what is in the outbox, the oldest first, until it is acknowledged."""
        browser, wait = Browser(self.judge), FIRST_WAIT
        while True:
            if not self.outbox:
                await asyncio.sleep(0.01)
                continue
            answer = self.outbox[0]
            try:
                status, content = await browser.request("POST", "/judgements", answer)
            except (OSError, EOFError):
                status, content = 0, b""
            if status != 200:
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            self.outbox.popleft()
            self.acknowledged[answer["key"]], self.last, wait = answer["choice"], time.monotonic(), FIRST_WAIT
            self.take(json.loads(content))


@dataclass
class Restarts:
    """Seconds of each restart, and what was lost."""

    first: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0

    def describe(self) -> str:
        """Return one line."""

        def spread(values: list[float]) -> str:
            return f"median {statistics.median(values):.2f}, at most {max(values):.2f}"

        return (
            f"{len(self.first)} restarts, {self.acknowledged} answers acknowledged: {self.lost} lost, {self.doubled} "
            f"doubled; seconds to the first reply: {spread(self.first)} (processor: {spread(self.processor)}); "
            f"{spread(list(map(float, self.waiting)))} answers waited, the last of them for {spread(self.drained)} s "
            f"after the kill; load {os.getloadavg()[0]:.1f}"
        )


async def restart(server: Server, clients: list[Client], result: Restarts) -> None:
    """Kill the server and start it again, and wait until all that waited is acknowledged."""
    server.end()
    killed = time.monotonic()
    server.start()
    while not any(client.last > killed for client in clients):
        await asyncio.sleep(0.002)
        assert time.monotonic() < killed + 120, server.read_log()
    result.first.append(min(client.last for client in clients if client.last > killed) - killed)
    result.processor.append(read_seconds(server.pid))
    waiting = {answer["key"] for client in clients for answer in client.outbox}
    result.waiting.append(len(waiting))
    while any(answer["key"] in waiting for client in clients for answer in client.outbox):
        await asyncio.sleep(0.01)
    result.drained.append(time.monotonic() - killed)


async def run_restarts(server: Server, clients: list[Client], interval: float, restarts: int, result: Restarts) -> None:
    """Let people judge, and restart the server again and again."""
    work = [asyncio.create_task(task) for each in clients for task in (each.answer_steadily(interval), each.send())]
    for _ in range(restarts):
        await asyncio.sleep(5 * interval)
        await restart(server, clients, result)
    for task in work[::2]:
        task.cancel()
    while any(client.outbox for client in clients):
        await asyncio.sleep(0.01)
    for task in work[1::2]:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


def run(folder: Path, people: int, interval: float, restarts: int, warm: bool = False) -> Restarts:
    """Restart under load, and compare what was acknowledged with the database."""
    db, result = folder / "feedback.db", Restarts()
    fill(db, people * (20 + 30 * restarts))
    server = Server(folder, db, warm, people=people)
    server.start()
    try:
        judges = come_in(server, server.wait(300), people)
        clients = [Client(judge) for judge in judges]
        for client in clients:
            client.judge.close()
            client.take(client.judge.question)
        asyncio.run(run_restarts(server, clients, interval, restarts, result))
    finally:
        server.close()
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        rows = [
            (key.partition(":")[2], choice) for key, choice in connection.execute("SELECT key, choice FROM judgements")
        ]
    stored, counts = dict(rows), Counter(key for key, _ in rows)
    acknowledged = {key: choice for client in clients for key, choice in client.acknowledged.items()}
    result.acknowledged = len(acknowledged)
    result.lost = sum(stored.get(key) != choice for key, choice in acknowledged.items())
    result.doubled = sum(count > 1 for count in counts.values())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--warm", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(run(Path(folder), given.people, given.interval, given.restarts, given.warm).describe())


if __name__ == "__main__":
    main()
