"""A policy with and without a critic: under padding, as it learns, and through saving and reloading."""

from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
from safetensors.torch import load_model as load_tensors
from safetensors.torch import save_model as save_tensors
from torch import Tensor
from transformers import AutoConfig, AutoModel

from likelier.config import LoRA, PPOConfig, UpdateConfig
from likelier.errors import ConfigError
from likelier.ppo.batch import Batch
from likelier.ppo.objective import LossContext, PPOLoss
from likelier.ppo.update import accumulate_gradients, backward_micro_batch
from likelier.text.adapters import apply_lora, make_critic_adapter
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import load_causal_lm, load_tokenizer, load_trunk, save_model
from likelier.text.policy import TextPolicy, ValueHead, check_critic
from likelier.text.reward_model import new_reward_model
from likelier.text.sampler import Sampling
from likelier.text.tokens import encode_prompts
from model_families import BERT, tiny_model, tiny_tokenizer
from random_texts import Texts, padded, texts
from samplers import sample


def test_a_value_head_starts_at_zero() -> None:
    assert torch.equal(ValueHead(8)(torch.randn(3, 5, 8)), torch.zeros(3, 5))


@pytest.mark.parametrize("name", ["stories260K", "stories-char-940K"])
def test_padding_on_either_side_changes_nothing(shared: Path, name: str) -> None:
    model = load_causal_lm(shared / "models" / name)
    policy = TextPolicy.build(model, "separate")
    torch.nn.init.normal_(policy.value_head.linear.weight, generator=torch.Generator().manual_seed(1))
    of, gradients = texts(vocabulary=100), []
    for given in (of, padded(of, 0, 7, 1), padded(of, 5, 0, 1), padded(of, 3, 4, 0)):
        policy.zero_grad()
        found = policy.evaluate({"prompt_tokens": given[0], "prompt_mask": given[1]}, given[2], given[3])
        assert all(not part[~given[3]].any() for part in found)
        loss = sum(part.sum() for part in found)
        loss.backward()
        gradients.append(
            [loss.detach(), *(part[:, :9].detach() for part in found), *(p.grad for p in policy.parameters())]
        )
        gradients[-1] = [part.clone() for part in gradients[-1]]
    for other in gradients[1:]:
        for first, second in zip(gradients[0], other, strict=True):
            assert torch.allclose(first, second, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["stories260K", "stories-char-940K"])
def test_a_token_changes_nothing_up_to_its_position(shared: Path, name: str) -> None:
    model = load_causal_lm(shared / "models" / name)
    prompts, prompt_mask, tokens, _ = texts(vocabulary=100)
    for critic in ("separate", "shared"):
        policy = TextPolicy.build(model, critic)
        torch.nn.init.normal_(policy.value_head.linear.weight, generator=torch.Generator().manual_seed(1))
        inputs = {"prompt_tokens": prompts, "prompt_mask": prompt_mask}
        mask = torch.ones_like(tokens, dtype=torch.bool)
        changed = tokens.clone()
        changed[:, 4] = (tokens[:, 4] + 1) % 100
        with torch.no_grad():
            before, after = (policy.evaluate(inputs, each, mask) for each in (tokens, changed))
        assert torch.allclose(before.values[:, :5], after.values[:, :5], atol=1e-5)  # the value before token 4 too
        assert torch.allclose(before.entropy[:, :5], after.entropy[:, :5], atol=1e-5)
        assert torch.allclose(before.logprobs[:, :4], after.logprobs[:, :4], atol=1e-5)
        for part in (0, 1, 2):
            assert not torch.allclose(before[part][:, 5:], after[part][:, 5:], atol=1e-3)


@pytest.mark.parametrize("critic", [None, "shared", "separate"])
@pytest.mark.parametrize("bf16", [False, True])
def test_evaluation_is_bit_equal_with_and_without_gradients(critic: Any, bf16: bool) -> None:
    policy = TextPolicy.build(tiny_model(), critic, temperature=0.8, bf16=bf16)
    prompts, prompt_mask, tokens, mask = texts()
    inputs = {"prompt_tokens": prompts, "prompt_mask": prompt_mask}
    with torch.no_grad():
        old = policy.evaluate(inputs, tokens, mask)
    new = policy.evaluate(inputs, tokens, mask)
    assert torch.equal(old.logprobs, new.logprobs)
    assert torch.equal(old.entropy, new.entropy)
    assert critic is None or torch.equal(old.values, new.values)


