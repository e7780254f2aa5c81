"""Questions as one annotator is shown them, and the part of the answers that the choice of the next one needs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from likelier.feedback.draws import Draw
from likelier.files import stable_id
from likelier.records import Answer, Comparison, Judgement, Message, Ranking, Response


@dataclass(frozen=True)
class Question:
    """Responses to one prompt that are shown at once: one to be rated, or several to be put in order."""

    prompt_id: str
    responses: tuple[str, ...]

    @cached_property
    def id(self) -> str:
        """The id of a single response; of several a hash, independent of their order."""
        return self.responses[0] if len(self.responses) == 1 else hash_set(self.prompt_id, self.responses)


Asked = Comparison | Question
MAX_RANKED = 9
"""Responses that are put in order at once: so many digits are keys."""
TRAINING = "training"
"""Key in `Judgement.extra`, true for answers to training items: they teach, and count nowhere."""


@dataclass(frozen=True)
class Assignment:
    """A question as shown to one annotator. `repeat`: they have answered it before; the order is reversed."""

    question: Asked
    shown: tuple[str, ...]
    """Ids of the responses, from left to right."""
    repeat: bool = False
    draw: Draw | None = None
    """How it was drawn by the person who began it; None if each had the same chance."""


class Shown(NamedTuple):
    """The part of a stored answer that the choice of the next question needs."""

    number: int
    question_id: str
    annotator: str
    shown: tuple[str, ...]
    """Ids of the responses, from left to right."""
    supersedes: bool = False
    """It replaces an earlier answer of the same annotator to the same question."""
    training: bool = False
    """It answers a training item."""


def to_shown(answer: Answer, number: int = 0) -> Shown:
    """Convert an answer."""
    is_training = isinstance(answer, Judgement) and answer.extra.get(TRAINING) is True
    return Shown(
        number, question_id(answer), answer.annotator, list_shown(answer), bool(answer.supersedes), is_training
    )


def list_shown(answer: Answer) -> tuple[str, ...]:
    """Return the ids of an answer's responses in the order in which they were shown."""
    if isinstance(answer, Judgement):
        return answer.left, answer.right
    return answer.shown if isinstance(answer, Ranking) else (answer.response_id,)


def hash_set(prompt_id: str, responses: Iterable[str]) -> str:
    """Return the id of several responses to a prompt, independent of their order."""
    return stable_id("question", prompt_id, *sorted(responses))


def question_id(answer: Answer) -> str:
    """Return the id of what an answer is about."""
    if isinstance(answer, Judgement):
        return answer.comparison_id
    return hash_set(answer.prompt_id, answer.shown) if isinstance(answer, Ranking) else answer.response_id


def conversation_id(turns: Sequence[Message]) -> str:
    """Return the conversation of the turns of one on the page: all that begin alike are one.

    A reward model must not be tested on what it was trained on.
    """
    return stable_id("conversation", turns[0])


def make_rating_questions(responses: Iterable[Response]) -> list[Question]:
    """Return a question for each response."""
    return [Question(response.prompt_id, (response.id,)) for response in responses]


def make_ranking_questions(responses: Iterable[Response], size: int, ranked: Iterable[Sequence[str]]) -> list[Question]:
    """Return questions of `size` responses to a prompt; of fewer where a prompt has no more.

    Sets that people have `ranked` stay together, so that responses which come later change no question that was
    answered. The last set of a prompt is filled up from the earlier ones; a prompt with one response has none.
    """
    of_prompt: dict[str, list[str]] = {}
    for response in responses:
        of_prompt.setdefault(response.prompt_id, []).append(response.id)
    kept = group_ranked(of_prompt, ranked)
    questions = []
    for prompt_id, ids in of_prompt.items():
        sets = kept.get(prompt_id, [])
        used = {each for responses in sets for each in responses}
        rest = [each for each in ids if each not in used]
        sets += [tuple(rest[start : start + size]) for start in range(0, len(rest), size)]
        if rest and len(sets[-1]) < min(size, len(ids)):
            last = sets[-1]
            sets[-1] = (*last, *[each for each in ids if each not in last][: size - len(last)])
        questions += [Question(prompt_id, responses) for responses in sets if len(responses) > 1]
    return questions


def group_ranked(
    of_prompt: Mapping[str, Collection[str]], ranked: Iterable[Sequence[str]]
) -> dict[str, list[tuple[str, ...]]]:
    """Return the sets of responses that were ranked, each once, by prompt."""
    prompt_of = {each: prompt_id for prompt_id, ids in of_prompt.items() for each in ids}
    sets: dict[str, dict[tuple[str, ...], None]] = {}
    for shown in ranked:
        if all(each in prompt_of for each in shown):
            sets.setdefault(prompt_of[shown[0]], {})[tuple(sorted(shown))] = None
    return {prompt_id: list(each) for prompt_id, each in sets.items()}
