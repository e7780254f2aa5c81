"""Where scores come from: a reward model, a Python function, an HTTP service; several at once as a weighted sum."""

import http.client
import json
import math
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from likelier.config import PEOPLE_GIVE_NO_SCORE, RewardSource
from likelier.distributed import all_gather_rows, broadcast, shard
from likelier.errors import ConfigError, DataError, LikelierError
from likelier.files import read_json
from likelier.records import Text
from likelier.text.models import RewardModel, load_reward_model
from likelier.text.sampler import Samples
from likelier.text.tokens import token_texts
from likelier.training.setup import pick_device
from likelier.userfile import brief, find_function, users_code

Scores = Callable[[Sequence[Text], Sequence[str]], Float[Tensor, " B"]]
Tokens = Sequence[Sequence[str]]
"""The tokens of each response as texts."""
TokenScores = Callable[[Sequence[Text], Sequence[str], Tokens], Float[Tensor, "B T"]]
"""A number for each of these tokens, 0 behind the last."""
HTTP_TIMEOUT_SECONDS = 30.0
HTTP_RETRIES = 3
FLOAT32_MAX = torch.finfo(torch.float32).max


class Judged(NamedTuple):
    """What a scorer says of some responses."""

    each: dict[str, Float[Tensor, " B"]]
    """By source, without its weight; a source per token: the sum over the tokens."""
    at_tokens: Float[Tensor, "B T"] | None
    """The weighted sum of the sources per token; None without any."""


