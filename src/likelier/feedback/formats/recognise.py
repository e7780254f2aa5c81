"""Which format a record is of, by its fields; what to say of one that is of none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from likelier.errors import UnknownFormatError
from likelier.feedback.formats.entry import Line
from likelier.feedback.formats.fields import find_answers
from likelier.files.json_text import list_fields, truncate

PAIR = {"chosen", "rejected"}
ANSWERS = {"chosen", "rejected", "completion", "completions", "response", "responses", "messages", "label", "output"}
"""Fields beside which a `prompt` is no mere prompt."""


def holds(*names: str) -> Callable[[Line], bool]:
    """Make a check that a record has these fields."""
    return lambda record: set(names) <= record.keys()


def is_native(record: Line) -> bool:
    """True for a line of Likelier's own, also one written by hand or by `candidates`."""
    return "record" in record or {"prompt", "left", "right", "choice"} <= record.keys()


def is_hh(record: Line) -> bool:
    """True for two transcripts of hh-rlhf."""
    return all(isinstance(record.get(name), str) and record[name].startswith("\n\nHuman:") for name in PAIR)


def is_battle(record: Line) -> bool:
    """True for two models and which won, in one column or, in Kaggle's table, in three."""
    models, winner = {"model_a", "model_b"} <= record.keys(), {"winner", "winner_model_a"} & record.keys()
    return models and bool(winner) and bool({"conversation_a", "response_a", "winner"} & record.keys())


def is_llama_factory(record: Line) -> bool:
    """True for a preference record in one of LLaMA-Factory's styles."""
    if "chosen_messages" in record and "rejected_messages" in record:
        return True
    starts = {"instruction", "conversations", "messages"} & record.keys()
    tagged = any(isinstance(record.get(tag), bool) for tag in ("kto_tag", "tag"))
    tagged = tagged or "kto_tag" in record or ("label" in record and "instruction" not in record)
    return bool(starts) and "prompt" not in record and (record.keys() >= PAIR or tagged)


def is_open_webui(record: Line) -> bool:
    """True for a record of feedback on a chat."""
    return isinstance(record.get("data"), dict) and isinstance(record.get("meta"), dict) and "user_id" in record


def is_argilla(record: Line) -> bool:
    """True for one of Argilla's three shapes."""
    if "fields" in record and "responses" in record:
        return True
    answers = (value for value in record.values() if isinstance(value, list) and value)
    by_user = any(isinstance(value[0], dict) and {"user_id", "value"} <= value[0].keys() for value in answers)
    return by_user or any(name.endswith((".responses", "-suggestion")) for name in record)


def is_scored(record: Line) -> bool:
    """True for a row of several completions."""
    lists = (record.get(name) for name in ("completions", "responses", "answers", "generations"))
    return ("prompt" in record or "instruction" in record) and any(
        isinstance(value, list) and len(value) > 1 for value in lists
    )


def is_prompt(record: Line) -> bool:
    """True for a prompt without any answer."""
    return "prompt" in record and not ANSWERS & record.keys() and not find_answers(record)


CHECKS: dict[str, Callable[[Line], bool]] = {
    "likelier": is_native,
    "openai": holds("preferred_output", "non_preferred_output"),
    "openai-summaries": holds("info", "summaries", "choice"),
    "chatbot-arena": is_battle,
    "open-webui": is_open_webui,
    "label-studio": lambda record: "data" in record and ("annotations" in record or "completions" in record),
    "argilla": is_argilla,
    "anthropic": is_hh,
    "llama-factory": is_llama_factory,
    "trl": lambda record: record.keys() >= PAIR,
    "trl-unpaired": holds("prompt", "completion", "label"),
    "ultrafeedback": is_scored,
    "trl-prompts": is_prompt,
}
"""What tells a record of each format from all others, in the order in which they are tried."""

