"""Argilla's records of a ranking (or label) question: per user who answered, a judgement of each two responses.

Read in all three shapes: rows of a data set (`preference: [{user_id, value, status}]`), nested records of `to_json`
(`fields`, `responses`), and flattened ones (`preference.responses`, `.users`, `.status`). Only submitted answers count.
Suggestions, which are a model's, are passed over.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    make_comparison,
    make_judgement_entry,
    make_response,
    read_text,
    record_ignored_fields,
)
from likelier.feedback.formats.fields import ANSWER_FIELDS, find_answers, find_prompt, group_judgements, read_field
from likelier.feedback.formats.winners import read_winner
from likelier.feedback.store import Store
from likelier.files.json_text import list_fields
from likelier.records import Choice, JudgedComparison, Prompt, Response, read_name

QUESTION = "preference"
SIDES = ("left", "right")
NOT_LOST = frozenset(
    (
        "id",
        "external_id",
        "fields",
        "responses",
        "metadata",
        "vectors",
        "status",
        "inserted_at",
        "updated_at",
        "_server_id",
    )
)
"""Fields of a record that are read, or say nothing of the answer."""


class Answer(NamedTuple):
    """One user's answer to one question."""

    question: str
    user: str
    value: Any
    status: Any


def read(record: Line, where: Place) -> list[Entry]:
    """Read one record with all answers to it."""
    nested = isinstance(record.get("fields"), dict)
    fields: Line = record["fields"] if nested else {name: value for name, value in record.items() if is_field(value)}
    submitted = [answer for answer in collect_answers(record) if answer.status in (None, "submitted")]
    rankings = [(answer, ranks) for answer in submitted if (ranks := read_ranking(answer.value, fields))]
    ranked = {name for _, ranks in rankings for name in ranks}
    names = [name for name in fields if name in ranked] or find_answers(fields)
    if not names:
        raise DataError(f"{where}: no ranking, and no fields with responses (found {list_fields(fields)})")
    prompt_name = find_prompt(fields, names, where)
    prompt = Prompt(read_field(fields, prompt_name, where))
    responses = {name: make_response(prompt.id, read_text(fields, name, where)) for name in names}
    entries = [entry for answer, ranks in rankings for entry in compare(answer, ranks, prompt, responses)]
    if not entries:
        offered = tuple(make_comparison(prompt.id, responses[a].id, responses[b].id) for a, b in pairs(responses))
        entries = [Entry(prompt, tuple(responses.values()), offered=offered)]
    others = {
        f"fields.{name}" if nested else name: fields[name] for name in fields if name not in {*names, prompt_name}
    }
    others |= {answer.question: True for answer in submitted if not read_ranking(answer.value, fields)}
    others |= {name: value for name, value in record.items() if name.endswith(("suggestion", "suggestions"))}
    return [record_ignored_fields(entries[0], others, NOT_LOST), *entries[1:]]