class Scorer:
    """One score for each response: the weighted sum of its sources."""

    def __init__(
        self,
        sources: dict[str, Scores],
        weights: dict[str, float],
        token_sources: dict[str, TokenScores] | None = None,
    ) -> None:
        self.sources, self.weights, self.token_sources = sources, weights, token_sources or {}

    def __call__(
        self, prompts: Sequence[Text], responses: Sequence[str], tokens: Tokens | None = None
    ) -> Float[Tensor, " B"]:
        return self.combine(self.judge(prompts, responses, tokens).each)

    def each(self, prompts: Sequence[Text], responses: Sequence[str]) -> dict[str, Float[Tensor, " B"]]:
        """What each source says, without its weight."""
        return self.judge(prompts, responses).each

    @property
    def reads_tokens(self) -> bool:
        return bool(self.token_sources)

    def judge(self, prompts: Sequence[Text], responses: Sequence[str], tokens: Tokens | None = None) -> Judged:
        """What each source says of responses, and where; `tokens` are needed where it `reads_tokens`."""
        each = {name: source(prompts, responses) for name, source in self.sources.items()}
        if not self.token_sources:
            return Judged(each, None)
        assert tokens is not None, "a source per token needs the tokens"
        placed = {name: source(prompts, responses, tokens) for name, source in self.token_sources.items()}
        each |= {name: values.sum(1) for name, values in placed.items()}
        return Judged(each, torch.stack([self.weights[name] * values for name, values in placed.items()]).sum(0))

    def combine(self, each: dict[str, Float[Tensor, " B"]]) -> Float[Tensor, " B"]:
        """The weighted sum of what each source said."""
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
        """What each model says; several processes score a part each, and all return the whole."""
        rows, pairs = shard(len(responses)), zip(self.members, self.means, strict=True)
        prompts, part = list(prompts)[rows], list(responses)[rows]
        each = [all_gather_rows(member.score(prompts, part), len(responses)) - mean for member, mean in pairs]
        return torch.stack(each)

    def __call__(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        each = self.each(prompts, responses)
        return each.mean(0) - self.caution * spread(each) if self.caution else each.mean(0)


def spread(each: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    return each.std(0, unbiased=False)


def make_scorer(sources: Sequence[RewardSource], device: str = "auto") -> Scorer:
    """Load every source. ConfigError, DataError: one cannot be found or loaded."""
    made: dict[str, Scores] = {}
    by_token: dict[str, TokenScores] = {}
    weights: dict[str, float] = {}
    for source in sources:
        name = source.label if source.label not in weights else f"{source.label} {len(weights) + 1}"
        weights[name] = source.weight
        if source.per == "token":
            assert source.function is not None
            by_token[name] = load_token_function(source.function)
        else:
            made[name] = load_source(source, device)
    return Scorer(made, weights, by_token)


def load_source(source: RewardSource, device: str) -> Scores:
    if source.model is not None:
        return load_ensemble(source.model, device, source.caution)
    if source.function is not None:
        return load_function(source.function)
    if source.http is None:
        raise ConfigError(PEOPLE_GIVE_NO_SCORE)
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
    """`file.py:name` as a source. ConfigError: see `userfile.find_function`."""
    function = find_function(where, "reward function")

    def scores(prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        found = called(function, where, list(prompts), list(responses))
        return checked(found, len(responses), f"reward function `{where}`")

    return asked_once(scores)


def asked_once(scores: Scores) -> Scores:
    """Of several processes only the first asks, for the whole batch: a function may compare responses, or count."""
    return lambda prompts, responses: broadcast(lambda: scores(prompts, responses), len(responses))


def load_token_function(where: str) -> TokenScores:
    """`file.py:name` as a source per token. ConfigError: see `userfile.find_function`."""
    function = find_function(where, "reward function")

    def scores(prompts: Sequence[Text], responses: Sequence[str], tokens: Tokens) -> Float[Tensor, "B T"]:
        found = called(function, where, list(prompts), list(responses), [list(row) for row in tokens])
        return checked_rows(found, tokens, f"reward function `{where}`")

    def asked_once(prompts: Sequence[Text], responses: Sequence[str], tokens: Tokens) -> Float[Tensor, "B T"]:
        return broadcast(lambda: scores(prompts, responses, tokens), len(tokens), max(map(len, tokens), default=0))

    return asked_once


def called(function: Callable[..., Any], where: str, *given: Any) -> Any:
    """What a user's function returns. LikelierError: it raised something."""
    with users_code(f"reward function `{where}`", LikelierError):
        return function(*given)


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

    return asked_once(scores)


def post(address: str, body: bytes) -> Any:
    """POST with time-out and retries. LikelierError: it never answered with JSON and status 200."""
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    for attempt in range(HTTP_RETRIES + 1):
        try:
            return answer_of(request)
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            reason = brief(error)
        if attempt < HTTP_RETRIES:
            time.sleep(0.2 * 2**attempt)
    raise LikelierError(f"reward service {address}: {reason}, {HTTP_RETRIES} retries made; is it running?")


def answer_of(request: urllib.request.Request) -> Any:
    """The JSON of one answer. OSError, ValueError, HTTPException: there is none.

    The time-out of a socket begins anew with each byte; so that a service which drips is left too, the whole is timed.
    """
    until = time.monotonic() + HTTP_TIMEOUT_SECONDS
    with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_SECONDS) as reply:
        if reply.status != 200:
            raise OSError(f"status {reply.status}")
        parts = []
        while part := reply.read1():
            parts.append(part)
            if time.monotonic() > until:
                raise TimeoutError(f"no whole answer within {HTTP_TIMEOUT_SECONDS:g} s")
        if reply.length:  # read1 ends quietly where the service hung up
            raise http.client.IncompleteRead(b"".join(parts), reply.length)
        return json.loads(b"".join(parts))


def checked(found: Any, count: int, what: str) -> Float[Tensor, " B"]:
    """Scores as a tensor. LikelierError: not a list, the wrong number, or not a finite number at some index."""
    found = listed(found)
    if not isinstance(found, list | tuple):
        raise LikelierError(f"{what} returned {type(found).__name__}; return a list of floats")
    if len(found) != count:
        raise LikelierError(f"{what} returned {len(found)} scores for {count} responses")
    for index, score in enumerate(found):
        number = unwrapped(score)
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= FLOAT32_MAX:
            shown = repr(number) if isinstance(number, bool | float) else type(number).__name__
            raise LikelierError(f"{what} returned {shown} at index {index}; return finite floats")
    return torch.tensor([float(score) for score in found])


def listed(found: Any) -> Any:
    """An array or a tensor as (nested) lists of Python's numbers; all else as it is."""
    return found.tolist() if isinstance(found, np.ndarray | Tensor) else found


def unwrapped(score: Any) -> Any:
    """Python's own number in a number of numpy's or in a tensor without axes; all else as it is."""
    return score.item() if isinstance(score, np.generic | Tensor) and score.ndim == 0 else score


def checked_rows(found: Any, tokens: Tokens, what: str) -> Float[Tensor, "B T"]:
    """Numbers at tokens, 0 behind the last. LikelierError: see `checked`, of the responses or of the tokens of one."""
    found = listed(found)
    if not isinstance(found, list | tuple):
        raise LikelierError(f"{what} returned {type(found).__name__}; return a list of floats for each response")
    if len(found) != len(tokens):
        raise LikelierError(f"{what} returned {len(found)} lists for {len(tokens)} responses")
    placed = torch.zeros(len(tokens), max(map(len, tokens), default=0))
    for row, (values, pieces) in enumerate(zip(map(listed, found), tokens, strict=True)):
        about = f"{what}, response {row},"
        if isinstance(values, list | tuple) and len(values) != len(pieces):
            raise LikelierError(f"{about} returned {len(values)} numbers for {len(pieces)} tokens")
        placed[row, : len(pieces)] = checked(values, len(pieces), about)
    return placed


def judge(scorer: Scorer, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Text], samples: Samples) -> Judged:
    """What the scorer says of sampled responses; their tokens are spelt out only for a scorer that reads them."""
    if not scorer.reads_tokens:
        return scorer.judge(prompts, samples.texts)
    lengths = samples.mask.sum(1).tolist()
    rows = [row[:length] for row, length in zip(samples.tokens.tolist(), lengths, strict=True)]
    return scorer.judge(prompts, samples.texts, token_texts(tokenizer, rows))
