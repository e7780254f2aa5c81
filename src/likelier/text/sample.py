"""The rollout engine: batched decoding with a cache, which also returns log-probabilities and the stop reason.

Each token is drawn by inverting the cumulative distribution at one uniform number of its own, drawn before decoding
begins. So a response depends on its own numbers only: not on the batch it is in, nor on when other rows are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import PPOConfig
from likelier.distributed import all_gather_rows, shard
from likelier.errors import ConfigError, NumericError
from likelier.records import Text
from likelier.text.models import context_length, load_causal_lm, precise
from likelier.text.step import Stepper, check_steps
from likelier.text.tokens import Prompts, decode_responses, encode_prompts, pad_id

STEPS_BETWEEN_DROPS = 4
SHARE_TO_DROP = 0.1


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled: from the model's own distribution at a temperature, without truncation."""

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


@dataclass(frozen=True)
class Samples:
    """Responses to prompts, in the order of the prompts. True in a mask is a real token."""

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


class Drawn(NamedTuple):
    """What decoding a batch gave; `lengths` counts the tokens of each response."""

    tokens: Int[Tensor, "B T"]
    logprobs: Float[Tensor, "B T"]
    lengths: Int[Tensor, " B"]


def load_policy(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """A language model that `sample` can decode. DataError: see `load_causal_lm`. ConfigError: see `check_steps`."""
    model = load_causal_lm(path, device)
    check_steps(model, path)
    return model


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Text],
    sampling: Sampling,
    generator: torch.Generator,
    batch_size: int | None = None,
) -> Samples:
    """One response to each prompt, `batch_size` at a time; prompts of like length go together.

    Several processes decode a part each; all return the whole.
    DataError: a prompt that leaves no room for a response. NumericError: logits that are not finite.
    """
    room = context_length(model) - sampling.response_length
    if room < 1:
        raise ConfigError(f"response_length: {sampling.response_length} leaves no room in the model's context")
    encoded = encode_prompts(tokenizer, prompts, room)
    draws = torch.rand(len(prompts), sampling.response_length, generator=generator, device=generator.device)
    draws = draws.to(model.device)
    whole = Prompts(*(part.to(model.device) for part in encoded))
    sizes = encoded.mask.sum(1)
    order = sizes.argsort(stable=True)
    parts = []
    mine = order[shard(len(order))]
    for rows in mine.split(batch_size or max(1, len(mine))):
        width = int(sizes[rows].max())
        batch = Prompts(whole.tokens[rows, -width:], whole.mask[rows, -width:])
        endings = Endings(model, tokenizer, sampling, batch)
        parts.append(decode(model, batch, draws[rows], sampling, endings))
    back = order.argsort().to(model.device)
    drawn = Drawn(*(all_gather_rows(torch.cat(part), len(order))[back] for part in zip(*parts, strict=True)))
    return finish(list(prompts), whole, drawn, tokenizer, Endings(model, tokenizer, sampling, whole))


def decode(
    model: PreTrainedModel, prompts: Prompts, draws: Float[Tensor, "B T"], sampling: Sampling, endings: "Endings"
) -> Drawn:
    """Decode one batch to the end of its last response; finished rows are dropped from the cache, several at a time."""
    num_rows, length = draws.shape
    tokens = torch.zeros(num_rows, length, dtype=torch.long, device=draws.device)
    logprobs = torch.zeros(num_rows, length, device=draws.device, dtype=torch.promote_types(model.dtype, torch.float32))
    lengths = torch.full((num_rows,), length, device=draws.device)
    rows = torch.arange(num_rows, device=draws.device)
    finished = torch.zeros(num_rows, dtype=torch.bool, device=draws.device)
    stepper = Stepper(model, prompts.mask, length, sampling.bf16)
    with stepper.precision():
        logits = stepper.start(prompts.tokens)
        for step in range(length):
            token, logprob = draw(logits, sampling.temperature, draws[rows, step])
            tokens[rows, step], logprobs[rows, step] = token, logprob
            ended = endings.reached(token, tokens, rows, step) & ~finished
            lengths[rows] = torch.where(ended, step + 1, lengths[rows])
            finished |= ended
            if step + 1 == length:
                break
            if step % STEPS_BETWEEN_DROPS == 0 and (share := finished.float().mean().item()) > SHARE_TO_DROP:
                if share == 1.0:
                    break
                kept = (~finished).nonzero()[:, 0]
                rows, finished, token = rows[kept], finished[kept], token[kept]
                stepper.keep(kept)
            logits = stepper.next(token)
    return Drawn(tokens, logprobs, lengths)


def draw(
    logits: Float[Tensor, "B V"], temperature: float, uniform: Float[Tensor, " B"]
) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
    """A token for each row by inverting the cumulative distribution at `uniform` in [0, 1), and its log-probability.

    The target lies in (0, total], and the first place that reaches it has a probability above 0.
    """
    scaled = precise(logits)
    if temperature != 1.0:
        scaled = scaled / temperature
    top = scaled.amax(1, keepdim=True)
    cumulative = (scaled - top).exp_().cumsum_(1)
    total = cumulative[:, -1:]
    token = torch.searchsorted(cumulative, (1.0 - uniform[:, None]) * total).clamp_(max=logits.shape[1] - 1)
    return token[:, 0], (scaled.gather(1, token) - top - total.log())[:, 0]


