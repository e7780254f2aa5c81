"""`likelier`: everything the store holds, one judgement a line with all it was about, so that a line stands alone.

What has no judgement yet has lines of its own: `"record": "comparison"`, `"response"` or `"prompt"`. `likelier
candidates` writes `"responses"`, of which every pair becomes a comparison. Only `prompt`,
`left`, `right` and `choice` are needed in a judgement that someone writes by hand; `left` and `right` are texts, or
objects with `text`, `model` and `stop_reason`.
"""

import difflib
import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any, get_args

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    comparison,
    judgement_entry,
    messages_field,
    plain_prompt,
    refuse_equal,
    required,
    response,
    shown,
    text_field,
)
from likelier.feedback.store import Store
from likelier.records import Choice, JudgedComparison, Prompt, Response

SCHEMA_VERSION = 1
PROMPT_FIELDS = {"schema_version", "record", "prompt", "conversation", "prompt_extra"}
ANSWER_FIELDS = {"choice", "annotator", "duration_seconds", "created_at", "simulated", "guideline", "extra"}
FIELDS = {
    "prompt": PROMPT_FIELDS,
    "response": PROMPT_FIELDS | {"response"},
    "responses": PROMPT_FIELDS | {"responses"},
    "comparison": PROMPT_FIELDS | {"left", "right"},
    "judgement": PROMPT_FIELDS | {"left", "right", "id", "swapped"} | ANSWER_FIELDS,
}
RESPONSE_FIELDS = {"text", "model", "stop_reason"}


def read(record: Line, where: str) -> Entry:
    kind = record.get("record", "judgement")
    one_of(kind, tuple(FIELDS), "record", where)
    refuse_unknown(record, FIELDS[kind], where)
    if record.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        version = shown(record["schema_version"])
        raise DataError(f"{where}: `schema_version` is {version}, this Likelier reads {SCHEMA_VERSION}")
    prompt = read_prompt(record, where)
    if kind == "prompt":
        return Entry(prompt)
    if kind == "response":
        return Entry(prompt, (read_response(record, "response", prompt.id, where),))
    if kind == "responses":
        return candidates_entry(record, prompt, where)
    left, right = (read_response(record, side, prompt.id, where) for side in ("left", "right"))
    refuse_equal(left.id, right.id, where, "`left` and `right`")
    if kind == "comparison":
        return Entry(prompt, (left, right), comparison(prompt.id, left.id, right.id))
    swapped = typed(record, "swapped", bool, False, where)
    return judgement_entry(
        prompt, left, right, swapped, key=typed(record, "id", str, "", where), **answer(record, where)
    )


def candidates_entry(record: Line, prompt: Prompt, where: str) -> Entry:
    """Several responses to a prompt; equal ones are one response, and no comparison."""
    value = required(record, "responses", where)
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: `responses` must be a list of responses, got {shown(value)}")
    found = [read_response({"responses": each}, "responses", prompt.id, where) for each in value]
    distinct = {written.text: written for written in reversed(found)}.values()
    pairs = combinations(reversed(distinct), 2)
    return Entry(prompt, tuple(found), offered=tuple(comparison(prompt.id, one.id, two.id) for one, two in pairs))


def lines(store: Store) -> Iterator[Line]:
    """All lines of an export, in an order that depends on nothing but their content."""
    first = {asked.id: asked.response_a for asked in store.comparisons()}
    shown_ids, judged_ids = set(), set()
    for judged in store.judged_by_content():
        yield judgement_line(judged, swapped=first[judged.judgement.comparison_id] == judged.judgement.right)
        judged_ids.add(judged.judgement.comparison_id)
        shown_ids |= {judged.judgement.left, judged.judgement.right}
    yield from unjudged_lines(store, judged_ids, shown_ids)


def judgement_line(judged: JudgedComparison, swapped: bool) -> Line:
    judgement = judged.judgement
    record = prompt_line(judged.prompt, "judgement") | {"id": judgement.key, "swapped": swapped}
    record |= {"left": response_part(judged.left), "right": response_part(judged.right)}
    return record | {key: getattr(judgement, key) for key in ANSWER_FIELDS}


