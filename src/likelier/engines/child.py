"""A process that this one starts, asks over a socket, and takes along when it ends."""

import contextlib
import os
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from typing import IO

import torch

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that describe this process as one of several, and would mislead another one."""


class Child:
    """A process with a socket to this one, by whose end it knows that nobody will ask again."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        numbers: Sequence[int] = (),
        end_seconds: float = 0.0,
    ) -> None:
        """Start `command` with the number of its end of the socket, and of other open files, behind it.

        `name`: what it runs, for people. `end_seconds`: how long it has to end by itself. OSError: it cannot start.
        """
        self.name = name
        self.socket, theirs = socket.socketpair()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - of no name: nothing is left of it where both are killed
        passed = theirs.fileno(), *numbers
        try:
            self.process = subprocess.Popen(
                [*command, *map(str, passed)],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the run, which saves with the process still there
            )
        except OSError:
            self.socket.close()
            self.log.close()
            raise
        finally:
            theirs.close()
        self.close = weakref.finalize(self, end, self.process, self.socket, self.log, end_seconds)

    def explain_end(self) -> str:
        """Return why the process ended, in one line; what it said is kept in a file."""
        self.process.kill()
        code = self.process.wait()
        self.log.seek(0)
        said = self.log.read()
        lines = said.decode("utf-8", "replace").splitlines()
        last = next((f": {line.strip()[:160]}" for line in reversed(lines) if "Error" in line), "")
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}{last}"
        number, kept = tempfile.mkstemp(prefix=f"likelier-{self.name.split()[-1].lower()}-", suffix=".log")
        with open(number, "wb") as file:
            file.write(said)
        return f"the process of {self.name} ended {how}; its log: {kept}; start again, a run with --resume auto"


def copy_environment(leave_out: Sequence[str], gpu: str | None, threads: int | None = None) -> dict[str, str]:
    """Return the environment for another process, which knows nothing of torchrun; `gpu`: the only one that it sees."""
    names = {*leave_out, *LAUNCHED}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment = {name: value for name, value in environment.items() if not name.startswith("TORCHELASTIC_")}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return environment | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})


def divide_threads(beside: object, device: torch.device) -> int | None:
    """Leave half of this process's threads on a CPU to a process beside it, as long as the object `beside` lives.

    Returns how many that are; None on a GPU. Two processes that both take all cores wait for each other at every layer.
    """
    if device.type != "cpu":
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - threads // 2))
    weakref.finalize(beside, torch.set_num_threads, threads)
    return max(1, threads // 2)


def end(process: "subprocess.Popen[bytes]", connection: socket.socket, log: IO[bytes], seconds: float) -> None:
    """Let the process end, which reads that nobody will ask again; after so many seconds kill it."""
    with contextlib.suppress(OSError):  # it has ended
        connection.shutdown(socket.SHUT_RDWR)  # also where a file of it is still open
    connection.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
