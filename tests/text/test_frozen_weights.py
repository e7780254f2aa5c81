"""Weights stored in fewer bytes: the numbers of a float32 model with rounded weights, in training and sampling."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from likelier.config import LoRA
from likelier.errors import ConfigError
from likelier.text.adapters import apply_lora, copy_sharing_weights
from likelier.text.cached_decode import check_decodable
from likelier.text.fast_decode import fast_decoder
from likelier.text.frozen_weights import (
    FrozenEmbedding,
    choose_dtype,
    find_compute_dtype,
    import_bitsandbytes,
    store_weights,
)
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.merging import make_plain, save_trained
from likelier.text.models import load_causal_lm, save_model
from likelier.text.sampler import Sampling
from model_families import tiny_model, tiny_tokenizer
from random_texts import texts
from samplers import sample

DTYPES = ["bfloat16", "float16", "8bit", "4bit"]
TOKENS = torch.randint(5, 60, (3, 12), generator=torch.Generator().manual_seed(0))


def both(family: str, dtype: Any, **settings: Any) -> tuple[Any, Any]:
    """A model with stored weights, and one in float32 with the same, rounded ones."""
    stored = tiny_model(family, **settings)
    store_weights(stored, dtype)
    return stored, make_plain(stored, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt_neox"])
def test_it_computes_with_the_rounded_weights(family: str, dtype: Any) -> None:
    stored, rounded = both(family, dtype)
    with torch.no_grad():
        plain, wanted, found = (each(input_ids=TOKENS).logits for each in (tiny_model(family), rounded, stored))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert (plain - wanted).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_adapters_get_the_same_gradients_in_float32(family: str, dtype: Any) -> None:
    found = []
    for model in both(family, dtype):
        apply_lora(model, LoRA(lora_rank=2), "ppo", 0)
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        assert {weight.dtype for weight in trained.values()} == {torch.float32}
        generator = torch.Generator().manual_seed(1)
        for weight in trained.values():
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
        logprobs, _ = compute_response_logprobs(model, *texts(), temperature=1.0)
        (logprobs.sum() / 10).backward()
        found.append((logprobs, {name: weight.grad for name, weight in trained.items()}))
    (ours, gradients), (wanted, others) = found
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "most"), [("float32", 4.0), ("bfloat16", 2.1), ("8bit", 1.2), ("4bit", 0.65)])
def test_it_stands_in_fewer_bytes_and_the_graph_keeps_no_copy(dtype: Any, most: float) -> None:
    model = tiny_model("llama", hidden_size=128, intermediate_size=256)
    num_weights = sum(weight.numel() for weight in model.model.layers.parameters())
    store_weights(model, dtype)
    tensors = [*model.model.layers.parameters(), *model.model.layers.buffers()]
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) <= most * num_weights
    apply_lora(model, LoRA(lora_rank=2), "ppo", 0)
    kept: list[torch.Size] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=TOKENS).logits.sum().backward()
    weights = {torch.Size(shape) for shape in ((128, 128), (256, 128), (128, 256))}
    assert bool(weights & set(kept)) == (dtype == "float32")  # which are the weights themselves


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_of_the_modules_share_the_bytes(dtype: Any) -> None:
    model = tiny_model()
    store_weights(model, dtype)
    shared, apart = copy_sharing_weights(model), copy.deepcopy(model)
    pointers = [
        {tensor.data_ptr() for tensor in (*each.parameters(), *each.buffers())} for each in (model, shared, apart)
    ]
    assert pointers[0] == pointers[1]
    assert not pointers[0] & pointers[2]
    with torch.no_grad():
        assert torch.equal(shared(input_ids=TOKENS).logits, model(input_ids=TOKENS).logits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_sampler_agrees_with_the_trainer_by_the_fast_decoder(family: str, dtype: Any) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    store_weights(model, dtype)
    check_decodable(model, "m")  # at the bound that float32 has
    assert fast_decoder(model, torch.float32) is not None
    apply_lora(model, LoRA(lora_rank=2), "ppo", 0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    assert fast_decoder(model, torch.float32) is not None
    samples = sample(model, tokenizer, ["a b", "c d e"], Sampling(12), torch.Generator().manual_seed(0))
    fields = samples.prompt_tokens, samples.prompt_mask, samples.tokens, samples.mask
    with torch.no_grad():
        logprobs, _ = compute_response_logprobs(model, *fields, temperature=1.0)
    assert (samples.logprobs - logprobs).abs().max() < 1e-4


def test_under_autocast_products_are_bfloat16_and_bit_equal_with_and_without_a_graph() -> None:
    model = tiny_model()
    store_weights(model, "bfloat16")
    apply_lora(model, LoRA(lora_rank=2), "ppo", 0)
    layer, x = model.model.layers[0].mlp.gate_proj.base_layer, torch.randn(2, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.no_grad():
        old, _ = compute_response_logprobs(model, *texts(), temperature=1.0, bf16=True)
    new, _ = compute_response_logprobs(model, *texts(), temperature=1.0, bf16=True)
    assert torch.equal(old, new)
    new.sum().backward()
    assert find_compute_dtype(model) == torch.float32
    assert isinstance(model.get_input_embeddings(), FrozenEmbedding)


@pytest.mark.parametrize(
    ("dtype", "own"), [("4bit", torch.bfloat16), ("bfloat16", torch.bfloat16), ("8bit", torch.float32)]
)
def test_what_was_trained_is_merged_and_written_in_the_base_s_own_type(tmp_path: Path, dtype: Any, own: Any) -> None:
    base = tiny_model().to(own)
    save_model(tmp_path / "base", base, tiny_tokenizer(), "")
    model = load_causal_lm(tmp_path / "base", dtype=dtype)
    apply_lora(model, LoRA(lora_rank=2), "ppo", 0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    save_trained(tmp_path, str(tmp_path / "base"), model, tiny_tokenizer(), "")
    assert {tensor.dtype for tensor in load_file(tmp_path / "model" / "model.safetensors").values()} == {own}
    merged = load_causal_lm(tmp_path / "model")
    with torch.no_grad():
        ours, theirs = (each(input_ids=TOKENS).logits.log_softmax(-1) for each in (model, merged))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0.1 if own == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_a_folder_in_bfloat16_is_read_as_it_is_without_a_loss(tmp_path: Path, family: str) -> None:
    save_model(tmp_path / "base", tiny_model(family).to(torch.bfloat16), tiny_tokenizer(), "")
    wanted, stored = load_causal_lm(tmp_path / "base"), load_causal_lm(tmp_path / "base", dtype="bfloat16")
    norms = [weight.dtype for name, weight in stored.named_parameters() if "norm" in name]
    assert set(norms) == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(
            stored(input_ids=TOKENS).logits, wanted(input_ids=TOKENS).logits, rtol=1e-6, atol=1e-6
        )


def test_layers_that_are_kept_stay_trainable_float32() -> None:
    model = tiny_model()
    store_weights(model, "4bit", ["model.layers.1"])
    kept, packed = model.model.layers[1].mlp.up_proj, model.model.layers[0].mlp.up_proj
    assert kept.weight.dtype == torch.float32
    assert kept.weight.requires_grad
    assert packed.packed.dtype == torch.uint8
    assert model.lm_head.weight.dtype == torch.bfloat16


def test_the_default_is_float32_without_a_gpu_and_bitsandbytes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_dtype(None, torch.device("cpu")) == "float32"
    assert choose_dtype("4bit", torch.device("cpu")) == "4bit"
    import_bitsandbytes.cache_clear()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(ConfigError, match=r"^model_dtype: 4bit and 8bit need bitsandbytes: pip install"):
        store_weights(tiny_model(), "8bit")
    import_bitsandbytes.cache_clear()
