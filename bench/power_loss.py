"""The power fails under `likelier serve` while people judge: is every answer that was acknowledged by then there?

`python bench/power_loss.py [--images 500] [--answers 400] [--clients 4] [--seed 0] [--control NAME]` records with
strace what the server writes and flushes from its start to its end, and when each answer was acknowledged. Then it
makes crash images: at a moment drawn at random a file holds all that was flushed and, of what was written since, any
512-byte sectors (a disk writes these whole, in any order); a file whose folder was not flushed may be missing. Each
image is opened by SQLite, checked, opened by Likelier, and written to.

`--control normal` flushes the log only when it is moved into the database (SQLite's `synchronous=NORMAL`), `off`
nothing; neither moves it after each answer. They must lose answers: otherwise this sees nothing.
"""

import argparse
import contextlib
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from judges import Judge, Server, come_in, fill

from likelier.errors import LikelierError
from likelier.feedback.store import Store
from likelier.records import Judgement

SECTOR = 512
CALLS = "openat,pwrite64,pwritev,fsync,fdatasync,ftruncate,fallocate,unlink,rename"
SUFFIXES = ("", "-wal", "-journal")
"""Of the files that SQLite needs. Its shared memory (`-shm`) is made anew after a crash."""
CONTROLS = {
    "": "",
    "normal": "import likelier.feedback.database as d, likelier.feedback.open_database as o\n"
    "d.SQLITE_SETTINGS = ('synchronous=NORMAL', *d.SQLITE_SETTINGS[1:])\no.checkpoint_wal = lambda connection: True",
    "off": "import likelier.feedback.database as d, likelier.feedback.open_database as o\n"
    "d.SQLITE_SETTINGS = ('synchronous=OFF', *d.SQLITE_SETTINGS[1:])\no.checkpoint_wal = lambda connection: True",
}
LINE = re.compile(r"(?P<thread>\d+) +(?P<time>[\d.]+) (?P<rest>.*)")
ENTERED = re.compile(r"(?P<call>\w+)\((?P<arguments>.*)")
RESUMED = re.compile(r"<\.\.\. (?P<call>\w+) resumed>")
ON_FILE = re.compile(r"\d+<(?P<path>[^>]*)>(?:, (?P<rest>.*))?")


@dataclass
class Event:
    """A call that was made (`entered`) or has returned, on a file or its folder."""

    seconds: float
    kind: Literal["write", "truncate", "create", "remove", "flush", "flushed"]
    path: str
    thread: str = ""
    place: int = 0
    data: bytes = b""


@dataclass
class Acknowledged:
    """An answer, and when its person was told that it is stored."""

    seconds: float
    key: str
    choice: str


