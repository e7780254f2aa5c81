"""People who judge over HTTP, and `likelier serve` as a process that can be killed; for benchmarks and tests."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response

STORY = "The fox shared its bread with the hare, and they walked on together through the snow. " * 3
WARM = """
import json, os, signal, sys, warnings
warnings.simplefilter('ignore')
from likelier.__main__ import main
import likelier.cli, likelier.web.server, likelier.feedback.store, pydantic.v1
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    log, words = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
        sys.argv = ["likelier", *words]
        sys.exit(main())
    print(pid, flush=True)
"""


def fill(db: str | Path, count: int) -> list[Comparison]:
    """Store `count` comparisons, one a prompt; returns them."""
    stored: list[Comparison] = []
    with Store.open(db, create=True) as store, store.transaction() as writer:
        for start in range(0, count, 1000):
            prompts = [Prompt(f"Tell me story {number}.") for number in range(start, min(start + 1000, count))]
            pairs = [[Response(prompt.id, f"{side} {STORY}", f"model {side}") for side in "ab"] for prompt in prompts]
            comparisons = [Comparison(one.prompt_id, one.id, two.id) for one, two in pairs]
            writer.add_prompts(prompts)
            writer.add_responses([response for pair in pairs for response in pair])
            writer.add_comparisons(comparisons)
            stored += comparisons
    return stored


class Server:
    """`likelier serve` in a process of its own.

    With `warm` it is forked from a process that has imported everything: then its start takes no seconds. `change` is
    Python that this process runs first, as a control of a test needs it.
    """

    def __init__(self, folder: Path, db: str | Path, warm: bool = False, people: int = 2, change: str = "") -> None:
        self.words = ["serve", "--db", str(db), "--per-comparison", str(people)]
        self.log, self.port, self.pid = folder / "server.log", 0, 0
        self.log.write_text("")
        self.child: subprocess.Popen[str] | None = None
        command = [sys.executable, "-c", f"{change}\n{WARM}"]
        self.warm = subprocess.Popen(command, stdin=-1, stdout=-1, text=True) if warm else None

    def start(self) -> None:
        """Start it, at the port that it had before; returns at once."""
        self.size, words = self.log.stat().st_size, [*self.words, "--port", str(self.port)]
        if self.warm and self.warm.stdin and self.warm.stdout:
            print(json.dumps([str(self.log), words]), file=self.warm.stdin, flush=True)
            self.pid = int(self.warm.stdout.readline())
            return
        with self.log.open("a") as log:
            self.child = subprocess.Popen([sys.executable, "-m", "likelier", *words], stderr=log, stdout=log)
        self.pid = self.child.pid

    def wait(self, seconds: float = 120) -> str:
        """Wait until it can be reached; returns the path of the link that it printed."""
        end = time.monotonic() + seconds
        while "?token=" not in (printed := self.read_log()) or not printed.endswith("\n"):
            assert time.monotonic() < end, printed or "the server printed no link"
            assert self.is_running(), printed
            time.sleep(0.002)
        address, _, token = printed.split()[-1].partition("/?")
        self.port = int(address.rpartition(":")[2])
        return f"/?{token}"

    def read_log(self) -> str:
        """Return what it has printed since its start."""
        return self.log.read_bytes()[self.size :].decode()

    def is_running(self) -> bool:
        """False once it has ended."""
        if self.child:
            return self.child.poll() is None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        while self.is_running():
            time.sleep(0.001)

    def close(self) -> None:
        """End it, and what it is forked from."""
        if self.pid:
            self.end()
        if self.warm and self.warm.stdin and self.warm.stdout:
            self.warm.stdin.close()
            self.warm.wait()
            self.warm.stdout.close()


@dataclass
class Judge:
    """A person's browser without its window: one session, one connection, and an outbox of one answer."""

    port: int
    name: str
    acknowledged: Path | None = None
    """Each answer that the server has acknowledged, written through to the disk."""
    cookie: str = ""
    question: dict[str, Any] = field(default_factory=dict)
    pending: dict[str, Any] = field(default_factory=dict)
    """The answer that was sent and not acknowledged."""
    count: int = 0
    connection: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Send a request; returns status and reply. OSError, HTTPException: there is no reply."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        try:
            self.connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = self.connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        for name, value in reply.getheaders():
            if name.lower() == "set-cookie" and "Max-Age=0" not in value:
                self.cookie = value.partition(";")[0]
        is_json = "json" in reply.headers.get("Content-Type", "")
        return reply.status, json.loads(content) if is_json else {}

    def close(self) -> None:
        """Close the connection."""
        if self.connection:
            self.connection.close()
            self.connection = None

    def come_in(self, path: str) -> None:
        """Open a link and give a name."""
        self.request("GET", path)
        status, self.question = self.request("POST", "/name", {"name": self.name})
        assert status == 200, self.question

    def invite(self, role: str = "annotator") -> str:
        """Return the path of a new link; for admins."""
        status, invitation = self.request("POST", "/owner/invitations", {"role": role})
        assert status == 200, invitation
        return str(invitation["path"])

    def choose(self) -> dict[str, Any]:
        """Return an answer to the question: the one that is pending, or a new one."""
        if not self.pending:
            assert "ids" in self.question, f"{self.name} has no question: {self.question}"
            self.count += 1
            choice = random.Random(f"{self.name} {self.count}").choice(("left", "right", "tie"))
            key = f"{self.name.encode().hex()[-12:]}-{self.count:08d}"
            self.pending = {**self.question["ids"], "choice": choice, "key": key, "duration_seconds": 1.5}
        return self.pending

    def judge(self) -> int:
        """Send an answer and note it if it is acknowledged; returns the status."""
        answer = self.choose()
        status, reply = self.request("POST", "/judgements", answer)
        if status == 200:
            if self.acknowledged:
                write_through(self.acknowledged, f"{answer['key']} {answer['choice']}\n")
            self.question, self.pending = reply, {}
        return status


def write_through(path: Path, line: str) -> None:
    """Append a line to a file; it is on the disk when this returns."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(file, line.encode())
    os.fsync(file)
    os.close(file)


def come_in(server: Server, link: str, count: int, folder: Path | None = None, prefix: str = "person") -> list[Judge]:
    """Let an owner and others come in, `count` people in all; with `folder` their acknowledged answers are noted."""
    judges = [
        Judge(server.port, f"{prefix} {number}", folder and folder / f"acknowledged-{number}")
        for number in range(count)
    ]
    judges[0].come_in(link)
    for judge in judges[1:]:
        judge.come_in(judges[0].invite())
    return judges


def read_acknowledged(judges: Sequence[Judge]) -> dict[str, str]:
    """Return {key: choice} of all answers that were acknowledged."""
    lines = [line for judge in judges if judge.acknowledged for line in read_lines(judge.acknowledged)]
    return dict(line.split() for line in lines)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file; none of one that is not there."""
    return path.read_text().splitlines() if path.exists() else []
