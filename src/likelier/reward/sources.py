"""Where scores come from: a reward model, a Python function, an HTTP service; several at once as a weighted sum."""

import importlib.util
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import RewardSource
from likelier.errors import ConfigError, LikelierError
from likelier.records import Text
from likelier.text.models import load_reward_model
from likelier.training import pick_device

Scores = Callable[[Sequence[Text], Sequence[str]], Float[Tensor, " B"]]

HTTP_TIMEOUT_SECONDS = 30.0
HTTP_RETRIES = 3


class Scorer:
    """One score for each response: the weighted sum of its sources."""

    def __init__(self, sources: dict[str, Scores], weights: dict[str, float]) -> None:
        self.sources, self.weights = sources, weights

    def __call__(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        return self.combine(self.each(prompts, responses))

    def each(self, prompts: Sequence[Text], responses: Sequence[str]) -> dict[str, Float[Tensor, " B"]]:
        """What each source says, without its weight."""
        return {name: source(prompts, responses) for name, source in self.sources.items()}

    def combine(self, each: dict[str, Float[Tensor, " B"]]) -> Float[Tensor, " B"]:
        """The weighted sum of what `each` returned."""
        return torch.stack([self.weights[name] * scores for name, scores in each.items()]).sum(0)


def make_scorer(sources: Sequence[RewardSource], device: str = "auto") -> Scorer:
    """Load every source. ConfigError, DataError: one cannot be found or loaded."""
    made: dict[str, Scores] = {}
    weights: dict[str, float] = {}
    for source in sources:
        name = source.label if source.label not in made else f"{source.label} {len(made) + 1}"
        made[name], weights[name] = load_source(source, device), source.weight
    return Scorer(made, weights)


def load_source(source: RewardSource, device: str) -> Scores:
    if source.model is not None:
        return load_reward_model(source.model, pick_device(device)).score
    if source.function is not None:
        return load_function(source.function)
    assert source.http is not None
    return http_source(source.http)


def load_function(where: str) -> Scores:
    """`file.py:name` as a source. ConfigError: no such file or function, or the file does not run."""
    path, _, name = where.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path) if path else None
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ConfigError(f"reward function `{where}`: no such file; write file.py:function")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        raise ConfigError(f"reward function `{where}`: {path} raises {brief(error)}") from error
    function = vars(module).get(name)
    if not callable(function):
        raise ConfigError(f"reward function `{where}`: {path} has no function `{name}`")

    def scores(prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        try:
            found = function(list(prompts), list(responses))
        except Exception as error:  # likewise
            raise LikelierError(f"reward function `{where}` raises {brief(error)}") from error
        return checked(found, len(responses), f"reward function `{where}`")

    return scores


def http_source(address: str) -> Scores:
    """A service that answers POST `{"prompts", "responses"}` with `{"scores"}`."""

    def scores(prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        body = json.dumps({"prompts": list(prompts), "responses": list(responses)}).encode()
        answer = post(address, body)
        if not isinstance(answer, dict) or "scores" not in answer:
            raise LikelierError(f"reward service {address}: the answer has no `scores`")
        return checked(answer["scores"], len(responses), f"reward service {address}")

    return scores


def post(address: str, body: bytes) -> Any:
    """POST with time-out and retries. LikelierError: it never answered with JSON and status 200."""
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    for attempt in range(HTTP_RETRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_SECONDS) as reply:
                return json.loads(reply.read())
        except (OSError, ValueError) as error:
            reason = brief(error)
        if attempt < HTTP_RETRIES:
            time.sleep(0.2 * 2**attempt)
    raise LikelierError(f"reward service {address}: {reason}, {HTTP_RETRIES} retries made; is it running?")


def checked(found: Any, count: int, what: str) -> Float[Tensor, " B"]:
    """Scores as a tensor. LikelierError: not a list, the wrong number, or not a finite number at some index."""
    if not isinstance(found, list | tuple):
        raise LikelierError(f"{what} returned {type(found).__name__}; return a list of floats")
    if len(found) != count:
        raise LikelierError(f"{what} returned {len(found)} scores for {count} responses")
    for index, score in enumerate(found):
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise LikelierError(f"{what} returned {score!r} at index {index}; return finite floats")
    return torch.tensor([float(score) for score in found])


def brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
