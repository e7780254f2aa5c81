"""Records exchanged between stages, and their JSON lines.

Shapes in all signatures: `B` rows, `T` steps or response tokens, `P` prompt tokens, `V` vocabulary, `N` anything else.
Records are frozen: stages return new ones.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from likelier.errors import DataError
from likelier.files import read_jsonl, stable_id
from likelier.files.numbers import check_numbers
from likelier.records.media import MEDIA_KINDS, Media
from likelier.records.messages import (
    Message,
    Picture,
    Text,
    check_text,
    drop_paths,
    is_message,
    list_pictures,
    refuse_calls,
    to_parts,
    to_plain_text,
)

__all__ = [
    "MEDIA_KINDS",
    "Media",
    "Message",
    "Picture",
    "Text",
    "check_text",
    "drop_paths",
    "is_message",
    "list_pictures",
    "refuse_calls",
    "to_parts",
    "to_plain_text",
]
"""Handed on from below; all else is defined here."""

Choice = Literal["left", "right", "tie"]
RatingKind = Literal["thumbs", "scale"]
PROMPT_FIELDS = ("prompt", "conversation")
"""Fields of a prompt file that describe the prompt itself; all others are columns."""


@dataclass(frozen=True)
class Prompt:
    """A text or messages to answer. Prompts of one `conversation` are never split between train and test sets."""

    text: Text
    conversation: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    """The other columns of a prompt file by name, such as a reference answer; what else a format says of a prompt."""
    source: str = field(default="", compare=False, repr=False)
    """File and line that it was read from, `prompts.jsonl:9`, for messages; empty if unknown."""

    @cached_property
    def id(self) -> str:
        """Hash of the text, and of what is in its pictures."""
        return stable_id("prompt", drop_paths(self.text))


@dataclass(frozen=True)
class Response:
    """A model's response to a prompt: a text, or a media file with an empty text.

    `stop_reason`: `end_token`, `stop_string`, `length`; empty if unknown.
    """

    prompt_id: str
    text: str = ""
    model: str = ""
    stop_reason: str = ""
    media: Media | None = None

    def __post_init__(self) -> None:
        if self.media and self.text:
            raise ValueError(f"a response is a text or a media file, got both: {self.text[:40]!r} and {self.media}")

    @cached_property
    def id(self) -> str:
        """Hash of prompt, content and model."""
        content = {"sha256": self.media.sha256} if self.media else self.text
        return stable_id("response", self.prompt_id, content, self.model)


@dataclass(frozen=True)
class Comparison:
    """Two responses to one prompt, for people to compare."""

    prompt_id: str
    response_a: str
    response_b: str

    @property
    def responses(self) -> tuple[str, str]:
        """Ids of both responses."""
        return self.response_a, self.response_b

    @cached_property
    def id(self) -> str:
        """Hash of prompt and both responses, independent of their order."""
        return stable_id("comparison", self.prompt_id, *sorted((self.response_a, self.response_b)))


@dataclass(frozen=True)
class Judgement:
    """One annotator's answer to a comparison: the preferred side, and the sides as they were shown.

    >>> Judgement("c1", "ann", left="r2", right="r1", choice="right").preferred
    'r1'
    """

    comparison_id: str
    annotator: str
    left: str
    right: str
    choice: Choice
    duration_seconds: float | None = None
    created_at: str | None = None
    simulated: bool = False
    guideline: str = ""
    key: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    both_bad: bool = False
    """Of a tie: neither is good."""
    strength: int | None = None
    """How much better the chosen side is: 1 slightly, 2, 3 much; None if nobody asked."""
    supersedes: str | None = None
    """Key of an earlier judgement by the same person, which this one replaces in every count."""
    adjudicates: bool = False
    """A reviewer's decision about answers that disagree, made in knowledge of these: no vote of its own."""

    def __post_init__(self) -> None:
        if self.both_bad and self.choice != "tie":
            raise ValueError(f"both_bad with choice {self.choice!r}; it is of a tie")
        if self.strength is not None and (self.choice == "tie" or self.strength not in (1, 2, 3)):
            raise ValueError(f"strength {self.strength!r} with choice {self.choice!r}; it is 1, 2 or 3, of no tie")

    @property
    def preferred(self) -> str | None:
        """Id of the preferred response; None for a tie."""
        return {"left": self.left, "right": self.right, "tie": None}[self.choice]


