"""`kill -9` of `likelier serve` at random moments while people judge: is every acknowledged answer there, once?

`python bench/kills.py [--kills 1000] [--clients 8] [--seed 0] [--cold] [--out FOLDER]` prints one line. Each answer
that was acknowledged is written through to a file of its own; after each kill these are compared with the database, and
SQLite checks it. `--cold` starts `python -m likelier serve` each time, instead of forking it from a process that has
imported everything.
"""

import argparse
import http.client
import random
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from judges import Judge, Server, come_in, fill, read_acknowledged

PAUSE_SECONDS = 0.01
"""Between two tries to reach a server that is not there."""


@dataclass
class Kills:
    """What came of the kills."""

    kills: int = 0
    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    """Acknowledged answers that are stored with another choice."""
    damaged: int = 0
    """Kills after which `integrity_check` found something."""
    refused: Counter[int] = field(default_factory=Counter)
    """Statuses other than 200, such as 403 of a session that is gone."""
    restart_seconds: list[float] = field(default_factory=list)
    """From the start of the process to the first acknowledged answer, of those that were not killed before."""

    def describe(self) -> str:
        """Return one line."""
        times = sorted(self.restart_seconds)
        spread = f"{times[len(times) // 2]:.2f} s, at most {times[-1]:.2f} s" if times else "unknown"
        return (
            f"{self.kills} kills, {self.acknowledged} answers acknowledged, {self.stored} stored: {self.lost} lost, "
            f"{self.doubled} doubled, {self.changed} changed, {self.damaged} damaged, refused {dict(self.refused)}; "
            f"from start to the first acknowledged answer: median {spread}"
        )

    @property
    def is_clean(self) -> bool:
        """True if nothing was lost, doubled, changed, damaged or refused."""
        return not (self.lost or self.doubled or self.changed or self.damaged or self.refused)


def run_kills(folder: Path, kills: int, clients: int, seed: int = 0, warm: bool = True) -> Kills:
    """Kill a server again and again at a moment drawn from its whole life, its start included."""
    db, result, draw = folder / "feedback.db", Kills(), random.Random(seed)
    fill(db, 200 + 40 * kills)
    server = Server(folder, db, warm, people=clients)
    try:
        server.start()
        judges = come_in(server, server.wait(), clients, folder)
        judge_until_killed(server, judges, result, draw.uniform(0, 0.5), time.monotonic())
        start_seconds = 0.4 if warm else 3.0
        while result.kills < kills:
            check(db, judges, result)
            started = time.monotonic()
            server.start()
            judge_until_killed(server, judges, result, draw.uniform(0, start_seconds + 0.4), started)
        check(db, judges, result)
        server.start()  # sessions outlive it all
        server.wait()
        result.refused.update(status for judge in judges if (status := judge.judge()) != 200)
        server.end()
    finally:
        for judge in judges:
            judge.close()
        server.close()
    check(db, judges, result)
    return result


def judge_until_killed(server: Server, judges: list[Judge], result: Kills, seconds: float, started: float) -> None:
    """Let all judge as fast as they can, and kill the server after some seconds."""
    killed, first = threading.Event(), []
    work = [threading.Thread(target=go_on, args=(judge, killed, first, result)) for judge in judges]
    for each in work:
        each.start()
    time.sleep(max(0.0, started + seconds - time.monotonic()))
    server.end()
    killed.set()
    for each in work:
        each.join()
    result.kills += 1
    if first and result.kills > 1:
        result.restart_seconds.append(min(first) - started)


def go_on(judge: Judge, killed: threading.Event, first: list[float], result: Kills) -> None:
    """Judge until the server is killed; an answer that was not acknowledged is sent again, with the same key."""
    while not killed.is_set():
        try:
            status = judge.judge()
        except (OSError, http.client.HTTPException):
            time.sleep(PAUSE_SECONDS)
            continue
        if status == 200:
            first.append(time.monotonic())
        else:
            result.refused[status] += 1
            time.sleep(PAUSE_SECONDS)


def check(db: Path, judges: list[Judge], result: Kills) -> None:
    """Compare what was acknowledged with a database that no process has open."""
    acknowledged = read_acknowledged(judges)
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT key, choice FROM judgements").fetchall()
        result.damaged += connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
    stored = [(key.partition(":")[2], choice) for key, choice in rows]
    counts, choices = Counter(key for key, _ in stored), dict(stored)
    result.acknowledged, result.stored = len(acknowledged), len(rows)
    result.lost = sum(key not in counts for key in acknowledged)
    result.doubled = sum(count > 1 for count in counts.values())
    result.changed = sum(choices.get(key, choice) != choice for key, choice in acknowledged.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run_kills(given.out or Path(folder), given.kills, given.clients, given.seed, not given.cold)
    print(result.describe())


if __name__ == "__main__":
    main()
