"""Loading, saving and copying models; the reward model's reading of the last real token."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from likelier.errors import DataError
from likelier.text.models import (
    RewardModel,
    ValueHead,
    context_length,
    draw_head,
    frozen_copy,
    load_causal_lm,
    load_reward_model,
    load_tokenizer,
    load_trunk,
    load_value_head,
    new_reward_model,
    save_model,
    save_value_head,
)
from likelier.text.tokens import pad_left
from model_families import tiny_config, tiny_model, tiny_tokenizer

PROMPTS = ["abc", "the cat sat on", "x", ""]
RESPONSES = [" d", "", " a long answer to it", "no"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_model(tmp_path / "base", tiny_model(), tiny_tokenizer(), "Random weights.")
    return tmp_path / "base"


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "gemma", "gemma2", "mistral"])
def test_a_saved_model_loads_here_and_elsewhere(tmp_path: Path, family: str) -> None:
    model, tokens = tiny_model(family), torch.tensor([[1, 9, 8, 7]])
    save_model(tmp_path / "model", model, tiny_tokenizer(chat=True), "Trained on nothing.")
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json", "README.md"} <= names
    assert "chat_template.jinja" in names
    assert "Trained on nothing." in (tmp_path / "model" / "README.md").read_text()
    for loaded in (load_causal_lm(tmp_path / "model"), AutoModelForCausalLM.from_pretrained(tmp_path / "model")):
        assert torch.allclose(loaded(tokens).logits, model(tokens).logits, atol=1e-6)
    assert load_tokenizer(tmp_path / "model").chat_template == tiny_tokenizer(chat=True).chat_template


def test_saving_over_a_folder_leaves_nothing_old(base: Path) -> None:
    (base / "old.txt").write_text("x")
    save_model(base, tiny_model(seed=1), tiny_tokenizer(), "Newer.")
    assert not (base / "old.txt").exists()
    assert [entry.name for entry in base.parent.iterdir()] == ["base"]
    weights = load_file(base / "model.safetensors")["model.norm.weight"]
    assert torch.equal(weights, tiny_model(seed=1).model.norm.weight)


def test_saving_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "model", tiny_model(), tiny_tokenizer(), "")
    assert capfd.readouterr() == ("", "")


def test_loading_is_float32_without_dropout(tmp_path: Path) -> None:
    made = tiny_model("gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1).to(torch.bfloat16)
    save_model(tmp_path / "model", made, tiny_tokenizer(), "")
    model, tokens = load_causal_lm(tmp_path / "model"), torch.arange(3, 60)[None]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training
    expected = model(tokens).logits
    assert torch.equal(model.train()(tokens).logits, expected)


def test_context_length() -> None:
    assert context_length(tiny_model("gpt2", n_positions=77)) == 77
    assert context_length(tiny_model("llama", max_position_embeddings=55)) == 55
    assert context_length(tiny_model("bloom")) > 10**6


def test_a_frozen_copy_stays_as_it_was() -> None:
    model = tiny_model()
    reference = frozen_copy(model)
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    assert float(reference.model.norm.weight.mean()) == 1.0
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_value_head_starts_at_zero_and_survives_saving(tmp_path: Path) -> None:
    head = ValueHead(8)
    hidden = torch.randn(3, 5, 8)
    assert torch.equal(head(hidden), torch.zeros(3, 5))
    torch.nn.init.normal_(head.linear.weight)
    save_value_head(tmp_path, head)
    assert torch.equal(load_value_head(tmp_path)(hidden), head(hidden))
    with pytest.raises(DataError, match="value_head.json: no such file"):
        load_value_head(tmp_path / "absent")


def classifier(family: str, tokenizer: Any, **settings: Any) -> RewardModel:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family, num_labels=1, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
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
    draw_head(torch.nn.Sequential(torch.nn.Linear(4, 4), head), torch.Generator().manual_seed(0))
    drawn = 100.0 * head.weight.detach()  # sqrt(9,999 + 1)
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.03)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.04)
    assert float((drawn.abs() < 1).double().mean()) == pytest.approx(0.683, abs=0.02)  # a uniform one has 0.577
    assert head.bias.tolist() == [0.0]


def test_pair_scores_carry_gradients(base: Path) -> None:
    reward = new_reward_model(base, generator=torch.Generator().manual_seed(0))
    chosen, rejected = reward.pair_scores(["abc", "x"], [" d", " e"], [" f", " gh"])
    assert torch.allclose(chosen.detach(), reward.score(["abc", "x"], [" d", " e"]), rtol=1e-4)
    assert torch.allclose(rejected.detach(), reward.score(["abc", "x"], [" f", " gh"]), rtol=1e-4)
    (chosen - rejected).sum().backward()
    assert reward.model.model.embed_tokens.weight.grad.abs().sum() > 0


def test_a_long_text_loses_its_beginning(base: Path) -> None:
    reward = new_reward_model(base, max_length=6)
    tokens, mask = reward.encode(["abcdefgh"], ["xyz"])
    assert mask.sum() == 6
    assert tokens[0].tolist()[-1] == reward.tokenizer.eos_token_id
    assert reward.tokenizer.decode(tokens[0], skip_special_tokens=True) == "ghxyz"


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


def test_a_hub_name_that_is_not_there_is_one_line() -> None:
    with pytest.raises(DataError, match="^nobody/nothing: cannot load this model: no such folder, and [^\n]*$"):
        load_causal_lm("nobody/nothing")


def test_a_folder_of_an_unknown_architecture_is_one_line(base: Path) -> None:
    (base / "config.json").write_text('{"model_type": "martian"}')
    with pytest.raises(DataError, match="^[^\n]*base: cannot load this model: [^\n]*martian[^\n]*$"):
        load_causal_lm(base)


def test_a_classifier_is_no_language_model_and_the_other_way_round(tmp_path: Path, base: Path) -> None:
    """transformers would draw the missing head at random and only warn."""
    model = AutoModelForSequenceClassification.from_config(tiny_config("llama", num_labels=1))
    save_model(tmp_path / "scores", model, tiny_tokenizer(), "")
    with pytest.raises(DataError, match="^[^\n]*scores: holds no weights for lm_head.weight; it is a LlamaForSequence"):
        load_causal_lm(tmp_path / "scores")
    with pytest.raises(DataError, match="2 labels; a reward model has exactly 1: give one that `likelier reward`"):
        load_reward_model(base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"id2label": {"0": "good"}, "num_labels": 1}))
    with pytest.raises(DataError, match="^[^\n]*base: holds no weights for score.weight; it is a LlamaForCausalLM"):
        load_reward_model(base)


def test_an_encoder_decoder_is_refused_by_name(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_heads": 2, "num_layers": 1}
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", vocab_size=64, **sizes))
    save_model(tmp_path / "both", model, tiny_tokenizer(), "")
    for load in (load_causal_lm, load_trunk):
        with pytest.raises(DataError, match="^[^\n]*both: t5 has an encoder and a decoder; give a decoder-only model$"):
            load(tmp_path / "both")
