"""Token-by-token decoding over a key-value cache."""

import contextlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from likelier.errors import ConfigError
from likelier.text.cache import keep_rows, make_cache, preallocated_layers, round_up_to_blocks
from likelier.text.fast_decode import fast_decoder
from likelier.text.frozen_weights import find_compute_dtype
from likelier.text.padding import compute_position_ids, unpadded_inputs
from likelier.text.pictures import PictureInputs, PromptPictures
from likelier.training.precision import full_precision
from likelier.training.setup import autocast

MAX_LOGIT_ERROR = 3e-3
"""Largest difference of a logit between decoding and a full pass, in standard deviations: fp32 stays far below it."""
FAILURES = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Raised by models that cannot be decoded so."""


@full_precision()
def check_decodable(model: PreTrainedModel, name: str | Path) -> None:
    """ConfigError: decoding token by token, with padding and dropped rows, gives other logits than a full pass.

    So it is with recurrent states in place of keys and values (Mamba, RWKV), with encoders (BERT), with caches of
    other kinds. PPO would then train on log-probabilities that are not those of the sampled tokens.
    """
    vocabulary = model.config.get_text_config().vocab_size
    tokens = (torch.arange(24, device=model.device) * 7 + 5).view(3, 8) % vocabulary
    mask = torch.arange(6, device=model.device) >= torch.tensor([[2], [0], [1]], device=model.device)
    rows = torch.tensor([0, 2], device=model.device)
    advice = (
        "it cannot be sampled from; give a Transformer decoder with a key-value cache, such as Llama, Qwen or GPT-2"
    )
    try:
        with torch.no_grad():
            decoder = CachedDecoder(model, mask, 2, bf16=False)
            decoder.prefill(tokens[:, :6])
            decoder.step(tokens[:, 6])
            decoder.keep_rows(rows)
            decoded = decoder.step(tokens[rows, 7])
            full = [model(**unpadded_inputs(tokens[row, skip:][None])).logits[0, -1] for row, skip in ((0, 2), (2, 1))]
    except FAILURES as error:
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} ({describe_failure(error)})") from error
    expected = torch.stack(full)
    gap = measure_gap(decoded, expected)
    if gap > MAX_LOGIT_ERROR:  # not where it is NaN: sampling says that the weights are damaged
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} (logits off by {gap:.2g} of their spread)")


def describe_failure(error: BaseException) -> str:
    """Return an exception of a model as one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def measure_gap(decoded: Float[Tensor, "B V"], expected: Float[Tensor, "B V"]) -> float:
    """Largest difference of a logit, in standard deviations, but for the tokens that are left out of both."""
    said = ~expected.isneginf()
    return float((decoded - expected)[said].abs().max() / expected[said].std())


@full_precision()
def check_decodable_with_pictures(
    model: PreTrainedModel, name: str | Path, tokens: Int[Tensor, "1 P"], pictures: PictureInputs
) -> None:
    """ConfigError: decoding behind the tokens of a prompt with pictures gives other logits than a full pass.

    Models place what stands behind a picture in ways of their own. The row beside it is shorter and a text alone.
    """
    texts = torch.arange(5, 8, device=model.device) % model.config.get_text_config().vocab_size
    batch, mask = torch.zeros_like(tokens).repeat(2, 1), torch.ones_like(tokens, dtype=torch.bool).repeat(2, 1)
    batch[0], batch[1, -3:] = tokens[0], texts
    mask[1, :-3] = False
    both = PictureInputs([*pictures.rows, PromptPictures()], pictures.token, pictures.type_names)
    advice = "cannot be sampled behind pictures; give another vision-language model, such as LLaVA or SmolVLM"
    try:
        with torch.no_grad():
            decoder = CachedDecoder(model, mask, 2, bf16=False)
            decoder.prefill(batch, both)
            decoded = decoder.step(texts[:2])
            joined = torch.cat([tokens, texts[None, :1]], 1)
            full = model(**unpadded_inputs(joined), **pictures.join(joined)).logits[:, -1]
    except FAILURES as error:
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} ({describe_failure(error)})") from error
    gap = measure_gap(decoded[:1], full)
    if gap > MAX_LOGIT_ERROR:
        raise ConfigError(f"{name}: {model.config.model_type}: {advice} (logits off by {gap:.2g} of their spread)")


