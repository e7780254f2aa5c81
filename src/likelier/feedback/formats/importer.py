"""Adds the entries of a data file to a store in batches, within one transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

from likelier.errors import DataError
from likelier.feedback.formats.entry import Entry, SetUp
from likelier.feedback.formats.sources import Row
from likelier.feedback.projects import add_gold, take_guideline, take_settings
from likelier.feedback.tables import DEFAULT_PROJECT
from likelier.feedback.writer import A, Writer, content_key
from likelier.records import Answer, Comparison, Judgement, Media, Prompt, Ranking, Rating, Response

T = TypeVar("T", Prompt, Response, Comparison)

CONTRADICTS_STORED = (
    "`id` {!r} is stored already with another answer; judgements are never edited, give a new one its own id"
)
OTHER_TOOLS = "`tools` differ from those that this prompt has already; one text has one list of tools"


class ParsedRow(NamedTuple):
    """A valid line or record of a file."""

    row: Row
    entries: list[Entry]
    set_up: SetUp | None = None
    """Instead of entries."""


class Importer:
    """Adds rows to a store. `num_read` counts rows, `num_stored` new records that they are about.

    An answer without a key gets one from its content and the number of equal ones earlier in the file, so that
    importing the file again, in any order of rows, stores nothing.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.num_read = self.num_stored = 0
        self.equal_answers: Counter[str] = Counter()
        self.seen_ids: set[str] = set()
        self.seen_media: set[Media] = set()
        self.tools: dict[str, Any] = {}
        """Tools by prompt, of the batches in which any row has tools."""
        self.settings: Literal["taken", "kept"] | None = None
        """What became of the file's settings: `kept` if the project has others already; None if it has none."""
        self.num_guidelines = self.num_gold = 0
        """New versions of the guidelines, new gold and training items."""
        self.passed_over: dict[str, None] = {}
        """Names of the columns that the format does not read, in order of first appearance."""

    def add(self, rows: list[ParsedRow]) -> list[tuple[ParsedRow, str]]:
        """Store a batch; returns the rows that contradict stored records, each with the reason."""
        rows = [row._replace(entries=[self.name_keys(entry) for entry in row.entries]) for row in rows]
        entries = [entry for row in rows for entry in row.entries]
        stored: dict[str, Answer] = {
            **self.writer.stored_answers(Judgement, [each.judgement.key for each in entries if each.judgement]),
            **self.writer.stored_answers(Rating, [each.rating.key for each in entries if each.rating]),
            **self.writer.stored_answers(Ranking, [each.ranking.key for each in entries if each.ranking]),
        }
        with_tools = any(entry.prompt.extra.get("tools") for entry in entries)
        if with_tools:
            self.look_up_tools({entry.prompt.id for entry in entries})
        new, refused = [], []
        for row in rows:
            reason = self.find_contradiction(row.entries, stored, with_tools) or self.take_set_up(row.set_up)
            if reason:
                refused.append((row, reason))
                continue
            for entry in row.entries:
                answer = entry.answer
                if answer and answer.key:
                    if answer.key in stored:
                        continue
                    stored[answer.key] = answer
                new.append(entry)
            self.passed_over |= dict.fromkeys(name for entry in row.entries for name in entry.passed_over)
        self.num_read += len(rows) - len(refused)
        self.store(new)
        return refused

    def find_contradiction(self, entries: list[Entry], stored: dict[str, Answer], with_tools: bool) -> str:
        """Return why entries cannot be stored beside the records that are there; empty if they can."""
        for entry in entries:
            if with_tools and not self.has_same_tools(entry.prompt):
                return OTHER_TOOLS
            same_key = stored.get(read_key(entry))
            if same_key is not None and same_key != entry.answer:
                return CONTRADICTS_STORED.format(read_key(entry))
        return ""

    def take_set_up(self, set_up: SetUp | None) -> str:
        """Store settings or guidelines; returns why they cannot be, empty if they can."""
        if set_up and set_up.settings:
            self.settings = "taken" if take_settings(self.writer, set_up.settings) else "kept"
        if set_up and set_up.guideline:
            try:
                self.num_guidelines += take_guideline(self.writer, set_up.guideline)
            except DataError as error:
                return str(error)
        return ""

    def look_up_tools(self, prompt_ids: set[str]) -> None:
        """Look up the tools of the prompts that are stored already."""
        stored = self.writer.stored_extras(sorted(prompt_ids - self.tools.keys()))
        self.tools |= {prompt_id: extra.get("tools") for prompt_id, extra in stored.items()}

    def has_same_tools(self, prompt: Prompt) -> bool:
        """False if the prompt is already stored with other tools: a text can have only one list of tools."""
        tools = prompt.extra.get("tools")
        return bool(self.tools.setdefault(prompt.id, tools) == tools) or not tools

    def store(self, entries: list[Entry]) -> None:
        """Store entries and count the new records that each is about, without those that it refers to."""
        self.store_media(entries)
        add = self.writer
        add.add_prompts(self.select_new(entry.prompt for entry in entries if entry.responses))
        self.num_stored += add.add_prompts(self.select_new(entry.prompt for entry in entries if not entry.responses))
        referred = [entry.responses for entry in entries if refers(entry)]
        add.add_responses(self.select_new(chain.from_iterable(referred)))
        alone = [entry.responses for entry in entries if not refers(entry)]
        self.num_stored += add.add_responses(self.select_new(chain.from_iterable(alone)))
        comparisons = [(entry.comparison, entry.judgement) for entry in entries if entry.comparison]
        add.add_comparisons(self.select_new(comparison for comparison, judgement in comparisons if judgement))
        self.num_stored += add.add_comparisons(
            self.select_new(comparison for comparison, judgement in comparisons if not judgement)
        )
        add.add_comparisons(self.select_new(chain.from_iterable(entry.offered for entry in entries)))
        self.num_stored += add.add_judgements([self.fill_key(entry.judgement) for entry in entries if entry.judgement])
        self.num_stored += add.add_ratings([self.fill_key(entry.rating) for entry in entries if entry.rating])
        self.num_stored += add.add_rankings([self.fill_key(entry.ranking) for entry in entries if entry.ranking])
        self.num_gold += add_gold(add, [entry.gold for entry in entries if entry.gold])

    def store_media(self, entries: list[Entry]) -> None:
        """Copy the entries' media files, each once."""
        for entry in entries:
            for record, source in entry.media_files.items():
                if record not in self.seen_media:
                    self.writer.add_media(record, source)
                    self.seen_media.add(record)

    def select_new(self, records: Iterable[T]) -> Iterator[T]:
        """The records whose id has not occurred in this file before."""
        for record in records:
            if (record_id := record.id) not in self.seen_ids:
                self.seen_ids.add(record_id)
                yield record

    def name_keys(self, entry: Entry) -> Entry:
        """Return an entry with the keys that its answer has in this project."""
        if self.writer.project == DEFAULT_PROJECT:
            return entry
        name = self.writer.name_key
        if entry.judgement:
            return replace(entry, judgement=name(entry.judgement))
        if entry.ranking:
            return replace(entry, ranking=name(entry.ranking))
        return replace(entry, rating=name(entry.rating)) if entry.rating else entry

    def fill_key(self, answer: A) -> A:
        """Return an answer with a key, made from its content if it has none."""
        if answer.key:
            return answer
        return self.writer.name_key(replace(answer, key=content_key(answer, self.equal_answers)))


def refers(entry: Entry) -> bool:
    """True if the responses of an entry are there for its comparison or answer."""
    return bool(entry.comparison or entry.answer)


def read_key(entry: Entry) -> str:
    """Return the key of the answer given in the row; empty if there is none."""
    return entry.answer.key if entry.answer else ""
