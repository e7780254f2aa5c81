"""The `Sampler` protocol, which separates training from the generation of responses."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from likelier.config import EvalConfig, PPOConfig, SamplingConfig
from likelier.errors import ConfigError
from likelier.records import Text
from likelier.text.pictures import PictureInputs, join_rows


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled: from the model's distribution at a temperature; PPO never truncates it."""

    response_length: int
    """Most tokens in a response."""
    temperature: float = 1.0
    """Logits are divided by this."""
    stop_strings: tuple[str, ...] = ()
    """A response also ends with the token that completes one of these; its text stops before the string."""
    end_token: bool = True
    """A response ends at the model's end token; otherwise always at the full length."""
    bf16: bool = False
    """Forward passes in bfloat16 autocast; log-probabilities are computed in float32."""
    top_k: int | None = None
    """Only so many of the likeliest tokens are drawn; None: all."""
    top_p: float | None = None
    """Only the likeliest tokens that together have this probability are drawn; None: all."""
    min_p: float | None = None
    """Only tokens that are at least this many times as likely as the likeliest are drawn; None: all."""

    @classmethod
    def from_config(cls, config: SamplingConfig) -> "Sampling":
        """Make the sampling settings from a config block; evaluations sample in float32."""
        return cls(
            response_length=config.response_length,
            temperature=config.temperature,
            stop_strings=tuple(config.stop_strings),
            end_token=config.stop_token == "eos",
            bf16=isinstance(config, PPOConfig) and bool(config.bf16),
            top_k=config.top_k if isinstance(config, EvalConfig) else None,
            top_p=config.top_p if isinstance(config, EvalConfig) else None,
            min_p=config.min_p if isinstance(config, EvalConfig) else None,
        )

    @property
    def is_truncated(self) -> bool:
        """Return whether some tokens can never be drawn."""
        return (self.top_k, self.top_p, self.min_p) != (None, None, None)

    def with_generation_config(self, model: PreTrainedModel) -> "Sampling":
        """Take temperature, top-k, top-p and min-p of the model's own `generation_config.json`, if it names them.

        ConfigError: a temperature that is not above 0.
        """
        own = getattr(model, "generation_config", None)
        if own is None or (own.do_sample is False and own.temperature in (None, 1.0)):
            return self
        temperature = own.temperature if own.temperature is not None else self.temperature
        if not temperature > 0:
            raise ConfigError(f"{model.name_or_path}: generation_config.json: temperature {temperature}: not above 0")
        top_k = own.top_k or None
        top_p = own.top_p if own.top_p and own.top_p < 1 else None
        return replace(self, temperature=temperature, top_k=top_k, top_p=top_p, min_p=own.min_p or None)

    def truncate(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """Return the logits with -inf for tokens outside top-k, top-p and min-p; unchanged without any.

        As transformers does: top-k first, then the smallest set of the likeliest of these (at the temperature) whose
        probability reaches top-p (Holtzman et al. 2020), then what is not too unlikely beside the likeliest (Nguyen
        et al. 2024, min-p); the likeliest token always stays.
        """
        if self.top_k is not None and self.top_k < logits.shape[1]:
            logits = logits.masked_fill(logits < logits.topk(self.top_k, dim=1).values[:, -1:], -math.inf)
        if self.top_p is not None:
            ordered, places = logits.sort(dim=1, descending=True)
            probabilities = (ordered.float() / self.temperature).softmax(1)
            beyond = probabilities.cumsum(1) - probabilities >= self.top_p
            logits = logits.masked_fill(beyond.scatter(1, places, beyond), -math.inf)
        if self.min_p is not None:
            least = logits.amax(1, keepdim=True) + self.temperature * math.log(self.min_p)
            logits = logits.masked_fill(logits < least, -math.inf)
        return logits


@dataclass(frozen=True)
class Samples:
    """Sampled responses, in the order of the prompts. True in a mask is a real token."""

    prompts: list[Text]
    prompt_tokens: Int[Tensor, "B P"]
    """Padded on the left."""
    prompt_mask: Bool[Tensor, "B P"]
    tokens: Int[Tensor, "B T"]
    """Padded on the right; T is `response_length`."""
    mask: Bool[Tensor, "B T"]
    """True up to and with the end token, or the token that completed a stop string."""
    logprobs: Float[Tensor, "B T"]
    """Log-probability of each token when it was drawn; 0 outside the mask."""
    stop_reasons: list[str]
    """`end_token`, `stop_string` or `length`."""
    texts: list[str]
    """Without special tokens, cut before a stop string."""
    inserted: Bool[Tensor, "B T"] | None = None
    """True at tokens that a tool wrote and the model read, whose `logprobs` are 0; None without tools."""
    pictures: PictureInputs | None = None
    """What a vision-language model reads beside `prompt_tokens`; None if no prompt has a picture."""

    @property
    def drawn(self) -> Bool[Tensor, "B T"]:
        """True at the tokens that the model drew, its actions; `mask` without tools."""
        return self.mask if self.inserted is None else self.mask & ~self.inserted


def join_samples(parts: Sequence[Samples], order: Sequence[int]) -> Samples:
    """Return the rows of all parts, one after another, as one; row i of them stands at `order[i]` of the result."""
    width = max(part.prompt_tokens.shape[1] for part in parts)
    place = torch.tensor(order).argsort()

    def join(name: str, width: int = 0) -> Tensor:
        rows = [getattr(part, name) for part in parts]
        return torch.cat([functional.pad(row, (max(0, width - row.shape[1]), 0)) for row in rows])[place]

    def collect(name: str) -> list[Any]:
        rows = [row for part in parts for row in getattr(part, name)]
        return [rows[number] for number in place.tolist()]

    return Samples(
        prompts=collect("prompts"),
        prompt_tokens=join("prompt_tokens", width),
        prompt_mask=join("prompt_mask", width),
        tokens=join("tokens"),
        mask=join("mask"),
        logprobs=join("logprobs"),
        inserted=None if parts[0].inserted is None else join("inserted"),
        pictures=join_rows([(part.pictures, len(part.tokens)) for part in parts], place.tolist()),
        stop_reasons=collect("stop_reasons"),
        texts=collect("texts"),
    )


@runtime_checkable
class Sampler(Protocol):
    """Generates responses with the weights last loaded; implemented by `ExactSampler` and by inference engines.

    An implementation guarantees for the `Samples` it returns:

    1. Rows are in the order of `prompts`, one response per row, and every tensor is on the device of `draws`.
       With several processes each of them calls `sample` with the same prompts and draws, and gets all rows.
    2. `prompt_tokens` with `prompt_mask` are the tokens the model continued, padded on the left
       (`text.tokens.encode_prompts` makes both, and `pictures`). The padding's values do not matter.
    3. `tokens` are the response's, `response_length` columns, padded on the right. `mask` comes from the number of
       tokens, never from a padding id, which may also be the end token. It is True for the first n columns, n >= 1.
    4. Tokens are drawn from softmax(logits / `temperature`) over the whole vocabulary: no top-k, top-p, minimum
       length or banned tokens. Otherwise PPO's ratio is to another policy than the one that sampled.
    5. `logprobs` are log softmax(logits / `temperature`) of each drawn token, in float32 or finer, finite, and 0
       outside `mask`. An engine that rounds differently may return approximate ones: with `old_logprobs: recompute`
       they only measure the gap, `old_logprobs: sampler` trains on them.
    6. `stop_reasons` tells why the response ended: `end_token` (of the model, its tokenizer, or a turn of its chat
       template; it is the last token and counts), `stop_string` (its last token completed one of `stop_strings`), or
       `length`. A response whose end token is its last possible one has ended. With `end_token` False end tokens do
       not stop a response.
    7. `texts` are the responses without special tokens, decoded as continuations of their prompts
       (`text.tokens.decode_responses`), cut before a stop string.
    """

    def sample(self, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]) -> Samples:
        """Sample one response to each prompt.

        `draws` are uniform numbers in [0, 1), one per token that may be sampled. A response should depend on its own
        row alone, so that it is reproducible from the seed; an engine may seed its own generator from them. DataError:
        a prompt leaves no room for a response. NumericError: non-finite logits.
        """

    def load_weights(self, policy: PreTrainedModel) -> None:
        """Sample from `policy` from now on, with its current weights, adapters included.

        Called before every rollout and evaluation. `policy` may be another model than before (such as the frozen
        reference), and its weights are updated in place after the rollout.
        """


@runtime_checkable
class AsyncSampler(Sampler, Protocol):
    """A `Sampler` that can draw while its caller does something else."""

    def ask(self, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]) -> Callable[[], Samples]:
        """Have responses drawn by the weights last loaded, whatever is loaded later; returns what waits for them.

        They are as those of `sample`, and drawn in the order in which they were asked for. What goes wrong is raised by
        what waits. With several processes all of them ask, and wait, in the same order.
        """
        ...


def draw_uniforms(
    generator: torch.Generator, rows: int, length: int, device: torch.device | str
) -> Float[Tensor, "B T"]:
    """Draw uniform numbers in [0, 1) for `Sampler.sample`, one for each of `length` tokens in `rows` responses.

    Drawn on the generator's device, so that a seed gives the same numbers on every model device.
    """
    return torch.rand(rows, length, generator=generator, device=generator.device).to(device)
