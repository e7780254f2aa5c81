"""A page that shows the tokens of responses, coloured by what is known of each: PPO's records, or parts of a score.

The page holds its data as JSON and draws it by a script of its own; it loads nothing.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from likelier import __version__
from likelier.errors import ConfigError, DataError
from likelier.files import parse_line, read_lines, write_atomically
from likelier.files.outputs import GENERATOR_MARK
from likelier.report.languages import LANGUAGES, find_message, get_language, translate, use_language
from likelier.report.page import make_environment

JsonObject = dict[str, Any]
Scale = Literal["diverging", "ratio", "sequential", "flag"]
"""Colours from a middle at 0 or at 1 (on a logarithmic scale), from 0 downwards, or of yes and no."""

LOG = "tokens.jsonl"
MAX_TOKENS = 30_000
"""Tokens on a page where no step is asked for: about 3 MB."""
SHARE_IN_SCALE = 0.98
"""The colours span this share of all numbers: a few large ones would make all others pale."""
BYTE = re.compile("<0x([0-9A-F]{2})>")
"""A byte in the text of a token that is part of a letter."""


@dataclass(frozen=True)
class Quantity:
    """Something known of each token or word."""

    key: str
    name: str
    about: str
    scale: Scale = "diverging"
    unit: Literal["tokens", "words"] = "tokens"


OLD, SAMPLER, REFERENCE = "old_logprobs", "sampler_logprobs", "ref_logprobs"
PPO_QUANTITIES = (
    Quantity("advantages", "advantage", "how much better than expected; the update raises the token where positive"),
    Quantity("ratios", "ratio", "probability in the last pass of the update over that before it", "ratio"),
    Quantity("clipped", "clipped", "the clipped branch of the loss was the active one, in the last pass", "flag"),
    Quantity("rewards", "reward", "the KL penalty of the token, and at the last one the score"),
    Quantity("values", "value", "the critic’s expectation before the token"),
    Quantity(
        "from_reference", "policy − reference", "difference of log-probabilities, in nats: the token’s share of KL"
    ),
    Quantity(OLD, "log p, policy", "log-probability before the update, at the sampling temperature", "sequential"),
    Quantity(
        REFERENCE,
        "log p, reference",
        "log-probability under the frozen reference, at the sampling temperature",
        "sequential",
    ),
    Quantity(SAMPLER, "log p, sampler", "log-probability as the token was drawn", "sequential"),
    Quantity("from_sampler", "policy − sampler", "difference of log-probabilities, in nats; rounding, or a fault"),
)
REWARD_QUANTITIES = (
    Quantity("gradient", "gradient × input", "to first order, what the score would lose without the token’s embedding"),
    Quantity("left_out", "left out", "what the score loses if the word is left out", unit="words"),
)
SIDES = {"chosen": "chosen", "rejected": "rejected"}
STOP_REASONS = {
    "end_token": "ended by itself",
    "stop_string": "ended at a stop string",
    "length": "cut at the length limit",
}


def write_token_page(run: Path, out: Path, steps: Sequence[int] = (), language: str = LANGUAGES[0]) -> JsonObject:
    """Write the page about the recorded tokens of a PPO run; returns what it shows.

    `steps`: only these; by default as many as fit in `MAX_TOKENS`, evenly spaced, with the first and the last.
    DataError: the run has no records, or they are damaged. ConfigError: a step that has none.
    """
    records = read_records(run / LOG)
    recorded = sorted({record["step"] for record in records})
    if missing := [step for step in steps if step not in recorded]:
        raise ConfigError(f"--step {missing[0]}: {run / LOG} has none of it; it has {list_few(recorded)}")
    shown = sorted(set(steps)) or choose_steps(records, recorded)
    with use_language(language):
        chosen = [record for record in records if record["step"] in set(shown)]
        items = [make_ppo_item(record) for record in chosen]
        groups = {str(step): translate("step %(number)s", number=step) for step in shown}
        page = render(run.resolve().name, PPO_QUANTITIES, groups, items, translate("step"))
    write_atomically(out, lambda file: file.write(page))
    return {
        "file": str(out),
        "steps": shown,
        "recorded_steps": len(recorded),
        "responses": len(items),
        "tokens": sum(len(item["tokens"]) for item in items),
    }


def write_score_page(name: str, parts: Sequence[JsonObject], out: Path, language: str = LANGUAGES[0]) -> JsonObject:
    """Write the page about parts of a reward model's scores (`explain.attribution.attribute_pairs`), both sides of a
    pair beside each other; returns what it shows."""
    with use_language(language):
        items = [make_score_item(part) for part in parts]
        groups = {side: find_message(word) for side, word in SIDES.items()}
        page = render(name, REWARD_QUANTITIES, groups, items, translate("side"), beside="rejected")
    write_atomically(out, lambda file: file.write(page))
    return {"file": str(out), "pairs": len(items) // 2, "tokens": sum(len(item["tokens"]) for item in items)}


def make_score_item(part: Mapping[str, Any]) -> JsonObject:
    """Return a scored response as the page takes it."""
    facts = [
        (translate("score"), part["score"]),
        (translate("sum of its tokens’ parts"), sum(part["gradient"])),
        (translate("of the prompt’s"), part["prompt_part"]),
    ]
    numbers = {"gradient": part["gradient"], "left_out": part["left_out"]}
    return make_item(part["side"], part["prompt"], facts, part["tokens"], numbers, part["words"])


def read_records(path: Path) -> list[JsonObject]:
    """Read `tokens.jsonl`, without an incomplete last line. DataError: absent, empty, or a line is damaged."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; a run of `likelier ppo` with ppo.token_records=4 writes it")
    lines = read_lines(path, allow_partial_last_line=True)
    records = [check_record(parse_line(path, number, line), f"{path}:{number}") for number, line in lines]
    if not records:
        raise DataError(f"{path}: no step yet")
    return records