@pytest.mark.parametrize("critic", [None, "shared", "separate"])
@pytest.mark.parametrize("bf16", [False, True])
def test_every_parameter_gets_a_gradient(critic: Any, bf16: bool) -> None:
    policy = TextPolicy.build(tiny_model(), critic, bf16=bf16)
    if policy.value_head is not None:
        torch.nn.init.ones_(policy.value_head.linear.weight)
    prompts, prompt_mask, tokens, mask = texts()
    found = policy.evaluate({"prompt_tokens": prompts, "prompt_mask": prompt_mask}, tokens, mask)
    sum(part.sum() for part in found if part is not None).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in policy.parameters())
    policy_parameters, critic_parameters = policy.policy_parameters(), policy.critic_parameters()
    assert not {id(p) for p in policy_parameters} & {id(p) for p in critic_parameters}
    assert len(policy_parameters) + len(critic_parameters) == len(list(policy.parameters()))


def test_the_adapter_of_a_critic_leaves_the_policy_as_it_is_and_shares_its_weights() -> None:
    model = tiny_model()
    prompts, prompt_mask, tokens, mask = texts()
    inputs = {"prompt_tokens": prompts, "prompt_mask": prompt_mask}
    with torch.no_grad():
        before = TextPolicy.build(model, None).evaluate(inputs, tokens, mask).logprobs
    lora = LoRA(lora_rank=2)
    policy = TextPolicy.build(model, "adapter", critic_adapter=make_critic_adapter(model, lora, seed=0))
    apply_lora(model, lora, "ppo", seed=0)
    weights = list(policy.parameters())
    assert sum(p.numel() for p in weights if not p.requires_grad) == sum(p.numel() for p in tiny_model().parameters())
    trained = [p for p in policy.critic_parameters() if p.requires_grad]
    torch.nn.init.ones_(policy.value_head.linear.weight)
    for _ in range(3):
        found = policy.evaluate(inputs, tokens, mask)
        assert torch.equal(found.logprobs, before)
        (found.values - 1).square().mean().backward()
        assert all(p.grad is None for p in policy.policy_parameters())
        with torch.no_grad():
            for p in trained:
                p -= 0.1 * p.grad
    names = [name for name, p in policy.critic.named_parameters() if p.requires_grad]
    assert len(names) == 2 * 7 * 2  # two matrices for each of seven linear layers, in two layers
    assert not torch.equal(policy.evaluate(inputs, tokens, mask).values, torch.zeros_like(found.values))
    assert all(p.any() for p in trained)


class Kept:
    """A tensor that a graph keeps for the backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize("critic", ["separate", "adapter"])
def test_a_critic_of_its_own_is_read_after_the_policys_graph_and_learns_the_same(
    critic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients of both losses in one graph, to the bit; and no activation of the policy is left for the critic."""
    model, lora = tiny_model(), LoRA(lora_rank=2)
    trunk = make_critic_adapter(model, lora, seed=0) if critic == "adapter" else None
    policy = TextPolicy.build(model, critic, critic_adapter=trunk)
    if trunk is not None:
        apply_lora(model, lora, "ppo", seed=0)
    torch.nn.init.ones_(policy.value_head.linear.weight)
    prompts, prompt_mask, tokens, mask = texts()
    inputs, config = {"prompt_tokens": prompts, "prompt_mask": prompt_mask}, UpdateConfig(entropy_coef=0.1)
    with torch.no_grad():
        old = policy.evaluate(inputs, tokens, mask)
    batch = Batch(inputs, tokens, mask, old.logprobs, old.values, torch.ones(mask.shape), old.values + 1.0)
    context = LossContext(config, mask.sum().float(), mask.sum().float())
    together = PPOLoss().backward(policy.evaluate(inputs, tokens, mask), batch, context)
    trained = [p for p in policy.parameters() if p.requires_grad]
    expected = [p.grad for p in trained]
    assert sum(bool(gradient.any()) for gradient in expected) > 10
    for p in trained:
        p.grad = None

    kept: WeakSet[Kept] = WeakSet()
    counts, read_critic = [], TextPolicy.evaluate_critic

    def keep(tensor: Tensor) -> Kept:
        kept.add(found := Kept(tensor))
        return found

    def count(*given: Any) -> Tensor:
        counts.append(len(kept))
        return read_critic(*given)

    monkeypatch.setattr(TextPolicy, "evaluate_critic", count)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda found: found.tensor):
        outputs, apart = backward_micro_batch(policy, batch, PPOLoss(), context)
    assert counts == [0]
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(trained, expected, strict=True))
    assert torch.equal(outputs.logprobs, old.logprobs)
    assert torch.equal(outputs.values, old.values)
    assert {name: value.item() for name, value in apart.items()} == pytest.approx(
        {name: value.item() for name, value in together.items()}
    )
    assert TextPolicy.build(tiny_model(), "shared").split_critic() is None
    assert TextPolicy.build(tiny_model(), None).split_critic() is None


