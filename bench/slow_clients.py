"""Clients that hold the judging page up: how long do the answers of the others take meanwhile, and do the limits hold?

`python bench/slow_clients.py [--people 20] [--interval 0.5] [--seconds 20] [--attacks idle,slowloris,...]` starts
`likelier serve` and lets people judge steadily: alone, under one attack after another, and alone again. Of each it
prints the percentiles of an answer with the next question, the worst of the second over the first, and what the server
held open. The attackers are a process of their own at the lowest priority, as if their machine were another one.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from judges import Judge, Server, come_in, fill
from load import Browser, Times

IDLE = 10_000
DRIPPING, FLOODING, LARGE = 1000, 50, 200
FILM_BYTES = 20 << 20
Attack = Callable[[int, str, str], Awaitable[None]]
OURS = itertools.count()


class Patient(Browser):
    """A browser whose kept-alive connection may have been closed: then it opens another, as browsers do."""

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send a request; returns status and content."""
        if self.streams is not None:
            with contextlib.suppress(OSError, EOFError):
                return await super().request(method, path, body)
        return await super().request(method, path, body)


async def judge_steadily(judge: Judge, interval: float, end: float, times: Times, draw: random.Random) -> None:
    """Answer once in each interval; an answer that was not acknowledged is sent again."""
    browser, next_time = Patient(judge), time.perf_counter() + draw.uniform(0, interval)
    while next_time < end:
        await asyncio.sleep(max(0.0, next_time - time.perf_counter()))
        next_time += interval
        start = time.perf_counter()
        try:
            status, content = await browser.request("POST", "/judgements", judge.choose())
        except (OSError, EOFError) as error:
            times.errors[type(error).__name__] += 1
            continue
        times.seconds.append(time.perf_counter() - start)
        if status == 200:
            judge.question, judge.pending = json.loads(content), {}
        else:
            times.errors[str(status)] += 1
    browser.close()


