"""Loading, saving and copying models."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from likelier.errors import DataError
from likelier.text.models import (
    context_length,
    load_causal_lm,
    load_tokenizer,
    load_trunk,
    make_frozen_copy,
    save_model,
)
from likelier.text.reward_model import load_reward_model, new_reward_model
from model_families import BERT, tiny_config, tiny_model, tiny_tokenizer


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


def test_positions_behind_the_paddings_are_all_that_roberta_has() -> None:
    config = AutoConfig.for_model("roberta", vocab_size=64, max_position_embeddings=514, pad_token_id=1, **BERT)
    assert context_length(AutoModel.from_config(config)) == 512
    assert context_length(AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=64, **BERT))) == 512
    assert context_length(AutoModel.from_config(AutoConfig.for_model("mpt", d_model=16, n_heads=2, n_layers=1))) == 2048


def test_longrope_is_used_up_to_where_it_would_turn_all_positions_otherwise() -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "factor": 4.0}
    rope |= {"original_max_position_embeddings": 32, "rope_theta": 1e4}
    model = tiny_model("llama", max_position_embeddings=128, rope_parameters=rope)
    assert context_length(model) == 32


@pytest.mark.parametrize("quantisation", ["awq", "gptq"])
def test_a_model_that_needs_an_absent_package_is_one_line(base: Path, quantisation: str) -> None:
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": quantisation, "bits": 4, "group_size": 128, "version": "gemm"}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="^[^\n]*base: cannot load this model: [^\n]*; install that package, or give"):
        load_causal_lm(base)


@pytest.mark.parametrize(
    "key", ["num_attention_heads", "num_key_value_heads", "max_position_embeddings", "hidden_size"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, "many", None])
def test_impossible_numbers_in_a_config_are_one_line_or_do_not_matter(base: Path, key: str, value: Any) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {key: value}))
    for load in (load_causal_lm, new_reward_model):
        with contextlib.suppress(DataError):
            load(base)


def test_a_padding_id_outside_of_the_vocabulary_is_left_out(base: Path) -> None:
    tokens = torch.arange(3, 60)[None]
    expected = load_causal_lm(base)(tokens).logits
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"pad_token_id": 64}))
    assert torch.equal(load_causal_lm(base)(tokens).logits, expected)


def test_a_bidirectional_model_is_no_language_model(tmp_path: Path) -> None:
    bert = AutoModelForCausalLM.from_config(AutoConfig.for_model("bert", vocab_size=64, **BERT))
    save_model(tmp_path / "bert", bert, tiny_tokenizer(), "")
    with pytest.raises(DataError, match="^[^\n]*bert: bert reads texts in both directions and cannot write them; give"):
        load_causal_lm(tmp_path / "bert")


def test_a_frozen_copy_stays_as_it_was() -> None:
    model = tiny_model()
    reference = make_frozen_copy(model)
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    assert float(reference.model.norm.weight.mean()) == 1.0
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


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
        with pytest.raises(DataError, match="^[^\n]*both: t5 has an encoder and a decoder, .*; give a decoder-only"):
            load(tmp_path / "both")


def test_the_model_card_is_read_by_the_hubs_own_reader(base: Path) -> None:
    card = ModelCard.load(base / "README.md")
    assert card.data.to_dict() == {"library_name": "transformers", "tags": ["likelier"]}
    assert card.text.splitlines()[0] == "# base"
    assert "Random weights." in card.text
    assert "- load with: `transformers.AutoModelForCausalLM.from_pretrained(folder)`" in card.text


def test_a_folder_without_a_tokenizer_is_refused_where_transformers_makes_an_empty_one(tmp_path: Path):
    tiny_model("qwen2").save_pretrained(tmp_path / "model")
    with pytest.raises(DataError, match=r"model: no tokenizer is in this folder; put tokenizer.json"):
        load_tokenizer(tmp_path / "model")
