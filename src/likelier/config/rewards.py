"""Settings of reward sources."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from likelier.addresses import hide_secrets
from likelier.config.base import Block, NonEmpty, NonNegative, Positive, refuse_idle

PYTHON_CALLABLE = "python callable "
"""How `config.yaml` names a function that was passed from Python: no other process can find it by that."""


OWN_FUNCTIONS = "likelier.reward.functions:"
"""Functions of this module go by their name alone in metrics and reports."""


def name_function(function: str | Callable[..., Any]) -> str:
    """Return a function's name: strings as they are; `PYTHON_CALLABLE` plus module and name for a callable."""
    if isinstance(function, str):
        return function
    name = getattr(function, "__qualname__", type(function).__qualname__)  # a partial has none
    return f"{PYTHON_CALLABLE}{function.__module__}.{name}"


def check_function(function: Any) -> str | Callable[..., Any]:
    """ValueError: neither a string nor a callable."""
    if isinstance(function, str):
        return function
    if callable(function):
        users_function: Callable[..., Any] = function
        return users_function
    raise ValueError(f"write file.py:name or package.module:name, got {function!r}")


FunctionName = Annotated[
    str | Callable[..., Any],
    PlainValidator(check_function),
    PlainSerializer(name_function, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]


Address = Annotated[str, PlainSerializer(hide_secrets, return_type=str, when_used="json")]
"""A file, or an address that may hold a password: as JSON, and so in every file, it is without it."""


class JudgeConfig(Block):
    """A language model that is asked which of two answers is better."""

    http: Annotated[Address, Field(pattern=r"^https?://")]
    """Address of chat completions in OpenAI's protocol, `https://HOST/v1`; a key stands in front of the host:
    `https://${JUDGE_KEY}@api.example.org/v1`, with JUDGE_KEY in the environment, is sent as `Bearer`."""
    model: NonEmpty
    """Name of the model there."""
    instruction: NonEmpty = "You compare two answers to a prompt by how good they are as a whole."
    """Criteria by which an answer is better. How to reply is added."""
    concurrency: Positive = 4
    """Questions that are asked at once."""
    max_tokens: Positive | None = None
    """Tokens after which an answer is cut off, sent to the service as `max_tokens`; None: its own bound. A small model
    may not stop by itself; one that thinks aloud needs some thousands before its verdict."""


class RewardSource(Block):
    """One source: exactly one of `model`, `function`, `http`, which give scores, `people`, and `judge`."""

    model: str | None = None
    """Folder or hub name of a reward model (sequence classification, one label), or a reward run: all its models."""
    function: FunctionName | None = None
    """`file.py:name` or `package.module:name` of a Python function `reward(prompts, responses) -> list[float]`; None
    for a response leaves this source out of its sum. Further parameters are columns of the prompt file, by name.
    Functions for TRL's GRPO (`prompts, completions, **kwargs`) work as they are. `likelier.reward.functions:chrf` and
    other names of that module are functions of Likelier's own."""
    arguments: dict[NonEmpty, Any] = {}
    """Values for the function's other parameters, by name, the same for all responses."""
    http: Address | None = None
    """Address that answers POST `{"prompts", "responses"}` with `{"scores"}`; with columns, `{"columns"}` too.
    `${NAME}` stands for a variable of the environment, as in `https://me:${SCORER_PASSWORD}@host/score`."""
    people: Annotated[Address, Field(min_length=1)] | None = None
    """A feedback database (file or URL, made if absent) over which the judging page is opened. In `reward`: people rate
    the responses of `likelier ppo`, each on its own. In `eval.scorer`: a database of its own, in which they compare the
    answers of `model_a` and `model_b`, blindly."""
    wait_minutes: NonNegative = 30.0
    """In `reward`, with `people`: how long each step waits for their ratings. What nobody rated by then is scored by a
    model fitted to the ratings so far; while there is none, the other sources decide, and without any the run waits."""
    judge: JudgeConfig | None = None
    """In `eval.scorer` only: a language model that is asked which answer is better, in both orders."""
    per: Literal["response", "token"] = "response"
    """`token`: the function is called as `reward(prompts, responses, tokens)`, with each response's tokens as texts
    (the end token among them), and returns a list of floats for each response, one for each of its tokens."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Factor of this source in the sum."""
    combine: Literal["mean", "min", "uncertainty_weighted"] = "mean"
    """Reward run with several models: their mean minus `caution` standard deviations, the lowest of their scores, or
    their mean minus `caution` times their variance (WCO and UWO of Coste et al. 2024)."""
    caution: NonNegative = 0.0
    """Reward run with several models: how much of their disagreement is taken off their mean; see `combine`."""
    name: str = ""
    """Name in metrics and reports; by default what the source is."""

    @model_validator(mode="after")
    def check_single_source(self) -> Self:
        """Validate that there is exactly one source, with only the settings that apply to it."""
        if sum(source is not None for source in (self.model, self.function, self.http, self.people, self.judge)) != 1:
            raise ValueError("give exactly one of model, function, http, people, judge")
        if self.per == "token" and self.function is None:
            raise ValueError("per: token needs a function; a model or a service scores whole responses")
        idle = [
            (self.function is None, ("arguments",), "it is about the parameters of a `function`"),
            (self.people is None, ("wait_minutes",), "it is how long to wait for `people`"),
            (self.model is None, ("caution", "combine"), "it is about the models of a reward run"),
            (self.combine == "min", ("caution",), "the minimum takes nothing off a mean"),
        ]
        refuse_idle(self, idle)
        if self.combine == "uncertainty_weighted" and not self.caution:
            raise ValueError("combine: uncertainty_weighted is the mean where caution is 0; give caution, such as 0.5")
        return self

    @property
    def gives_scores(self) -> bool:
        """True if each response gets a number at once."""
        return self.people is None and self.judge is None

    @property
    def label(self) -> str:
        """Name in metrics and reports."""
        if self.name or self.people or self.judge:
            return self.name or ("people" if self.judge is None else Path(self.judge.model).name)
        function = name_function(self.function or "").removeprefix(OWN_FUNCTIONS)
        if function.startswith(PYTHON_CALLABLE):
            return function.rpartition(".")[2]
        return Path(self.model or function or hide_secrets(self.http or "")).name


def name_sources(sources: Sequence[RewardSource]) -> list[str]:
    """Return a distinct name for each source: its label, with its place behind it where another has that label."""
    names: list[str] = []
    for place, source in enumerate(sources, 1):
        name = source.label
        while name in names:
            name, place = f"{source.label} {place}", place + 1
        names.append(name)
    return names


PEOPLE_GIVE_NO_SCORE = (
    "people can rate in `reward` of `likelier ppo`, and judge in eval.scorer; here every response needs a score at "
    "once: give model, function or http, such as a reward model trained on what people said"
)


JUDGE_COMPARES = (
    "judge: it says which of two answers is better, in eval.scorer only; here every response needs a score: give "
    "model, function or http"
)


def refuse_people(sources: Sequence[RewardSource]) -> Sequence[RewardSource]:
    """ValueError: `people` or `judge` among sources that must score any response at once."""
    if any(source.judge is not None for source in sources):
        raise ValueError(JUDGE_COMPARES)
    if any(source.people is not None for source in sources):
        raise ValueError(PEOPLE_GIVE_NO_SCORE)
    return sources


def check_rewards(sources: Sequence[RewardSource]) -> Sequence[RewardSource]:
    """ValueError: two sources of people, or `judge`."""
    if any(source.judge is not None for source in sources):
        raise ValueError(JUDGE_COMPARES)
    if sum(source.people is not None for source in sources) > 1:
        raise ValueError("people stand there twice; one database holds what all of them answer")
    return sources


Scoring = Annotated[list[RewardSource], AfterValidator(refuse_people)]
"""Sources that give each response a number at once."""
Rewards = Annotated[list[RewardSource], AfterValidator(check_rewards)]
"""Sources of the reward of PPO, people among them."""
