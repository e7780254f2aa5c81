"""Python functions as sources of scores: Likelier's own form, and functions written for TRL's GRPO trainer.

Likelier's are called as `reward(prompts, responses)`, with `tokens` as a third argument if the source is per token; any
other parameter is a column of the prompt file. TRL's are called with keywords only: `prompts`, `completions`,
`completion_ids`, `trainer_state`, `log_metric`, `log_extra`, and every column. Both get only the arguments that they
declare. Functions marked by `reads` (reward/columns.py) say which of their parameters are columns.
"""

import asyncio
import atexit
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likelier.distributed import broadcast
from likelier.errors import ConfigError, LikelierError
from likelier.records import Prompt, Text, to_parts
from likelier.reward.columns import check_values, get_columns
from likelier.reward.parse_scores import parse_scores, parse_token_scores
from likelier.reward.responses import LoggedValues, ResponseBatch, SourceScores
from likelier.userfile import user_code_errors

TRL_TEXTS = ("completions", "completion_ids", "completions_ids")
"""A parameter of one of these names marks a function written for TRL; the last stands in older documentation of TRL."""
TRL_NAMES = ("prompts", *TRL_TEXTS, "trainer_state", "log_metric", "log_extra")
TRL_HIDDEN_COLUMNS = ("prompt", "completion", "completion_ids")
"""Columns that TRL does not pass."""


@dataclass(frozen=True)
class TrainerState:
    """Training progress, for functions whose reward depends on it: the applicable fields of Transformers'
    `TrainerState`. Outside of a PPO run it is at the start of a single step."""

    global_step: int = 0
    """PPO steps taken before this batch."""
    max_steps: int = 1
    is_world_process_zero: bool = True
    is_local_process_zero: bool = True
    """Functions are called in the first process only."""


class FunctionContext:
    """Trainer state that reward functions can read, and the values they log; shared by all functions of a scorer."""

    def __init__(self) -> None:
        self.state = TrainerState()
        self.clear(0)

    def clear(self, num_responses: int) -> None:
        """Clear the values logged for the last batch."""
        self.num_responses = num_responses
        self.metrics: dict[str, list[float]] = {}
        self.columns: dict[str, list[Any]] = {}

    def log_metric(self, name: str, value: float) -> None:
        """Log a number; values logged under the same name are averaged."""
        self.metrics.setdefault(str(name), []).append(float(value))

    def log_extra(self, column: str, values: Iterable[Any]) -> None:
        """Log one value per response, for the samples. LikelierError: another number of values."""
        listed = [to_json_value(value) for value in values]
        if len(listed) != self.num_responses:
            raise LikelierError(f"log_extra({column!r}): {len(listed)} values for {self.num_responses} responses")
        self.columns[str(column)] = listed

    def logged(self) -> LoggedValues:
        """Return the means of the logged numbers, and the logged columns."""
        means = {name: sum(values) / len(values) for name, values in self.metrics.items()}
        return LoggedValues(means, dict(self.columns))


