"""vLLM in a process and a Python of its own: starts it, asks it, and tells in one line how it ended."""

import json
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from likelier.engines import worker
from likelier.engines.child import Child, copy_environment
from likelier.engines.weights import SharedMemory
from likelier.errors import ConfigError, LikelierError

END_SECONDS = 10.0
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that describe our Python, and would mislead another one."""


class EngineProcess:
    """`worker.Engine` in another process, with the same calls."""

    def __init__(
        self, python: Path, arguments: dict[str, Any], gpu: str | None = None, threads: int | None = None
    ) -> None:
        """Start it; `gpu` is the only one that it sees. ConfigError: no such Python, or vLLM refuses the model."""
        self.memory = SharedMemory()
        # The folder of the script holds modules that are no one else's.
        environment = copy_environment(OURS, gpu, threads) | {"PYTHONSAFEPATH": "1"}
        try:
            command = [str(python), worker.__file__]
            self.child = Child("vLLM", command, environment, [self.memory.number], END_SECONDS)
        except OSError as error:
            self.memory.close()
            raise ConfigError(f"engine_python: {python}: cannot be started ({error.strerror})") from error
        self.channel = self.child.socket.makefile("rw", encoding="utf-8")
        self.close = weakref.finalize(self, end, self.child, self.memory)
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
            raise LikelierError(self.child.explain_end())
        answer = json.loads(line)
        if "error" in answer:
            raise LikelierError(f"vLLM: {name}: {answer['error'][:300]}")
        return answer["result"]


def end(child: Child, memory: SharedMemory) -> None:
    """End the process, and give back the memory that it reads."""
    child.close()
    memory.close()