EXAMPLES = {
    "likelier": '{"prompt": "Name a colour.", "left": "Red", "right": "Seven", "choice": "left", "annotator": "ann"}',
    "openai": """\
{"input": {"messages": [{"role": "user", "content": "Name a colour."}]},
 "preferred_output": [{"role": "assistant", "content": "Red"}],
 "non_preferred_output": [{"role": "assistant", "content": "Seven"}]}""",
    "chatbot-arena": """\
{"model_a": "one", "model_b": "two", "winner": "model_a", "judge": "ann",
 "conversation_a": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Red"}],
 "conversation_b": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Seven"}]}""",
    "label-studio": """\
[{"data": {"prompt": "Name a colour.", "response1": "Red", "response2": "Seven"},
  "annotations": [{"completed_by": 1,
                   "result": [{"type": "pairwise", "value": {"selected": "left"}}]}]}]""",
    "argilla": """\
{"prompt": "Name a colour.", "response1": "Red", "response2": "Seven",
 "preference": [{"user_id": "ann", "status": "submitted",
                 "value": {"rank": [1, 2], "value": ["response1", "response2"]}}]}""",
    "llama-factory": """\
{"conversations": [{"from": "human", "value": "Name a colour."}],
 "chosen": {"from": "gpt", "value": "Red"},
 "rejected": {"from": "gpt", "value": "Seven"}}""",
    "trl": '{"prompt": "Name a colour.", "chosen": "Red", "rejected": "Seven"}',
    "trl-unpaired": '{"prompt": "Name a colour.", "completion": "Red", "label": true}',
    "ultrafeedback": """\
{"instruction": "Name a colour.",
 "completions": [{"model": "one", "response": "Red", "overall_score": 9},
                 {"model": "two", "response": "Seven", "overall_score": 2}]}""",
    "csv": "prompt,chosen,rejected\nName a colour.,Red,Seven",
}
"""Records that would do, of the formats that a file may be near to."""
TYPICAL = {
    "trl": {"prompt", "chosen", "rejected", "question", "answer", "response", "completion"},
    "openai": {"input", "output", "preferred_output", "non_preferred_output"},
    "chatbot-arena": {"model_a", "model_b", "winner", "conversation_a", "conversation_b", "judge"},
    "label-studio": {"data", "annotations", "predictions", "id"},
    "argilla": {"fields", "responses", "suggestions", "metadata", "vectors", "external_id"},
    "llama-factory": {"conversations", "messages", "instruction", "input", "output", "system", "history"},
    "ultrafeedback": {"instruction", "completions", "models", "scores", "responses"},
    "likelier": {"prompt", "left", "right", "choice", "annotator"},
    "trl-unpaired": {"prompt", "completion", "label", "thumb", "thumbs", "rating"},
}
"""Names of fields that point to a format, the first of equal ones."""


def recognise(record: Line) -> str | None:
    """Return the format of a record; None if it is of none that is known."""
    return next((name for name, check in CHECKS.items() if check(record)), None)


def explain_unknown(path: Path, container: str, record: Any) -> UnknownFormatError:
    """Make the error of a file in no known format: what it looks like, the nearest format, and a record of that."""
    kinds = {"array": "a JSON array of objects", "csv": "CSV", "parquet": "Parquet", "hub": "a data set"}
    kind = kinds.get(container, "JSON objects")
    advice = "; or name its columns: --columns prompt=NAME,chosen=NAME,rejected=NAME"
    if container == "text":
        first = str(record).lstrip("\ufeff").partition("\n")[0]
        description, advice = f"text that begins {truncate(first)!r}", ""
        nearest = "csv" if "," in first or "\t" in first else "trl"
        if first.startswith("PK\x03\x04"):
            description, nearest = "a workbook or another packed file", "csv"
    else:
        description = f"{kind} with {list_fields(record)}"
        nearest = max(TYPICAL, key=lambda name: len(TYPICAL[name] & record.keys()))
        nearest = "csv" if container == "csv" and nearest == "trl" else nearest
        if len(find_answers(record)) > 1:  # two answers and a code of who won, which no column but `choice` can say
            nearest, advice = "likelier", ""
    message = f"{path}: {description}: no format that is known; the nearest is {nearest}, with records as below{advice}"
    return UnknownFormatError(message, EXAMPLES[nearest])
