"""Group commit: writes that wait for the disk at the same time share one transaction, and so one flush."""

import threading
from collections.abc import Callable, Sequence
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


class Waiting:
    """A write that waits for its transaction."""

    def __init__(self, write: Callable[[Writer], Any]) -> None:
        self.write = write
        self.future: Future[Any] = Future()
        self.called = threading.Event()
        """Set once the write is done, or it is its thread's turn to commit for all who wait."""


class GroupCommit:
    """Runs writes of many threads, each exactly once, in as few transactions as they leave time for.

    One flush of the disk takes milliseconds, however much it writes. Whoever comes while one is under way waits for the
    next, together with all others who do; each is told only after the transaction with its write has ended. Whoever has
    committed calls the first of those that came meanwhile: nobody waits for a lock that later ones could take before.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Writer]]) -> None:
        self.transaction = transaction
        self.waiting: list[Waiting] = []
        self.guard, self.is_committing = threading.Lock(), False

    def run(self, write: Callable[[Writer], T]) -> T:
        """Run a write and return its result once it is on the disk; raises what it or its transaction raises."""
        own = Waiting(write)
        with self.guard:
            self.waiting.append(own)
            must_wait, self.is_committing = self.is_committing, True
        if must_wait:
            own.called.wait()
        if not own.future.done():  # nobody took it along
            self.commit_waiting()
        result: T = own.future.result()
        return result

    def commit_waiting(self) -> None:
        """Commit all writes that wait, and hand the turn on."""
        with self.guard:
            batch, self.waiting = self.waiting, []
        try:
            self.commit(batch)
        finally:
            with self.guard:
                self.is_committing = bool(self.waiting)
                if self.waiting:
                    self.waiting[0].called.set()
            for each in batch:
                each.called.set()

    def commit(self, batch: Sequence[Waiting]) -> None:
        """Run writes in one transaction. If it fails, each has one of its own: one that fails spoils no other."""
        try:
            with self.transaction() as writer:
                results = [attempt(each.write, writer) for each in batch]
        except BaseException as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for each in batch:
                self.commit([each])
            return
        for each, result in zip(batch, results, strict=True):
            if isinstance(result, Refused):
                each.future.set_exception(result.reason)
            else:
                each.future.set_result(result)


def attempt(write: Callable[[Writer], T], writer: Writer) -> T | Refused:
    """Return the result of a write, or its refusal."""
    try:
        return write(writer)
    except Refused as refusal:
        return refusal