@dataclass(frozen=True)
class JudgedComparison:
    """A judgement with its prompt and responses: the input of the feedback check and of preference pairs. `target` and
    `weight`, as in `Preference`, are of comparisons that follow from ratings and rankings; `asked_weight` is too."""

    judgement: Judgement
    prompt: Prompt
    left: Response
    right: Response
    target: float | None = None
    weight: float = 1.0
    asked_weight: float = 1.0

    @property
    def is_text(self) -> bool:
        """True if prompt and responses are texts alone; reward models are trained on these only."""
        return self.left.media is None and self.right.media is None and not list_pictures(self.prompt.text)


@dataclass(frozen=True)
class Rating:
    """One annotator's opinion of a single response, as it was given.

    Of kind `thumbs` the value is 1 for up and 0 for down; of kind `scale` a number, more being better. `extra` has the
    scale's ends, `{"scale": [1, 10]}`, where they are known.
    """

    response_id: str
    annotator: str
    value: float
    kind: RatingKind = "scale"
    created_at: str | None = None
    simulated: bool = False
    key: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    duration_seconds: float | None = None
    guideline: str = ""
    supersedes: str | None = None
    """Key of an earlier rating by the same person of the same response, which this one replaces."""

    def __post_init__(self) -> None:
        if self.kind == "thumbs" and self.value not in (0.0, 1.0):
            raise ValueError(f"a thumb is 1 (up) or 0 (down), got {self.value!r}")


@dataclass(frozen=True)
class RatedResponse:
    """A rating with its prompt and response."""

    rating: Rating
    prompt: Prompt
    response: Response

    @property
    def is_text(self) -> bool:
        """True if prompt and response are texts alone."""
        return self.response.media is None and not list_pictures(self.prompt.text)


@dataclass(frozen=True)
class Ranking:
    """One annotator's order of several responses to a prompt.

    >>> Ranking("p1", "ann", order=(("r2",), ("r1", "r3")), shown=("r1", "r2", "r3")).ranks
    [2, 1, 2]
    """

    prompt_id: str
    annotator: str
    order: tuple[tuple[str, ...], ...]
    """Ids of the responses, the best first; those that share a place are as good as each other, in the order shown."""
    shown: tuple[str, ...]
    """Ids of the responses as they stood on the page."""
    duration_seconds: float | None = None
    created_at: str | None = None
    simulated: bool = False
    guideline: str = ""
    key: str = ""
    supersedes: str | None = None
    """Key of an earlier ranking by the same person of the same responses, which this one replaces."""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        placed = [each for place in self.order for each in place]
        if len(set(self.shown)) < max(2, len(self.shown)) or sorted(placed) != sorted(self.shown):
            raise ValueError(f"a ranking puts each of two or more responses in one place, got {self.order!r}")
        if any(sorted(place, key=self.shown.index) != list(place) for place in self.order) or not all(self.order):
            raise ValueError(f"responses that share a place stand in the order shown, got {self.order!r}")

    @property
    def ranks(self) -> list[int]:
        """The place of each response as shown, 1 for the best."""
        place_of = {each: number for number, place in enumerate(self.order, 1) for each in place}
        return [place_of[each] for each in self.shown]


Answer = Judgement | Rating | Ranking
"""What one annotator answered to one question."""


def order_by_rank(shown: Sequence[str], ranks: Sequence[float]) -> tuple[tuple[str, ...], ...]:
    """Return the ids in places, the best first, from a rank for each; lower ranks are better, equal ones share a place.

    >>> order_by_rank(["a", "b", "c"], [2, 1, 2])
    (('b',), ('a', 'c'))
    """
    pairs = list(zip(ranks, shown, strict=True))
    return tuple(tuple(each for rank, each in pairs if rank == place) for place in sorted(set(ranks)))


@dataclass(frozen=True)
class RankedResponses:
    """A ranking with its prompt and the responses as they were shown."""

    ranking: Ranking
    prompt: Prompt
    responses: tuple[Response, ...]


