"""FastDecoder decoding steps: used where they agree with the model, never elsewhere."""

import math

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from likelier.text import fast_decode as fast_decode_file
from likelier.text.cache import make_cache, preallocated_layers
from likelier.text.fast_decode import attend, fast_decoder, is_worth_packing, linear
from likelier.text.sampler import Sampling
from model_families import tiny_model, tiny_tokenizer
from samplers import sample


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gpt2", {}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu", "n_inner": 24}),
        ("llama", {"attention_bias": True, "head_dim": 6}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}}),
        ("qwen2", {}),
        ("mistral", {"sliding_window": None}),
    ],
)
def test_known_families_are_decoded_fast_and_agree(family: str, settings: dict[str, object]) -> None:
    model = tiny_model(family, **settings).double()
    tokens = torch.randint(0, 64, (3, 9), generator=torch.Generator().manual_seed(0))
    cache, plain = make_cache(model, torch.double)
    steps = fast_decoder(model, torch.double)
    assert plain
    assert steps is not None
    with torch.no_grad():
        model(input_ids=tokens[:, :5], past_key_values=cache, use_cache=True)
        for at in range(5, 9):
            mask = torch.arange(32).expand(3, -1) <= at
            found = steps.step(tokens[:, at], torch.tensor([at] * 3), preallocated_layers(cache), mask)
        expected = model(input_ids=tokens).logits[:, -1]
    assert torch.allclose(found, expected, atol=1e-6)  # rotary tables are float32 in transformers


@pytest.mark.parametrize("family", ["gemma", "gemma2", "granite", "cohere", "gpt_neox", "bloom"])
def test_other_families_are_left_to_transformers(family: str) -> None:
    assert fast_decoder(tiny_model(family), torch.float32) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_of_one_query_weighs_the_values_it_may_see(dtype: torch.dtype) -> None:
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]], dtype=dtype)[None, None]
    values = torch.tensor([[8.0, 0.0], [0.0, 8.0], [100.0, 100.0]], dtype=dtype)[None, None]
    query = torch.tensor([[4.0, 0.0], [0.0, 0.0]], dtype=dtype)[None, None]  # two query heads share keys and values
    unseen = torch.tensor([False, False, True])[None, None, None]
    found = attend(query, keys, values, unseen, scale=0.5)
    share = 1 / (1 + math.exp(-2.0))  # softmax of (2, 0)
    expected = torch.tensor([[8 * share, 8 * (1 - share)], [4.0, 4.0]], dtype=dtype)
    assert torch.allclose(found[0, 0], expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6)
    assert found.dtype == dtype


class Adapted(nn.Linear):
    """Stands for a layer that adds something of its own, as adapters do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1.0


def with_adapter() -> PreTrainedModel:
    model = tiny_model()
    old = model.model.layers[1].mlp.up_proj
    model.model.layers[1].mlp.up_proj = Adapted(old.in_features, old.out_features, bias=False)
    return model


def with_hook() -> PreTrainedModel:
    model = tiny_model()
    model.model.layers[0].register_forward_hook(lambda module, inputs, output: output * 2.0)
    return model


@pytest.mark.parametrize("make", [with_adapter, with_hook])
def test_changed_models_are_left_to_transformers(make: object) -> None:
    assert callable(make)
    assert fast_decoder(make(), torch.float32) is None


def test_steps_that_disagree_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, seeded = tiny_model(), tiny_tokenizer(), torch.Generator
    expected = sample(model, tokenizer, ["abc"], Sampling(9), seeded().manual_seed(0))
    monkeypatch.setattr(fast_decode_file, "rotate", lambda heads, cos, sin: heads)
    other = tiny_model()
    assert fast_decoder(other, torch.float32) is None
    found = sample(other, tokenizer, ["abc"], Sampling(9), seeded().manual_seed(0))
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.allclose(found.logprobs, expected.logprobs, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_large_weights_are_laid_out_for_onednn_and_give_the_same_products(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family)
    rows = torch.randn(3, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear | Conv1D)):
        if layer.weight.shape[isinstance(layer, nn.Linear)] != rows.shape[1]:
            continue
        plain = linear(layer, lambda weight: weight.to(dtype))(rows)
        assert not is_worth_packing(layer.weight)  # 64 x 32 numbers gain nothing
        with monkeypatch.context() as patch:
            patch.setattr(fast_decode_file, "MIN_PACKED_SIZE", 1)
            assert is_worth_packing(layer.weight)
            packed = linear(layer, lambda weight: weight.to(dtype))(rows)
        assert packed.dtype == dtype
        assert torch.allclose(packed, plain, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5)
    assert not is_worth_packing(torch.ones(2**17, dtype=torch.float64))


@pytest.mark.parametrize("able", [False, True])
def test_bf16_is_laid_out_only_where_the_cpu_has_its_products(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: able)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert is_worth_packing(torch.ones(2**17, dtype=torch.bfloat16)) is able
    assert is_worth_packing(torch.ones(2**17))
