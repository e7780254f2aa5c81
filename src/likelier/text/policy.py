"""A language model with an optional critic as a `Policy`."""

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import PPOConfig
from likelier.distributed import run_in_forward
from likelier.errors import ConfigError
from likelier.ppo.policy import Critic, Evaluation
from likelier.text.checkpoint_layers import checkpoint_layers
from likelier.text.frozen_weights import STORED, FrozenEmbedding
from likelier.text.logprobs import PromptedResponses, is_head_separable, read_responses
from likelier.text.merging import make_plain
from likelier.text.models import context_length, is_causal, load_tokenizer, load_trunk, vocabulary_size
from likelier.training.setup import autocast


class ValueHead(nn.Module):
    """Linear map from hidden state to value; initialised to 0, so that training starts unbiased."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N"]:
        """One value per hidden state, in float32 or better."""
        with torch.autocast(hidden.device.type, enabled=False):  # a value in bf16 would have three digits
            values: Tensor = self.linear(hidden.to(self.linear.weight.dtype)).squeeze(-1)
        return values


class TextPolicy(nn.Module):
    """A language model with an optional critic. Dropout is off.

    `critic`: None; `"shared"`, a value head on the policy's own trunk; `"separate"`, a trunk of its own with a head;
    `"adapter"`, that trunk is an adapter on the policy's frozen base.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        value_head: ValueHead | None = None,
        critic: nn.Module | None = None,
        temperature: float = 1.0,
        bf16: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.value_head, self.critic = model, value_head, critic
        self.temperature, self.bf16, self.gradient_checkpointing = temperature, bf16, gradient_checkpointing
        self.eval()

    @classmethod
    def build(
        cls,
        model: PreTrainedModel,
        critic: Literal["separate", "shared", "adapter"] | None,
        critic_model: str | None = None,
        temperature: float = 1.0,
        bf16: bool = False,
        critic_adapter: PreTrainedModel | None = None,
        gradient_checkpointing: bool = False,
    ) -> "TextPolicy":
        """Build a policy around `model`; a separate critic is initialised from the folder `critic_model` (a language or
        reward model with the same tokenizer) or from the policy's trunk. Initial values are 0.

        `critic_adapter`: the trunk of a critic that is an adapter, see `make_critic_adapter`.
        """
        if critic is None:
            return cls(model, None, None, temperature, bf16, gradient_checkpointing)
        trunk = critic_adapter
        if critic == "separate":
            trunk = load_trunk(critic_model, model.device) if critic_model else copy_trunk(model)
        config = trunk.config if trunk is not None else model.config
        head = ValueHead(config.get_text_config().hidden_size)
        head.to(model.device, torch.promote_types(model.dtype, torch.float32))
        return cls(model, head, trunk, temperature, bf16, gradient_checkpointing)

    @property
    def device(self) -> torch.device:
        """Device of the language model."""
        return self.model.device

    def policy_parameters(self) -> list[nn.Parameter]:
        """Return the language model's parameters; a shared critic trains its trunk too."""
        return list(self.model.parameters())

    def critic_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the value head, and of the critic's own trunk if it has one."""
        return [p for module in (self.critic, self.value_head) if module is not None for p in module.parameters()]

    def evaluate(self, inputs: Mapping[str, Any], actions: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Evaluation:
        """Log-probabilities, values and entropy of the response tokens `actions`; 0 outside `mask`.

        `inputs`: `prompt_tokens`, `prompt_mask`; `response_mask` where the model also reads tokens that are no actions
        (a tool's answers); `pictures` where prompts have any. A value belongs to the state before its token. Without a
        critic: None.
        """
        outputs = self.evaluate_texts(select_texts(inputs, actions, mask))
        return outputs.keep(mask) if "response_mask" in inputs else outputs

    def split_critic(self) -> tuple["TextPolicy", Critic] | None:
        """Return the policy without its critic, and the critic; None if there is none, or it is on the same trunk."""
        if self.critic is None:
            return None
        alone = TextPolicy(self.model, None, None, self.temperature, self.bf16, self.gradient_checkpointing)
        return alone, self.evaluate_critic

    def evaluate_critic(
        self, inputs: Mapping[str, Any], actions: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T"]:
        """The values of `evaluate`, by a critic with a trunk of its own."""
        values = self.evaluate_critic_texts(select_texts(inputs, actions, mask))
        return torch.where(mask, values, 0.0) if "response_mask" in inputs else values

    def evaluate_critic_texts(self, texts: PromptedResponses) -> Float[Tensor, "B T"]:
        """Values of all response tokens, by a critic with a trunk of its own."""
        assert self.critic is not None, "a critic on the policy's trunk has no states of its own"
        assert self.value_head is not None, "a critic has a head"
        with autocast(self.device, self.bf16), checkpoint_layers(self.gradient_checkpointing, self.critic):
            return texts.scatter(self.value_head(texts.compute_hidden_states(self.critic)))

    def evaluate_texts(self, texts: PromptedResponses) -> Evaluation:
        """Log-probabilities, values and entropy of all response tokens."""
        separable, shared = is_head_separable(self.model), self.value_head is not None and self.critic is None
        with autocast(self.device, self.bf16), checkpoint_layers(self.gradient_checkpointing, self.model):
            logprobs, entropy, hidden = run_in_forward(
                self.model, read_responses, self.model, texts, self.temperature, separable, separable or shared
            )
            values = texts.scatter(self.value_head(hidden)) if self.value_head is not None and shared else None
        if self.critic is not None:
            values = self.evaluate_critic_texts(texts)
        return Evaluation(texts.scatter(logprobs), values, texts.scatter(entropy))


def select_texts(
    inputs: Mapping[str, Any], actions: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> PromptedResponses:
    """Return what a model reads: also tokens that are no actions, where `response_mask` says so."""
    prompts = inputs["prompt_tokens"], inputs["prompt_mask"]
    return PromptedResponses(*prompts, actions, inputs.get("response_mask", mask), inputs.get("pictures"))


def check_critic(
    name: str,
    critic: PreTrainedModel,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    longest_prompt: int,
    config: PPOConfig,
) -> None:
    """ConfigError: the critic in the folder `name` cannot evaluate every sequence that the policy may read or write.

    It must be causal (a value belongs to the state before its token), have the policy's vocabulary, and a context that
    fits the longest prompt with its response.
    """
    setting, longest = f"ppo.critic_model: {name}", longest_prompt + config.response_length
    num_tokens = max(vocabulary_size(model), model.get_output_embeddings().weight.shape[0])
    if context_length(critic) < longest:
        raise ConfigError(
            f"{setting} reads {context_length(critic)} tokens, and a prompt with its response has up to {longest}; "
            "give a critic with a longer context, or shorter prompts and ppo.response_length"
        )
    if vocabulary_size(critic) < num_tokens:
        raise ConfigError(
            f"{setting} knows {vocabulary_size(critic)} tokens, and the model writes any of {num_tokens}; "
            "give a critic with the model's own tokens"
        )
    own, others = tokenizer.get_vocab(), load_tokenizer(name).get_vocab()
    differing = next((token for token in own if others.get(token, own[token]) != own[token]), None)
    if differing is not None:
        raise ConfigError(
            f"{setting} has other ids for tokens than the model ({differing!r}: {others[differing]}, not "
            f"{own[differing]}); give a critic with the model's own tokenizer"
        )
    if not is_causal(critic):
        raise ConfigError(
            f"{setting} reads texts in both directions, so that its values would know what comes; give a causal model"
        )


def copy_trunk(model: PreTrainedModel) -> PreTrainedModel:
    """Copy the model without its output layer, trainable and in float32, to initialise a critic.

    The adapter that goes on, if there is one, is merged in.
    """
    if is_plain(model):
        trunk = copy.deepcopy(model.base_model)
    else:
        trunk = make_plain(model, torch.float32).base_model
        for module in trunk.modules():  # some weights and all buffers are the model's own
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.clone())
            for weight in module.parameters(recurse=False):
                weight.data = weight.data.clone()
        nn.Module.to(trunk, model.device)
    assert isinstance(trunk, PreTrainedModel), type(trunk)
    trunk.requires_grad_(True)
    return trunk


def is_plain(model: PreTrainedModel) -> bool:
    """True if a model has neither adapters nor weights that are stored in fewer bytes."""
    stored = any(isinstance(module, (*STORED, FrozenEmbedding)) for module in model.modules())
    return not (stored or model._hf_peft_config_loaded)
