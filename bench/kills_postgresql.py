"""Kill the server, a backend or all of PostgreSQL while people judge: is every acknowledged answer there, once?

`python bench/kills_postgresql.py [--kills 300] [--clients 4] [--seed 0] [--cold]` starts a cluster of its own and
prints one line. Each time one of three is drawn: `kill -9` of `likelier serve`, `kill -9` of a backend, `pg_ctl stop
-m immediate`. After the last two the same server must go on by itself once PostgreSQL is back.
"""

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path

import psycopg
from cluster import Cluster
from judges import Judge, Server, come_in, fill
from kills import Kills, compare, go_on

WAIT_SECONDS = 120.0
FAULTS = ("server", "backend", "cluster")


def run_postgresql_kills(folder: Path, kills: int, clients: int, seed: int = 0, warm: bool = True) -> Kills:
    """Break something again and again while people judge."""
    cluster, result, draw = Cluster(), Kills(), random.Random(seed)
    judges: list[Judge] = []
    try:
        fill(cluster.url, 200 + 6 * kills)
        server = Server(folder, cluster.url, warm, people=clients)
        try:
            server.start()
            judges = come_in(server, server.wait(), clients, folder)
            while result.kills < kills:
                judge_until_fault(server, cluster, judges, result, draw)
        finally:
            for judge in judges:
                judge.close()
            server.close()
    finally:
        cluster.close()
    return result


def judge_until_fault(
    server: Server, cluster: Cluster, judges: list[Judge], result: Kills, draw: random.Random
) -> None:
    """Let all judge, break one thing, wait until answers are acknowledged again, and compare."""
    ended, acknowledged = threading.Event(), list[float]()
    given = (ended, acknowledged, result, (500, 503))
    work = [threading.Thread(target=go_on, args=(judge, *given)) for judge in judges]
    for each in work:
        each.start()
    try:
        wait_for_one(acknowledged, 0.0)
        time.sleep(draw.uniform(0.0, 0.2))
        fault, broken = draw.choice(FAULTS), time.monotonic()
        if fault == "server":
            server.end()
            server.start()
        elif fault == "backend":
            cluster.kill_backend(draw)
        else:
            cluster.stop()
            cluster.start()
        mended = time.monotonic()
        wait_for_one(acknowledged, mended)
        result.restart_seconds.append(time.monotonic() - broken)
    finally:
        ended.set()
        for each in work:
            each.join()
    result.kills += 1
    compare(read_stored(cluster), judges, result)


def wait_for_one(acknowledged: list[float], since: float) -> None:
    """Wait until an answer is acknowledged after a moment."""
    end = time.monotonic() + WAIT_SECONDS
    while not (acknowledged and acknowledged[-1] > since):
        assert time.monotonic() < end, f"nothing was acknowledged for {WAIT_SECONDS:g} s"
        time.sleep(0.001)


def read_stored(cluster: Cluster) -> list[tuple[str, str]]:
    """Return key and choice of all judgements, once PostgreSQL answers."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return [(str(key), str(choice)) for key, choice in cluster.query("SELECT key, choice FROM judgements")]
        except psycopg.OperationalError:
            assert time.monotonic() < end, "PostgreSQL does not come back"
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cold", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run_postgresql_kills(Path(folder), given.kills, given.clients, given.seed, not given.cold)
    print(result.describe())


if __name__ == "__main__":
    main()