class Endings:
    """Where responses end: at an end token of the model or its tokenizer, or with a stop string."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling, prompts: Prompts
    ) -> None:
        found = model.generation_config.eos_token_id if model.generation_config else None
        named = [found] if isinstance(found, int) else list(found or [])
        ids = sorted({*named, tokenizer.eos_token_id} - {None}) if sampling.end_token else []
        self.ids = torch.tensor(ids, dtype=torch.long, device=prompts.tokens.device)
        self.tokenizer, self.strings, self.prompts = tokenizer, sampling.stop_strings, prompts
        self.last_letters = {string[-1] for string in self.strings} | {"\ufffd"}
        self.closing: dict[int, bool] = {}

    def reached(
        self, token: Int[Tensor, " K"], tokens: Int[Tensor, "B T"], rows: Int[Tensor, " K"], step: int
    ) -> Bool[Tensor, " K"]:
        """Whether the responses in `rows` of the batch end with the `token` that was drawn for them at `step`."""
        ended = torch.isin(token, self.ids)
        if self.strings:
            ended |= torch.tensor(self.completed(tokens[rows, : step + 1], rows), device=token.device)
        return ended

    def completed(self, tokens: Int[Tensor, "B N"], rows: Int[Tensor, " B"]) -> list[bool]:
        """Whether each response holds a stop string; looks only where the last token may have completed one."""
        may = [self.may_close(last) for last in tokens[:, -1].tolist()]
        asked = [at for at, possible in enumerate(may) if possible]
        texts = self.texts(tokens[asked], rows[asked])
        found = {at: self.cut(text) < len(text) for at, text in zip(asked, texts, strict=True)}
        return [found.get(at, False) for at in range(len(may))]

    def may_close(self, token: int) -> bool:
        """Whether a token holds the last letter of a stop string, or part of a letter."""
        if token not in self.closing:  # doubled, because a leading blank is lost at the beginning of a text
            text = self.tokenizer.decode([token, token], skip_special_tokens=True)
            self.closing[token] = any(letter in text for letter in self.last_letters)
        return self.closing[token]

    def texts(
        self, tokens: Int[Tensor, "B N"], rows: Int[Tensor, " B"], lengths: Int[Tensor, " B"] | None = None
    ) -> list[str]:
        """Text of each response, stop strings included."""
        sizes = [tokens.shape[1]] * len(tokens) if lengths is None else lengths.tolist()
        masks = self.prompts.mask[rows].tolist()
        prompts = [
            [token for token, real in zip(row, mask, strict=True) if real]
            for row, mask in zip(self.prompts.tokens[rows].tolist(), masks, strict=True)
        ]
        return decode_responses(
            self.tokenizer, prompts, [row[:size] for row, size in zip(tokens.tolist(), sizes, strict=True)]
        )

    def cut(self, text: str) -> int:
        """Where the first stop string begins; the length of the text where there is none."""
        return min((at for string in self.strings if (at := text.find(string)) >= 0), default=len(text))


def finish(
    prompts: list[Text], encoded: Prompts, drawn: Drawn, tokenizer: PreTrainedTokenizerBase, endings: Endings
) -> Samples:
    """Masks from lengths, texts, and why each response ended. NumericError: a log-probability that is not finite."""
    steps = torch.arange(drawn.tokens.shape[1], device=drawn.tokens.device)
    mask = steps < drawn.lengths[:, None]
    if not bool(torch.isfinite(drawn.logprobs[mask]).all()):
        raise NumericError("sampling met logits that are not finite: the model's weights are damaged")
    rows = torch.arange(len(mask), device=mask.device)
    texts = endings.texts(drawn.tokens, rows, drawn.lengths)
    last = drawn.tokens.gather(1, drawn.lengths[:, None] - 1)[:, 0]
    at_end = torch.isin(last, endings.ids).tolist()
    cuts = [endings.cut(text) for text in texts]
    reasons = [
        "end_token" if ended else "stop_string" if cut < len(text) else "length"
        for ended, cut, text in zip(at_end, cuts, texts, strict=True)
    ]
    return Samples(
        prompts=prompts,
        prompt_tokens=encoded.tokens,
        prompt_mask=encoded.mask,
        tokens=drawn.tokens.masked_fill(~mask, pad_id(tokenizer)),
        mask=mask,
        logprobs=drawn.logprobs.masked_fill(~mask, 0.0),
        stop_reasons=reasons,
        texts=[text[:cut] for text, cut in zip(texts, cuts, strict=True)],
    )


def sampling_of(config: PPOConfig) -> Sampling:
    return Sampling(
        response_length=config.response_length,
        temperature=config.temperature,
        stop_strings=tuple(config.stop_strings),
        end_token=config.stop_token == "eos",
        bf16=config.bf16,
    )
