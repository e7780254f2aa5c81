"""Group commit: writes that wait for the disk at the same time share one transaction, and so one flush."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from likelier.feedback.writer import Writer

T = TypeVar("T")


class Refused(Exception):
    """Raised by a write before it has written anything: the others of its transaction go on."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class GroupCommit:
    """Runs writes of many threads, each exactly once, in as few transactions as they leave time for.

    One flush of the disk takes milliseconds, however much it writes. Whoever comes while one is under way waits for the
    next, together with all others who do; each is told only after the transaction with its write has ended.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Writer]]) -> None:
        self.transaction = transaction
        self.waiting: list[tuple[Callable[[Writer], Any], Future[Any]]] = []
        self.guard, self.turn = threading.Lock(), threading.Lock()

    def run(self, write: Callable[[Writer], T]) -> T:
        """Run a write and return its result once it is on the disk; raises what it or its transaction raises."""
        future: Future[T] = Future()
        with self.guard:
            self.waiting.append((write, future))
        with self.turn:
            if not future.done():  # nobody took it along
                with self.guard:
                    batch, self.waiting = self.waiting, []
                self.commit(batch)
        return future.result()

    def commit(self, batch: list[tuple[Callable[[Writer], Any], Future[Any]]]) -> None:
        """Run writes in one transaction. If it fails, each has one of its own: one that fails spoils no other."""
        try:
            with self.transaction() as writer:
                results = [attempt(write, writer) for write, _ in batch]
        except BaseException as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for each in batch:
                self.commit([each])
            return
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Refused):
                future.set_exception(result.reason)
            else:
                future.set_result(result)


def attempt(write: Callable[[Writer], T], writer: Writer) -> T | Refused:
    """Return the result of a write, or its refusal."""
    try:
        return write(writer)
    except Refused as refusal:
        return refusal
