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
            f"{self.doubled} doubled, {self.changed} changed, {self.damaged} damaged, refused {dict(+self.refused)}; "
            f"from start to the first acknowledged answer: median {spread}"
        )

    @property
    def is_clean(self) -> bool:
        """True if nothing was lost, doubled, changed, damaged or refused."""
        return not (self.lost or self.doubled or self.changed or self.damaged or self.refused.total())


def run_kills(folder: Path, kills: int, clients: int, seed: int = 0, warm: bool = True) -> Kills:
    """Kill a server again and again at a moment drawn from its whole life, its start included."""
    db, result, draw = folder / "feedback.db", Kills(), random.Random(seed)
    fill(db, 200 + 6 * kills)
    server, judges = Server(folder, db, warm, people=clients), []
    try:
        server.start()
        judges = come_in(server, server.wait(), clients, folder)
        while result.kills < kills:
            judge_until_killed(server, judges, result, draw)
            check(db, judges, result)
            server.start()
        server.wait()  # sessions outlive it all
        for judge in judges:
            judge.close()  # a connection to a server that was killed may still look open
        result.refused.update(status for judge in judges if (status := judge.judge()) != 200)
        server.end()
        check(db, judges, result)
    finally:
        for judge in judges:
            judge.close()
        server.close()
    return result


def judge_until_killed(server: Server, judges: list[Judge], result: Kills, draw: random.Random) -> None:
    """Let all judge as fast as they can, and kill the server: one time in five at any moment of its start."""
    started, killed, first = time.monotonic(), threading.Event(), []
    work = [threading.Thread(target=go_on, args=(judge, killed, first, result)) for judge in judges]
    for each in work:
        each.start()
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0.0, 1.0 if server.warm else 3.0))
    else:
        while not first:
            assert time.monotonic() - started < 300, "nothing was acknowledged in five minutes"
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.2))
    server.end()
    killed.set()
    for each in work:
        each.join()
    result.kills += 1
    if first and result.kills > 1:
        result.restart_seconds.append(min(first) - started)


def go_on(
    judge: Judge, killed: threading.Event, first: list[float], result: Kills, allowed: tuple[int, ...] = ()
) -> None:
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
            result.refused[status] += status not in allowed
            time.sleep(PAUSE_SECONDS)


def check(db: Path, judges: list[Judge], result: Kills) -> None:
    """Compare what was acknowledged with a database that no process has open."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT key, choice FROM judgements").fetchall()
        result.damaged += connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
    compare(rows, judges, result)


def compare(rows: list[tuple[str, str]], judges: list[Judge], result: Kills) -> None:
    """Compare what was acknowledged with (key, choice) of what is stored."""
    acknowledged = read_acknowledged(judges)
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
