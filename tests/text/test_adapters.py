"""Adapters: the start is the base, the base stays what it was, and what is merged is what was trained."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from likelier.config import LoRA
from likelier.errors import ConfigError, DataError
from likelier.text.adapters import apply_lora, make_reference, save_adapter
from likelier.text.cache import make_cache, preallocated_layers
from likelier.text.fast_decode import fast_decoder
from likelier.text.merging import save_trained
from likelier.text.models import load_causal_lm, load_tokenizer, save_model
from likelier.text.policy_start import load_language_model
from likelier.training.state import trained_weights
from model_families import tiny_model, tiny_tokenizer
from tiny import save_tiny_model

TOKENS = torch.tensor([[1, 4, 5, 4]])


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "model", words=["a", "b"])


def adapted(folder, rank=2, alpha=4, targets=(), seed=0):
    model = load_causal_lm(folder)
    reference = make_reference(model, LoRA(lora_rank=rank))
    apply_lora(model, LoRA(lora_rank=rank, lora_alpha=alpha, lora_targets=list(targets)), "dpo", seed)
    return model, reference


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def train_a_little(model):
    """As an optimizer would: only what is to be trained changes."""
    with torch.no_grad():
        for at, weight in enumerate(trained_weights(model)):
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(at)))


def test_the_base_is_the_reference_without_a_second_copy(folder):
    model, reference = adapted(folder)
    base = load_causal_lm(folder)
    assert torch.equal(logits(model), logits(base))
    train_a_little(model)
    assert not torch.allclose(logits(model), logits(base))
    assert torch.equal(logits(reference), logits(base))
    pointers = {weight.data_ptr() for weight in model.parameters()}
    assert all(weight.data_ptr() in pointers for weight in reference.parameters())
    assert not any(weight.requires_grad for weight in reference.parameters())
    assert all("lora" in name for name, weight in model.named_parameters() if weight.requires_grad)


def test_what_is_merged_is_what_was_trained(folder, tmp_path):
    model, _ = adapted(folder)
    train_a_little(model)
    save_adapter(tmp_path / "adapter", str(folder), model, load_tokenizer(folder))
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    whole = load_language_model(tmp_path / "adapter")
    assert type(whole) is type(load_causal_lm(folder))
    torch.testing.assert_close(logits(whole), logits(model), rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="an adapter without its model; give the folder of the merged one"):
        load_causal_lm(tmp_path / "adapter")


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma"])
@pytest.mark.parametrize("targets", [["lm_head"], ["embeddings"], ["embeddings", "lm_head"]])
def test_an_adapter_on_one_of_two_tied_matrices_does_not_change_the_other(family, targets, tmp_path, monkeypatch):
    save_model(tmp_path / "base", tiny_model(family, tie_word_embeddings=True), tiny_tokenizer(), "")
    monkeypatch.chdir(tmp_path)
    model = load_causal_lm("base")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    targets = [{"embeddings": "wte" if family == "gpt2" else "embed_tokens"}.get(name, name) for name in targets]
    apply_lora(model, LoRA(lora_rank=2, lora_alpha=4, lora_targets=targets), "sft", 0)
    train_a_little(model)
    save_trained(tmp_path, "base", model, tiny_tokenizer(), "")
    saved = load_causal_lm(tmp_path / "model")
    assert saved.get_input_embeddings().weight is not saved.get_output_embeddings().weight
    torch.testing.assert_close(logits(saved), logits(model), rtol=1e-4, atol=1e-4)
    recorded = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert recorded == str(tmp_path / "base")


def test_tied_matrices_without_an_adapter_stay_one(tmp_path):
    save_model(tmp_path / "base", tiny_model("gpt2"), tiny_tokenizer(), "")
    model = load_causal_lm(tmp_path / "base")
    apply_lora(model, LoRA(lora_rank=2, lora_targets=["c_attn"]), "sft", 0)
    save_trained(tmp_path, str(tmp_path / "base"), model, tiny_tokenizer(), "")
    saved = load_causal_lm(tmp_path / "model")
    assert saved.get_input_embeddings().weight is saved.get_output_embeddings().weight


def test_rank_alpha_targets_and_seed(folder):
    one, _ = adapted(folder)
    names = {name.split(".lora_")[0].rpartition(".")[2] for name, _ in one.named_parameters() if "lora_" in name}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    two, _ = adapted(folder, rank=3, targets=["q_proj"])
    shapes = {tuple(weight.shape) for weight in trained_weights(two)}
    assert shapes == {(3, 16), (16, 3)}
    same, other = adapted(folder)[0], adapted(folder, seed=1)[0]
    assert all(torch.equal(a, b) for a, b in zip(trained_weights(one), trained_weights(same), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(trained_weights(one), trained_weights(other), strict=True))
    with pytest.raises(ConfigError, match=r"dpo.lora_targets: q_porj: .*not found") as caught:
        adapted(folder, targets=["q_porj"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("targets", [[], ["lm_head"]])
def test_plain_decoding_steps_add_the_adapter_of_the_moment(family, targets):
    model = tiny_model(family).eval()
    apply_lora(model, LoRA(lora_rank=2, lora_alpha=4, lora_targets=targets), "ppo", 0)
    tokens = torch.randint(0, 64, (3, 7), generator=torch.Generator().manual_seed(0))
    begun = last_logits(fast_decoder(model, torch.float32), model, tokens)
    train_a_little(model)
    found, expected = (
        last_logits(fast_decoder(model, torch.float32), model, tokens),
        model(input_ids=tokens).logits[:, -1],
    )
    assert (found - begun).abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def last_logits(steps, model, tokens):
    """Of the last token, decoded behind the others."""
    assert steps is not None
    cache, _ = make_cache(model, torch.float32)
    model(input_ids=tokens[:, :-1], past_key_values=cache, use_cache=True)
    mask = torch.arange(32).expand(len(tokens), -1) < tokens.shape[1]
    places = torch.full((len(tokens),), tokens.shape[1] - 1)
    return steps.step(tokens[:, -1], places, preallocated_layers(cache), mask)


def test_adapters_that_plain_steps_would_get_wrong_are_left_to_transformers(folder):
    beside_embeddings, _ = adapted(folder, targets=["embed_tokens"])
    assert fast_decoder(beside_embeddings, torch.float32) is None
    for spoil in (lambda layer: layer.enable_adapters(False), lambda layer: layer.merge()):
        model, reference = adapted(folder)
        train_a_little(model)
        assert fast_decoder(model, torch.float32) is not None
        spoil(model.model.layers[0].mlp.up_proj)
        assert fast_decoder(model, torch.float32) is None
        assert fast_decoder(reference, torch.float32) is not None


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma", "gpt_neox", "bloom"])
def test_every_family_begins_at_its_base(family):
    model = tiny_model(family).eval()
    reference, before = make_reference(model, LoRA(lora_rank=2)), logits(model)
    apply_lora(model, LoRA(lora_rank=2, lora_alpha=4), "ppo", 0)
    assert torch.equal(logits(model), before)
    train_a_little(model)
    assert not torch.allclose(logits(model), before)
    assert torch.equal(logits(reference), before)


def test_the_default_leaves_out_what_peft_refuses_in_a_state_space_model():
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes))
    apply_lora(model, LoRA(lora_rank=2), "sft", seed=0)
    adapted = {name.split(".lora_B")[0].split(".")[-1] for name, _ in model.named_parameters() if "lora_B" in name}
    assert adapted == {"in_proj", "x_proj", "dt_proj"}
    with pytest.raises(ConfigError, match=r"sft.lora_targets: out_proj: .*incompatible"):
        apply_lora(
            AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes)),
            LoRA(lora_rank=2, lora_targets=["out_proj"]),
            "sft",
            seed=0,
        )