def is_field(value: Any) -> bool:
    """True for what a field of a flat record may hold: a text, or the turns of a chat."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(map(is_turn, value)))


def is_turn(value: Any) -> bool:
    """True for a message."""
    return isinstance(value, dict) and "role" in value and "content" in value


def collect_answers(record: Line) -> list[Answer]:
    """Return all answers in a record, of whatever shape."""
    responses = record.get("responses")
    if isinstance(responses, dict):  # `to_json`: by question
        return [answer for question, given in responses.items() for answer in read_answers(question, given)]
    if isinstance(responses, list):  # older exports: by user
        return [
            Answer(question, read_name(given, "user_id"), answer.get("value"), given.get("status"))
            for given in filter(is_answer, responses)
            for question, answer in given.get("values", {}).items()
        ]
    answers = []
    for name, value in record.items():
        question = name.removesuffix(".responses")
        if question == name:
            answers += read_answers(question, value)
        elif isinstance(value, list):
            users, statuses = (record.get(f"{name}.{key}") or [None] * len(value) for key in ("users", "status"))
            answers += [
                Answer(question, str(who or ""), *rest) for who, *rest in zip(users, value, statuses, strict=True)
            ]
    return answers


def is_answer(value: Any) -> bool:
    """True for an answer with the user who gave it."""
    return isinstance(value, dict) and "user_id" in value


def read_answers(question: str, given: Any) -> list[Answer]:
    """Return the answers of a list of `{user_id, value, status}`; none of anything else."""
    if not isinstance(given, list):
        return []
    return [
        Answer(question, read_name(answer, "user_id"), answer.get("value"), answer.get("status"))
        for answer in filter(is_answer, given)
    ]


def read_ranking(value: Any, fields: Line) -> dict[str, int]:
    """Return the rank of each field that an answer ranks, 1 the best; empty if it ranks none.

    >>> read_ranking({"value": ["response-1", "response-2"], "rank": [2, 1]}, {"response1": "", "response2": ""})
    {'response1': 2, 'response2': 1}
    """
    if isinstance(value, str):  # a label question: the better one of two, by its name or by words that name it
        return read_label(value, fields)
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        value = {key: [item.get(key) for item in value] for key in ("value", "rank")}
    if isinstance(value, list):  # best first
        value = {"value": value, "rank": list(range(1, len(value) + 1))}
    if not isinstance(value, dict) or not isinstance(value.get("value"), list):
        return {}
    ranks = value.get("rank") or []
    names = [match(name, fields) for name in value["value"]]
    if len(ranks) != len(names) or not all(names) or not all(isinstance(rank, int) for rank in ranks):
        return {}
    return dict(zip(names, ranks, strict=True))


def read_label(label: str, fields: Line) -> dict[str, int]:
    """Return the ranks that a label gives two answers; empty if it names neither, nor a tie.

    >>> read_label("resp_0_better", {"response_0": "", "response_1": ""})
    {'response_0': 1, 'response_1': 2}
    """
    names = find_answers(fields)
    if chosen := match(label, fields):
        return {name: 1 + (name != chosen) for name in names}
    winner = read_winner(label, names) if len(names) == 2 else None
    return (
        {name: 1 + (winner.choice not in (side, "tie")) for name, side in zip(names, SIDES, strict=True)}
        if winner
        else {}
    )


def match(label: Any, fields: Line) -> str:
    """Return the field that an option stands for, whose punctuation and case may differ; empty if there is none."""
    folded = {"".join(filter(str.isalnum, name)).lower(): name for name in fields}
    return folded.get("".join(filter(str.isalnum, label)).lower(), "") if isinstance(label, str) else ""


def pairs(responses: dict[str, Response]) -> list[tuple[str, str]]:
    """Return the names of each two different responses, in the order of the fields."""
    return [(a, b) for a, b in combinations(responses, 2) if responses[a].id != responses[b].id]


def compare(answer: Answer, ranks: dict[str, int], prompt: Prompt, responses: dict[str, Response]) -> list[Entry]:
    """Make a judgement of each two responses that an answer ranks."""
    entries = []
    for left, right in pairs({name: response for name, response in responses.items() if name in ranks}):
        difference = ranks[left] - ranks[right]
        choice: Choice = "tie" if not difference else "left" if difference < 0 else "right"
        entries.append(
            make_judgement_entry(prompt, responses[left], responses[right], choice=choice, annotator=answer.user)
        )
    return entries


def lines(store: Store) -> Iterator[Line | None]:
    """Return one row per comparison and sides, with the answers of all users; None for media."""
    for group in group_judgements(store.judged_by_content()):
        if group[0].is_text:
            yield write(group)
        else:
            yield from [None] * len(group)


def write(group: list[JudgedComparison]) -> Line:
    """Format the judgements of two responses as one row of a data set."""
    first = group[0]
    record = {"prompt": first.prompt.text} | dict(zip(ANSWER_FIELDS, (first.left.text, first.right.text), strict=True))
    return record | {QUESTION: [write_answer(judged) for judged in group], f"{QUESTION}-suggestion": None}


def write_answer(judged: JudgedComparison) -> Line:
    """Format one judgement as a user's answer."""
    ranks = {"left": [1, 2], "right": [2, 1], "tie": [1, 1]}[judged.judgement.choice]
    value = {"rank": ranks, "value": list(ANSWER_FIELDS)}
    return {"user_id": judged.judgement.annotator or None, "value": value, "status": "submitted"}
