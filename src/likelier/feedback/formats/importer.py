"""Adds the entries of a data file to a store in batches, within one transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from likelier.feedback.formats.entry import Entry
from likelier.feedback.writer import Writer, content_key
from likelier.records import Comparison, Judgement, Media, Prompt, Response

T = TypeVar("T", Prompt, Response, Comparison)


CONTRADICTS_STORED = (
    "`id` {!r} is stored already with another answer; judgements are never edited, give a new one its own id"
)
OTHER_TOOLS = "`tools` differ from those that this prompt has already; one text has one list of tools"


class ParsedLine(NamedTuple):
    """A valid line of a file."""

    number: int
    text: str
    entry: Entry


class Importer:
    """Adds lines to a store. `num_read` counts lines, `num_stored` those with new content.

    A judgement without a key gets one from its content and the number of equal ones earlier in the file, so that
    importing the file again, in any order of lines, stores nothing.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.num_read = self.num_stored = 0
        self.equal_judgements: Counter[str] = Counter()
        self.seen_ids: set[str] = set()
        self.seen_media: set[Media] = set()
        self.tools: dict[str, Any] = {}
        """Tools by prompt, of the batches in which any line has tools."""
        self.passed_over: dict[str, None] = {}
        """Names of the columns that the format does not read, in order of first appearance."""

    def add(self, lines: list[ParsedLine]) -> list[tuple[ParsedLine, str]]:
        """Store a batch; returns the lines that contradict stored records, each with the reason."""
        stored = self.writer.stored_judgements([key for line in lines if (key := read_key(line.entry))])
        with_tools = any(line.entry.prompt.extra.get("tools") for line in lines)
        if with_tools:
            self.look_up_tools({line.entry.prompt.id for line in lines})
        new, refused = [], []
        for line in lines:
            if with_tools and not self.has_same_tools(line.entry.prompt):
                refused.append((line, OTHER_TOOLS))
                continue
            judgement = line.entry.judgement
            same_key = stored.get(judgement.key) if judgement else None
            if same_key is None:
                new.append(line.entry)
                if judgement and judgement.key:
                    stored[judgement.key] = judgement
            elif same_key != judgement:
                refused.append((line, CONTRADICTS_STORED.format(read_key(line.entry))))
                continue
            self.passed_over |= dict.fromkeys(line.entry.passed_over)
        self.num_read += len(lines) - len(refused)
        self.store(new)
        return refused

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
        add.add_responses(
            self.select_new(chain.from_iterable(entry.responses for entry in entries if entry.comparison))
        )
        self.num_stored += add.add_responses(
            self.select_new(chain.from_iterable(entry.responses for entry in entries if not entry.comparison))
        )
        comparisons = [(entry.comparison, entry.judgement) for entry in entries if entry.comparison]
        add.add_comparisons(self.select_new(comparison for comparison, judgement in comparisons if judgement))
        self.num_stored += add.add_comparisons(
            self.select_new(comparison for comparison, judgement in comparisons if not judgement)
        )
        add.add_comparisons(self.select_new(chain.from_iterable(entry.offered for entry in entries)))
        self.num_stored += add.add_judgements([self.fill_key(entry.judgement) for entry in entries if entry.judgement])

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

    def fill_key(self, judgement: Judgement) -> Judgement:
        """Return the judgement with a key, made from its content if it has none."""
        return judgement if judgement.key else replace(judgement, key=content_key(judgement, self.equal_judgements))


def read_key(entry: Entry) -> str:
    """Return the judgement's key given in the line; empty if there is none."""
    return entry.judgement.key if entry.judgement else ""
