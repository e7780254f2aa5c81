"""Entries of a file on their way into the store, a batch at a time."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeVar

from likelier.feedback.formats.entry import Entry
from likelier.feedback.writer import Writer, content_key
from likelier.records import Comparison, Judgement, Prompt, Response

T = TypeVar("T", Prompt, Response, Comparison)


class Item(NamedTuple):
    """One good line of a file."""

    number: int
    text: str
    entry: Entry


class Intake:
    """Adds items to a store. `read` counts those that were taken, `stored` those of them that brought something new.

    A judgement without a key gets one from its content and from how many equal ones came before it in the file, so that
    the file stores nothing new the second time, in whatever order its lines are.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.read = self.stored = 0
        self.equal: Counter[str] = Counter()
        self.seen: set[str] = set()

    def add(self, items: list[Item]) -> list[Item]:
        """Store a batch; returns the items left out because their key is stored with another answer."""
        answers = self.writer.stored_judgements([key for item in items if (key := given_key(item.entry))])
        new, changed = [], []
        for item in items:
            judgement = item.entry.judgement
            known = answers.get(judgement.key) if judgement else None
            if known is None:
                new.append(item.entry)
                if judgement and judgement.key:
                    answers[judgement.key] = judgement
            elif known != judgement:
                changed.append(item)
        self.read += len(items) - len(changed)
        self.store(new)
        return changed

    def store(self, entries: list[Entry]) -> None:
        """What a line is about is counted, what it only needs (its prompt, its responses) is not."""
        add = self.writer
        add.add_prompts(self.unseen(entry.prompt for entry in entries if entry.responses))
        self.stored += add.add_prompts(self.unseen(entry.prompt for entry in entries if not entry.responses))
        add.add_responses(self.unseen(chain.from_iterable(entry.responses for entry in entries if entry.comparison)))
        self.stored += add.add_responses(
            self.unseen(chain.from_iterable(entry.responses for entry in entries if not entry.comparison))
        )
        comparisons = [(entry.comparison, entry.judgement) for entry in entries if entry.comparison]
        add.add_comparisons(self.unseen(comparison for comparison, judgement in comparisons if judgement))
        self.stored += add.add_comparisons(
            self.unseen(comparison for comparison, judgement in comparisons if not judgement)
        )
        add.add_comparisons(self.unseen(chain.from_iterable(entry.offered for entry in entries)))
        self.stored += add.add_judgements([self.keyed(entry.judgement) for entry in entries if entry.judgement])

    def unseen(self, records: Iterable[T]) -> Iterator[T]:
        """Those that this file has not brought before."""
        for record in records:
            if (record_id := record.id) not in self.seen:
                self.seen.add(record_id)
                yield record

    def keyed(self, judgement: Judgement) -> Judgement:
        return judgement if judgement.key else replace(judgement, key=content_key(judgement, self.equal))


def given_key(entry: Entry) -> str:
    return entry.judgement.key if entry.judgement else ""