async def open_one(port: int, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """Connect, and send something; None if the server does not want that."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await writer.drain()
    except OSError:
        return None
    return reader, writer


async def stay_idle(port: int, cookie: str, media: str) -> None:
    """Hold ten thousand connections without a word; those that are closed are opened again."""
    await hold_open(port, IDLE, b"", b"")


async def stay_half(port: int, cookie: str, media: str) -> None:
    """Hold a thousand connections, each with half a request."""
    await hold_open(port, DRIPPING, b"POST /name HTTP/1.1\r\nContent-Length: 15\r\n\r\n{", b"")


async def drip(port: int, cookie: str, media: str) -> None:
    """Slowloris: a thousand requests whose heads never end, a line at a time."""
    await hold_open(port, DRIPPING, b"GET / HTTP/1.1\r\n", b"X-A: b\r\n")


async def hold_open(port: int, count: int, first: bytes, later: bytes) -> None:
    """Hold connections open; send `first` on each, then `later` every second. One that was closed is opened again."""
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = [None] * count
    while True:
        round_end = time.perf_counter() + 1.0
        for place, each in enumerate(held):
            if each is None or each[0].at_eof() or each[1].is_closing():
                if each:
                    each[1].close()
                held[place] = await open_one(port, first)
            elif later:
                each[1].write(later)
        print(sum(each is not None for each in held), flush=True)
        await asyncio.sleep(max(0.0, round_end - time.perf_counter()))


async def send_large(port: int, cookie: str, media: str) -> None:
    """Heads of a megabyte, bodies of ten gigabytes and in endless chunks, two hundred at once."""
    name = f"Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    starts = [
        (b"GET / HTTP/1.1\r\n", b"X-A: " + b"a" * 65536 + b"\r\n"),
        (f"POST /judgements HTTP/1.1\r\n{name}Content-Length: 10000000000\r\n\r\n".encode(), b"a" * 65536),
        (
            f"POST /judgements HTTP/1.1\r\n{name}Transfer-Encoding: chunked\r\n\r\n".encode(),
            b"10000\r\n" + b"a" * 65536 + b"\r\n",
        ),
    ]

    async def send(number: int) -> None:
        while True:
            start, more = starts[number % len(starts)]
            opened = await open_one(port, start)
            with contextlib.suppress(OSError):
                while opened and not opened[0].at_eof():
                    opened[1].write(more)
                    await opened[1].drain()
                    await asyncio.sleep(0)
            if opened:
                opened[1].close()
            await asyncio.sleep(0.5)

    await asyncio.gather(*(send(number) for number in range(LARGE)))


async def flood_ranges(port: int, cookie: str, media: str) -> None:
    """Fifty connections of somebody who has come in ask for parts of a film without end, one or a thousand at once."""
    many = ",".join(f"{number}-{number}" for number in range(0, 2000, 2))
    ranges = ["0-", "0-0", "5000000-", "-1", many, "0-99999999999"]

    async def ask(number: int) -> None:
        while True:
            wanted = f"bytes={ranges[number % len(ranges)]}"
            head = f"GET {media} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nRange: {wanted}\r\n\r\n"
            opened = await open_one(port, head.encode())
            if opened:
                with contextlib.suppress(OSError):
                    await asyncio.wait_for(opened[0].read(65536), 5)
                opened[1].close()  # in the middle
            await asyncio.sleep(0.1)

    await asyncio.gather(*(ask(number) for number in range(FLOODING)))


ATTACKS: dict[str, Attack] = {
    "half": stay_half,
    "slowloris": drip,
    "large": send_large,
    "ranges": flood_ranges,
    "idle": stay_idle,
}


@dataclass
class Held:
    """What the server had open at most, its memory, and the share of a core that it used."""

    files: int = 0
    megabytes: float = 0.0
    share: float = 0.0

    def look(self, pid: int) -> None:
        """Look at it once."""
        self.files = max(self.files, len(os.listdir(f"/proc/{pid}/fd")))
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        self.megabytes = max(self.megabytes, pages * resource.getpagesize() / 1e6)


def read_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(
    server: Server, judges: Sequence[Judge], seconds: float, interval: float, attack: Sequence[str]
) -> tuple[Times, Held, str]:
    """Let people judge for a while; returns the times, what the server held, and the last line of the attackers."""
    attackers, printed = None, ""
    if attack:
        command = ["nice", "-n", "19", sys.executable, __file__, *attack]
        attackers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        await asyncio.sleep(5)  # until all are there
    times, held, draw = Times(), Held(), random.Random(next(OURS))
    start, spent = time.perf_counter(), read_seconds(server.pid)
    end = start + seconds

    async def look() -> None:
        while time.perf_counter() < end:
            held.look(server.pid)
            await asyncio.sleep(0.2)

    await asyncio.gather(look(), *(judge_steadily(judge, interval, end, times, draw) for judge in judges))
    held.share = (read_seconds(server.pid) - spent) / (time.perf_counter() - start)
    if attackers:
        attackers.terminate()
        printed = (attackers.communicate()[0].splitlines() or [""])[-1]
    return times, held, printed


def add_film(db: Path, folder: Path) -> str:
    """Store a film among the responses; returns the path at which a page asks for it."""
    from likelier.feedback.media import read_media
    from likelier.feedback.store import Store
    from likelier.records import Comparison, Prompt, Response

    path = folder / "film.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(FILM_BYTES))
    film, prompt = read_media(path), Prompt("Which?")
    pair = [Response(prompt.id, media=film), Response(prompt.id, "b")]
    with Store.open(db) as store, store.transaction() as writer:
        writer.add_prompts([prompt])
        writer.add_media(film, path)
        writer.add_responses(pair)
        writer.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])
    return f"/media/{film.sha256}"


def run(
    folder: Path, people: int, interval: float, seconds: float, attacks: Sequence[str]
) -> dict[str, tuple[Times, Held]]:
    """Measure alone, under each attack, and alone again; prints a line for each."""
    db = folder / "feedback.db"
    fill(db, int(people * (5 + seconds) / interval * (2 + len(attacks)) / 2) + 100)
    media = add_film(db, folder)
    server = Server(folder, db, people=2)
    server.start()
    results = {}
    try:
        judges = come_in(server, server.wait(300), people + 1)
        for judge in judges:
            judge.close()
        for name in ["alone", *attacks, "alone again"]:
            attack = ["--attack", name, str(server.port), judges[-1].cookie, media] if name in ATTACKS else []
            times, held, printed = asyncio.run(measure(server, judges[:-1], seconds, interval, attack))
            results[name] = times, held
            opened = f"; the attackers hold {printed}" if printed else ""
            line = (
                f"{name}: {times.describe()}; {held.files} files, {held.megabytes:.0f} MB, {held.share:.2f} of a core"
            )
            print(f"{line}{opened}; load {os.getloadavg()[0]:.1f}", flush=True)
    finally:
        server.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--interval", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--attack", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if given.attack:
        name, port, cookie, media = given.attack
        asyncio.run(ATTACKS[name](int(port), cookie, media))
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.people, given.interval, given.seconds, given.attacks.split(","))


if __name__ == "__main__":
    main()
