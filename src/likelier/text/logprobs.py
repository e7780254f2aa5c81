"""Log-probabilities and entropy of given responses, without materialising the logits of all tokens at once."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from likelier.config import PPOConfig
from likelier.distributed import SHARDED, gather_parts, run_in_forward, split_shard
from likelier.text.models import upcast, vocabulary_size
from likelier.text.padding import to_right_padding, unpadded_inputs
from likelier.text.pictures import PictureInputs
from likelier.text.sampler import Samples
from likelier.training.setup import autocast

MAX_LOGITS = 1 << 25
"""Logits in memory at once: 128 MiB in float32, a few times over."""
BLOCK = 1 << 22
"""Logits that are made exponentials at once."""


def compute_response_logprobs(
    model: PreTrainedModel,
    prompt_tokens: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    tokens: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    temperature: float,
    bf16: bool = False,
    pictures: PictureInputs | None = None,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Log-probability of each response token and entropy of its distribution, in nats; 0 outside `mask`.

    Logits are divided by `temperature`; results are float32 and differentiable.
    """
    texts, separable = PromptedResponses(prompt_tokens, prompt_mask, tokens, mask, pictures), is_head_separable(model)
    # Layers that are gathered in bfloat16 can be run in nothing else.
    with autocast(model.device, bf16 or SHARDED.get(model, False)):
        logprobs, entropy, _ = run_in_forward(model, read_responses, model, texts, temperature, separable, separable)
        return texts.scatter(logprobs), texts.scatter(entropy)


def read_responses(
    model: PreTrainedModel, texts: "PromptedResponses", temperature: float, separable: bool, keeps_states: bool
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, "N D"] | None]:
    """Log-probability and entropy at each response token; with `keeps_states`, the hidden states before them too.

    `separable`: see `is_head_separable`, which must not be called within autocast.
    """
    hidden = texts.compute_hidden_states(model.base_model) if keeps_states else None
    logprobs, entropy = compute_statistics_in_chunks(model, texts, hidden if separable else None, temperature)
    return logprobs, entropy, hidden


