"""Our own sampler: batched decoding over a key-value cache, by the very model that is trained.

Each token is drawn by inverting the cumulative distribution at one uniform number of its own, drawn before decoding
begins. So a response depends on its own numbers only: not on the batch it is in, nor on when other rows are dropped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import ModelDtype, SamplingConfig
from likelier.distributed import all_gather_rows, shard
from likelier.errors import ConfigError, NumericError
from likelier.records import Text
from likelier.text.cached_decode import CachedDecoder, check_decodable
from likelier.text.models import context_length, upcast, vocabulary_size
from likelier.text.padding import PAD
from likelier.text.policy_start import load_language_model
from likelier.text.sampler import Samples, Sampling
from likelier.text.sharding import gather_weights
from likelier.text.stops import StopCriteria
from likelier.text.tokens import Prompts, check_in_vocabulary, encode_prompts
from likelier.text.tools import ToolCalls, Tools

STEPS_BETWEEN_DROPS = 4
"""Finished rows are looked for once in so many tokens: the look waits for the device."""
SHARE_TO_DROP = 0.1
"""Least share of finished rows for which copying the others to a smaller cache pays."""
TOKENS_A_STEP = {"cpu": 64}
TOKENS_A_STEP_ELSEWHERE = 1024
"""Tokens of prompts that cost about as much as a decoding step of a small batch, by device: an accelerator computes
thousands of tokens in the time that it takes to launch one step."""


class Decoded(NamedTuple):
    """Responses to one batch; `lengths` counts the tokens of each, `inserted` is True at those that a tool wrote."""

    tokens: Int[Tensor, "B T"]
    logprobs: Float[Tensor, "B T"]
    lengths: Int[Tensor, " B"]
    inserted: Bool[Tensor, "B T"]

    @classmethod
    def from_samples(cls, samples: Samples) -> "Decoded":
        """Return what `restore_samples` makes the same samples of."""
        inserted = torch.zeros_like(samples.mask) if samples.inserted is None else samples.inserted
        return cls(samples.tokens, samples.logprobs, samples.mask.sum(1), inserted)


class ExactSampler:
    """A `Sampler` over the weights of the policy itself: its log-probabilities are the trainer's but for rounding."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: int | None = None,
        tools: Tools | None = None,
    ) -> None:
        """`rows`: responses decoded at once by each process; None: all of them. `tools`: what the model may call."""
        self.model, self.tokenizer, self.rows, self.tools = model, tokenizer, rows, tools

    def load_weights(self, policy: PreTrainedModel) -> None:
        """Decode `policy` itself: nothing is copied, so that a training step is seen without another call."""
        self.model = policy

    @torch.no_grad()
    def sample(self, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]) -> Samples:
        """See `Sampler`. Prompts of like length are decoded together; several processes decode a part each.

        A sharded model is decoded by a whole copy, which each process holds meanwhile, see `gather_weights`.
        """
        with gather_weights(self.model) as model:
            return self.sample_from(model, prompts, sampling, draws)

    def sample_from(
        self, model: PreTrainedModel, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]
    ) -> Samples:
        """Sample from a model that is in memory."""
        tokenizer = self.tokenizer
        room = context_length(model) - sampling.response_length
        if room < 1:
            raise ConfigError(f"response_length: {sampling.response_length} leaves no room in the model's context")
        encoded = encode_prompts(tokenizer, prompts, room)
        check_in_vocabulary(tokenizer, encoded.tokens.tolist(), vocabulary_size(model), model.name_or_path)
        on_device = encoded.to(draws.device)
        prompt_lengths = encoded.mask.sum(1)
        order = prompt_lengths.argsort(stable=True)
        own = order[shard(len(order))]
        parts = []
        budget = sampling.response_length * TOKENS_A_STEP.get(draws.device.type, TOKENS_A_STEP_ELSEWHERE)
        for rows in split_by_padding(own, prompt_lengths, self.rows or max(1, len(own)), budget):
            width = int(prompt_lengths[rows].max())
            batch = on_device.narrow(rows, width)
            stops = StopCriteria(model, tokenizer, sampling, batch)
            calls = ToolCalls(self.tools, tokenizer, batch) if self.tools else None
            parts.append(decode(model, batch, draws[rows], sampling, stops, calls))
        inverse = order.argsort().to(draws.device)
        decoded = Decoded(*(all_gather_rows(torch.cat(part), len(order))[inverse] for part in zip(*parts, strict=True)))
        stops = StopCriteria(model, tokenizer, sampling, on_device)
        return make_samples(list(prompts), on_device, decoded, stops, bool(self.tools))


