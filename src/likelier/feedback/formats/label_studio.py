"""Label Studio's export: tasks with `data` and the annotations of a `Pairwise` tag, one judgement an annotation.

`Pairwise` knows no tie, so that many compare with a `Choices` tag: one whose choice names an answer (`b_winner`)
or a tie is read as well. A skipped task (`was_cancelled`) or one without annotations is a comparison to be judged.
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
from likelier.feedback.formats.winners import Winner, read_winner
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
    judged = [read_annotation(annotation, prompt, (left, right), answers, where) for annotation in annotations]
    entries = [entry for entry in judged if entry] or [
        Entry(prompt, (left, right), make_comparison(prompt.id, left.id, right.id))
    ]
    names = {f"data.{key}": value for key, value in data.items() if key not in {*answers, prompt_name}}
    names |= {f"annotations.result.{kind}": True for kind in list_other_kinds(annotations, answers)}
    return [record_ignored_fields(entries[0], names | record, NOT_LOST), *entries[1:]]


def read_annotation(
    annotation: Line, prompt: Prompt, sides: tuple[Response, Response], names: list[str], where: Place
) -> Entry | None:
    """Read one annotation; None if it was cancelled or does not say which answer, by its name, is better."""
    winner = None if annotation.get("was_cancelled") else find_winner(annotation, names, where)
    if winner is None:
        return None
    seconds, created_at = annotation.get("lead_time"), annotation.get("created_at")
    return make_judgement_entry(
        prompt,
        *sides,
        choice=winner.choice,
        both_bad=winner.both_bad,
        annotator=read_annotator(annotation.get("completed_by")),
        duration_seconds=float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else None,
        created_at=created_at if isinstance(created_at, str) else None,
    )


def find_winner(annotation: Line, names: list[str], where: Place) -> Winner | None:
    """Return what an annotation says of its two answers: its last pairwise answer, or else its only choice of one.

    None: it says nothing, or several of its choices name an answer. DataError: a pairwise answer of another kind.
    """
    results = read_results(annotation)
    if selected := [part["value"] for part in results if part.get("type") == "pairwise"]:
        side = selected[-1].get("selected") if isinstance(selected[-1], dict) else None
        if side not in ("left", "right"):
            raise DataError(f"{where}: `selected` must be left or right, got {shorten(side)}")
        return Winner(side)
    winners = [winner for part in results if (winner := read_choice(part, names))]
    return winners[0] if len(winners) == 1 else None


def read_choice(part: Line, names: list[str]) -> Winner | None:
    """Return the answer that a `Choices` tag names; None for any other part, or a choice of something else."""
    choices = (
        part["value"].get("choices") if part.get("type") == "choices" and isinstance(part["value"], dict) else None
    )
    return read_winner(choices[0], names) if isinstance(choices, list) and len(choices) == 1 else None


def read_results(annotation: Line) -> list[Line]:
    """Return the parts of an annotation that have a value."""
    result = annotation.get("result")
    return [part for part in result if isinstance(part, dict) and "value" in part] if isinstance(result, list) else []


def list_other_kinds(annotations: list[Line], names: list[str]) -> list[str]:
    """Return the kinds of answers that say nothing of which answer is better, each once."""
    parts = [part for annotation in annotations for part in read_results(annotation)]
    others = (
        str(part.get("type")) for part in parts if part.get("type") != "pairwise" and not read_choice(part, names)
    )
    return list(dict.fromkeys(others))


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
