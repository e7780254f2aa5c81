"""FastDecoder decoding steps: used where they agree with the model, never elsewhere."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from likelier.text import fast_families, fast_layers
from likelier.text.cache import make_cache, preallocated_layers
from likelier.text.cached_decode import CachedDecoder
from likelier.text.fast_decode import explain_slow_decoding, fast_decoder
from likelier.text.fast_layers import attend, is_worth_packing, linear, look_back
from likelier.text.sampler import Sampling
from model_families import tiny_model, tiny_tokenizer
from samplers import sample

WINDOWS = {"sliding_window": 4, "use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]}
GEMMA_3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gpt2", {}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu", "n_inner": 24}),
        ("llama", {"attention_bias": True, "head_dim": 6}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}}),
        ("qwen2", {}),
        ("qwen2", WINDOWS),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 4}),
        ("qwen3", {"attention_bias": True}),
        ("qwen3", WINDOWS),
        ("gemma", {}),
        ("gemma2", {"sliding_window": 4, "attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 4}),
        ("gemma3_text", {"sliding_window": 4, "rope_parameters": GEMMA_3_ROPE}),
        ("gemma3_text", {"final_logit_softcapping": 0.5, "attn_logit_softcapping": 0.5}),
        ("phi3", {}),
        ("phi3", {"sliding_window": 4, "num_attention_heads": 4, "num_key_value_heads": 2}),
        ("phi3", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5}}),
        ("gpt_neox", {}),
        ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
    ],
)
def test_known_families_are_decoded_fast_and_agree(family: str, settings: dict[str, object]) -> None:
    model = tiny_model(family, **settings).double()
    for name, weight in model.named_parameters():
        if "norm" in name:  # at its start a norm's weight may be 0 or 1, which shows nothing
            weight.data = torch.linspace(0.5, 1.5, len(weight)).double()
    tokens = torch.randint(0, 64, (3, 9), generator=torch.Generator().manual_seed(0))
    cache, keeps_all = make_cache(model, torch.double, keep_all=True)
    steps = fast_decoder(model, torch.double)
    assert keeps_all
    assert steps is not None
    with torch.no_grad():
        model(input_ids=tokens[:, :5], past_key_values=cache, use_cache=True)
        for at in range(5, 9):
            mask = torch.arange(32).expand(3, -1) <= at
            found = steps.step(tokens[:, at], torch.tensor([at] * 3), preallocated_layers(cache), mask)
        expected = model(input_ids=tokens).logits[:, -1]
    assert torch.allclose(found, expected, atol=1e-6)  # rotary tables are float32 in transformers


def test_a_window_is_read_from_the_block_that_it_begins_in() -> None:
    """Rows of 70 tokens, one padded by 3 in front; the first of the last 34 lies in the second block of 32."""
    model = tiny_model("mistral", sliding_window=34, num_hidden_layers=1)
    tokens = torch.randint(0, 64, (2, 71), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 70, dtype=torch.bool)
    mask[1, :3] = False
    decoder = CachedDecoder(model, mask, 2, bf16=False)
    assert decoder.fast_decoder is not None
    with torch.no_grad():
        decoder.prefill(tokens[:, :70])
        found = decoder.step(tokens[:, 70])
        expected = [model(input_ids=tokens[row, skip:][None]).logits[0, -1] for row, skip in ((0, 0), (1, 3))]
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)
    first, unseen = look_back(torch.zeros(2, 1, 1, 96, dtype=torch.bool), newest=70, window=34)
    assert first == 32  # places 37 to 70 are seen
    assert unseen[0, 0, 0].tolist() == [True] * 5 + [False] * 59


@pytest.mark.parametrize("family", ["granite", "cohere", "bloom"])
def test_other_families_are_left_to_transformers_and_it_is_said(family: str, capsys: Any) -> None:
    explain_slow_decoding.cache_clear()
    for _ in range(2):
        assert fast_decoder(tiny_model(family), torch.float32) is None
    assert capsys.readouterr().err == (
        f"{family}: sampled from by transformers' own decoding step, which is slower: the fast one knows gemma, "
        "gemma2, gemma3_text, gpt2, gpt_neox, llama, mistral, phi3, qwen2, qwen3\n"
    )


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
    monkeypatch.setattr(fast_families, "rotate", lambda heads, cos, sin: heads)
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
            patch.setattr(fast_layers, "MIN_PACKED_SIZE", 1)
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
