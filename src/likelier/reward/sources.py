"""Where scores come from: a reward model, a Python function, an HTTP service; several at once as a weighted sum."""

import contextlib
import importlib.machinery
import importlib.util
import json
import math
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import RewardSource
from likelier.errors import ConfigError, DataError, LikelierError
from likelier.records import Text, read_json, stable_id
from likelier.text.models import RewardModel, load_reward_model
from likelier.training import pick_device

Scores = Callable[[Sequence[Text], Sequence[str]], Float[Tensor, " B"]]

HTTP_TIMEOUT_SECONDS = 30.0
HTTP_RETRIES = 3
FLOAT32_MAX = torch.finfo(torch.float32).max


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

    def disagreement(self, prompts: Sequence[Text], responses: Sequence[str]) -> dict[str, Float[Tensor, " B"]]:
        """Standard deviation between the models of each source that has several."""
        several = {name: source for name, source in self.sources.items() if isinstance(source, Ensemble)}
        return {
            name: spread(source.each(prompts, responses)) for name, source in several.items() if len(source.members) > 1
        }


class Ensemble:
    """The reward models of one run, or a single one: their mean, minus `caution` times their spread.

    Bradley-Terry fixes a score up to a constant. Each model's mean over its training responses (in its `card.json`) is
    taken off, so that 0 is a usual response and models can be compared; no preference changes by that.
    """

    def __init__(self, members: Sequence[RewardModel], means: Sequence[float], caution: float = 0.0) -> None:
        self.members, self.means, self.caution = members, means, caution

    def each(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "K B"]:
        """What each model says."""
        pairs = zip(self.members, self.means, strict=True)
        return torch.stack([member.score(prompts, responses) - mean for member, mean in pairs])

    def __call__(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        each = self.each(prompts, responses)
        return each.mean(0) - self.caution * spread(each) if self.caution else each.mean(0)


def spread(each: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    return each.std(0, unbiased=False)


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
        return load_ensemble(source.model, device, source.caution)
    if source.function is not None:
        return load_function(source.function)
    assert source.http is not None
    return http_source(source.http)


def load_ensemble(path: str, device: str = "auto", caution: float = 0.0) -> Ensemble:
    """A reward model's folder or hub name, or the folder of a reward run with all its models."""
    folders = member_folders(Path(path)) or [path]
    members = [load_reward_model(folder, pick_device(device)) for folder in folders]
    return Ensemble(members, [mean_score(Path(folder)) for folder in folders], caution)


def member_folders(run: Path) -> list[str]:
    """`model`, `model-1`, … in the folder of a reward run; nothing where this is no run."""
    if not (run / "model").is_dir() or (run / "config.json").exists():
        return []
    others = [folder for folder in run.glob("model-*") if folder.name.removeprefix("model-").isdigit()]
    return [str(run / "model"), *map(str, sorted(others, key=lambda folder: int(folder.name.removeprefix("model-"))))]


def mean_score(folder: Path) -> float:
    """Mean over the training responses, as the model's card says; 0 for a model without one."""
    card = folder / "card.json"
    if not card.is_file():
        return 0.0
    mean = read_json(card).get("score_mean", 0.0)
    if not isinstance(mean, int | float) or not math.isfinite(mean):
        raise DataError(f"{card}: score_mean is {mean!r}, not a number; train the reward model again")
    return float(mean)


def load_function(where: str) -> Scores:
    """`file.py:name` as a source. ConfigError: no such file or function, or the file does not run.

    What it prints goes to stderr, since stdout holds results.
    """
    path, _, name = where.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError(f"reward function `{where}`: no such file; write file.py:function")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            function = vars(run_file(path)).get(name)
    except Exception as error:  # a user's file may raise anything
        raise ConfigError(f"reward function `{where}`: {path} raises {brief(error)}") from error
    if not callable(function):
        raise ConfigError(f"reward function `{where}`: {path} has no function `{name}`")

    def scores(prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = function(list(prompts), list(responses))
        except Exception as error:  # likewise
            raise LikelierError(f"reward function `{where}` raises {brief(error)}") from error
        return checked(found, len(responses), f"reward function `{where}`")

    return scores


def run_file(path: str) -> ModuleType:
    """A Python file as a module under a name of its own, where dataclasses and others look it up."""
    name = f"likelier_function_{stable_id(str(Path(path).resolve()))}"
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def http_source(address: str) -> Scores:
    """A service that answers POST `{"prompts", "responses"}` with `{"scores"}`. ConfigError: not a web address."""
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"reward service `{address}`: give an address that begins with http:// or https://")

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
                if reply.status == 200:
                    return json.loads(reply.read())
                reason = f"status {reply.status}"
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
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= FLOAT32_MAX:
            shown = repr(score) if isinstance(score, bool | float) else type(score).__name__
            raise LikelierError(f"{what} returned {shown} at index {index}; return finite floats")
    return torch.tensor([float(score) for score in found])


def brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