def find_positions(
    model: PreTrainedModel, tokens: Int[Tensor, "B P"], mask: Bool[Tensor, "B P"], inputs: Mapping[str, Tensor]
) -> Int[Tensor, "3 B P"] | None:
    """Positions of models that count a picture's by time, height and width (Qwen2-VL and later); None for all others.

    Behind a picture they go on from the largest, not from the number of tokens.
    """
    trunk: Any = model.base_model
    find = getattr(trunk, "get_rope_index", None)
    if find is None:
        return None
    names = inspect.signature(find).parameters
    known = {name: tensor for name, tensor in inputs.items() if name in names}
    positions: Tensor = find(tokens, attention_mask=mask.long(), **known)[0]
    return positions


class CachedDecoder:
    """Decodes a batch: runs the prompts, then a token a row over the cache; finished rows can be dropped."""

    def __init__(self, model: PreTrainedModel, mask: Bool[Tensor, "B P"], max_new_tokens: int, bf16: bool) -> None:
        self.model, self.filled, self.bf16 = model, mask.shape[1], bf16
        dtype = torch.bfloat16 if bf16 else find_compute_dtype(model)
        self.fast_decoder = fast_decoder(model, dtype) if max_new_tokens > 1 else None
        self.cache, keeps_all = make_cache(model, dtype, keep_all=self.fast_decoder is not None)
        self.padded = not bool(mask.all())
        self.lengths = mask.sum(1)
        """Real tokens of each row: the position of its next one."""
        room = round_up_to_blocks(self.filled + max_new_tokens) - self.filled
        self.mask = torch.nn.functional.pad(mask, (0, room), value=False)
        """True where the cache holds a real token."""
        # Scaled dot-product attention over a whole cache takes a 4-d mask as it is; others have it made for them.
        self.takes_4d_mask = keeps_all and model.config._attn_implementation == "sdpa"
        arguments = inspect.signature(model.forward).parameters
        self.takes_positions, self.takes_logits_to_keep = "position_ids" in arguments, "logits_to_keep" in arguments

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast around all steps, so that weights are cast once; `FastDecoder` casts its own."""
        return autocast(self.model.device, self.bf16 and self.fast_decoder is None)

    def prefill(self, tokens: Int[Tensor, "B P"], pictures: PictureInputs | None = None) -> Float[Tensor, "B V"]:
        """Logits behind the prompts."""
        mask = self.mask[:, : self.filled]
        inputs = pictures.join(tokens) if pictures else {}
        positions = compute_position_ids(mask)
        if inputs and (by_picture := find_positions(self.model, tokens, mask, inputs)) is not None:
            positions, self.lengths = by_picture, by_picture.amax((0, 2)) + 1
        return self.forward(tokens, mask.long() if self.padded else None, positions, inputs)

    def step(self, token: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Logits behind one more token of each row."""
        self.mask[:, self.filled].fill_(True)  # `= True` would make a tensor on the CPU for each token
        self.filled += 1
        positions, self.lengths = self.lengths, self.lengths + 1
        if self.fast_decoder:
            layers, mask = preallocated_layers(self.cache), self.mask[:, : round_up_to_blocks(self.filled)]
            return self.fast_decoder.step(token, positions, layers, mask)
        attention_mask = None
        if self.padded:
            mask = self.mask[:, : self.filled]
            attention_mask = mask[:, None, None] if self.takes_4d_mask else mask.long()
        return self.forward(token[:, None], attention_mask, positions[:, None])

    def forward(
        self, tokens: Tensor, mask: Tensor | None, positions: Tensor, inputs: Mapping[str, Tensor] = {}
    ) -> Float[Tensor, "B V"]:
        """Logits at the last position, by the model's own forward; `inputs` are those of pictures."""
        options: dict[str, Tensor | int] = {"position_ids": positions} if self.takes_positions else {}
        options |= inputs
        if self.takes_logits_to_keep:
            options["logits_to_keep"] = 1
        with autocast(self.model.device, self.bf16):
            output = self.model(
                input_ids=tokens, attention_mask=mask, past_key_values=self.cache, use_cache=True, **options
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep_rows(self, rows: Int[Tensor, " K"]) -> None:
        """Keep these rows, one that is named several times as often, and drop all others."""
        keep_rows(self.cache, rows)
        self.mask, self.lengths = self.mask[rows], self.lengths[rows]