def check_record(record: JsonObject, where: str) -> JsonObject:
    """Return the record if each quantity has a number or null for every token. DataError: not so."""
    tokens = record.get("tokens")
    if type(record.get("step")) is not int or not isinstance(tokens, list) or not is_list(tokens, str):
        raise DataError(f"{where}: no `step`, or no list of `tokens`")
    for name in (OLD, SAMPLER, REFERENCE, "values", "rewards", "advantages", "ratios", "clipped"):
        column = record.get(name)
        if column is None and name == "values":
            continue
        if not isinstance(column, list) or not is_list(column, int | float | None) or len(column) != len(tokens):
            raise DataError(f"{where}: `{name}` is no list of {len(tokens)} numbers, one for each token")
    for name, kind in (("prompt", str), ("stop_reason", str), ("score", int | float | None)):
        if not isinstance(record.get(name), kind):
            raise DataError(f"{where}: no `{name}`")
    return record


def is_list(value: Any, kind: Any) -> bool:
    """True for a list of entries of a kind."""
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def list_few(numbers: Sequence[int]) -> str:
    """Return some numbers as text, of many the first ones and the last.

    >>> list_few([1, 3, 5]), list_few(range(1, 100, 2))
    ('1, 3, 5', '1, 3, 5, 7, 9, …, 99')
    """
    few = [*map(str, numbers[:5])] + (["…"] if len(numbers) > 6 else []) + [*map(str, numbers[5:][-1:])]
    return ", ".join(few)


