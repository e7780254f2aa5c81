"""Rows like UltraFeedback's: a prompt and several scored completions; each two make a judgement, equal scores a tie.

The score is the mean of the fine-grained ratings where there is one, since `overall_score` of UltraFeedback is known to
be wrong in places; then `overall_score`, `score`, `rating`, or `rank`, of which less is better. Both scores are kept in
the judgement's `extra`. Who scored stands in no column (in UltraFeedback it was GPT-4): `annotator` names one.
"""

from itertools import combinations
from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    UNKNOWN_SIDES,
    Entry,
    Line,
    Place,
    make_judgement_entry,
    make_response,
    record_ignored_fields,
    require,
    shorten,
    user_turn,
)
from likelier.feedback.formats.fields import read_field
from likelier.files.json_text import list_fields
from likelier.records import Choice, Prompt, Response, Text, read_name

LISTS = ("completions", "responses", "answers", "generations")
SCORES = ("fine-grained_score", "overall_score", "score", "rating")
TEXTS = ("response", "text", "completion", "answer", "content")
NOT_LOST = frozenset(("prompt", "instruction", "annotator", "models", "scores", *LISTS))


def read(record: Line, where: Place) -> list[Entry]:
    """Read one row."""
    prompt = Prompt(read_prompt(record, where))
    scored = read_completions(record, prompt.id, where)
    annotator = read_name(record, "annotator")
    entries = []
    for (left, left_score), (right, right_score) in combinations(scored, 2):
        if left.id != right.id:
            choice: Choice = "tie" if left_score == right_score else "left" if left_score > right_score else "right"
            extra = {"scores": [left_score, right_score]} | UNKNOWN_SIDES
            entries.append(make_judgement_entry(prompt, left, right, choice=choice, annotator=annotator, extra=extra))
    if not entries:
        raise DataError(f"{where}: all completions are the same; there is nothing to prefer")
    return [record_ignored_fields(entries[0], record, NOT_LOST), *entries[1:]]


def read_prompt(record: Line, where: Place) -> Text:
    """Return the prompt; an instruction is a user's turn."""
    if "prompt" in record:
        return read_field(record, "prompt", where)
    require(record, "instruction", where)
    text = read_field(record, "instruction", where)
    return [user_turn(text)] if isinstance(text, str) else text


def read_completions(record: Line, prompt_id: str, where: Place) -> list[tuple[Response, float]]:
    """Return the responses with their scores. DataError: fewer than two, or one without a score."""
    name = next((name for name in LISTS if isinstance(record.get(name), list)), LISTS[0])
    completions = require(record, name, where)
    scores, models = (record[key] if isinstance(record.get(key), list) else [] for key in ("scores", "models"))
    if not isinstance(completions, list) or len(completions) < 2:
        raise DataError(f"{where}: `{name}` must be a list of two completions or more, got {shorten(completions)}")
    scored = []
    for number, completion in enumerate(completions):
        if isinstance(completion, str):
            completion = {"response": completion, "score": scores[number] if number < len(scores) else None}
            completion |= {"model": models[number]} if number < len(models) else {}
        if not isinstance(completion, dict):
            raise DataError(f"{where}: `{name}` must hold objects or texts, got {shorten(completion)}")
        text = next((completion[key] for key in TEXTS if isinstance(completion.get(key), str)), None)
        score = read_score(completion)
        if text is None or score is None:
            found = list_fields(completion)
            raise DataError(f"{where}: each of `{name}` needs a response and a score (found {found})")
        scored.append((make_response(prompt_id, text, read_name(completion, "model")), score))
    return scored


def read_score(completion: Line) -> float | None:
    """Return a completion's score; more is better. None if there is none.

    >>> read_score({"overall_score": "7.5"}), read_score({"rank": 1}), read_score({"score": None})
    (7.5, -1.0, None)
    """
    for key, sign in (*((key, 1.0) for key in SCORES), ("rank", -1.0)):
        if (score := to_number(completion.get(key))) is not None:
            return sign * score
    annotations = completion.get("annotations")
    parts = annotations.values() if isinstance(annotations, dict) else ()
    ratings = [to_number(part.get("Rating")) for part in parts if isinstance(part, dict)]
    numbers = [rating for rating in ratings if rating is not None]
    return sum(numbers) / len(numbers) if numbers else None


def to_number(value: Any) -> float | None:
    """Return a number, which may be a text; None if it is none."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is None or abs(number) < float("inf") else None
