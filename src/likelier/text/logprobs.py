"""Log-probabilities, entropy and values of given responses, without the logits of the whole vocabulary at once."""

import copy
from collections.abc import Mapping
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from likelier.config import PPOConfig
from likelier.distributed import all_gather_rows, shard
from likelier.ppo.policy import Evaluation
from likelier.text.models import ValueHead, load_trunk, precise, to_right_padding, unpadded
from likelier.text.sampler import Samples
from likelier.training.setup import autocast

MAX_LOGITS = 1 << 25
"""Logits in memory at once: 128 MiB in float32, a few times over."""


def response_logprobs(
    model: PreTrainedModel,
    prompt_tokens: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    tokens: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    temperature: float,
    bf16: bool = False,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Log-probability of each response token, and entropy of the distribution it came from, in nats; 0 outside `mask`.

    Both are of logits divided by `temperature`, in float32, and differentiable.
    """
    texts, apart = Texts(prompt_tokens, prompt_mask, tokens, mask), splits(model)
    with autocast(model.device, bf16):
        hidden = texts.hidden(model.base_model) if apart else None
        logprobs, entropy = token_statistics(model, texts, hidden, temperature)
        return texts.placed(logprobs), texts.placed(entropy)


class Texts:
    """Prompts with responses, as narrow as they are long: padding on the right only.

    Then nothing that counts can see padding, and a causal model needs neither a mask nor positions.
    """

    def __init__(self, prompt_tokens: Tensor, prompt_mask: Tensor, tokens: Tensor, mask: Tensor) -> None:
        self.mask = mask
        self.answers: Int[Tensor, " N"] = tokens[mask]
        """Response tokens, row by row."""
        whole, known = to_right_padding(torch.cat([prompt_tokens, tokens], 1), torch.cat([prompt_mask, mask], 1))
        width = int(known.any(0).sum())
        first, size = prompt_mask.sum(1, keepdim=True) - 1, mask.sum(1, keepdim=True)
        place = torch.arange(width, device=mask.device)
        self.whole = whole[:, :width]
        self.before = (place >= first) & (place < first + size)
        """Where the states stand that the response tokens came from."""

    def hidden(self, trunk: nn.Module) -> Float[Tensor, "N D"]:
        """Last hidden state before each response token."""
        states: Tensor = trunk(**unpadded(self.whole)).last_hidden_state
        return states[self.before]

    def logits(self, model: PreTrainedModel) -> Float[Tensor, "N V"]:
        """Logits by the model's own forward, all in memory at once."""
        logits: Tensor = model(**unpadded(self.whole)).logits
        return logits[self.before]

    def placed(self, flat: Float[Tensor, " N"]) -> Float[Tensor, "B T"]:
        """Numbers of the response tokens at their places, 0 elsewhere."""
        return flat.new_zeros(self.mask.shape).masked_scatter(self.mask, flat)


def token_statistics(
    model: PreTrainedModel, texts: Texts, hidden: Float[Tensor, "N D"] | None, temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability and entropy at each response token.

    The output layer runs over a part of the tokens at a time, and again in the backward pass, so that the logits of
    one part are all that is ever in memory. Where one part holds everything, nothing is computed twice.
    """
    if hidden is None:
        return statistics_of(texts.logits(model), texts.answers, temperature)

    def part(states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return statistics_of(logits_of(model, states), tokens, temperature)

    size = max(1, MAX_LOGITS // model.get_output_embeddings().weight.shape[0])
    if len(hidden) <= size:
        return part(hidden, texts.answers)
    pieces = zip(hidden.split(size), texts.answers.split(size), strict=True)
    parts = [checkpoint(part, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    logprobs, entropy = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropy)


def statistics_of(
    logits: Float[Tensor, "N V"], tokens: Int[Tensor, " N"], temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability of `tokens` and entropy, of logits divided by `temperature`."""
    scaled = precise(logits)
    if temperature != 1.0:
        scaled = scaled / temperature
    logprobs, entropy = TokenStatistics.apply(scaled, tokens[:, None])  # type: ignore[no-untyped-call]
    return logprobs, entropy


class TokenStatistics(torch.autograd.Function):
    """Log-probability of tokens, and entropy, with one exponential and one kept `[N, V]` tensor; autograd needs four.

    With p = softmax(z): log p_a and H = -sum p log p have the gradients onehot_a - p and -p (log p + H).
    A token of probability 0 contributes nothing to H or its gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        top = logits.amax(1, keepdim=True)
        shifted = (logits - top).clamp_(min=torch.finfo(logits.dtype).min)
        weights = shifted.exp()
        total = weights.sum(1)
        entropy = total.log() - torch.linalg.vecdot(weights, shifted) / total
        ctx.save_for_backward(weights, total, entropy, tokens)
        ctx.set_materialize_grads(False)
        return (logits.gather(1, tokens) - top)[:, 0] - total.log(), entropy

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, None]:
        weights, total, entropy, tokens = ctx.saved_tensors
        of_logprob, of_entropy = upstream
        of_logprob = torch.zeros_like(total) if of_logprob is None else of_logprob
        factor = (-of_logprob / total)[:, None]
        if of_entropy is not None:
            logprobs = weights.clamp(min=torch.finfo(weights.dtype).tiny).log_() - total.log()[:, None]
            factor = factor - (of_entropy / total)[:, None] * (logprobs + entropy[:, None])
        return (weights * factor).scatter_add_(1, tokens, of_logprob[:, None]), None


def logits_of(model: PreTrainedModel, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N V"]:
    """Output layer with what some families do behind it: Gemma bends, Cohere multiplies, Granite divides."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    config = model.config.get_text_config().to_dict()
    if bound := config.get("final_logit_softcapping"):
        logits = bound * torch.tanh(logits / bound)
    return logits * (config.get("logit_scale") or 1.0) / (config.get("logits_scaling") or 1.0)


SPLITS: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@torch.no_grad()
def splits(model: PreTrainedModel) -> bool:
    """Whether trunk and output layer apart give the model's own logits: tried once on three tokens.

    Never call it inside autocast, which would keep weights cast without gradients for the passes that follow.
    """
    if model not in SPLITS:
        tokens = torch.arange(3, device=model.device)[None]
        own = model(input_ids=tokens).logits
        apart = logits_of(model, model.base_model(input_ids=tokens).last_hidden_state)
        SPLITS[model] = own.shape == apart.shape and torch.allclose(own, apart, rtol=1e-3, atol=1e-3)
    return SPLITS[model]


class TextPolicy(nn.Module):
    """A language model with an optional critic, as a PPO update sees it. Dropout is off.

    `critic`: None; `"shared"`, a value head on the policy's own trunk; `"separate"`, a trunk of its own with a head.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        value_head: ValueHead | None = None,
        critic: nn.Module | None = None,
        temperature: float = 1.0,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.value_head, self.critic = model, value_head, critic
        self.temperature, self.bf16 = temperature, bf16
        self.eval()

    @classmethod
    def build(
        cls,
        model: PreTrainedModel,
        critic: Literal["separate", "shared"] | None,
        critic_model: str | None = None,
        temperature: float = 1.0,
        bf16: bool = False,
    ) -> "TextPolicy":
        """A policy around `model`; a separate critic starts from the folder `critic_model` (a language or reward model
        of the same tokenizer) or from the policy's trunk. Values are 0 at the start.
        """
        if critic is None:
            return cls(model, None, None, temperature, bf16)
        trunk = None
        if critic == "separate":
            trunk = load_trunk(critic_model, model.device) if critic_model else copied_trunk(model)
        config = trunk.config if trunk is not None else model.config
        head = ValueHead(config.get_text_config().hidden_size)
        head.to(model.device, torch.promote_types(model.dtype, torch.float32))
        return cls(model, head, trunk, temperature, bf16)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def policy_parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def critic_parameters(self) -> list[nn.Parameter]:
        """Of the value head, and of the critic's own trunk if it has one."""
        return [p for module in (self.critic, self.value_head) if module is not None for p in module.parameters()]

    def evaluate(
        self, inputs: Mapping[str, Tensor], actions: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Evaluation:
        """Log-probabilities, values and entropy of the response tokens `actions`; 0 outside `mask`.

        `inputs`: `prompt_tokens`, `prompt_mask`. A value belongs to the state before its token. Without a critic: None.
        """
        texts, apart = Texts(inputs["prompt_tokens"], inputs["prompt_mask"], actions, mask), splits(self.model)
        shared = self.value_head is not None and self.critic is None
        with autocast(self.device, self.bf16):
            hidden = texts.hidden(self.model.base_model) if apart or shared else None
            logprobs, entropy = token_statistics(self.model, texts, hidden if apart else None, self.temperature)
            values = None
            if self.value_head is not None:
                values = texts.placed(self.value_head(hidden if self.critic is None else texts.hidden(self.critic)))
            return Evaluation(texts.placed(logprobs), values, texts.placed(entropy))


def copied_trunk(model: PreTrainedModel) -> PreTrainedModel:
    trunk = copy.deepcopy(model.base_model)
    assert isinstance(trunk, PreTrainedModel), type(trunk)
    trunk.requires_grad_(True)
    return trunk


@torch.no_grad()
def reference_logprobs(reference: PreTrainedModel, samples: Samples, config: PPOConfig) -> Float[Tensor, "B T"]:
    """Log-probabilities of the sampled tokens under the frozen start, in micro-batches."""
    size = config.micro_batch_size or config.batch_size // config.num_mini_batches
    parts = [
        response_logprobs(
            reference,
            samples.prompt_tokens[rows],
            samples.prompt_mask[rows],
            samples.tokens[rows],
            samples.mask[rows],
            config.temperature,
            bf16=config.bf16,
        )[0]
        for rows in torch.arange(len(samples.tokens))[shard(len(samples.tokens))].split(size)
    ]
    return all_gather_rows(torch.cat(parts), len(samples.tokens))
