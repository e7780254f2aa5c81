"""Answers as the page sends them, checked field by field; a request repeated with the same `key` changes nothing."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from likelier import records
from likelier.feedback.projects import MAX_TAG, MAX_TAGS, ProjectSettings
from likelier.feedback.questions import MAX_RANKED
from likelier.records import Comparison, Judgement, Ranking, Rating, Response, order_by_rank
from likelier.web.access import KEY
from likelier.web.ids import PageIds, UnfitAnswer, UnknownId

MAX_COMMENT = 500
Id = Annotated[str, Field(max_length=64)]
SCALE = [1, 7]
"""Ends of the scale of ratings; they are stored with each."""


class Given(BaseModel):
    """Fields that the page sends with every answer."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(pattern=KEY)
    ticket: Id | None = None
    """Of the question, as it came with it; without one it must be on this person's screen, or answered by them."""
    duration_seconds: float = Field(ge=0, le=86_400)
    supersedes: str | None = Field(default=None, pattern=KEY)
    guideline: str | None = Field(default=None, pattern=r"^[0-9]{0,9}$")
    """Version of the guidelines that the page could show; None: the newest."""
    tags: list[Annotated[str, Field(max_length=MAX_TAG)]] = Field(default=[], max_length=MAX_TAGS)
    comment: str = Field(default="", max_length=MAX_COMMENT)

    def list_common(self) -> dict[str, Any]:
        """Return the fields that all records share; an empty guideline is filled in by the room."""
        names = {"tags": list(dict.fromkeys(self.tags)), "comment": self.comment.strip()}
        extra = {name: value for name, value in names.items() if value}
        common = {"key": self.key, "duration_seconds": self.duration_seconds, "supersedes": self.supersedes}
        return {**common, "guideline": self.guideline or "", "extra": extra}


class Answer(Given):
    """A judgement of two responses."""

    comparison_id: Id
    left: Id
    right: Id
    choice: Literal["left", "right", "tie"]
    both_bad: bool = False
    strength: int | None = Field(default=None, ge=1, le=3)

    @model_validator(mode="after")
    def check_choice(self) -> "Answer":
        """ValueError: fields that exclude each other."""
        if self.both_bad and self.choice != "tie":
            raise ValueError("both_bad is of a tie")
        if self.strength is not None and self.choice == "tie":
            raise ValueError("strength is of no tie")
        return self

    def to_record(self, annotator: str, ids: PageIds) -> Judgement:
        """Return the judgement. UnknownId: not of the page's ids."""
        subject: dict[str, Any] = {name: ids.find(getattr(self, name)) for name in ("comparison_id", "left", "right")}
        given = {name: getattr(self, name) for name in ("choice", "both_bad", "strength")}
        return Judgement(annotator=annotator, **subject, **given, **self.list_common())


class RatingAnswer(Given):
    """A rating of one response: from 1 to 7, or a thumb, 1 up and 0 down."""

    response_id: Id
    value: int = Field(ge=0, le=SCALE[1])
    kind: Literal["scale", "thumbs"]

    @model_validator(mode="after")
    def check_value(self) -> "RatingAnswer":
        """ValueError: a value that is not of its kind."""
        if (self.kind == "thumbs" and self.value > 1) or (self.kind == "scale" and self.value < SCALE[0]):
            raise ValueError("value is 1 to 7 on a scale, 0 or 1 of thumbs")
        return self

    def to_record(self, annotator: str, ids: PageIds) -> Rating:
        """Return the rating. UnknownId: not of the page's ids."""
        common = self.list_common()
        if self.kind == "scale":
            common["extra"] = {"scale": SCALE, **common["extra"]}
        return Rating(ids.find(self.response_id), annotator, float(self.value), self.kind, **common)


class RankingAnswer(Given):
    """An order of several responses to a prompt, in a rank for each: 1 is best, equal ones share a place."""

    shown: list[Id] = Field(min_length=2, max_length=MAX_RANKED)
    ranks: list[Annotated[int, Field(ge=1, le=MAX_RANKED)]] = Field(min_length=2, max_length=MAX_RANKED)

    @model_validator(mode="after")
    def check_ranks(self) -> "RankingAnswer":
        """ValueError: not one rank for each of different responses."""
        if len(self.ranks) != len(self.shown) or len(set(self.shown)) < len(self.shown):
            raise ValueError("ranks: give one for each of different responses")
        return self

    def to_record(self, annotator: str, ids: PageIds, responses: Mapping[str, Response]) -> Ranking:
        """Return the ranking of some of these responses. UnknownId: not of the page's ids."""
        shown = tuple(map(ids.find, self.shown))
        prompt_id = responses[shown[0]].prompt_id if shown[0] in responses else ""
        return Ranking(prompt_id, annotator, order_by_rank(shown, self.ranks), shown, **self.list_common())


def check_subject(
    answer: records.Answer, comparisons: Mapping[str, Comparison], responses: Mapping[str, Response]
) -> None:
    """UnknownId: an answer about what is not of these, a project's."""
    if isinstance(answer, Judgement):
        comparison = comparisons.get(answer.comparison_id)
        if comparison is None or {answer.left, answer.right} != {comparison.response_a, comparison.response_b}:
            raise UnknownId("these responses are not the two sides of this comparison")
        return
    asked = answer.shown if isinstance(answer, Ranking) else (answer.response_id,)
    if any(each not in responses for each in asked):
        raise UnknownId("there is no such response here")
    if isinstance(answer, Ranking) and {responses[each].prompt_id for each in asked} != {answer.prompt_id}:
        raise UnknownId("these are not responses to one prompt")


def check_reasons(extra: Mapping[str, Any], settings: ProjectSettings) -> None:
    """UnfitAnswer: tags that are not of this project, or a comment where none is asked for."""
    if unknown := [tag for tag in extra.get("tags", ()) if tag not in settings.tags]:
        raise UnfitAnswer(f"tags: {unknown[0]!r} is not one of this project")
    if extra.get("comment") and not settings.comment:
        raise UnfitAnswer("comment: this project asks for none")


class Skipped(BaseModel):
    """A question that somebody cannot answer."""

    model_config = ConfigDict(extra="forbid")
    comparison_id: Id | None = None
    question_id: Id | None = None
    """Of a comparison its id too."""

    @model_validator(mode="after")
    def check_id(self) -> "Skipped":
        """ValueError: no id, or two."""
        if (self.comparison_id is None) == (self.question_id is None):
            raise ValueError("give question_id")
        return self
