"""Merged in memory: W + (alpha / rank) B A by hand, in the type asked for, and what was trained stays as it is."""

import pytest
import torch

from likelier.config import LoRA
from likelier.errors import LikelierError, NumericError
from likelier.text import merging
from likelier.text.adapters import apply_lora
from likelier.text.frozen_weights import FrozenLinear, QuantisedLinear, store_weights
from likelier.text.merging import make_plain, save_trained
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.training.state import trained_weights
from model_families import tiny_model
from tiny import save_tiny_model

TOKENS = torch.tensor([[1, 4, 5, 4]])


def adapted(dtype="float32", targets=("q_proj",)):
    model = tiny_model()
    store_weights(model, dtype)
    apply_lora(model, LoRA(lora_rank=2, lora_alpha=4, lora_targets=list(targets)), "sft", 0)
    with torch.no_grad():
        for weight in trained_weights(model):
            weight.add_(0.1)
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def test_a_layer_becomes_its_weight_plus_the_product_of_the_adapter():
    model = adapted()
    layer = model.model.layers[0].self_attn.q_proj
    first, second = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    plain = make_plain(model, torch.float32)
    merged = plain.model.layers[0].self_attn.q_proj
    assert type(merged) is torch.nn.Linear
    torch.testing.assert_close(merged.weight, layer.base_layer.weight + 2.0 * second @ first)  # alpha / rank
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-5, atol=1e-5)
    assert not any("lora" in name for name, _ in plain.named_parameters())


@pytest.mark.parametrize(("dtype", "kind"), [("bfloat16", FrozenLinear), ("4bit", QuantisedLinear)])
def test_stored_weights_are_shared_or_unpacked_and_stay_what_they_were(dtype, kind):
    model = adapted(dtype)
    before = logits(model)
    plain = make_plain(model, torch.bfloat16)
    assert {weight.dtype for weight in plain.parameters()} == {torch.bfloat16}
    assert all(type(layer) is not kind for layer in plain.modules())
    assert plain.model.embed_tokens.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert torch.equal(logits(model), before)
    assert type(model.model.layers[0].mlp.up_proj) is kind
    torch.testing.assert_close(logits(make_plain(model, torch.float32)), before, rtol=1e-5, atol=1e-5)


def test_tied_weights_stay_one():
    model = tiny_model(tie_word_embeddings=True)
    store_weights(model, "float16")
    plain = make_plain(model, torch.float32)
    assert plain.lm_head.weight is plain.model.embed_tokens.weight
    assert plain.lm_head.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("layer", r"adapter: merged into model.layers.0.self_attn.q_proj it gives numbers up to [0-9.]+ from those of"),
        ("model", r"adapter: merged into its base .* up to [0-9.]+ nats from .* trained"),
    ],
)
def test_a_merged_model_that_is_not_what_was_trained_is_not_written(tmp_path, monkeypatch, wrong, said):
    folder = save_tiny_model(tmp_path / "model", words=["a", "b"])
    model = load_causal_lm(folder)
    apply_lora(model, LoRA(lora_rank=2, lora_targets=["q_proj"]), "dpo", 0)
    with torch.no_grad():
        for weight in trained_weights(model):
            weight.add_(0.5)
    if wrong == "layer":
        monkeypatch.setattr(merging, "merge_weight", lambda layer: layer.get_base_layer().weight)
    else:
        monkeypatch.setattr(merging, "make_plain", lambda model, dtype, adapter: load_causal_lm(folder))
    with pytest.raises(LikelierError, match=said) as caught:
        save_trained(tmp_path / "run", str(folder), model, load_tokenizer(folder), "")
    assert "\n" not in str(caught.value)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"adapter"}


def test_weights_that_are_not_finite_are_named():
    model = adapted()
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.base_layer.weight[0, 0] = torch.nan
    with pytest.raises(NumericError, match=r"layers.1.self_attn.q_proj gives numbers that are not finite"):
        make_plain(model, torch.float32)