def load_tools(config: SamplingConfig) -> Tools | None:
    """The tools that a block of settings names; None without any. ConfigError: see `Tools`."""
    return Tools(config.tools) if config.tools else None


def load_policy(path: str | Path, device: torch.device | str = "cpu", dtype: ModelDtype = "float32") -> PreTrainedModel:
    """A language model that `ExactSampler` can decode, with weights in `dtype`, see `store_weights`.

    DataError: see `load_language_model`. ConfigError: see `check_decodable`.
    """
    model = load_language_model(path, device, dtype)
    check_decodable(model, path)
    return model


def split_by_padding(
    rows: Int[Tensor, " N"], lengths: Int[Tensor, " B"], max_rows: int, max_padding: int
) -> list[Int[Tensor, " K"]]:
    """Cut rows, sorted by their `lengths`, into batches of at most `max_rows` rows and `max_padding` tokens of padding.

    All rows of a batch are as wide as its longest, so that one long prompt would make short ones cost as much as it.
    """
    batches: list[list[int]] = []
    padding = 0
    for row in rows.tolist():
        if batches:
            padding += len(batches[-1]) * int(lengths[row] - lengths[batches[-1][-1]])
        if not batches or len(batches[-1]) == max_rows or padding > max_padding:
            batches.append([])
            padding = 0
        batches[-1].append(row)
    return [torch.tensor(batch) for batch in batches]


def decode(
    model: PreTrainedModel,
    prompts: Prompts,
    draws: Float[Tensor, "B T"],
    sampling: Sampling,
    stops: StopCriteria,
    calls: ToolCalls | None = None,
) -> Decoded:
    """Decode one batch to the end of its last response; finished rows are dropped from the cache, several at a time.

    A prompt that several rows answer is run once. A tool's answer is fed like tokens that were drawn, over the same
    cache: nothing is encoded twice, so that the trainer reads the very tokens that the model read.
    """
    num_rows, length = draws.shape
    tokens = torch.zeros(num_rows, length, dtype=torch.long, device=draws.device)
    logprobs = torch.zeros(num_rows, length, device=draws.device, dtype=torch.promote_types(model.dtype, torch.float32))
    lengths = torch.full((num_rows,), length, device=draws.device)
    inserted = torch.zeros_like(tokens, dtype=torch.bool)
    rows = torch.arange(num_rows, device=draws.device)
    finished = torch.zeros(num_rows, dtype=torch.bool, device=draws.device)
    first, place = find_distinct(prompts)
    decoder = CachedDecoder(model, prompts.mask[first], length, sampling.bf16)
    with decoder.precision():
        logits = decoder.prefill(prompts.tokens[first], prompts.pictures and prompts.pictures[first])
        if len(first) < num_rows:
            logits = logits[place]
            decoder.keep_rows(place)
        for step in range(length):
            token, logprob = draw_tokens(sampling.truncate(logits), sampling.temperature, draws[rows, step])
            if calls:
                inserted[rows, step] = written = calls.write_answers(token, rows)
                logprob = logprob.masked_fill(written, 0.0)
            tokens[rows, step], logprobs[rows, step] = token, logprob
            ended = stops.find_ended(token, tokens, rows, step) & ~finished
            lengths[rows] = lengths[rows].masked_fill(ended, step + 1)
            finished |= ended
            if step + 1 == length:
                break
            if calls:
                open_rows = ~(finished | written)
                calls.find_calls(token[open_rows], tokens, rows[open_rows], step)
            if step % STEPS_BETWEEN_DROPS == 0 and (share := finished.float().mean().item()) > SHARE_TO_DROP:
                if share == 1.0:
                    break
                kept = (~finished).nonzero()[:, 0]
                rows, finished, token = rows[kept], finished[kept], token[kept]
                decoder.keep_rows(kept)
            logits = decoder.step(token)
    return Decoded(tokens, logprobs, lengths, inserted)


