"""An engine that is asked from a thread: whoever calls goes on at once, and calls happen in their order."""

import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import torch
from torch import Tensor


class Engine(Protocol):
    """`worker.Engine`, here or in another process."""

    def load_weights(self, weights: Any) -> None:
        """Put weights, by the names of a checkpoint, into the engine."""

    def load_adapter(self, folder: str | None) -> None:
        """Add the adapter in a folder from now on."""

    def generate(self, prompts: Any, seeds: Any, settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Return `tokens` and `logprobs` of a response to each prompt."""
        ...


class QueuedEngine:
    """An `Engine` whose calls wait behind those that came before."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Not one of `concurrent.futures`: at the end of this process these would be waited for.
        threading.Thread(target=run_calls, args=(self.calls,), daemon=True).start()
        weakref.finalize(self, self.calls.put, None)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy weights, which may change before it is their turn."""
        copies = [(name, torch.empty_like(tensor, device="cpu").copy_(tensor)) for name, tensor in weights]
        self.call(self.engine.load_weights, copies)

    def load_adapter(self, folder: str | None) -> None:
        """See `Engine`; the folder stays as it is until the next responses are there."""
        self.call(self.engine.load_adapter, folder)

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], settings: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """See `Engine`."""
        return self.ask(prompts, seeds, settings)()

    def ask(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], settings: dict[str, Any]
    ) -> Callable[[], list[dict[str, Any]]]:
        """Have responses generated; returns what waits for them. It raises what this call raised, or one before it."""
        return self.call(self.engine.generate, prompts, seeds, settings).result

    def call(self, function: Callable[..., Any], *given: Any) -> "Future[Any]":
        """Put a call behind the others."""
        future: Future[Any] = Future()
        self.calls.put((future, function, given))
        return future


def run_calls(calls: "queue.SimpleQueue[Any]") -> None:
    """Make one call after another; none behind one that failed, for the engine would hold other weights."""
    failure: Exception | None = None
    while (call := calls.get()) is not None:
        future, function, given = call
        try:
            if failure:
                raise failure
            future.set_result(function(*given))
        except Exception as error:  # whoever waits is told
            failure = error
            future.set_exception(error)
        del call, future, function, given  # what they hold may be large
