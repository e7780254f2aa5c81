"""Gradient times input: exact where the score is linear, else the derivative along a token's embedding."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from likelier.text.attribution import gradient_times_input
from likelier.text.reward_adapters import RewardAdapter
from likelier.text.reward_heads import set_heads
from likelier.text.reward_model import RewardModel, new_reward_model
from model_families import BERT, tiny_tokenizer
from tiny import save_tiny_model

WEIGHTS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0], [0.5, 0.25]])


class Sums(PreTrainedModel):
    """Hidden states that are sums of the embeddings so far: a score of the last one is linear in all."""

    config_class = PreTrainedConfig

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        ids = torch.arange(float(config.vocab_size))
        self.embed_tokens = nn.Embedding.from_pretrained(torch.stack([ids, torch.ones_like(ids)], 1))

    def forward(self, input_ids: Any, **_: Any) -> Any:
        hidden = self.embed_tokens(input_ids).cumsum(1)
        return type("Output", (tuple,), {"last_hidden_state": hidden})((hidden,))


class LinearScore(PreTrainedModel):
    """score = 0.5 * sum of token ids - 0.25 * their number + 3, made by hand."""

    config_class = PreTrainedConfig
    base_model_prefix = "model"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.model, self.score = Sums(config), nn.Linear(2, 1)
        self.score.weight.data, self.score.bias.data = torch.tensor([[0.5, -0.25]]), torch.tensor([3.0])

    def forward(self, input_ids: Any, **_: Any) -> Any:
        return SimpleNamespace(logits=self.score(self.model(input_ids)[0][:, -1]))


def linear_reward(max_length: int | None = None) -> RewardModel:
    settings: Any = {"vocab_size": 64, "max_position_embeddings": 40, "num_labels": 1, "pad_token_id": 0}
    return RewardModel(LinearScore(PreTrainedConfig(**settings)), tiny_tokenizer(), max_length)


def test_a_linear_score_is_known_exactly() -> None:
    embedding, weight = nn.Embedding(4, 2), torch.tensor([3.0, -1.0])
    embedding.weight.data = WEIGHTS
    parts = gradient_times_input(embedding, lambda: (embedding(torch.tensor([[2, 0, 2, 3]])) @ weight).sum() + 7.0)
    assert parts.tolist() == [-4.0, 3.0, -4.0, 1.25]
    assert not parts.requires_grad


def test_a_linear_reward_model_is_known_exactly() -> None:
    """Ids: <s> 1, a 4, b 5, c 6; each has 0.5 id - 0.25, and all with the constant make the score."""
    reward = linear_reward()
    found = reward.attribute("ab", "cab")
    assert found.tokens == ["<s>", "a", "b", "c", "a", "b"]
    assert found.parts == [0.25, 1.75, 2.25, 2.75, 1.75, 2.25]
    assert found.num_prompt_tokens == 3
    assert sum(found.parts) + 3.0 == pytest.approx(float(reward.score(["ab"], ["cab"])[0]))
    assert reward.attribute("", "c").num_prompt_tokens == 1
    assert reward.attribute("ab", "").num_prompt_tokens == 3


def test_of_a_text_that_is_cut_the_parts_are_those_of_what_is_read() -> None:
    cut = linear_reward(max_length=3).attribute("abc", "ab")
    assert (cut.tokens, cut.num_prompt_tokens) == (["<s>", "a", "b"], 1)
    assert linear_reward(max_length=5).attribute("abc", "ab").num_prompt_tokens == 3


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_parts_are_derivatives_along_the_embeddings(family: str, tmp_path: Path) -> None:
    if family == "llama":
        reward = new_reward_model(save_tiny_model(tmp_path / "model", words=["a", "b", "c"]), "cpu")
        texts = ("a b", " c a b")
    else:
        torch.manual_seed(0)
        config = AutoConfig.for_model("bert", vocab_size=64, num_labels=1, pad_token_id=0, **BERT)
        reward = RewardModel(AutoModelForSequenceClassification.from_config(config).eval(), tiny_tokenizer())
        texts = ("ab", "cab")
    found = reward.double().attribute(*texts)
    embedding, step = reward.model.get_input_embeddings(), 1e-2  # Llama norms in float32
    for place, part in enumerate(found.parts):
        scores = []
        for sign in (1, -1):

            def stretch(module: Any, given: Any, output: Any, at: int = place, by: float = sign * step) -> Any:
                factor = torch.ones(output.shape[1], 1, dtype=output.dtype)
                factor[at] += by
                return output * factor

            hook = embedding.register_forward_hook(stretch)
            tokens, mask = reward.encode([texts[0]], [texts[1]])
            scores.append(reward.run(tokens, mask)[0, 0].item())
            hook.remove()
        assert part == pytest.approx((scores[0] - scores[1]) / (2 * step), abs=1e-4)


def test_several_heads_have_their_own_parts_and_their_mean() -> None:
    reward = linear_reward()
    set_heads(reward, torch.tensor([[0.5, -0.25], [1.0, 0.0]]), torch.zeros(2))
    assert reward.attribute("", "ab", 1).parts == [1.0, 4.0, 5.0]
    assert reward.attribute("", "ab").parts == [0.625, 2.875, 3.625]


def test_an_adapter_has_the_parts_of_its_own_head() -> None:
    reward = linear_reward()
    set_heads(reward, torch.tensor([[0.5, -0.25], [1.0, 0.0]]), torch.zeros(2))
    chosen: list[str] = []
    reward.model.set_adapter = chosen.append  # type: ignore[method-assign]
    assert RewardAdapter(reward, "member-1", 1).attribute("", "ab").parts == [1.0, 4.0, 5.0]
    assert chosen == ["member-1"]
