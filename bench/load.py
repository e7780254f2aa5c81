"""Many people judge at a steady pace: how long does an answer take until it is acknowledged, the next question with it?

`python bench/load.py [--people 100] [--seconds 600] [--interval 1] [--owner 10] [--db URL] [--existing]` starts
`likelier serve` on a database of its own (or on --db) and prints percentiles in milliseconds, and errors. An owner
looks at their page every `--owner` seconds (0: nobody does). With `--existing` the comparisons of --db are judged, and
with `--ask STRATEGY` a strategy chooses which are begun.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from judges import Judge, Server, come_in, fill


@dataclass
class Times:
    """Seconds of each kind of request, and statuses other than 200."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def describe(self) -> str:
        """Return percentiles in milliseconds."""
        values = sorted(self.seconds) or [float("nan")]
        at = {
            f"p{share:g}": values[min(len(values) - 1, int(len(values) * share / 100))] for share in (50, 95, 99, 99.9)
        }
        figures = ", ".join(f"{name} {1000 * value:.1f}" for name, value in (at | {"max": values[-1]}).items())
        return f"{len(self.seconds)} requests, {figures} ms, errors {dict(self.errors)}"


class Browser:
    """A kept-alive connection of one session."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.port = judge, judge.port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send a request; returns status and content."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.judge.cookie}\r\n"
        if body is not None:
            head += f"Origin: http://127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
        try:
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            return int(lines[0].split()[1]), await reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError):
            writer.close()
            self.streams = None
            raise

    def close(self) -> None:
        """Close the connection."""
        if self.streams:
            self.streams[1].close()


def read_processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def time_request(times: Times, browser: Browser, method: str, path: str, body: object = None) -> Any:
    """Return the reply of a request that is timed; None of one that fails."""
    start = time.perf_counter()
    try:
        status, content = await browser.request(method, path, body)
    except (OSError, EOFError) as error:
        times.errors[type(error).__name__] += 1
        return None
    times.seconds.append(time.perf_counter() - start)
    if status != 200:
        times.errors[str(status)] += 1
        return None
    return json.loads(content)


async def judge_steadily(judge: Judge, interval: float, end: float, times: Times, draw: random.Random) -> None:
    """Answer once in each interval."""
    browser, next_time = Browser(judge), time.perf_counter() + draw.uniform(0, interval)
    while next_time < end:
        await asyncio.sleep(max(0.0, next_time - time.perf_counter()))
        next_time += interval
        reply = await time_request(times, browser, "POST", "/judgements", judge.choose())
        if reply is not None:
            judge.question, judge.pending = reply, {}
    browser.close()


async def look_at_page(owner: Judge, interval: float, end: float, times: Times) -> None:
    """Ask for what the owner's page shows, again and again."""
    browser = Browser(owner)
    while interval and time.perf_counter() < end:
        await time_request(times, browser, "GET", "/owner/state")
        await asyncio.sleep(interval)
    browser.close()


async def run(judges: Sequence[Judge], seconds: float, interval: float, owner: float, seed: int) -> tuple[Times, Times]:
    """Return times of answers and of the owner's page."""
    answers, page, draw = Times(), Times(), random.Random(seed)
    end = time.perf_counter() + seconds
    work = [judge_steadily(judge, interval, end, answers, draw) for judge in judges[1:]]
    await asyncio.gather(*work, look_at_page(judges[0], owner, end, page))
    return answers, page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--owner", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--db")
    parser.add_argument("--existing", action="store_true")
    parser.add_argument("--ask", default="random")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        db = given.db or f"{folder}/feedback.db"
        if not given.existing:
            fill(db, int(0.6 * given.people * given.seconds / given.interval) + given.people * 4)
        server = Server(Path(folder), db)
        server.words += ["--ask", given.ask]
        started = time.perf_counter()
        server.start()
        try:
            judges = come_in(server, server.wait(600), given.people + 1, prefix=f"process {os.getpid()}")
            print(f"{time.perf_counter() - started:.1f} s until {given.people} people were in; load {os.getloadavg()}")
            for judge in judges:
                judge.close()
            before, used = time.perf_counter(), read_processor_seconds(server.pid)
            answers, page = asyncio.run(run(judges, given.seconds, given.interval, given.owner, given.seed))
            spent, used = time.perf_counter() - before, read_processor_seconds(server.pid) - used
        finally:
            server.close()
        print(f"answers: {answers.describe()}; {len(answers.seconds) / spent:.1f} a second")
        print(f"{1000 * used / max(1, len(answers.seconds)):.1f} ms of the server's processor time an answer")
        print(f"owner's page: {page.describe()}; load {os.getloadavg()}")
        sys.exit(1 if answers.errors or page.errors else 0)


if __name__ == "__main__":
    main()
