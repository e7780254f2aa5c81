"""Adapters as peft and TRL write them: what cannot be used is one line, and a base that was moved is found."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from likelier.config import LoRA
from likelier.errors import ConfigError, DataError
from likelier.runs.folder import find_base
from likelier.text.adapter_folders import check_settings, read_adapter
from peft_folders import save_peft_adapter
from tiny import save_tiny_model


@pytest.fixture
def adapter(tmp_path):
    """As peft writes it, beside its base."""
    save_tiny_model(tmp_path / "base", words=["a", "b"])
    save_peft_adapter(tmp_path / "base", tmp_path / "adapter", target_modules=["q_proj"])
    return tmp_path / "adapter"


def change(adapter, **entries):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_it_is_trained_without_dropout(adapter):
    found = read_adapter(adapter)
    assert found.base == str(adapter.with_name("base"))
    assert (found.config.r, found.config.lora_dropout, found.config.inference_mode) == (4, 0.0, False)
    assert {name.partition("self_attn.")[2] for name in found.matrices} == {
        "q_proj.lora_A.weight",
        "q_proj.lora_B.weight",
    }
    assert not found.layers


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"use_dora": True}, "`use_dora` is True, and only plain LoRA can be used; merge the adapter with peft"),
        ({"bias": "lora_only"}, "`bias` is 'lora_only'"),
        ({"init_lora_weights": "pissa_niter_16"}, "`init_lora_weights` is 'pissa_niter_16'"),
        ({"init_lora_weights": "olora"}, "`init_lora_weights` is 'olora'"),
        ({"init_lora_weights": "loftq"}, "`init_lora_weights` is 'loftq'"),
        ({"target_parameters": ["mlp.experts"]}, "`target_parameters` is"),
        ({"trainable_token_indices": [1]}, "`trainable_token_indices` is"),
        ({"peft_type": "IA3"}, "`peft_type` is 'IA3'"),
        ({"task_type": "SEQ_CLS"}, "an adapter for SEQ_CLS, and CAUSAL_LM is needed here"),
        ({"base_model_name_or_path": None}, "no `base_model_name_or_path`"),
    ],
)
def test_what_is_more_than_lora_is_refused_in_one_line(adapter, entries, words):
    change(adapter, **entries)
    with pytest.raises(DataError, match=words) as caught:
        read_adapter(adapter)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("init", [False, "gaussian", "orthogonal", "eva"])
def test_starts_that_leave_the_base_as_it_is_are_taken(adapter, init):
    change(adapter, init_lora_weights=init)
    assert read_adapter(adapter).config.init_lora_weights is True


def test_settings_of_another_adapter_are_named(adapter):
    found = read_adapter(adapter)
    check_settings(found, LoRA(lora_rank=4, lora_alpha=8, lora_targets=["q_proj"]), "ppo")
    for more, words in (
        ({"lora_rank": 8, "lora_alpha": 8}, "ppo.lora_rank: 8, and the adapter in .* has 4; set that"),
        ({"lora_rank": 4}, "ppo.lora_alpha: 32, and the adapter in .* has 8; set that"),
        ({"lora_rank": 4, "lora_alpha": 8, "lora_targets": ["k_proj"]}, "has its own; leave them out"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_settings(found, LoRA(**more), "ppo")


def test_weights_that_are_no_safetensors_are_refused(adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(weights, adapter / "adapter_model.bin")
    with pytest.raises(DataError, match="no adapter_model.safetensors; save the adapter with peft's save_pretrained"):
        read_adapter(adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"no header")
    with pytest.raises(DataError, match="not sound safetensors"):
        read_adapter(adapter)
    save_file(weights, adapter / "adapter_model.safetensors")
    assert read_adapter(adapter).matrices


def test_a_base_that_was_moved_with_its_adapter_is_found_beside_it(adapter, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("base", "adapter"):
        shutil.move(tmp_path / name, moved / name)
    assert find_base(moved / "adapter") == str(moved / "base")
    shutil.move(moved / "base", moved / "elsewhere")
    assert find_base(moved / "adapter") == str(tmp_path / "base")
