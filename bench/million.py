"""A database with a million judgements: how long do the start, the next pair and the owner's page take?

`python bench/million.py --db million.db [--judgements 1000000] [--comparisons 100000] [--people 1000]
[--questions 2000] [--clients 50]` makes the database unless it is there (rows inserted as they are), starts
`likelier serve` on it, lets people judge one after the other, and asks for the owner's page in between. Milliseconds;
exit 1 if the next pair's p99 is not below 20, or a page not below 500.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from judges import Judge, Server, come_in, fill
from load import Times
from sqlalchemy import insert

from likelier.feedback.rows import judgement_row
from likelier.feedback.store import Store
from likelier.feedback.tables import annotators, judgements
from likelier.records import Judgement

CHUNK = 10_000


def make_database(db: Path, num_comparisons: int, num_judgements: int, num_people: int, seed: int) -> None:
    """Fill a database. People agree on one of two responses four times in five."""
    comparisons, draw = fill(db, num_comparisons), random.Random(seed)
    names = [f"person-{number:08x}" for number in range(num_people)]
    with Store.open(db) as store, store.transaction() as writer:
        writer.insert(annotators, [{"id": name} for name in names])
        for start in range(0, num_judgements, CHUNK):
            rows = []
            for number in range(start, min(start + CHUNK, num_judgements)):
                pair, who = comparisons[number % num_comparisons], names[draw.randrange(num_people)]
                sides = [pair.response_a, pair.response_b]
                draw.shuffle(sides)
                better = min(sides) if draw.random() < 0.8 else max(sides)
                choice = "tie" if draw.random() < 0.1 else "left" if sides[0] == better else "right"
                judgement = Judgement(pair.id, who, *sides, choice, draw.uniform(2, 20), key=f"{who}:{number:08x}")
                rows.append(judgement_row(judgement))
            writer.connection.execute(insert(judgements), rows)


def time_call(times: Times, judge: Judge, method: str, path: str, body: object = None) -> dict[str, object]:
    """Return the reply of a request that is timed."""
    start = time.perf_counter()
    status, reply = judge.request(method, path, body)
    times.seconds.append(time.perf_counter() - start)
    if status != 200:
        times.errors[str(status)] += 1
    return reply


def read_rss(pid: int) -> float:
    """Return the memory of a process in MiB."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--judgements", type=int, default=1_000_000)
    parser.add_argument("--comparisons", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--overlap", type=int, default=20, help="people who judge each comparison")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.perf_counter()
    if not given.db.exists():
        make_database(given.db, given.comparisons, given.judgements, given.people, given.seed)
        print(f"made in {time.perf_counter() - started:.0f} s, {given.db.stat().st_size / 2**20:.0f} MiB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        server, started = Server(Path(folder), given.db, people=given.overlap), time.perf_counter()
        server.start()
        try:
            link = server.wait(600)
            print(f"start {time.perf_counter() - started:.1f} s, {read_rss(server.pid):.0f} MiB", flush=True)
            judges = come_in(server, link, given.clients + 1, prefix=f"process {os.getpid()}")
            question, answer, page = Times(), Times(), Times()
            for number in range(given.questions):
                judge = judges[1 + number % given.clients]
                time_call(question, judge, "GET", "/question")
                judge.question = time_call(answer, judge, "POST", "/judgements", judge.choose())
                judge.pending = {}
                if number % 100 == 0:
                    time_call(page, judges[0], "GET", "/owner/state")
            print(f"then {read_rss(server.pid):.0f} MiB")
            for judge in judges:
                judge.close()
        finally:
            server.close()
    for name, times in (("next pair", question), ("answer and next pair", answer), ("owner's page", page)):
        print(f"{name}: {times.describe()}")
    print(f"load {os.getloadavg()}")
    p99 = sorted(question.seconds)[int(0.99 * len(question.seconds))]
    sys.exit(1 if p99 >= 0.02 or max(page.seconds) >= 0.5 else 0)


if __name__ == "__main__":
    main()
