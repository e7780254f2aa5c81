"""vLLM in a process and a Python of its own: starts it, asks it, and tells in one line how it ended."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from likelier.engines import worker
from likelier.engines.weights import SharedMemory
from likelier.errors import ConfigError, LikelierError

END_SECONDS = 10.0
"""How long the process has to end by itself."""
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that describe this process, or the run that it is one of, and would mislead the other."""


class EngineProcess:
    """`worker.Engine` in another process, with the same calls."""

    def __init__(self, python: Path, arguments: dict[str, Any], gpu: str | None = None) -> None:
        """Start it; `gpu` is the only one that it sees. ConfigError: no such Python, or vLLM refuses the model."""
        ours, theirs = socket.socketpair()
        self.memory = SharedMemory()
        self.log = Path(tempfile.mkstemp(prefix="likelier-vllm-", suffix=".log")[1])
        numbers = theirs.fileno(), self.memory.number
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [str(python), worker.__file__, *map(str, numbers)],
                    pass_fds=numbers,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=make_environment(gpu),
                    start_new_session=True,  # Ctrl-C is for the run, which saves with the engine still there
                )
        except OSError as error:
            ours.close()
            self.memory.close()
            self.log.unlink()
            raise ConfigError(f"engine_python: {python}: cannot be started ({error.strerror})") from error
        finally:
            theirs.close()
        self.channel = ours.makefile("rw", encoding="utf-8")
        ours.close()
        self.close = weakref.finalize(self, end, self.process, self.channel, self.memory, self.log)
        try:
            self.call("start", arguments=arguments)
        except LikelierError as error:
            self.close()
            raise ConfigError(str(error)) from error

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """See `worker.Engine`."""
        self.call("load_weights", **self.memory.write(weights))
        self.memory.clear()

    def load_adapter(self, folder: str | None) -> None:
        """See `worker.Engine`."""
        self.call("load_adapter", folder=folder)

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], settings: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """See `worker.Engine`."""
        answers: list[dict[str, Any]] = self.call("generate", prompts=prompts, seeds=seeds, settings=settings)
        return answers

    def call(self, name: str, **request: Any) -> Any:
        """Return what a call of the engine returns. LikelierError: it raised, or the process has ended."""
        try:
            self.channel.write(json.dumps({"call": name, **request}) + "\n")
            self.channel.flush()
            line = self.channel.readline()
        except OSError:
            line = ""
        if not line.endswith("\n"):
            raise LikelierError(self.explain_end())
        answer = json.loads(line)
        if "error" in answer:
            raise LikelierError(f"vLLM: {name}: {answer['error'][:300]}")
        return answer["result"]

    def explain_end(self) -> str:
        """Return why the process ended, in one line; its log is kept."""
        self.process.kill()
        code = self.process.wait()
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((f": {line.strip()[:160]}" for line in reversed(lines) if "Error" in line), "")
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}{last}"
        kept = self.log.rename(self.log.with_suffix(".kept.log"))
        return f"the process of vLLM ended {how}; its log: {kept}; start again, a run with --resume auto"


def make_environment(gpu: str | None) -> dict[str, str]:
    """Return the environment of the engine's process."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    environment = {name: value for name, value in environment.items() if not name.startswith("TORCHELASTIC_")}
    environment["PYTHONSAFEPATH"] = "1"  # the folder of the script holds modules that are no one else's
    return environment | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})


def end(process: "subprocess.Popen[bytes]", channel: Any, memory: SharedMemory, log: Path) -> None:
    """Let the process end: it reads that nobody will ask again."""
    with contextlib.suppress(OSError):  # it has ended, and the last request was not read
        channel.close()
    memory.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.unlink(missing_ok=True)
