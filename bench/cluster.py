"""A PostgreSQL cluster of its own on a unix socket, under an unprivileged user, that can be killed."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg


def find_programs() -> Path | None:
    """Return the folder of initdb and pg_ctl; Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


class Cluster:
    """A running cluster; `url` is that of its database `postgres`. FileNotFoundError: PostgreSQL is not installed."""

    def __init__(self) -> None:
        programs = find_programs()
        if programs is None:
            raise FileNotFoundError("initdb was not found")
        self.programs, self.folder = programs, Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a short socket path
        self.user = "nobody" if os.getuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self.url = f"postgresql://likelier@/postgres?host={self.folder}"
        self.run("initdb", "-D", f"{self.folder}/data", "-U", "likelier", "-A", "trust", "--locale=C.UTF-8")
        self.start()

    def run(self, *command: str) -> None:
        """Run one of PostgreSQL's programs."""
        program = self.programs / command[0]
        subprocess.run([program, *command[1:]], check=True, stdout=-3, stderr=-3, user=self.user, cwd=self.folder)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses=''"
        data, log = f"{self.folder}/data", f"{self.folder}/log"
        self.run("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        """Stop it as if the power had failed: no process ends its work."""
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def create_database(self, name: str) -> None:
        """Make another database beside `postgres`."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())

    def kill_backend(self, draw: random.Random) -> None:
        """Kill -9 a process that serves a client; PostgreSQL then restarts them all."""
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        pids = [int(str(pid)) for (pid,) in self.query(f"SELECT pid FROM pg_stat_activity WHERE {others} ORDER BY pid")]
        if pids:
            os.kill(draw.choice(pids), signal.SIGKILL)

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder)
