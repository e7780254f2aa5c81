"""vLLM in this process: no copy of the weights through another memory, and what it says goes to stderr."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from likelier.engines import worker
from likelier.errors import ConfigError, LikelierError


class LocalEngine:
    """`worker.Engine` in this process; whatever it raises becomes one line."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Start it. ConfigError: vLLM refuses the model."""
        for name, value in worker.ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            with explain("start"):
                self.engine = worker.Engine(arguments)
        except LikelierError as error:
            raise ConfigError(str(error)) from error

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """See `worker.Engine`."""
        with explain("load_weights"):
            self.engine.load_weights(weights)

    def load_adapter(self, folder: str | None) -> None:
        """See `worker.Engine`."""
        with explain("load_adapter"):
            self.engine.load_adapter(folder)

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], settings: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """See `worker.Engine`."""
        with explain("generate"):
            return self.engine.generate(prompts, seeds, settings)


@contextlib.contextmanager
def explain(call: str) -> Iterator[None]:
    """Keep vLLM off stdout, where results go. LikelierError: whatever it raises."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except LikelierError:
        raise
    except Exception as error:  # whatever vLLM raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise LikelierError(f"vLLM: {call}: {reason[:300]}") from error