def choose_steps(records: Sequence[JsonObject], steps: Sequence[int]) -> list[int]:
    """Return evenly spaced steps, the first and the last among them, with at most `MAX_TOKENS` tokens if they vary
    little; at least two."""
    tokens = sum(len(record["tokens"]) for record in records)
    count = min(len(steps), max(2, len(steps) * MAX_TOKENS // max(tokens, 1)))
    last = max(count - 1, 1)
    return sorted({steps[round(place * (len(steps) - 1) / last)] for place in range(count)})


def make_ppo_item(record: Mapping[str, Any]) -> JsonObject:
    """Return a response of a step as the page takes it."""
    numbers = {each.key: record.get(each.key) for each in PPO_QUANTITIES}
    for name, other in (("from_reference", REFERENCE), ("from_sampler", SAMPLER)):
        numbers[name] = [subtract(mine, theirs) for mine, theirs in zip(record[OLD], record[other], strict=True)]
    facts = [
        (translate("score"), record["score"]),
        (translate("tokens"), len(record["tokens"])),
        (translate("end"), find_message(STOP_REASONS.get(record["stop_reason"], record["stop_reason"]))),
    ]
    return make_item(str(record["step"]), record["prompt"], facts, record["tokens"], numbers)


def subtract(mine: float | None, theirs: float | None) -> float | None:
    """Return a difference with six digits; None where a part is."""
    return None if mine is None or theirs is None else float(f"{mine - theirs:.6g}")


def make_item(
    group: str,
    prompt: str,
    facts: Sequence[tuple[str, Any]],
    tokens: Sequence[str],
    numbers: Mapping[str, Sequence[Any] | None],
    words: Sequence[str] = (),
) -> JsonObject:
    """Return a response as the page takes it: `numbers` by the key of their quantity, an entry a token or word."""
    clusters = cluster_bytes(tokens)
    known = {key: values for key, values in numbers.items() if values is not None}
    return {
        "group": group,
        "prompt": prompt,
        "facts": facts,
        "tokens": tokens,
        "words": words,
        "clusters": clusters,
        "numbers": known,
    }


def cluster_bytes(tokens: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (first, behind the last, text) of each run of tokens whose bytes make whole letters only together.

    >>> cluster_bytes(["a", "<0xE4>", "<0xB8><0xAD>", "<0xFF>"])
    [(1, 3, '中')]
    """
    clusters, start = [], 0
    while start < len(tokens):
        end = start
        text: str | None = None
        while text is None and end < len(tokens) and BYTE.search(tokens[end]):
            end += 1
            text = decode_bytes("".join(tokens[start:end]))
        if text is not None and end - start > 1:
            clusters.append((start, end, text))
        start = end if text is not None else start + 1
    return clusters


def decode_bytes(text: str) -> str | None:
    """Return the text with its bytes as letters; None if they are no UTF-8."""
    parts = BYTE.split(text)
    raw = b"".join(bytes.fromhex(part) if place % 2 else part.encode() for place, part in enumerate(parts))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def find_limit(values: Iterable[float | bool | None], scale: Scale) -> float:
    """Return where the colours end: the size that `SHARE_IN_SCALE` of the numbers do not exceed; 0 if all are 0."""
    known = [float(value) for value in values if value is not None]
    if scale == "ratio":
        known = [math.log(value) for value in known if value > 0]
    sizes = sorted(abs(value) for value in known if math.isfinite(value))
    if not sizes:
        return 0.0
    limit = sizes[math.ceil(SHARE_IN_SCALE * len(sizes)) - 1]
    return limit or sizes[-1]


def render(
    name: str,
    quantities: Sequence[Quantity],
    groups: Mapping[str, str],
    items: Sequence[JsonObject],
    group_word: str,
    beside: str = "",
) -> str:
    """Render the page. `groups`: names by the `group` of items; quantities that no item has are left out.

    The page opens with the last group; with `beside` (a group) with the first one, and that one next to it.
    """
    present = [each for each in quantities if any(each.key in item["numbers"] for item in items)]
    limits = {
        each.key: find_limit((value for item in items for value in item["numbers"].get(each.key, ())), each.scale)
        for each in present
    }
    data = {
        "quantities": [
            {
                "key": each.key,
                "name": find_message(each.name),
                "about": find_message(each.about),
                "scale": each.scale,
                "unit": each.unit,
                "limit": limits[each.key],
            }
            for each in present
        ],
        "groups": [{"key": key, "name": text} for key, text in groups.items()],
        "items": items,
        "start": [next(iter(groups)) if beside else [*groups][-1], beside],
    }
    return make_environment().get_template("tokens.html").render(
        generator=Markup(f'{GENERATOR_MARK} {__version__}">'),
        language=get_language(),
        name=name,
        group_word=group_word,
        data=data,
    )  # fmt: skip