@dataclass
class Losses:
    """What came of the crash images."""

    images: int = 0
    answers: int = 0
    calls: int = 0
    compared: int = 0
    """Acknowledged answers that were looked for, over all images."""
    differing: int = 0
    """Images that were not what had been written, but less."""
    lossy: int = 0
    """Images without an acknowledged answer."""
    lost: int = 0
    corrupt: int = 0
    """Images that SQLite, or Likelier, finds damaged, or with an answer twice or changed."""
    faults: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return one line."""
        return (
            f"{self.images} crash images of {self.calls} calls ({self.differing} hold less than was written), "
            f"{self.answers} answers acknowledged, {self.compared} looked for: {self.lost} lost in {self.lossy}; "
            f"{self.corrupt} images corrupt"
        )


class DiskFile:
    """A file as it was flushed last, and what was done to it since."""

    def __init__(self, content: bytes | None) -> None:
        self.flushed = None if content is None else bytearray(content)
        """None: it is not there."""
        self.pending: list[Event] = []
        self.is_named = content is not None
        """False while its folder, which holds its name, was not flushed."""

    def flush(self, count: int) -> None:
        """All but what came after the first `count` calls is on the disk."""
        for event in self.pending[:count]:
            self.flushed = apply(self.flushed, event)
        self.pending = self.pending[count:]

    def draw(self, draw: random.Random) -> bytearray | None:
        """Return a content that the disk may hold when the power fails now."""
        content, kept = copy(self.flushed), draw.choice([0.0, 0.5, 0.9, 1.0, draw.random()])
        if not self.is_named and content is not None and draw.random() < 0.5:
            return None
        for event in self.pending:
            for part in split(event):
                if draw.random() < kept:
                    content = apply(content, part)
        return content

    def read(self) -> bytearray | None:
        """Return the content as it was written."""
        content = copy(self.flushed)
        for event in self.pending:
            content = apply(content, event)
        return content


def copy(content: bytearray | None) -> bytearray | None:
    """Return a content that can be changed apart."""
    return None if content is None else bytearray(content)


def split(event: Event) -> Iterator[Event]:
    """Yield the parts of a write that lie in sectors of their own; another call as it is."""
    if event.kind != "write":
        yield event
    start = 0
    while start < len(event.data):
        end = start + SECTOR - (event.place + start) % SECTOR
        yield replace(event, place=event.place + start, data=event.data[start:end])
        start = end


def apply(content: bytearray | None, event: Event) -> bytearray | None:
    """Return the content of a file after a call; it is changed in place. Between its end and a write are zeros."""
    if event.kind == "remove":
        return None
    content = bytearray() if content is None else content
    if event.kind == "create":
        return content
    content.extend(bytes(max(0, event.place - len(content))))
    if event.kind == "truncate":
        del content[event.place :]
    else:
        content[event.place : event.place + len(event.data)] = event.data
    return content


def decode(text: str) -> str:
    """Return a string that strace has written in hexadecimal digits."""
    return bytes.fromhex(text.replace("\\x", "")).decode()


def read_calls(log: Path, db: Path) -> list[Event]:
    """Return what was done to the files of a database and to their folder, in order."""
    known = {f"{db}{suffix}" for suffix in SUFFIXES} | {str(db.parent)}
    flushing: dict[str, str] = {}
    events: list[Event] = []
    with log.open() as lines:
        for line in lines:
            if not (parts := LINE.match(line)):
                continue
            seconds, thread, rest = float(parts["time"]), parts["thread"], parts["rest"]
            if resumed := RESUMED.match(rest):
                if resumed["call"] in ("fsync", "fdatasync") and (path := flushing.pop(thread, "")):
                    events.append(Event(seconds, "flushed", path, thread))
                continue
            if (entered := ENTERED.match(rest)) and " = -1 " not in rest[-80:]:
                event = to_event(seconds, thread, entered["call"], entered["arguments"])
                if event is None or event.path not in known:
                    continue
                events.append(event)
                if event.kind == "flush" and "<unfinished" in rest:
                    flushing[thread] = event.path
                elif event.kind == "flush":
                    events.append(Event(seconds, "flushed", event.path, thread))
    return events


def to_event(seconds: float, thread: str, call: str, arguments: str) -> Event | None:
    """Return a call as an event; None of one that changes nothing."""
    if call == "openat":
        name = re.search(r'"([^"]*)"', arguments)
        return Event(seconds, "create", decode(name[1]), thread) if name and "O_CREAT" in arguments else None
    if call in ("unlink", "rename"):
        name = re.search(r'"([^"]*)"', arguments)
        assert call == "unlink" or not name or ".db" not in decode(name[1]), "a database file was renamed"
        return Event(seconds, "remove", decode(name[1]), thread) if name else None
    on_file = ON_FILE.match(arguments)
    if not on_file:
        return None
    path, rest = decode(on_file["path"]) if "\\x" in on_file["path"] else on_file["path"], on_file["rest"] or ""
    if call in ("fsync", "fdatasync"):
        return Event(seconds, "flush", path, thread)
    if call == "ftruncate":
        return Event(seconds, "truncate", path, thread, int(re.match(r"\d+", rest)[0]))  # type: ignore[index]
    assert call == "pwrite64" or ".db" not in path or path.endswith("-shm"), f"{call} of {path} is not known here"
    written = re.match(r'"([^"]*)", (\d+), (\d+)', rest)
    if call != "pwrite64" or not written:
        return None
    data = bytes.fromhex(written[1].replace("\\x", ""))
    assert len(data) == int(written[2]), "strace has cut a write"
    return Event(seconds, "write", path, thread, int(written[3]), data)


def judge_on(judge: Judge, count: int, noted: list[Acknowledged]) -> None:
    """Give so many answers; note when each was acknowledged."""
    for _ in range(count):
        answer = judge.choose()
        assert judge.judge() == 200
        noted.append(Acknowledged(time.time(), answer["key"], answer["choice"]))


def record(folder: Path, answers: int, clients: int, control: str) -> tuple[list[Event], list[Acknowledged], bytes]:
    """Let people judge on a server that strace watches; returns calls, answers, and the database before all that."""
    db, noted = folder / "feedback.db", [[] for _ in range(clients)]  # type: list[list[Acknowledged]]
    fill(db, answers)
    before = db.read_bytes()
    server = Server(folder, db, warm=True, people=clients, change=CONTROLS[control])
    assert server.warm
    log = folder / "calls"
    command = ["strace", "-f", "-y", "-ttt", "-xx", "-s", "1000000", "-o", str(log), "-p", str(server.warm.pid)]
    tracer = subprocess.Popen([*command, "-e", f"trace={CALLS}"], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr
        assert "attached" in tracer.stderr.readline()
        server.start()
        judges = come_in(server, server.wait(300), clients)
        work = [
            threading.Thread(target=judge_on, args=(judge, answers // clients, own))
            for judge, own in zip(judges, noted, strict=True)
        ]
        for each in work:
            each.start()
        for each in work:
            each.join()
        server.end(signal.SIGTERM)
        for judge in judges:
            judge.close()
    finally:
        server.close()
        tracer.terminate()
        tracer.communicate()
    return read_calls(log, db), sorted((each for own in noted for each in own), key=lambda each: each.seconds), before


def fail_power(
    events: Sequence[Event], noted: Sequence[Acknowledged], before: bytes, folder: Path, images: int, seed: int
) -> Losses:
    """Make crash images and look for what was acknowledged before each."""
    draw, result, db = random.Random(seed), Losses(calls=len(events), answers=len(noted)), folder / "feedback.db"
    first = next(number for number, event in enumerate(events) if event.seconds > noted[0].seconds)
    moments = sorted(
        draw.choice((draw.randrange(len(events) + 1), draw.randrange(first, len(events) + 1))) for _ in range(images)
    )
    files = {f"{db}{suffix}": DiskFile(None) for suffix in SUFFIXES}
    files[str(db)] = DiskFile(before)
    begun: dict[str, tuple[str, int]] = {}
    next_moment = 0
    for number in range(len(events) + 1):
        while next_moment < len(moments) and moments[next_moment] == number:
            next_moment += 1
            seconds = events[number].seconds if number < len(events) else float("inf")
            expected = {each.key: each.choice for each in noted if each.seconds < seconds}
            with tempfile.TemporaryDirectory() as place:
                crash(files, Path(place), draw, result)
                look(Path(place) / db.name, expected, result, f"before call {number}")
        if number < len(events):
            take(events[number], files, begun, str(db.parent))
    return result


def take(event: Event, files: dict[str, DiskFile], begun: dict[str, tuple[str, int]], folder: str) -> None:
    """Let a call happen. What a flush is about is what was written before it began."""
    if event.kind == "flush":
        begun[event.thread] = event.path, len(files[event.path].pending) if event.path in files else 0
    elif event.kind == "flushed":
        path, count = begun.pop(event.thread)
        if path == folder:
            for file in files.values():
                file.is_named = True
        else:
            for other, (same, later) in begun.items():  # one that another thread waits for
                begun[other] = (same, max(0, later - count)) if same == path else (same, later)
            files[path].flush(count)
    elif event.kind != "create" or files[event.path].read() is None:
        if event.kind == "create":
            files[event.path].is_named = False
        files[event.path].pending.append(event)


def crash(files: dict[str, DiskFile], place: Path, draw: random.Random, result: Losses) -> None:
    """Write what the disk may hold; the shared memory, if there is any, is rubbish."""
    is_less = False
    for path, file in files.items():
        content = file.draw(draw)
        is_less |= content != file.read()
        if content is not None:
            (place / Path(path).name).write_bytes(content)
    if draw.random() < 0.3:
        (place / "feedback.db-shm").write_bytes(draw.randbytes(32768))
    result.images += 1
    result.differing += is_less


def look(db: Path, expected: dict[str, str], result: Losses, moment: str) -> None:
    """Open a crash image by SQLite and by Likelier, compare, and write to it."""
    original = {file.name: file.read_bytes() for file in db.parent.iterdir()}
    try:
        with Store.open(db) as store:
            stored = [(each.key.partition(":")[2], each.choice) for each in store.judgements()]
            pair = store.comparisons()[0]
            store.add_judgement(Judgement(pair.id, "later", pair.response_a, pair.response_b, "left"))
        with contextlib.closing(sqlite3.connect(db)) as connection:
            damage = connection.execute("PRAGMA integrity_check").fetchall()
        choices = dict(stored)
        changed = [key for key, choice in expected.items() if choices.get(key, choice) != choice]
        if damage != [("ok",)] or len(choices) < len(stored) or changed:
            result.corrupt += 1
            result.faults.append(f"{moment}: {damage}, {len(stored)} stored, {len(choices)} keys, {changed}")
    except LikelierError as error:
        choices = {}
        result.corrupt += 1
        result.faults.append(f"{moment}: {error}; {[(name, len(content)) for name, content in original.items()]}")
    missing = expected.keys() - choices.keys()
    result.compared += len(expected)
    result.lost += len(missing)
    result.lossy += bool(missing)


def run(folder: Path, images: int, answers: int, clients: int, seed: int = 0, control: str = "") -> Losses:
    """Record, and let the power fail."""
    events, noted, before = record(folder, answers, clients, control)
    return fail_power(events, noted, before, folder, images, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--answers", type=int, default=400)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", choices=tuple(CONTROLS), default="")
    given = parser.parse_args()
    if shutil.which("strace") is None:
        parser.error("needs strace")
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), given.images, given.answers, given.clients, given.seed, given.control)
    print(result.describe())
    print("\n".join(result.faults[:5]))


if __name__ == "__main__":
    main()