def unjudged_lines(store: Store, judged_ids: set[str], shown_ids: set[str]) -> Iterator[Line]:
    """What no judgement line has told: comparisons, then responses, then prompts."""
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    shown_ids = set(shown_ids)
    for asked in store.comparisons():
        if asked.id not in judged_ids:
            left, right = responses[asked.response_a], responses[asked.response_b]
            record = prompt_line(prompts[asked.prompt_id], "comparison")
            yield record | {"left": response_part(left), "right": response_part(right)}
            shown_ids |= {asked.response_a, asked.response_b}
    for response_id, written in responses.items():
        if response_id not in shown_ids:
            yield prompt_line(prompts[written.prompt_id], "response") | {"response": response_part(written)}
    told = {written.prompt_id for written in responses.values()}
    for prompt_id, prompt in prompts.items():
        if prompt_id not in told:
            yield prompt_line(prompt, "prompt")


def prompt_line(prompt: Prompt, kind: str) -> Line:
    start = {"schema_version": SCHEMA_VERSION, "record": kind, "prompt": prompt.text}
    return start | {"conversation": prompt.conversation, "prompt_extra": prompt.extra}


def response_part(written: Response) -> Line:
    return {key: getattr(written, key) for key in RESPONSE_FIELDS}


def read_prompt(record: Line, where: str) -> Prompt:
    value = required(record, "prompt", where)
    text = value if isinstance(value, str) else messages_field(value, "prompt", where)
    conversation = typed(record, "conversation", str, "", where)
    extra = typed(record, "prompt_extra", dict, {}, where)
    if isinstance(text, str) and not extra:
        return plain_prompt(text, conversation)
    return Prompt(text, conversation, extra)


def read_response(record: Line, key: str, prompt_id: str, where: str) -> Response:
    value = required(record, key, where)
    if isinstance(value, str):
        return response(prompt_id, value)
    if not isinstance(value, dict):
        raise DataError(f"{where}: `{key}` must be a text or an object with text and model, got {shown(value)}")
    refuse_unknown(value, RESPONSE_FIELDS, where)
    model, stop_reason = (typed(value, name, str, "", where) for name in ("model", "stop_reason"))
    return response(prompt_id, text_field(value, "text", where), model, stop_reason)


def answer(record: Line, where: str) -> Line:
    """The fields of a `Judgement` that a line gives, with their defaults."""
    choice = required(record, "choice", where)
    one_of(choice, get_args(Choice), "choice", where)
    return {
        "choice": choice,
        "annotator": typed(record, "annotator", str, "", where),
        "duration_seconds": seconds(record, where),
        "created_at": typed(record, "created_at", (str, type(None)), None, where),
        "simulated": typed(record, "simulated", bool, False, where),
        "guideline": typed(record, "guideline", str, "", where),
        "extra": typed(record, "extra", dict, {}, where),
    }


def seconds(record: Line, where: str) -> float | None:
    value = record.get("duration_seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise DataError(f"{where}: `duration_seconds` must be a number from 0 up, got {shown(value)}")
    return float(value)


def typed(record: Line, key: str, kind: Any, default: Any, where: str) -> Any:
    value = record.get(key, default)
    if not isinstance(value, kind):
        wanted = {bool: "true or false", str: "a text", dict: "an object"}.get(kind, "a text or null")
        raise DataError(f"{where}: `{key}` must be {wanted}, got {shown(value)}")
    return value


def one_of(value: Any, allowed: tuple[str, ...], key: str, where: str) -> None:
    if value not in allowed:
        raise DataError(f"{where}: `{key}` must be one of {', '.join(allowed)}, got {shown(value)}")


def refuse_unknown(record: Line, known: set[str], where: str) -> None:
    for key in record:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), 1)
            hint = f"did you mean `{near[0]}`?" if near else f"allowed: {', '.join(sorted(known))}"
            raise DataError(f"{where}: unknown field `{key}`; {hint}")