@dataclass(frozen=True)
class Preference:
    """A training pair for reward models and DPO, made from one judgement.

    `target` is the probability that `chosen` is better: 1.0, 0.5 for a tie, of ratings what they say; `flip` half the
    share of the annotator's answers that ignore the pair, 1 for the reverse; `guess` the probability that such an
    answer is `chosen`, 1/2 but for people who lean to a side; `weight` balances annotators. `flip_kind`: `careless`
    (estimated), `reversed`, `unidentified` (nothing to compare with, and 0); empty in files that do not say.
    `asked_weight` makes up for the strategy that chose the comparison: for measures of a model, not for its training.

    Who says how much better has an interval of log-odds: sigmoid(d - lower) - sigmoid(d - upper) is the probability of
    the answer, with d the difference of scores (None: infinity; from 0 to infinity is sigmoid(d)), and `chance` that
    of this answer, strength included, if it ignores the pair.
    """

    prompt: Text
    chosen: str
    rejected: str
    weight: float = 1.0
    flip: float = 0.0
    target: float = 1.0
    margin: float = 0.0
    annotator: str = ""
    comparison: str = ""
    conversation: str = ""
    guess: float = 0.5
    flip_kind: str = ""
    asked_weight: float = 1.0
    lower: float = 0.0
    upper: float | None = None
    chance: float = 0.5

    @property
    def interval(self) -> tuple[float, float, float]:
        """`lower`, `upper` and `chance`."""
        return self.lower, math.inf if self.upper is None else self.upper, self.chance


def read_prompts(path: Path) -> list[Prompt]:
    """Read a prompt file: JSONL with `prompt` (text or messages) on each line, `conversation` optional.

    Messages may hold pictures, by paths within the folder of the file; see `read_message`. Every other field is a
    column, None for prompts whose line lacks it. DataError: no prompts, or a line without a valid `prompt`.
    """
    records = list(read_jsonl(path))
    lines = [(number, check_text(path, number, line, "prompt", pictures=True), line) for number, line in records]
    if not lines:
        raise DataError(f"{path}: no prompts; write one JSON object with `prompt` on each line")
    names = dict.fromkeys(name for _, _, line in lines for name in line)
    columns = [name for name in names if name not in PROMPT_FIELDS]
    return [
        Prompt(text, read_name(line, "conversation"), {name: line.get(name) for name in columns}, f"{path}:{number}")
        for number, text, line in lines
    ]


def read_name(record: dict[str, Any], key: str) -> str:
    """Read the name of a conversation or annotator; empty for null, which many tools write for missing values."""
    value = record.get(key)
    return "" if value is None else str(value)


def prompt_line(prompt: Prompt) -> dict[str, Any]:
    """Format a prompt as a line of a prompt file."""
    return prompt.extra | {"prompt": to_parts(prompt.text), "conversation": prompt.conversation}


def column_names(prompts: Iterable[Prompt]) -> list[str]:
    """The columns of all prompts, in order of first appearance."""
    return list(dict.fromkeys(name for prompt in prompts for name in prompt.extra))


def distinct_prompts(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Drop repeated prompts, keeping columns and conversation of the last occurrence."""
    return list({prompt.id: prompt for prompt in prompts}.values())


def read_preferences(path: Path) -> list[Preference]:
    """Read preferences written by `write_jsonl`. DataError: a missing or unknown field, or no preferences."""
    fields, preferences = set(Preference.__dataclass_fields__), list[Preference]()
    for number, record in read_jsonl(path):
        if unknown := sorted(set(record) - fields):
            raise DataError(f"{path}:{number}: unknown field `{unknown[0]}`; allowed: {', '.join(sorted(fields))}")
        if record.get("prompt") != "":  # a response may stand without any prompt
            check_text(path, number, record, "prompt")
        for key in ("chosen", "rejected"):  # a model may have answered with nothing: an empty text is a response
            if not isinstance(record.get(key), str):
                raise DataError(f"{path}:{number}: `{key}` must be a text")
        check_numbers(path, number, record)
        names = {key: read_name(record, key) for key in ("annotator", "comparison", "conversation", "flip_kind")}
        preferences.append(Preference(**record | names))
    if preferences:
        return preferences
    raise DataError(f"{path}: no preferences")
