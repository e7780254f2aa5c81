"""Layers that run again in the backward pass: the same losses and gradients from fewer kept activations."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from likelier.config import DPOConfig, LoRA, Memory, RewardModelConfig, SFTConfig, build_config
from likelier.errors import ConfigError
from likelier.finetune.dpo import TokenizedPair, pair_logprobs
from likelier.finetune.sft import TokenizedExample, pad_examples, token_sums
from likelier.records import Preference
from likelier.reward.train import Member
from likelier.text.adapters import apply_lora, make_critic_adapter
from likelier.text.checkpoint_layers import check_checkpointable, checkpoint_layers, list_layers
from likelier.text.models import save_model
from likelier.text.policy import TextPolicy
from likelier.text.reward_model import RewardModel
from likelier.text.sampler import Sampling
from model_families import BERT, tiny_model, tiny_tokenizer
from random_texts import texts
from samplers import sample

FAMILIES = ["gpt2", "llama", "qwen2", "gemma2", "gpt_neox", "bloom"]
Loss = Callable[[], torch.Tensor]


def measure(module: torch.nn.Module, loss: Loss) -> tuple[float, dict[str, torch.Tensor], int]:
    """A loss, its gradients, and the numbers that the graph keeps, weights not counted."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    module.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        value = loss()
    value.backward()
    gradients = {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}
    return float(value.detach()), gradients, sum(kept.values())


def compare(module: torch.nn.Module, plain: Loss, repeated: Loss) -> None:
    (one, gradients, much), (other, again, little) = measure(module, plain), measure(module, repeated)
    assert other == pytest.approx(one, abs=1e-6)
    assert gradients
    assert gradients.keys() == again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-6, atol=1e-6)
    assert little < 0.6 * much
    assert not any(layer.training or layer.gradient_checkpointing for layer in list_layers(module))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("critic", ["separate", "adapter"])
def test_a_policy_has_the_same_loss_and_gradients(family: str, critic: Any) -> None:
    model = tiny_model(family)
    lora = LoRA(lora_rank=2)
    adapter = make_critic_adapter(model, lora, 0) if critic == "adapter" else None
    policy = TextPolicy.build(model, critic, critic_adapter=adapter)
    if adapter:
        apply_lora(model, lora, "ppo", 0)
        with torch.no_grad():  # B = 0 would hide the gradient of A
            for weight in policy.parameters():
                weight.add_(0.1 * weight.requires_grad)
    torch.nn.init.ones_(policy.value_head.linear.weight)
    prompts, prompt_mask, tokens, mask = texts()
    inputs = {"prompt_tokens": prompts, "prompt_mask": prompt_mask}

    def loss(repeat: bool) -> torch.Tensor:
        policy.gradient_checkpointing = repeat
        found = policy.evaluate(inputs, tokens, mask)
        return (found.logprobs.sum() + found.values.square().sum() + found.entropy.sum()) / mask.sum()

    compare(policy, lambda: loss(False), lambda: loss(True))
    policy.gradient_checkpointing = True
    with torch.no_grad():  # as old log-probabilities are taken: the first ratio is exactly 1
        old = policy.evaluate(inputs, tokens, mask)
    assert torch.equal(policy.evaluate(inputs, tokens, mask).logprobs, old.logprobs)


def make_stages(folder: Path) -> Iterator[tuple[str, torch.nn.Module, Callable[[bool], torch.Tensor]]]:
    model = tiny_model()
    examples = pad_examples([TokenizedExample([1, 5, 6, 7, 8] * 6, 2), TokenizedExample([1, 9, 4], 1)])
    yield "sft", model, lambda repeat: token_sums(model, examples, SFTConfig(gradient_checkpointing=repeat))[0] / 30
    pairs = [TokenizedPair([1, 5, 6], [7, 8] * 9, [9, 4] * 7, 1.0, 1.0)]
    yield "dpo", model, lambda repeat: pair_logprobs(model, pairs, DPOConfig(gradient_checkpointing=repeat))[0].sum()
    save_model(folder / "base", model, tiny_tokenizer(), "")
    config = build_config({"model": str(folder / "base"), "reward_model": {"device": "cpu"}})
    member, preferences = Member(config, 0), [Preference("a b c d e f", "a b" * 9, "b a" * 8)]

    def loss(repeat: bool) -> torch.Tensor:
        member.settings = RewardModelConfig(gradient_checkpointing=repeat)
        return member.loss(preferences)[0]

    yield "reward", member.reward, loss


def test_each_stage_keeps_less_for_the_same_loss(tmp_path: Path) -> None:
    for _, module, loss in make_stages(tmp_path):
        compare(module, lambda loss=loss: loss(False), lambda loss=loss: loss(True))


def test_an_encoder_too() -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", vocab_size=64, num_labels=1, **BERT)
    reward = RewardModel(AutoModelForSequenceClassification.from_config(config).eval(), tiny_tokenizer())
    tokens, mask = reward.encode(["a b c d e"] * 2, ["a b c d", "e f"])

    def loss(repeat: bool) -> torch.Tensor:
        with checkpoint_layers(repeat, reward):
            return reward(tokens, mask).sum()

    compare(reward, lambda: loss(False), lambda: loss(True))


def test_sampling_keeps_its_cache() -> None:
    """In training mode transformers' layers would drop the keys and values of earlier tokens."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    policy = TextPolicy.build(model, None, gradient_checkpointing=True)
    settings = model, tokenizer, ["a b", "c"], Sampling(8)
    before = sample(*settings, torch.Generator().manual_seed(0))
    prompts, prompt_mask, tokens, mask = texts()
    policy.evaluate({"prompt_tokens": prompts, "prompt_mask": prompt_mask}, tokens, mask).logprobs.sum().backward()
    assert sample(*settings, torch.Generator().manual_seed(0)).texts == before.texts


def test_a_model_without_such_layers_is_one_line() -> None:
    model = tiny_model()
    check_checkpointable(model, Memory(gradient_checkpointing=True), "sft")
    model.model.layers = torch.nn.ModuleList()
    check_checkpointable(model, Memory(), "sft")
    with pytest.raises(ConfigError, match=r"^sft.gradient_checkpointing: llama has no layers that run again alone"):
        check_checkpointable(model, Memory(gradient_checkpointing=True), "sft")
