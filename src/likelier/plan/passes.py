"""Passes of models over batches of a given size, without data: what each needs in memory, and its work."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from likelier.config import RewardModelConfig, SFTConfig
from likelier.plan.trace import Trace, Tracer, list_weights, without_data
from likelier.text.cache import make_cache
from likelier.text.checkpoint_layers import checkpoint_layers
from likelier.text.frozen_weights import find_compute_dtype
from likelier.text.logprobs import PromptedResponses, compute_statistics_in_chunks, is_head_separable
from likelier.text.models import vocabulary_size
from likelier.text.padding import unpadded_inputs
from likelier.text.policy import TextPolicy
from likelier.training.setup import autocast


class FullRows(PromptedResponses):
    """Prompts and responses that are all of the same length, so that no data say where a response begins."""

    def __init__(self, rows: int, prompt_tokens: int, response_tokens: int) -> None:
        self.rows, self.first, self.last = rows, prompt_tokens - 1, prompt_tokens - 1 + response_tokens
        self.tokens = torch.zeros(rows, prompt_tokens + response_tokens, dtype=torch.long)
        self.inputs = unpadded_inputs(self.tokens)
        self.response_tokens = torch.zeros(rows * response_tokens, dtype=torch.long)

    def compute_hidden_states(self, trunk: nn.Module) -> Tensor:
        """Hidden states before each response token."""
        states: Tensor = trunk(**self.inputs).last_hidden_state
        return states[:, self.first : self.last].flatten(0, 1)

    def compute_logits(self, model: PreTrainedModel) -> Tensor:
        """Logits before each response token."""
        logits: Tensor = model(**self.inputs).logits
        return logits[:, self.first : self.last].flatten(0, 1)

    def scatter(self, values: Tensor) -> Tensor:
        """Rows of responses."""
        return values.view(self.rows, -1)


@contextmanager
def tracing(vocabulary: int, *modules: nn.Module | None) -> Iterator[Tracer]:
    """Count what is computed with models in memory."""
    tracer = Tracer(list_weights(*modules), vocabulary)
    with without_data(), tracer:
        yield tracer


def trace_update(
    policy: TextPolicy, rows: int, prompt_tokens: int, response_tokens: int, entropy: bool, accumulates: bool
) -> Trace:
    """Trace forward and backward pass of a micro-batch of PPO. `accumulates`: gradients are there from one before."""
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    with tracing(vocabulary_size(policy.model), policy) as tracer:
        hooks = tracer.follow_gradients(trained)
        texts = FullRows(rows, prompt_tokens, response_tokens)
        for _ in range(1 + accumulates):
            tracer.restart()
            alone, _ = policy.split_critic() or (policy, None)
            outputs = alone.evaluate_texts(texts)
            parts = [outputs.logprobs, outputs.values, outputs.entropy if entropy else None]
            loss = torch.stack([part.sum() for part in parts if part is not None]).sum()
            del outputs, parts
            loss.backward()
            del loss
            if alone is not policy:  # one graph after the other, as the update does
                policy.evaluate_critic_texts(texts).sum().backward()
        result = tracer.finish()
        release_gradients(hooks, trained)
    return result


def release_gradients(hooks: Sequence[Any], trained: Sequence[nn.Parameter]) -> None:
    """Remove hooks, and the gradients that a trace has left."""
    for hook in hooks:
        hook.remove()
    for weight in trained:
        weight.grad = None


def trace_language_model(
    model: PreTrainedModel, rows: int, tokens: int, settings: SFTConfig, accumulates: bool
) -> Trace:
    """Trace forward and backward pass of SFT, whose logits are there all at once."""

    def compute_loss(inputs: Tensor) -> Tensor:
        with autocast(inputs.device, settings.bf16), checkpoint_layers(settings.gradient_checkpointing, model):
            logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs), use_cache=False).logits
        predicted = logits[:, :-1].flatten(0, 1).float()
        loss = torch.nn.functional.cross_entropy(predicted, inputs[:, 1:].flatten(), reduction="sum")
        predicted.argmax(1)
        return loss

    return trace_loss(model, compute_loss, rows, tokens, accumulates, vocabulary_size(model))


def trace_classifier(
    model: PreTrainedModel, rows: int, tokens: int, settings: RewardModelConfig, accumulates: bool
) -> Trace:
    """Trace forward and backward pass of a reward model."""

    def compute_loss(inputs: Tensor) -> Tensor:
        with autocast(inputs.device, settings.bf16), checkpoint_layers(settings.gradient_checkpointing, model):
            states: Tensor = model.base_model(**unpadded_inputs(inputs)).last_hidden_state
        return states[:, -1].float().sum()

    return trace_loss(model, compute_loss, rows, tokens, accumulates, 0)


def trace_loss(
    model: PreTrainedModel,
    compute_loss: Callable[[Tensor], Tensor],
    rows: int,
    tokens: int,
    accumulates: bool,
    vocabulary: int,
) -> Trace:
    """Trace a loss of token rows, and its backward pass. `accumulates`: gradients are there from one before."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    with tracing(vocabulary, model) as tracer:
        hooks = tracer.follow_gradients(trained)
        inputs = torch.zeros(rows, tokens, dtype=torch.long)
        for _ in range(1 + accumulates):
            tracer.restart()
            compute_loss(inputs).backward()
        result = tracer.finish()
        release_gradients(hooks, trained)
    return result


def trace_logprobs(model: PreTrainedModel, rows: int, prompt_tokens: int, response_tokens: int, bf16: bool) -> Trace:
    """Trace the log-probabilities of given responses, without gradients."""
    with tracing(vocabulary_size(model), model) as tracer, torch.no_grad(), autocast(torch.device("cpu"), bf16):
        texts = FullRows(rows, prompt_tokens, response_tokens)
        hidden = texts.compute_hidden_states(model.base_model) if is_head_separable(model) else None
        compute_statistics_in_chunks(model, texts, hidden, 1.0)
        return tracer.finish()


def trace_scores(model: PreTrainedModel, rows: int, tokens: int, bf16: bool = False) -> Trace:
    """Trace a trunk reading texts, as a reward model or a critic does, without gradients."""
    with tracing(0, model) as tracer, torch.no_grad(), autocast(torch.device("cpu"), bf16):
        model.base_model(**unpadded_inputs(torch.zeros(rows, tokens, dtype=torch.long)))
        return tracer.finish()


def trace_prefill(model: PreTrainedModel, rows: int, tokens: int, bf16: bool, keep_all: bool) -> Trace:
    """Trace the pass over prompts; what it keeps is the cache of their keys and values."""
    dtype = torch.bfloat16 if bf16 else find_compute_dtype(model)
    with tracing(vocabulary_size(model), model) as tracer, torch.no_grad(), autocast(torch.device("cpu"), bf16):
        cache, _ = make_cache(model, dtype, keep_all)
        inputs = torch.zeros(rows, tokens, dtype=torch.long)
        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
        model(input_ids=inputs, past_key_values=cache, use_cache=True, **last)
        del inputs
        return tracer.finish()
