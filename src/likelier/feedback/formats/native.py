"""`likelier`: all contents of the store, one self-contained judgement with prompt and responses per line.

A rating of one response (`"record": "rating"`) has `response`, `value`, `kind` (`thumbs`: 1 up, 0 down; `scale`); a
ranking (`"record": "ranking"`) has `responses` as they were shown, and a rank for each in `ranks`: 1 is best.
Records without a judgement have their own lines: `"record": "comparison"`, `"response"` or `"prompt"`. `likelier
candidates` writes `"responses"`; each pair of them becomes a comparison. A hand-written judgement needs only `prompt`,
`left`, `right` and `choice`; `left` and `right` are texts, or objects with `text`, `model` and `stop_reason`. Instead
of `text` an object may have `media`, a path relative to the folder of the data file, and `sha256` to verify it; a part
`{"type": "image", "path": …}` of a message in `prompt` is like it. An export writes such files into `media/` next to
it. How the project was set up has lines as well (`set_up`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import get_args

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    SetUp,
    check_choice,
    make_comparison,
    make_judgement_entry,
    make_prompt,
    make_ranking_entry,
    make_rating_entry,
    make_response,
    read_messages,
    read_text,
    read_typed,
    refuse_equal,
    refuse_unknown,
    require,
    shorten,
)
from likelier.feedback.formats.set_up import (
    GOLD_FIELDS,
    SET_UP_FIELDS,
    gold_fields,
    read_gold_item,
    read_project,
    read_set_up,
    set_up_lines,
)
from likelier.feedback.projects import Gold
from likelier.feedback.store import Store
from likelier.files import read_jsonl
from likelier.records import (
    MEDIA_KINDS,
    Choice,
    JudgedComparison,
    Media,
    Prompt,
    RankedResponses,
    RatedResponse,
    RatingKind,
    Response,
    to_parts,
)
from likelier.records.media import MEDIA_FOLDER, read_media
from likelier.records.messages import to_media

SCHEMA_VERSION = 1
PROMPT_FIELDS = {"schema_version", "record", "prompt", "conversation", "prompt_extra"}
ANSWER_FIELDS = {"choice", "annotator", "duration_seconds", "created_at", "simulated", "guideline", "extra"}
LATER_FIELDS = {"both_bad", "strength", "supersedes", "adjudicates"}
"""Fields of an answer that are written only where they say something: the first release refuses them."""
RATING_FIELDS = {"value", "kind", "annotator", "created_at", "simulated", "extra"}
LATER_RATING_FIELDS = {"duration_seconds", "guideline", "supersedes"}
RANKING_FIELDS = {"annotator", "created_at", "simulated", "extra", *LATER_RATING_FIELDS}
FIELDS = {
    "prompt": PROMPT_FIELDS,
    "response": PROMPT_FIELDS | {"response"},
    "responses": PROMPT_FIELDS | {"responses"},
    "comparison": PROMPT_FIELDS | {"left", "right"},
    "rating": PROMPT_FIELDS | {"response", "id"} | RATING_FIELDS | LATER_RATING_FIELDS,
    "ranking": PROMPT_FIELDS | {"responses", "ranks", "id"} | RANKING_FIELDS,
    "judgement": PROMPT_FIELDS | {"left", "right", "id", "swapped"} | ANSWER_FIELDS | LATER_FIELDS,
    "gold": PROMPT_FIELDS | {"left", "right", *GOLD_FIELDS},
    **SET_UP_FIELDS,
}
TEXT_FIELDS = {"text", "model", "stop_reason"}
MEDIA_FIELDS = {"media", "sha256", "model", "stop_reason"}


def read(record: Line, where: Place) -> Entry | SetUp:
    """Read one record of the native format, with its media files."""
    if record.get("record") in SET_UP_FIELDS:
        check_fields(record, where)
        return read_set_up(record, where)
    entry = read_entry(record, where)
    files = dict(media_files(record, where)) if any(response.media for response in entry.responses) else {}
    return replace(entry, media_files=files) if files else entry


def read_entry(record: Line, where: Place) -> Entry:
    """Read one record: prompt, response, comparison, judgement, rating, ranking, or gold item."""
    kind = check_fields(record, where)
    prompt = read_prompt(record, where)
    if kind == "prompt":
        return Entry(prompt)
    if kind == "response":
        return Entry(prompt, (read_response(record, "response", prompt.id, where),))
    if kind == "responses":
        return make_candidates_entry(record, prompt, where)
    if kind == "rating":
        return make_rating_entry(
            prompt, read_response(record, "response", prompt.id, where), **read_rating(record, where)
        )
    if kind == "ranking":
        responses = read_responses(record, prompt.id, where)
        return make_ranking_entry(
            prompt, responses, read_ranks(record, responses, where), **read_circumstances(record, where)
        )
    left, right = (read_response(record, side, prompt.id, where) for side in ("left", "right"))
    refuse_equal(left.id, right.id, where, "`left` and `right`")
    if kind in ("comparison", "gold"):
        entry = Entry(prompt, (left, right), make_comparison(prompt.id, left.id, right.id))
        return replace(entry, gold=read_gold_item(record, entry, where)) if kind == "gold" else entry
    swapped = read_typed(record, "swapped", bool, False, where)
    return make_judgement_entry(prompt, left, right, swapped, **read_answer(record, where))


def check_fields(record: Line, where: Place) -> str:
    """Return the kind of a record. DataError: an unknown one, or a field or version that it cannot have."""
    kind = record.get("record", "judgement")
    check_choice(kind, tuple(FIELDS), "record", where)
    refuse_unknown(record, FIELDS[kind], where)
    if record.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        version = shorten(record["schema_version"])
        raise DataError(f"{where}: `schema_version` is {version}, this Likelier reads {SCHEMA_VERSION}")
    return str(kind)


def make_candidates_entry(record: Line, prompt: Prompt, where: Place) -> Entry:
    """Read several responses to a prompt; equal ones are merged."""
    candidates = read_responses(record, prompt.id, where)
    distinct = {(candidate.text, candidate.media): candidate for candidate in reversed(candidates)}.values()
    pairs = combinations(reversed(distinct), 2)
    return Entry(
        prompt, tuple(candidates), offered=tuple(make_comparison(prompt.id, one.id, two.id) for one, two in pairs)
    )


def read_responses(record: Line, prompt_id: str, where: Place) -> list[Response]:
    """Return several responses to a prompt."""
    value = require(record, "responses", where)
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: `responses` must be a list of responses, got {shorten(value)}")
    return [read_response({"responses": response}, "responses", prompt_id, where) for response in value]


def read_ranks(record: Line, responses: list[Response], where: Place) -> list[float]:
    """Return the rank of each response. DataError: other than one number for each of two or more different ones."""
    ranks = require(record, "ranks", where)
    are_numbers = isinstance(ranks, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each) for each in ranks
    )
    if not are_numbers or len(ranks) != len(responses):
        raise DataError(f"{where}: `ranks` must be {len(responses)} numbers, one a response, got {shorten(ranks)}")
    if len({response.id for response in responses}) < max(2, len(responses)):
        raise DataError(f"{where}: `responses` must be two or more different ones")
    return [float(each) for each in ranks]


def list_offered(path: Path) -> list[str]:
    """Return the ids of the comparisons that a file of several responses to each prompt offers."""
    entries = [read_entry(record, Place(path, number)) for number, record in read_jsonl(path)]
    return [comparison.id for entry in entries for comparison in entry.offered]


def read_rating(record: Line, where: Place) -> Line:
    """Return the fields of a `Rating` in a line, with their defaults."""
    kind, value = record.get("kind", "scale"), require(record, "value", where)
    check_choice(kind, get_args(RatingKind), "kind", where)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (kind == "thumbs" and value not in (0, 1)):
        allowed = "1 (up) or 0 (down)" if kind == "thumbs" else "a number"
        raise DataError(f"{where}: `value` must be {allowed}, got {shorten(value)}")
    return {
        "value": float(value),
        "kind": kind,
        **read_circumstances(record, where),
    }


def read_circumstances(record: Line, where: Place) -> Line:
    """Return what lines of all kinds say of an answer: who gave it, when, under which key."""
    return {
        "annotator": read_typed(record, "annotator", str, "", where),
        "created_at": read_typed(record, "created_at", (str, type(None)), None, where),
        "simulated": read_typed(record, "simulated", bool, False, where),
        "extra": read_typed(record, "extra", dict, {}, where),
        "key": read_typed(record, "id", str, "", where),
        "duration_seconds": read_seconds(record, where),
        "guideline": read_typed(record, "guideline", str, "", where),
        "supersedes": read_typed(record, "supersedes", (str, type(None)), None, where),
    }


def lines(store: Store) -> Iterator[Line]:
    """Return all lines of an export, in an order determined by their content."""
    set_up = read_project(store)
    yield from set_up_lines(set_up, SCHEMA_VERSION)
    first = {comparison.id: comparison.response_a for comparison in store.comparisons()}
    shown_ids, judged_ids = set(), set()
    for judged in store.judged_by_content(everything=True):
        yield judgement_line(judged, swapped=first[judged.judgement.comparison_id] == judged.judgement.right)
        judged_ids.add(judged.judgement.comparison_id)
        shown_ids |= {judged.judgement.left, judged.judgement.right}
    for rated in store.rated_by_content(everything=True):
        yield rating_line(rated)
        shown_ids.add(rated.rating.response_id)
    for ranked in store.ranked_by_content(everything=True):
        yield ranking_line(ranked)
        shown_ids |= set(ranked.ranking.shown)
    yield from unjudged_lines(store, judged_ids, shown_ids)
    yield from gold_lines(store, set_up.gold)


def judgement_line(judged: JudgedComparison, swapped: bool) -> Line:
    """Format a judgement with its prompt and responses."""
    judgement = judged.judgement
    record = prompt_line(judged.prompt, "judgement") | {"id": judgement.key, "swapped": swapped}
    record |= {"left": write_response(judged.left), "right": write_response(judged.right)}
    record |= {key: getattr(judgement, key) for key in ANSWER_FIELDS}
    return record | {key: value for key in sorted(LATER_FIELDS) if (value := getattr(judgement, key))}


def rating_line(rated: RatedResponse) -> Line:
    """Format a rating with its prompt and response."""
    record = prompt_line(rated.prompt, "rating") | {"id": rated.rating.key, "response": write_response(rated.response)}
    record |= {key: getattr(rated.rating, key) for key in RATING_FIELDS}
    return record | {key: value for key in sorted(LATER_RATING_FIELDS) if (value := getattr(rated.rating, key))}


def ranking_line(ranked: RankedResponses) -> Line:
    """Format a ranking with its prompt and responses."""
    ranking = ranked.ranking
    record = prompt_line(ranked.prompt, "ranking") | {"id": ranking.key, "ranks": ranking.ranks}
    record |= {"responses": [write_response(response) for response in ranked.responses]}
    return record | {key: getattr(ranking, key) for key in RANKING_FIELDS}


def unjudged_lines(store: Store, judged_ids: set[str], shown_ids: set[str]) -> Iterator[Line]:
    """Format the records without judgement: comparisons, then responses, then prompts."""
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    responses = {response.id: response for response in store.responses()}
    shown_ids = set(shown_ids)
    for comparison in store.comparisons():
        if comparison.id not in judged_ids:
            left, right = responses[comparison.response_a], responses[comparison.response_b]
            record = prompt_line(prompts[comparison.prompt_id], "comparison")
            yield record | {"left": write_response(left), "right": write_response(right)}
            shown_ids |= {comparison.response_a, comparison.response_b}
    for response_id, alone in responses.items():
        if response_id not in shown_ids:
            yield prompt_line(prompts[alone.prompt_id], "response") | {"response": write_response(alone)}
    answered = {text.prompt_id for text in responses.values()}
    for prompt_id, prompt in prompts.items():
        if prompt_id not in answered:
            yield prompt_line(prompt, "prompt")


def gold_lines(store: Store, gold: Mapping[str, Gold]) -> Iterator[Line]:
    """Format gold and training items with their prompts and responses."""
    prompts = {prompt.id: prompt for prompt in store.prompts()} if gold else {}
    responses = {response.id: response for response in store.responses()} if gold else {}
    for comparison in store.comparisons() if gold else ():
        if item := gold.get(comparison.id):
            left, right = (responses[each] for each in comparison.responses)
            record = prompt_line(prompts[comparison.prompt_id], "gold") | gold_fields(item, comparison)
            yield record | {"left": write_response(left), "right": write_response(right)}


def prompt_line(prompt: Prompt, kind: str) -> Line:
    """Return the fields that start every record."""
    text = to_parts(prompt.text, lambda picture: media_reference(to_media(picture)))
    start = {"schema_version": SCHEMA_VERSION, "record": kind, "prompt": text}
    return start | {"conversation": prompt.conversation, "prompt_extra": prompt.extra}


def write_response(response: Response) -> Line:
    """Format a response as a JSON object."""
    if response.media is None:
        return {key: getattr(response, key) for key in TEXT_FIELDS}
    file = {"media": media_reference(response.media), "sha256": response.media.sha256}
    return file | {"model": response.model, "stop_reason": response.stop_reason}


def media_reference(media: Media) -> str:
    """Return the path of an exported media file, relative to the folder of the export."""
    return f"{MEDIA_FOLDER}/{media.sha256}{MEDIA_KINDS[media.kind]}"


def read_prompt(record: Line, where: Place) -> Prompt:
    """Return the prompt of a record."""
    value = require(record, "prompt", where)
    text = value if isinstance(value, str) else read_messages(value, "prompt", where, pictures=True)
    conversation = read_typed(record, "conversation", str, "", where)
    extra = read_typed(record, "prompt_extra", dict, {}, where)
    if isinstance(text, str) and not extra:
        return make_prompt(text, conversation)
    return Prompt(text, conversation, extra)


def read_response(record: Line, key: str, prompt_id: str, where: Place) -> Response:
    """Return a response of a record."""
    value = require(record, key, where)
    if isinstance(value, str):
        return make_response(prompt_id, value)
    if not isinstance(value, dict):
        raise DataError(f"{where}: `{key}` must be a text or an object with text and model, got {shorten(value)}")
    refuse_unknown(value, MEDIA_FIELDS if "media" in value else TEXT_FIELDS | {"media"}, where)
    model, stop_reason = (read_typed(value, name, str, "", where) for name in ("model", "stop_reason"))
    if "media" in value:
        return Response(prompt_id, model=model, stop_reason=stop_reason, media=read_media_part(value, where)[0])
    return make_response(prompt_id, read_text(value, "text", where), model, stop_reason)


def media_files(record: Line, where: Place) -> Iterator[tuple[Media, Path]]:
    """Return the media files of a line that `read_response` has checked, with their paths."""
    for response in (record.get("left"), record.get("right"), record.get("response"), *record.get("responses", ())):
        if isinstance(response, dict) and "media" in response:
            yield read_media_part(response, where)


def read_media_part(part: Line, where: Place) -> tuple[Media, Path]:
    """Return the file that a response refers to.

    DataError: a path outside of the folder, an unusable file, or a file with another hash than `sha256`.
    """
    reference, folder = read_text(part, "media", where), where.path.parent
    path = folder / reference
    if not reference or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{where}: `media` must be a relative path within {folder}, got {shorten(reference)}")
    try:
        media = read_media(path)
    except DataError as error:
        raise DataError(f"{where}: `media`: {error}") from error
    if (expected := read_typed(part, "sha256", str, media.sha256, where)) != media.sha256:
        raise DataError(f"{where}: `media`: {path} was changed: its SHA-256 is {media.sha256}, not {shorten(expected)}")
    return media, path


def read_answer(record: Line, where: Place) -> Line:
    """Return the fields of a `Judgement` in a line, with their defaults."""
    choice = require(record, "choice", where)
    check_choice(choice, get_args(Choice), "choice", where)
    both_bad = read_typed(record, "both_bad", bool, False, where)
    if both_bad and choice != "tie":
        raise DataError(f"{where}: `both_bad` is of a tie, and `choice` is {choice}")
    return {
        **read_circumstances(record, where),
        "choice": choice,
        "both_bad": both_bad,
        "strength": read_strength(record, choice, where),
        "adjudicates": read_typed(record, "adjudicates", bool, False, where),
    }


def read_strength(record: Line, choice: str, where: Place) -> int | None:
    """Return how much better the chosen side is. DataError: not 1, 2 or 3, or of a tie."""
    value = record.get("strength")
    if value is None:
        return None
    if isinstance(value, bool) or value not in (1, 2, 3) or choice == "tie":
        raise DataError(f"{where}: `strength` must be 1, 2 or 3, and of no tie, got {shorten(value)}")
    return int(value)


def read_seconds(record: Line, where: Place) -> float | None:
    """Return the duration of a judgement. DataError: negative or not a number."""
    value = record.get("duration_seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise DataError(f"{where}: `duration_seconds` must be a number from 0 up, got {shorten(value)}")
    return float(value)