@torch.no_grad()
def compute_sample_logprobs(model: PreTrainedModel, samples: Samples, config: PPOConfig) -> Float[Tensor, "B T"]:
    """Log-probabilities of sampled tokens under a model, such as the frozen reference, in micro-batches.

    With several processes each computes a shard of the rows; all return all rows.
    """
    parts = split_shard(len(samples.tokens), config.micro_batch_size or config.batch_size // config.num_mini_batches)
    found = [
        compute_response_logprobs(
            model,
            samples.prompt_tokens[rows],
            samples.prompt_mask[rows],
            samples.tokens[rows],
            samples.mask[rows],
            config.temperature,
            bf16=bool(config.bf16),
            pictures=samples.pictures and samples.pictures[rows],
        )[0]
        for rows in (torch.tensor(part.rows) for part in parts)
    ]
    return gather_parts(found, parts, len(samples.tokens))


class PromptedResponses:
    """Prompts and responses as one right-padded tensor, as wide as the longest, with the pictures of the prompts.

    With padding only on the right, a causal model needs neither attention mask nor position ids.
    """

    def __init__(
        self,
        prompt_tokens: Tensor,
        prompt_mask: Tensor,
        tokens: Tensor,
        mask: Tensor,
        pictures: PictureInputs | None = None,
    ) -> None:
        self.response_mask = mask
        self.response_tokens: Int[Tensor, " N"] = tokens[mask]
        """Row by row, without padding."""
        joined, known = to_right_padding(torch.cat([prompt_tokens, tokens], 1), torch.cat([prompt_mask, mask], 1))
        width = int(known.any(0).sum())
        self.tokens = joined[:, :width]
        first, length = prompt_mask.sum(1, keepdim=True) - 1, mask.sum(1, keepdim=True)
        column = torch.arange(width, device=mask.device)
        self.predicts = (column >= first) & (column < first + length)
        """True at the position whose logits predict a response token: one before it."""
        self.inputs = unpadded_inputs(self.tokens) | (pictures.join(self.tokens) if pictures else {})

    def compute_hidden_states(self, trunk: nn.Module) -> Float[Tensor, "N D"]:
        """Last hidden state before each response token, from which it is predicted."""
        states: Tensor = trunk(**self.inputs).last_hidden_state
        return states[self.predicts]

    def compute_logits(self, model: PreTrainedModel) -> Float[Tensor, "N V"]:
        """Logits by the model's own forward, all at once."""
        logits: Tensor = model(**self.inputs).logits
        return logits[self.predicts]

    def scatter(self, values: Float[Tensor, " N"]) -> Float[Tensor, "B T"]:
        """Put values of response tokens into their places of a `[B, T]` tensor, 0 elsewhere."""
        return values.new_zeros(self.response_mask.shape).masked_scatter(self.response_mask, values)


def compute_statistics_in_chunks(
    model: PreTrainedModel, texts: PromptedResponses, hidden: Float[Tensor, "N D"] | None, temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability and entropy at each response token.

    The output layer runs on one chunk of tokens at a time, and again in the backward pass, so that only one chunk's
    logits are in memory. If everything fits into one chunk, nothing is recomputed. `hidden` is None if the output layer
    cannot be run separately (see `is_head_separable`).
    """
    if hidden is None:
        return compute_token_statistics(texts.compute_logits(model), texts.response_tokens, temperature)

    def compute_chunk(states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return compute_token_statistics(apply_lm_head(model, states), tokens, temperature)

    logprobs, entropy = zip(*run_in_chunks(compute_chunk, model, hidden, texts.response_tokens), strict=True)
    return torch.cat(logprobs), torch.cat(entropy)


def run_in_chunks(
    compute: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    model: PreTrainedModel,
    hidden: Float[Tensor, "N D"],
    tokens: Int[Tensor, " N"],
) -> list[tuple[Tensor, Tensor]]:
    """Apply a function of hidden states and the tokens they predict to as many of them at once as `MAX_LOGITS` allows.

    It runs again in the backward pass, unless everything fits into one chunk.
    """
    size = max(1, MAX_LOGITS // vocabulary_size(model))
    if len(hidden) <= size:
        return [compute(hidden, tokens)]
    chunks = zip(hidden.split(size), tokens.split(size), strict=True)
    return [checkpoint(compute, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]


def exceeds_chunk(model: PreTrainedModel, num_tokens: int) -> bool:
    """True if the logits of so many tokens are more than are held in memory at once, and can be computed in parts."""
    return num_tokens * vocabulary_size(model) > MAX_LOGITS and is_head_separable(model)


def sum_losses_in_chunks(
    model: PreTrainedModel, hidden: Float[Tensor, "N D"], tokens: Int[Tensor, " N"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the sum of -log p of tokens, and how many are the likeliest, from the hidden states before them."""

    def compute_chunk(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = apply_lm_head(model, states)
        right = (logits.detach().argmax(1) == targets).sum().float()
        return -compute_token_statistics(logits, targets, 1.0)[0].sum(), right

    losses, right = zip(*run_in_chunks(compute_chunk, model, hidden, tokens), strict=True)
    return torch.stack(losses).sum(), torch.stack(right).sum()


def compute_token_statistics(
    logits: Float[Tensor, "N V"], tokens: Int[Tensor, " N"], temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability of `tokens`, and entropy, from logits divided by `temperature`."""
    scaled = upcast(logits)
    if temperature != 1.0:
        scaled = scaled / temperature
    logprobs, entropy = TokenStatistics.apply(scaled, tokens[:, None])  # type: ignore[no-untyped-call]
    return logprobs, entropy


class TokenStatistics(torch.autograd.Function):
    """Log-probability of tokens, and entropy, with one exponential and one saved `[N, V]` tensor; autograd needs four.

    With p = softmax(z): log p_a and H = -sum p log p have the gradients onehot_a - p and -p (log p + H).
    A token of probability 0 contributes nothing to H or its gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities `[N]` of `tokens` `[N, 1]` and entropies `[N]` of `logits` `[N, V]`."""
        top = logits.amax(1, keepdim=True)  # subtracted: exp of a logit of 100 overflows float32
        weights, dots = torch.empty_like(logits), torch.empty_like(logits[:, 0])
        parts = (each.split(max(1, BLOCK // logits.shape[1])) for each in (logits, top, weights, dots))
        for part, highest, exponentials, dot in zip(*parts, strict=True):  # in blocks: a whole tensor less in memory
            shifted = (part - highest).clamp_(min=torch.finfo(logits.dtype).min)  # -inf * 0 would be NaN in the entropy
            torch.exp(shifted, out=exponentials)
            torch.linalg.vecdot(exponentials, shifted, out=dot)
        total = weights.sum(1)
        entropy = total.log() - dots / total
        ctx.save_for_backward(weights, total, entropy, tokens)
        ctx.set_materialize_grads(False)
        return (logits.gather(1, tokens) - top)[:, 0] - total.log(), entropy

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, None]:
        """Gradient `[N, V]` of the logits, in one pass over the probabilities saved by `forward`."""
        weights, total, entropy, tokens = ctx.saved_tensors
        d_logprob, d_entropy = upstream
        d_logprob = torch.zeros_like(total) if d_logprob is None else d_logprob
        factor = (-d_logprob / total)[:, None]  # p = weights / total
        if d_entropy is not None:
            logprobs = weights.clamp(min=torch.finfo(weights.dtype).tiny).log_() - total.log()[:, None]
            factor = factor - (d_entropy / total)[:, None] * (logprobs + entropy[:, None])
        return (weights * factor).scatter_add_(1, tokens, d_logprob[:, None]), None


def apply_lm_head(model: PreTrainedModel, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N V"]:
    """Apply the output layer and its family's scaling: Gemma caps, Cohere multiplies, Granite divides logits."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    config = model.config.get_text_config().to_dict()
    if bound := config.get("final_logit_softcapping"):
        logits = bound * torch.tanh(logits / bound)
    # Not by 1: that would copy all of them.
    if (scale := config.get("logit_scale")) not in (None, 0, 1):
        logits = logits * scale
    if (divisor := config.get("logits_scaling")) not in (None, 0, 1):
        logits = logits / divisor
    return logits


SEPARABLE: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
"""Result of `is_head_separable` for each model."""


@torch.no_grad()
def is_head_separable(model: PreTrainedModel) -> bool:
    """True if trunk plus output layer reproduce the model's logits; tested once per model on three tokens.

    Never call it inside autocast, which would cache weights cast without gradients for later passes.
    """
    if model not in SEPARABLE:
        tokens = torch.arange(3, device=model.device)[None]
        own = model(input_ids=tokens).logits
        separate = apply_lm_head(model, model.base_model(input_ids=tokens).last_hidden_state)
        SEPARABLE[model] = own.shape == separate.shape and torch.allclose(own, separate, rtol=1e-3, atol=1e-3)
    return SEPARABLE[model]
