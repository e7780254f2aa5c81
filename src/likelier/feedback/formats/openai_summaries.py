"""OpenAI's summarize-from-feedback comparisons: two summaries of a post or an article, the worker, the choice.

The prompt is laid out as in the paper (arXiv:2009.01325, appendix): subreddit, title, post, `TL;DR:`. Fields that have
no place of their own (batch, split, confidence, notes) are kept with the judgement and written again.
"""

from typing import Any

from likelier.errors import DataError
from likelier.feedback.formats.entry import (
    Entry,
    Line,
    Place,
    judgement_entry,
    refuse_equal,
    required,
    response,
    shown,
    text_field,
)
from likelier.records import JudgedComparison, Prompt, Response

KEPT = "openai-summaries"
HEADINGS = {"subreddit": "SUBREDDIT: r/", "title": "TITLE: ", "post": "POST: ", "article": "ARTICLE: "}


def read(record: Line, where: Place) -> Entry:
    """One comparison of summarize-from-feedback."""
    info, summaries = required(record, "info", where), required(record, "summaries", where)
    prompt = read_prompt(info, where)
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(s, dict) for s in summaries):
        raise DataError(f"{where}: `summaries` must be a list of two objects, got {shown(summaries)}")
    left, right = (read_summary(summary, prompt.id, where) for summary in summaries)
    refuse_equal(left.text, right.text, where, "the two `summaries`")
    choice = required(record, "choice", where)
    if choice not in (0, 1) or isinstance(choice, bool):
        raise DataError(f"{where}: `choice` must be 0 or 1, got {shown(choice)}")
    worker = text_field(record, "worker", where) if "worker" in record else ""
    kept = rest(record, info, summaries)
    return judgement_entry(
        prompt, left, right, choice="right" if choice else "left", annotator=worker, extra={KEPT: kept} if kept else {}
    )


def write(judged: JudgedComparison) -> Line | None:
    """None: a tie, or a prompt of several turns."""
    judgement, prompt = judged.judgement, judged.prompt
    info = written_info(prompt)
    if judgement.choice == "tie" or info is None:
        return None
    kept = dict(judgement.extra.get(KEPT, {}))
    more = kept.pop("summaries", [{}, {}])
    summaries = [write_summary(side, extra) for side, extra in zip((judged.left, judged.right), more, strict=True)]
    record = kept | {"info": kept.get("info", {}) | info, "summaries": summaries}
    record["choice"] = 1 if judgement.choice == "right" else 0
    return record | ({"worker": judgement.annotator} if judgement.annotator else {})


def read_prompt(info: Any, where: Place) -> Prompt:
    """The post as a prompt, with the rest of `info` as columns."""
    if not isinstance(info, dict):
        raise DataError(f"{where}: `info` must be an object, got {shown(info)}")
    parts = {key: text_field(info, key, where) for key in HEADINGS if info.get(key) is not None}
    if not parts.keys() & {"post", "article"}:
        raise DataError(f"{where}: `info` has neither `post` nor `article` (found {', '.join(sorted(info))})")
    return Prompt(laid_out(parts), conversation=str(info.get("id", "")), extra={"info": parts})


def laid_out(parts: Line) -> str:
    """The text that a model continues with its summary. A post that stands alone is the prompt itself."""
    if set(parts) == {"post"}:
        return str(parts["post"])
    return "\n\n".join([*(HEADINGS[key] + parts[key] for key in HEADINGS if key in parts), "TL;DR:"])


def written_info(prompt: Prompt) -> Line | None:
    """The prompt as `info`: as it was read, else the text as its `post`; None for messages."""
    if not isinstance(prompt.text, str):
        return None
    info = prompt.extra.get("info")
    return info if info and laid_out(info) == prompt.text else {"post": prompt.text}


def read_summary(summary: Line, prompt_id: str, where: Place) -> Response:
    """One summary as a response."""
    policy = text_field(summary, "policy", where) if "policy" in summary else ""
    return response(prompt_id, text_field(summary, "text", where), policy)


def write_summary(written: Response, more: Line) -> Line:
    """A response as a summary."""
    return more | {"text": written.text} | ({"policy": written.model} if written.model else {})


def rest(record: Line, info: Line, summaries: list[Line]) -> Line:
    """What neither prompt, responses nor judgement hold."""
    kept = {key: value for key, value in record.items() if key not in ("info", "summaries", "choice", "worker")}
    more_info = {key: value for key, value in info.items() if key not in HEADINGS or value is None}
    more = [{key: value for key, value in summary.items() if key not in ("text", "policy")} for summary in summaries]
    return kept | ({"info": more_info} if more_info else {}) | ({"summaries": more} if any(more) else {})