def find_distinct(prompts: Prompts) -> tuple[Int[Tensor, " U"], Int[Tensor, " B"]]:
    """The first row of each distinct prompt, and for each row the place of its prompt among them."""
    places: dict[tuple[int | str, ...], int] = {}
    first: list[int] = []
    place = []
    real = [tokens[mask].tolist() for tokens, mask in zip(prompts.tokens.cpu(), prompts.mask.cpu(), strict=True)]
    for row, tokens in enumerate(real):
        names = prompts.pictures.rows[row].names if prompts.pictures else ()
        number = places.setdefault((*tokens, *names), len(places))
        place.append(number)
        if number == len(first):
            first.append(row)
    return torch.tensor(first, device=prompts.tokens.device), torch.tensor(place, device=prompts.tokens.device)


def draw_tokens(
    logits: Float[Tensor, "B V"], temperature: float, uniforms: Float[Tensor, " B"]
) -> tuple[Int[Tensor, " B"], Float[Tensor, " B"]]:
    """A token for each row by inverting the cumulative distribution at `uniforms` in [0, 1), and its log-probability.

    The target (1 - u) * total lies in (0, total], so that the first place whose cumulative sum reaches it has a
    probability above 0: with u * total a number of exactly 0 would draw an impossible first token.
    """
    scaled = upcast(logits)
    if temperature != 1.0:
        scaled = scaled / temperature
    top = scaled.amax(1, keepdim=True)
    cumulative = (scaled - top).exp_().cumsum_(1)
    total = cumulative[:, -1:]
    token = torch.searchsorted(cumulative, (1.0 - uniforms[:, None]) * total).clamp_(max=logits.shape[1] - 1)
    return token[:, 0], (scaled.gather(1, token) - top - total.log())[:, 0]


def restore_samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Text],
    sampling: Sampling,
    decoded: Decoded,
    has_tools: bool,
) -> Samples:
    """The samples of which `decoded` is left: drawn in another process, or before."""
    encoded = encode_prompts(tokenizer, prompts, context_length(model) - sampling.response_length)
    encoded = encoded.to(decoded.tokens.device)
    stops = StopCriteria(model, tokenizer, sampling, encoded)
    return make_samples(list(prompts), encoded, decoded, stops, has_tools)


def make_samples(
    prompts: list[Text], encoded: Prompts, decoded: Decoded, stops: StopCriteria, has_tools: bool = False
) -> Samples:
    """Masks from lengths, texts, and why each response ended. NumericError: a log-probability that is not finite."""
    steps = torch.arange(decoded.tokens.shape[1], device=decoded.tokens.device)
    mask = steps < decoded.lengths[:, None]
    if not bool(torch.isfinite(decoded.logprobs[mask]).all()):
        raise NumericError("sampling met logits that are not finite: the model's weights are damaged")
    rows = torch.arange(len(mask), device=mask.device)
    texts = stops.decode(decoded.tokens, rows, decoded.lengths)
    last = decoded.tokens.gather(1, decoded.lengths[:, None] - 1)[:, 0]
    at_end = torch.isin(last, stops.end_ids).tolist()
    cuts = [stops.cut_position(text) for text in texts]
    reasons = [
        "end_token" if ended else "stop_string" if cut < len(text) else "length"
        for ended, cut, text in zip(at_end, cuts, texts, strict=True)
    ]
    return Samples(
        prompts=prompts,
        prompt_tokens=encoded.tokens,
        prompt_mask=encoded.mask,
        tokens=decoded.tokens.masked_fill(~mask, PAD),
        mask=mask,
        logprobs=decoded.logprobs.masked_fill(~mask, 0.0),
        stop_reasons=reasons,
        texts=[text[:cut] for text, cut in zip(texts, cuts, strict=True)],
        inserted=decoded.inserted & mask if has_tools else None,
        pictures=encoded.pictures,
    )