def test_a_critic_may_start_from_a_reward_model(tmp_path: Path) -> None:
    save_model(tmp_path / "base", tiny_model(seed=3), tiny_tokenizer(), "")
    reward = new_reward_model(tmp_path / "base")
    save_model(tmp_path / "reward", reward.model, reward.tokenizer, "")
    policy = TextPolicy.build(tiny_model(seed=0), "separate", str(tmp_path / "reward"))
    assert torch.equal(policy.critic.norm.weight, reward.model.model.norm.weight)
    assert torch.equal(policy.critic.embed_tokens.weight, tiny_model(seed=3).model.embed_tokens.weight)
    assert reward.model.score.weight.abs().sum() > 0  # this head is left behind: values begin at exactly 0
    assert all(not parameter.any() for parameter in policy.value_head.parameters())
    tokens, mask = torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.bool)
    said = policy.evaluate({"prompt_tokens": tokens, "prompt_mask": mask}, tokens, mask)
    assert said.values.tolist() == [[0.0, 0.0, 0.0]]


TALKS = [[{"role": "user", "content": text}] for text in ("hi", "how are you", "why", "no")]


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["shared", "separate"])
@pytest.mark.parametrize("chat", [False, True])
def test_training_learns_saves_and_reloads(tmp_path: Path, critic: Any, chat: bool) -> None:
    """Make `e` likely after every prompt and the value 1; save; the reloaded model does the same to the bit."""
    tokenizer = tiny_tokenizer(chat=chat)
    policy = TextPolicy.build(tiny_model(), critic)
    prompts = encode_prompts(tokenizer, TALKS if chat else ["hi", "how are you", "why", "no"], 60)
    inputs = {"prompt_tokens": prompts.tokens, "prompt_mask": prompts.mask}
    tokens = torch.full((4, 6), tokenizer.convert_tokens_to_ids("e"))
    mask = torch.arange(6) < torch.tensor([[6], [2], [4], [1]])
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for _ in range(60):
        found = policy.evaluate(inputs, tokens, mask)
        loss = -found.logprobs.sum() + ((found.values - 1.0) ** 2 * mask).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        learned = policy.evaluate(inputs, tokens, mask)
    assert learned.logprobs.sum() > -1.3  # 13 tokens at a probability above 0.9
    assert (learned.values[mask] - 1.0).abs().max() < 0.2

    save_tensors(policy, str(tmp_path / "policy.safetensors"))
    resumed = TextPolicy.build(tiny_model(seed=9), critic)
    load_tensors(resumed, tmp_path / "policy.safetensors")
    save_model(tmp_path / "model", policy.model, tokenizer, "")
    with torch.no_grad():
        for part, again in zip(learned, resumed.evaluate(inputs, tokens, mask), strict=True):
            assert torch.equal(part, again)
    model, saved_tokenizer = load_causal_lm(tmp_path / "model"), load_tokenizer(tmp_path / "model")
    asked = TALKS if chat else ["hi", "why"]
    samples = sample(model, saved_tokenizer, asked, Sampling(6), torch.Generator().manual_seed(0))
    assert sum(text.count("e") for text in samples.texts) > 0.7 * samples.mask.sum()


