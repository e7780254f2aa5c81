"""Group commit: each write once, in few transactions, and no failure reaches another's write."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from likelier.errors import DataError
from likelier.feedback.group_commit import GroupCommit, Refused
from likelier.feedback.store import Store, Superseded
from likelier.feedback.writer import Writer
from likelier.records import Comparison, Judgement, Prompt, Response

PROMPT = Prompt("Tell me a story.")
ONE, TWO = Response(PROMPT.id, "Once upon a time."), Response(PROMPT.id, "No.")
PAIR = Comparison(PROMPT.id, ONE.id, TWO.id)


def make_judgement(key: str, **changes: str) -> Judgement:
    return replace(Judgement(PAIR.id, "ann", ONE.id, TWO.id, "left", key=key), **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "f.db", create=True) as opened:
        opened.add_prompts([PROMPT])
        opened.add_responses([ONE, TWO])
        opened.add_comparisons([PAIR])
        yield opened


def run_together(commits: GroupCommit, writes: list[Callable[[Writer], object]]) -> list[object]:
    """Results, or errors, of writes that all wait while another transaction is under way."""

    def run(write: Callable[[Writer], object]) -> object:
        try:
            return commits.run(write)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(writes)) as pool:
        with one_under_way(commits):
            futures = [pool.submit(run, write) for write in writes]
            while len(commits.waiting) < len(writes):
                time.sleep(0.001)
        return [future.result() for future in futures]


@contextmanager
def one_under_way(commits: GroupCommit) -> Iterator[None]:
    """A transaction of another thread that lasts until the block ends."""
    begun, end = threading.Event(), threading.Event()

    def write(writer: Writer) -> None:
        begun.set()
        assert end.wait(10)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(commits.run, write)
        assert begun.wait(10)
        try:
            yield
        finally:
            end.set()
        other.result()


def test_writes_that_wait_share_a_transaction(store: Store) -> None:
    transactions = []

    @contextmanager
    def count() -> Iterator[Writer]:
        with store.transaction() as writer:
            transactions.append(threading.get_ident())
            yield writer

    commits = GroupCommit(count)
    writes = [lambda writer, key=str(n): writer.add_judgements([make_judgement(key)]) for n in range(20)]
    assert run_together(commits, writes) == [1] * 20
    assert len(transactions) == 2  # the one under way, and one for all
    assert store.counts()["judgements"] == 20


def test_one_that_fails_spoils_no_other(store: Store) -> None:
    def fail(writer: Writer) -> None:
        writer.add_judgements([make_judgement("spoilt", comparison_id="absent")])

    writes = [lambda writer, key=str(n): writer.add_judgements([make_judgement(key)]) for n in range(5)]
    *results, error = run_together(store.commits, [*writes, fail])
    assert results == [1] * 5
    assert isinstance(error, DataError)
    assert sorted(each.key for each in store.judgements()) == ["0", "1", "2", "3", "4"]


def test_one_that_is_refused_is_told_alone(store: Store) -> None:
    def refuse(writer: Writer) -> None:
        raise Refused(Superseded("changed already"))

    write = lambda writer: writer.add_judgements([make_judgement("kept")])  # noqa: E731
    result, error = run_together(store.commits, [write, refuse])
    assert (result, type(error), str(error)) == (1, Superseded, "changed already")
    assert store.counts()["judgements"] == 1


def test_two_with_one_key_in_one_transaction_are_answered_with_the_first(store: Store) -> None:
    with ThreadPoolExecutor(2) as pool:
        with one_under_way(store.commits):
            first = pool.submit(store.add_judgement, make_judgement("same"))
            while len(store.commits.waiting) < 1:
                time.sleep(0.001)
            second = pool.submit(store.add_judgement, make_judgement("same", choice="right"))
            while len(store.commits.waiting) < 2:
                time.sleep(0.001)
        assert [first.result().choice, second.result().choice] == ["left", "left"]
