"""Label Studio's export: tasks with `data` and the annotations of a `Pairwise` tag, one judgement an annotation.

A skipped task (`was_cancelled`) or one without annotations is a comparison still to be judged. `Pairwise` knows no tie.
"""

from collections.abc import Iterator
from typing import Any

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
    refuse_equal,
    require,
    shorten,
)
from likelier.feedback.formats.fields import ANSWER_FIELDS, find_answers, find_prompt, group_judgements, read_field
from likelier.feedback.store import Store
from likelier.files.json_text import list_fields
from likelier.records import JudgedComparison, Prompt, Response

NOT_LOST = frozenset(
    (
        "id",
        "data",
        "annotations",
        "completions",
        "predictions",
        "meta",
        "created_at",
        "updated_at",
        "inner_id",
        "project",
        "updated_by",
        "comment_count",
        "total_annotations",
        "cancelled_annotations",
        "total_predictions",
        "unresolved_comment_count",
        "comment_authors",
        "drafts",
        "file_upload",
        "last_comment_updated_at",
        "allow_skip",
    )
)
"""Fields of a task that are read, or say nothing of the answer."""


def read(record: Line, where: Place) -> list[Entry]:
    """Read one task."""
    data = require(record, "data", where)
    if not isinstance(data, dict):
        raise DataError(f"{where}: `data` must be an object, got {shorten(data)}")
    answers = find_answers(data)
    if len(answers) != 2:
        raise DataError(
            f"{where}: which two fields of `data` are compared? (found {list_fields(data)}); "
            "--columns prompt=NAME,left=NAME,right=NAME names them"
        )
    prompt_name = find_prompt(data, answers, where)
    prompt = Prompt(read_field(data, prompt_name, where))
    left, right = (make_response(prompt.id, read_text(data, name, where)) for name in answers)
    refuse_equal(left.id, right.id, where, f"`{answers[0]}` and `{answers[1]}`")
    annotations = record.get("annotations", record.get("completions", []))
    if not isinstance(annotations, list) or not all(isinstance(annotation, dict) for annotation in annotations):
        raise DataError(f"{where}: `annotations` must be a list of objects, got {shorten(annotations)}")
    judged = [read_annotation(annotation, prompt, left, right, where) for annotation in annotations]
    entries = [entry for entry in judged if entry] or [
        Entry(prompt, (left, right), make_comparison(prompt.id, left.id, right.id))
    ]
    names = {f"data.{key}": value for key, value in data.items() if key not in {*answers, prompt_name}}
    names |= {f"annotations.result.{kind}": True for kind in list_other_kinds(annotations)}
    return [record_ignored_fields(entries[0], names | record, NOT_LOST), *entries[1:]]


def read_annotation(annotation: Line, prompt: Prompt, left: Response, right: Response, where: Place) -> Entry | None:
    """Read one annotation; None if it was cancelled or holds no pairwise answer."""
    answers = [part["value"] for part in read_results(annotation) if part.get("type") == "pairwise"]
    if annotation.get("was_cancelled") or not answers:
        return None
    selected = answers[-1].get("selected") if isinstance(answers[-1], dict) else None
    if selected not in ("left", "right"):
        raise DataError(f"{where}: `selected` must be left or right, got {shorten(selected)}")
    seconds, created_at = annotation.get("lead_time"), annotation.get("created_at")
    return make_judgement_entry(
        prompt,
        left,
        right,
        choice=selected,
        annotator=read_annotator(annotation.get("completed_by")),
        duration_seconds=float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else None,
        created_at=created_at if isinstance(created_at, str) else None,
    )


def read_results(annotation: Line) -> list[Line]:
    """Return the parts of an annotation that have a value."""
    result = annotation.get("result")
    return [part for part in result if isinstance(part, dict) and "value" in part] if isinstance(result, list) else []


def list_other_kinds(annotations: list[Line]) -> list[str]:
    """Return the kinds of answers that are not pairwise, each once."""
    kinds = (str(part.get("type")) for annotation in annotations for part in read_results(annotation))
    return [kind for kind in dict.fromkeys(kinds) if kind != "pairwise"]


def read_annotator(value: Any) -> str:
    """Return who annotated: an e-mail address, or a number of Label Studio's."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return "" if value is None else str(value)


def lines(store: Store) -> Iterator[Line | None]:
    """Return one task per comparison and sides, with its annotations; None for ties and media."""
    for group in group_judgements(store.judged_by_content()):
        holds = [judged for judged in group if judged.is_text and judged.judgement.choice != "tie"]
        yield from [None] * (len(group) - len(holds))
        if holds:
            yield write(holds)


def write(group: list[JudgedComparison]) -> Line:
    """Format the judgements of two responses as one task."""
    first = group[0]
    data = {"prompt": first.prompt.text} | dict(zip(ANSWER_FIELDS, (first.left.text, first.right.text), strict=True))
    return {"data": data, "annotations": [write_annotation(judged) for judged in group], "predictions": []}


def write_annotation(judged: JudgedComparison) -> Line:
    """Format one judgement as an annotation."""
    judgement = judged.judgement
    answer = {"selected": judgement.choice}
    names = {"from_name": "preference", "to_name": ",".join(ANSWER_FIELDS)}
    annotation: Line = {"result": [{"type": "pairwise", "value": answer} | names], "was_cancelled": False}
    annotation |= {"ground_truth": False, "lead_time": judgement.duration_seconds}
    if judgement.annotator:
        annotation["completed_by"] = write_annotator(judgement.annotator)
    return annotation | ({"created_at": judgement.created_at} if judgement.created_at else {})


def write_annotator(name: str) -> int | Line:
    """Return Label Studio's number of a person, or the object in which it looks for an address."""
    return int(name) if name.isascii() and name.isdigit() and str(int(name)) == name else {"email": name}