def learned(model: Any, given: Texts, size: int | None, numbers: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(loss, gradients) of one minibatch of an update, in micro-batches of `size` rows; padding holds what it may."""
    policy = TextPolicy.build(model, "shared")
    torch.nn.init.normal_(policy.value_head.linear.weight, generator=torch.Generator().manual_seed(1))
    policy.zero_grad()
    prompts, prompt_mask, tokens, mask = given
    wide = [torch.full(mask.shape, torch.nan, dtype=model.dtype).masked_scatter(mask, number) for number in numbers]
    batch = Batch({"prompt_tokens": prompts, "prompt_mask": prompt_mask}, tokens, mask, *wide)
    _, stats = accumulate_gradients(policy, batch, UpdateConfig(micro_batch_size=size, entropy_coef=0.1))
    return stats["loss"], torch.cat([p.grad.flatten() for p in policy.parameters()])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", ["stories260K", "stories-char-940K"])
def test_neither_cuts_nor_padding_change_loss_or_gradient(
    shared: Path, name: str, dtype: torch.dtype, tolerance: float
) -> None:
    model, of = load_causal_lm(shared / "models" / name).to(dtype), texts(vocabulary=100, rows=7)
    draw = torch.Generator().manual_seed(2)
    # old log-probabilities near those of the model, so that ratios lie on both sides of the clip
    with torch.no_grad():
        near = compute_response_logprobs(model, *of, temperature=1.0)[0][of[3]]
    numbers = [0.3 * torch.randn(len(near), generator=draw, dtype=dtype) for _ in range(4)]
    numbers[0] += near
    loss, gradients = learned(model, of, None, numbers)
    assert gradients.abs().max() > 0.01
    for given, size in ((of, 1), (of, 3), (padded(of, 0, 7, 1), None), (padded(of, 5, 0, 1), 2)):
        other_loss, other_gradients = learned(model, given, size, numbers)
        assert torch.allclose(other_loss, loss, rtol=0, atol=tolerance)
        assert torch.allclose(other_gradients, gradients, rtol=0, atol=tolerance)


def save_critic(folder: Path, family: str = "llama", tokenizer: Any = None, **settings: Any) -> str:
    save_model(folder, tiny_model(family, **settings), tokenizer or tiny_tokenizer(), "")
    return str(folder)


@pytest.mark.parametrize(
    ("critic", "reason"),
    [
        ({"max_position_embeddings": 13}, "reads 13 tokens, and a prompt with its response has up to 14"),
        ({"vocab_size": 60}, "knows 60 tokens, and the model writes any of 64"),
        ({"tokenizer": tiny_tokenizer(bos=None)}, "has other ids for tokens than the model"),
    ],
)
def test_a_critic_that_cannot_read_what_the_policy_writes_is_refused(tmp_path: Path, critic: Any, reason: str) -> None:
    name = save_critic(tmp_path / "critic", **critic)
    with pytest.raises(ConfigError, match=rf"^ppo.critic_model: {name} {reason}"):
        check_critic(name, load_trunk(name), tiny_model(), tiny_tokenizer(), 10, PPOConfig(response_length=4))


def test_a_critic_of_the_same_tokens_and_reach_passes(tmp_path: Path) -> None:
    name = save_critic(tmp_path / "critic", max_position_embeddings=14)
    check_critic(name, load_trunk(name), tiny_model(), tiny_tokenizer(), 10, PPOConfig(response_length=4))


def test_a_critic_that_would_see_the_future_is_refused(tmp_path: Path) -> None:
    bert = AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=64, **BERT))
    save_model(tmp_path / "critic", bert, tiny_tokenizer(), "")
    name = str(tmp_path / "critic")
    with pytest.raises(ConfigError, match=f"^ppo.critic_model: {name} reads texts in both directions"):
        check_critic(name, load_trunk(name), tiny_model(), tiny_tokenizer(), 10, PPOConfig(response_length=4))