class UserFunction:
    """A user's reward function as a `Source`. With several processes rank 0 calls it for the whole batch, since it may
    compare responses or count its calls."""

    def __init__(
        self,
        function: Callable[..., Any],
        import_string: str,
        context: FunctionContext,
        per_token: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """ConfigError: a TRL function, which scores whole responses, is used per token; an argument that the function
        has no parameter for, or that a function of Likelier refuses."""
        self.function, self.label, self.context = function, f"reward function `{import_string}`", context
        self.arguments = dict(arguments or {})
        self.per_token = per_token
        parameters = list(get_signature(function).parameters.values())
        self.for_trl = is_for_trl(parameters)
        if self.for_trl and per_token:
            raise ConfigError(f"{self.label}: a function of `completions` scores whole responses; leave per: token out")
        positional = [] if self.for_trl else positional_parameters(parameters)[: 3 if per_token else 2]
        self.named = [
            parameter
            for parameter in parameters
            if parameter.name not in {one.name for one in positional} and has_name(parameter)
        ]
        self.takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self.reserved = (
            set(TRL_NAMES + TRL_HIDDEN_COLUMNS) if self.for_trl else {parameter.name for parameter in positional}
        )
        self.columns = get_columns(function, self.arguments)
        self.check_arguments()

    def check_arguments(self) -> None:
        """ConfigError: see `__init__`."""
        own = [each.name for each in self.named if each.name not in self.reserved | set(self.columns or ())]
        for name in self.arguments:
            if name in self.reserved or (name not in own and not self.takes_all):
                known = f"; it takes {', '.join(own)}" if own else ""
                raise ConfigError(f"{self.label}: arguments: it takes no `{name}`{known}")
        if self.columns is None:
            return
        try:  # without responses, so that it says before training what it lacks
            self.function([], [], **{name: [] for name in self.columns}, **self.arguments)
        except ConfigError as error:
            raise ConfigError(f"{self.label}: {error}") from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.label}: arguments {self.arguments}: {error}") from error

    def check_columns(self, prompt_columns: Collection[str], file: str = "") -> None:
        """ConfigError: a required parameter is not a column of the prompts, which come from `file`."""
        available = {*prompt_columns, *self.arguments, *(TRL_NAMES if self.for_trl else ())}
        for parameter in self.named:
            if parameter.default is parameter.empty and parameter.name not in available:
                columns = ", ".join(prompt_columns) or "none"
                raise ConfigError(
                    f"{file}{': ' if file else ''}{self.label}: its parameter `{parameter.name}` is no column of the "
                    "prompts; "
                    f"known columns: {columns}"
                )

    def check_values(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the rows of prompts without a value in a column that the function reads; of a user's function, none.

        DataError: a value that it cannot read.
        """
        return [] if self.columns is None else check_values(prompts, self.columns, self.label)

    def __call__(self, batch: ResponseBatch) -> SourceScores:
        """Score a batch. LikelierError: the function raises, or returns something other than finite numbers or None."""
        if self.per_token:
            assert batch.token_texts is not None, "a source per token needs the tokens"
            lengths = [len(row) for row in batch.token_texts]
            shape = [len(lengths), max(lengths, default=0)]
            values = broadcast(lambda: parse_token_scores(self.call(batch), lengths, self.label), *shape)
            left_out = values.isnan().any(1)
            return SourceScores(torch.where(left_out[:, None], 0.0, values), ~left_out)
        values = broadcast(lambda: self.score(batch), len(batch.texts))
        return SourceScores(torch.where(values.isnan(), 0.0, values), ~values.isnan())

    def score(self, batch: ResponseBatch) -> Float[Tensor, " B"]:
        """Scores of whole responses; NaN where the function returned None."""
        returned = self.call(batch)
        if self.for_trl and isinstance(returned, list | tuple):  # TRL takes truth values for scores
            returned = [float(score) if isinstance(score, bool) else score for score in returned]
        return parse_scores(returned, len(batch.texts), self.label, allow_none=True)

    def call(self, batch: ResponseBatch) -> Any:
        """Call the function, awaiting it if it is asynchronous. LikelierError: it raises."""
        rows = [] if self.for_trl else [[to_parts(prompt.text) for prompt in batch.prompts], list(batch.texts)]
        if self.per_token:
            rows.append([list(row) for row in batch.token_texts or ()])
        columns = {name: list(values) for name, values in batch.columns.items()}
        if self.columns is not None:
            columns = {name: columns.get(name) or [None] * len(batch.texts) for name in self.columns}
        keywords = self.select_accepted(columns, self.reserved) | self.arguments
        if self.for_trl:
            keywords |= self.select_accepted(trl_arguments(batch, self.context))
        with user_code_errors(self.label, LikelierError):
            returned = self.function(*rows, **keywords)
            return event_loop().run_until_complete(returned) if inspect.isawaitable(returned) else returned

    def select_accepted(self, arguments: Mapping[str, Any], reserved: Collection[str] = ()) -> dict[str, Any]:
        """Return those of `arguments` that the function accepts."""
        names = {parameter.name for parameter in self.named}
        return {
            name: value
            for name, value in arguments.items()
            if name not in reserved and (self.takes_all or name in names)
        }


def to_json_value(value: Any) -> Any:
    """Convert to a JSON value: numpy and torch numbers to numbers, anything else that JSON cannot hold to text."""
    value = value.item() if isinstance(value, np.generic | Tensor) and value.ndim == 0 else value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value


def trl_arguments(batch: ResponseBatch, context: FunctionContext) -> dict[str, Any]:
    """The keyword arguments that TRL's GRPO trainer passes besides the columns."""
    ids = None if batch.token_ids is None else [list(row) for row in batch.token_ids]
    return {
        "prompts": [to_parts(prompt.text) for prompt in batch.prompts],
        "completions": [
            to_completion(prompt.text, text) for prompt, text in zip(batch.prompts, batch.texts, strict=True)
        ],
        "completion_ids": ids,
        "completions_ids": ids,
        "trainer_state": context.state,
        "log_metric": context.log_metric,
        "log_extra": context.log_extra,
    }


def to_completion(prompt: Text, response: str) -> Text:
    """Convert a response to TRL's format: messages if the prompt is messages, else text."""
    return response if isinstance(prompt, str) else [{"role": "assistant", "content": response}]


def get_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the function's signature; functions written in C may have none and get prompts and responses alone."""
    try:
        return inspect.signature(function)
    except ValueError:
        return inspect.signature(lambda prompts, responses, /: None)


def is_for_trl(parameters: Sequence[inspect.Parameter]) -> bool:
    """True if a function is written for TRL, judged by a parameter's name or by taking keywords only."""
    named = {each.name for each in parameters if has_name(each)}
    only_keywords = all(each.kind in (each.VAR_KEYWORD, each.KEYWORD_ONLY) for each in parameters)
    return bool(named & set(TRL_TEXTS)) or (only_keywords and bool(parameters))


def positional_parameters(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return the parameters that can be passed by position."""
    return [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def has_name(parameter: inspect.Parameter) -> bool:
    """True if the parameter can be passed by keyword."""
    return parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop shared by asynchronous functions: open clients are bound to the loop they started in."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop
