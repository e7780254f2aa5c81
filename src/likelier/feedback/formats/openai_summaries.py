"""OpenAI's summarize-from-feedback comparisons: two summaries of a post or an article, the worker, the choice.

The prompt has the layout of the paper (arXiv:2009.01325, appendix): subreddit, title, post, `TL;DR:`. Other fields
(batch, split, confidence, notes) are kept as the judgement's `extra` and exported again.
"""

from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    make_judgement_entry,
    make_response,
    read_text,
    refuse_equal,
    require,
    shorten,
)
from likelier.files.json_text import list_fields
from likelier.records import JudgedComparison, Prompt, Response, read_name

EXTRA_KEY = "openai-summaries"
HEADINGS = {"subreddit": "SUBREDDIT: r/", "title": "TITLE: ", "post": "POST: ", "article": "ARTICLE: "}


def read(record: Line, where: Place) -> Entry:
    """Read one comparison of summarize-from-feedback."""
    info, summaries = require(record, "info", where), require(record, "summaries", where)
    prompt = read_prompt(info, where)
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(s, dict) for s in summaries):
        raise DataError(f"{where}: `summaries` must be a list of two objects, got {shorten(summaries)}")
    left, right = (read_summary(summary, prompt.id, where) for summary in summaries)
    refuse_equal(left.text, right.text, where, "the two `summaries`")
    choice = require(record, "choice", where)
    if choice not in (0, 1) or isinstance(choice, bool):
        raise DataError(f"{where}: `choice` must be 0 or 1, got {shorten(choice)}")
    worker = read_text(record, "worker", where) if "worker" in record else ""
    unmapped = collect_unmapped(record, info, summaries)
    return make_judgement_entry(
        prompt,
        left,
        right,
        choice="right" if choice else "left",
        annotator=worker,
        extra={EXTRA_KEY: unmapped} if unmapped else {},
    )


def write(judged: JudgedComparison) -> Line | None:
    """Format a judgement as one comparison; None for a tie or a prompt of several turns."""
    judgement, prompt = judged.judgement, judged.prompt
    info = write_info(prompt)
    if judgement.choice == "tie" or info is None:
        return None
    unmapped = dict(judgement.extra.get(EXTRA_KEY, {}))
    extra_fields = unmapped.pop("summaries", [{}, {}])
    summaries = [
        write_summary(side, extra) for side, extra in zip((judged.left, judged.right), extra_fields, strict=True)
    ]
    record = unmapped | {"info": unmapped.get("info", {}) | info, "summaries": summaries}
    record["choice"] = 1 if judgement.choice == "right" else 0
    return record | ({"worker": judgement.annotator} if judgement.annotator else {})


def read_prompt(info: Any, where: Place) -> Prompt:
    """Make a prompt of the post, with the rest of `info` as columns."""
    if not isinstance(info, dict):
        raise DataError(f"{where}: `info` must be an object, got {shorten(info)}")
    parts = {key: read_text(info, key, where) for key in HEADINGS if info.get(key) is not None}
    if not parts.keys() & {"post", "article"}:
        raise DataError(f"{where}: `info` has neither `post` nor `article` (found {list_fields(info)})")
    return Prompt(render_prompt(parts), conversation=read_name(info, "id"), extra={"info": parts})


def render_prompt(parts: Line) -> str:
    """Return the text that a model continues with its summary; just the post if it has no other fields."""
    if set(parts) == {"post"}:
        return str(parts["post"])
    return "\n\n".join([*(HEADINGS[key] + parts[key] for key in HEADINGS if key in parts), "TL;DR:"])


def write_info(prompt: Prompt) -> Line | None:
    """Return the prompt's `info` as imported, else its text as `post`; None for messages."""
    if not isinstance(prompt.text, str):
        return None
    info = prompt.extra.get("info")
    return info if info and render_prompt(info) == prompt.text else {"post": prompt.text}


def read_summary(summary: Line, prompt_id: str, where: Place) -> Response:
    """Read one summary as a response."""
    policy = read_text(summary, "policy", where) if "policy" in summary else ""
    return make_response(prompt_id, read_text(summary, "text", where), policy)


def write_summary(response: Response, extra_fields: Line) -> Line:
    """Format a response as a summary."""
    return extra_fields | {"text": response.text} | ({"policy": response.model} if response.model else {})


def collect_unmapped(record: Line, info: Line, summaries: list[Line]) -> Line:
    """Return the fields that have no counterpart in prompt, responses or judgement."""
    unmapped = {key: value for key, value in record.items() if key not in ("info", "summaries", "choice", "worker")}
    more_info = {key: value for key, value in info.items() if key not in HEADINGS or value is None}
    extra_fields = [
        {key: value for key, value in summary.items() if key not in ("text", "policy")} for summary in summaries
    ]
    return (
        unmapped
        | ({"info": more_info} if more_info else {})
        | ({"summaries": extra_fields} if any(extra_fields) else {})
    )
