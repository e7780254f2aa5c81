"""Reward models: read at the last real token, from any base, with a new head."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from likelier.errors import DataError
from likelier.text.convention import mark_made
from likelier.text.models import load_causal_lm, save_model
from likelier.text.padding import pad_left
from likelier.text.reward_model import RewardModel, init_score_head, load_reward_model, new_reward_model
from model_families import BERT, tiny_config, tiny_model, tiny_tokenizer

PROMPTS = ["abc", "the cat sat on", "x", ""]
RESPONSES = [" d", "", " a long answer to it", "no"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "base", tiny_model(), tiny_tokenizer(), "Random weights.")
    return tmp_path / "base"


def classifier(family: str, tokenizer: Any, **settings: Any) -> RewardModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family, num_labels=1, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    mark_made(tokenizer)
    return RewardModel(model, tokenizer)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "gemma", "gemma2", "mistral"])
@pytest.mark.parametrize("end", [2, 0])
def test_padding_on_either_side_changes_no_score(family: str, end: int) -> None:
    tokenizer = tiny_tokenizer() if end else tiny_tokenizer(bos="<s>", eos="<s>", pad="<s>")
    reward = classifier(family, tokenizer, eos_token_id=end, pad_token_id=0)
    tokens, mask = reward.encode(PROMPTS, RESPONSES)
    rows = [row[real].tolist() for row, real in zip(tokens, mask, strict=True)]
    assert all(row[-1] == end for row in rows)
    right = reward(tokens, mask)
    left = reward(*pad_left(rows, pad=0))
    alone = torch.cat([reward(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool)) for row in rows])
    assert torch.allclose(left, right, rtol=1e-4, atol=1e-6)
    assert torch.allclose(alone, right, rtol=1e-4, atol=1e-6)
    assert torch.allclose(reward.score(PROMPTS, RESPONSES, batch_size=3), right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_a_plain_classifier_scores_the_same(tmp_path: Path, family: str) -> None:
    reward = classifier(family, tiny_tokenizer())
    save_model(tmp_path / "reward", reward.model, reward.tokenizer, "")
    expected = reward.score(PROMPTS, RESPONSES)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    texts = [f"<s>{prompt}{response}</s>" for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]
    inputs = tokenizer(texts, padding=True, padding_side="right", add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        scores = plain(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, 0]
    assert torch.allclose(scores, expected, rtol=1e-4, atol=1e-6)
    again = load_reward_model(tmp_path / "reward").score(PROMPTS, RESPONSES)
    assert torch.allclose(again, expected, rtol=1e-5)


def test_an_encoder_scores_by_its_own_pooling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=1
    )
    reward = RewardModel(BertForSequenceClassification(config).eval(), tiny_tokenizer(bos="<s>"))
    tokens, mask = reward.encode(PROMPTS, RESPONSES)
    rows = [row[real].tolist() for row, real in zip(tokens, mask, strict=True)]
    alone = torch.cat([reward.model(torch.tensor([row])).logits[:, 0] for row in rows])
    assert torch.allclose(reward(tokens, mask), alone, rtol=1e-4)
    assert torch.allclose(reward(*pad_left(rows, pad=0)), alone, rtol=1e-4)
    save_model(tmp_path / "encoder", reward.model, reward.tokenizer, "")
    made = new_reward_model(tmp_path / "encoder", generator=torch.Generator().manual_seed(0))
    assert made.score(PROMPTS, RESPONSES).isfinite().all()


@pytest.mark.parametrize("family", ["mpt", "bart", "t5", "xlnet", "roberta"])
def test_no_score_depends_on_the_other_texts_of_its_batch(tmp_path: Path, family: str) -> None:
    """T5 and BART want equally many end tokens in all texts, XLNet reads the last place, RoBERTa has less places."""
    sizes: dict[str, dict[str, Any]] = {
        "mpt": {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 32},
        "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 32}
        | {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 2},
        "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0},
        "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32},
        "roberta": {"max_position_embeddings": 34, "pad_token_id": 1, **BERT},
    }
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(family, vocab_size=64, num_labels=1, **{**ids, **sizes[family]})
    torch.manual_seed(0)
    save_model(tmp_path / "m", AutoModelForSequenceClassification.from_config(config), tiny_tokenizer(), "")
    for reward in (load_reward_model(tmp_path / "m"), new_reward_model(tmp_path / "m")):
        prompts, responses = ["abc", "x" * 50, "a</s>b"], ["d e", "yes", "a b c"]
        alone = torch.cat([reward.score([text], [answer]) for text, answer in zip(prompts, responses, strict=True)])
        torch.testing.assert_close(reward.score(prompts, responses), alone, rtol=1e-4, atol=1e-5)


def test_a_new_head_is_drawn_with_the_known_deviation(shared: Path) -> None:
    folder = shared / "models" / "stories260K"
    heads = [new_reward_model(folder, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    first, again, other = (reward.model.score.weight for reward in heads)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    drawn = torch.cat([first, other]).detach().flatten()
    assert float(drawn.std()) == pytest.approx((64 + 1) ** -0.5, rel=0.2)  # 128 draws: 6 % is one deviation
    trunk = load_causal_lm(folder).model.norm.weight
    assert torch.equal(heads[0].model.model.norm.weight, trunk)


def test_a_head_is_normal_with_the_deviation_of_its_width() -> None:
    head = torch.nn.Linear(9_999, 1)
    torch.nn.init.constant_(head.bias, 3.0)
    init_score_head(torch.nn.Sequential(torch.nn.Linear(4, 4), head), torch.Generator().manual_seed(0))
    drawn = 100.0 * head.weight.detach()  # sqrt(9,999 + 1)
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.03)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.04)
    assert float((drawn.abs() < 1).double().mean()) == pytest.approx(0.683, abs=0.02)  # a uniform one has 0.577
    assert head.bias.tolist() == [0.0]


def test_scores_carry_gradients(base: Path) -> None:
    reward = new_reward_model(base, generator=torch.Generator().manual_seed(0))
    scores = reward(*reward.encode(["abc", "x"], [" d", " e"]))
    assert torch.allclose(scores.detach(), reward.score(["abc", "x"], [" d", " e"]), rtol=1e-4)
    (scores[0] - scores[1]).backward()
    assert reward.model.model.embed_tokens.weight.grad.abs().sum() > 0


def test_a_long_text_loses_its_beginning(base: Path) -> None:
    reward = new_reward_model(base, max_length=6)
    tokens, mask = reward.encode(["abcdefgh"], ["xyz"])
    assert mask.sum() == 6
    assert tokens[0].tolist()[-1] == reward.tokenizer.eos_token_id
    assert tokens[0].tolist()[0] == reward.tokenizer.bos_token_id
    assert reward.tokenizer.decode(tokens[0], skip_special_tokens=True) == "hxyz"


def test_from_scratch_keeps_the_architecture_only(base: Path) -> None:
    torch.manual_seed(0)
    reward = new_reward_model(base, from_scratch=True)
    old = load_causal_lm(base).model.embed_tokens.weight
    assert reward.model.model.embed_tokens.weight.shape == old.shape
    assert not torch.equal(reward.model.model.embed_tokens.weight, old)


def test_more_labels_than_one_are_refused(tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_config(tiny_config("llama", num_labels=3))
    save_model(tmp_path / "three", model, tiny_tokenizer(), "")
    with pytest.raises(DataError, match="3 labels; a reward model has exactly 1"):
        load_reward_model(tmp_path / "three")
