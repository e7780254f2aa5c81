"""A policy that begins as an adapter of peft's: the logits are peft's, before and after training."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from likelier.config import LoRA
from likelier.errors import DataError
from likelier.text.adapters import make_critic_adapter, make_reference
from likelier.text.merging import save_trained
from likelier.text.models import load_causal_lm, load_tokenizer, save_model
from likelier.text.policy import copy_trunk
from likelier.text.policy_start import load_language_model, load_start
from likelier.training.state import trained_weights
from model_families import tiny_model, tiny_tokenizer
from peft_folders import load_by_peft, nudge, save_peft_adapter

TOKENS = torch.tensor([[1, 4, 5, 4]])
LORA = LoRA(lora_rank=4, lora_alpha=8)
KINDS = {
    "all-linear": {},
    "lm_head whole": {"modules_to_save": ["lm_head"]},
    "embeddings whole": {"target_modules": ["c_attn", "q_proj"], "modules_to_save": ["embed_tokens", "wte", "lm_head"]},
    "blocks whole": {"target_modules": ["c_attn", "q_proj"], "modules_to_save": ["mlp"]},
    "on embeddings": {"target_modules": ["embed_tokens", "wte", "c_attn", "q_proj"]},
    "rslora, patterns": {"use_rslora": True, "rank_pattern": {"mlp": 2}, "alpha_pattern": {"mlp": 3}},
}


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def make_adapter(folder, family="llama", tied=False, **settings):
    """A base and an adapter that peft trained a little; returns the logits that peft gives."""
    save_model(folder / "base", tiny_model(family, tie_word_embeddings=tied), tiny_tokenizer(), "")
    return logits(save_peft_adapter(folder / "base", folder / "adapter", **settings))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_from_peft_and_back_to_peft(tmp_path, family, tied, kind):
    wanted = make_adapter(tmp_path, family, tied, **KINDS[kind])
    model, bare = load_start(str(tmp_path / "adapter"), LORA, "ppo")
    torch.testing.assert_close(logits(model), wanted, rtol=1e-5, atol=1e-5)
    assert bare is not None
    assert bare.name == str(tmp_path / "base")
    before = logits(load_causal_lm(tmp_path / "base"))
    assert torch.equal(logits(bare.model), before)
    merged = load_language_model(tmp_path / "adapter")
    torch.testing.assert_close(logits(merged), wanted, rtol=1e-4, atol=1e-5)
    assert all(weight.requires_grad for weight in merged.parameters())

    reference = make_reference(model, LORA)
    nudge(trained_weights(model))
    torch.testing.assert_close(logits(reference), wanted, rtol=1e-5, atol=1e-5)  # an adapter of its own
    assert torch.equal(logits(bare.model), before)
    save_trained(tmp_path, str(tmp_path / "adapter"), model, load_tokenizer(tmp_path / "base"), "")
    again = load_by_peft(tmp_path / "base", tmp_path / "adapter")
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(again), wanted, atol=1e-3)
    torch.testing.assert_close(logits(load_causal_lm(tmp_path / "model")), logits(model), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "8bit"])
def test_on_a_stored_base_the_adapter_and_whole_layers_stay_in_float32(tmp_path, dtype):
    wanted = make_adapter(tmp_path, target_modules=["q_proj"], modules_to_save=["lm_head", "mlp"])
    model, bare = load_start(str(tmp_path / "adapter"), LORA, "ppo", dtype=dtype)
    assert {weight.dtype for weight in trained_weights(model)} == {torch.float32}
    assert len(list(trained_weights(model))) == 2 * (2 + 3) + 1
    off = (logits(model) - wanted).abs().max()
    assert 0 < off < 0.2 * wanted.std()
    assert bare is not None
    assert torch.equal(logits(bare.model), logits(load_causal_lm(tmp_path / "base", dtype=dtype)))


def test_critics_begin_at_the_states_of_the_start(tmp_path):
    make_adapter(tmp_path)
    model, _ = load_start(str(tmp_path / "adapter"), LORA, "ppo")
    wanted = states(model.base_model)
    beside, whole = make_critic_adapter(model, LORA, 0), copy_trunk(model)
    torch.testing.assert_close(states(beside), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(states(whole), wanted, rtol=1e-4, atol=1e-5)
    assert all(weight.requires_grad for weight in whole.parameters())
    assert {name.rpartition(".lora_")[2][0] for name, w in beside.named_parameters() if w.requires_grad} == {"A", "B"}
    frozen = {weight.data_ptr() for weight in model.parameters() if not weight.requires_grad}
    assert all(w.requires_grad or w.data_ptr() in frozen for w in beside.parameters())
    nudge(trained_weights(beside))
    nudge(trained_weights(whole))
    assert torch.equal(states(model.base_model), wanted)


def test_a_critic_of_its_own_beside_a_stored_base_is_trained_whole(tmp_path):
    save_model(tmp_path / "base", tiny_model("llama"), tiny_tokenizer(), "")
    model = load_causal_lm(tmp_path / "base", dtype="bfloat16")
    trunk, before = copy_trunk(model), states(model.base_model)
    torch.testing.assert_close(states(trunk), before)
    trunk(input_ids=TOKENS).last_hidden_state.square().sum().backward()
    assert all(w.grad is not None and w.dtype == torch.float32 for w in trunk.parameters())
    nudge(trunk.parameters())
    assert torch.equal(states(model.base_model), before)


def states(trunk):
    with torch.no_grad():
        return trunk(input_ids=TOKENS).last_hidden_state


def test_a_base_that_was_changed_beside_the_adapter_is_named(tmp_path):
    make_adapter(tmp_path)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    weights, head = load_file(path), load_causal_lm(tmp_path / "base").lm_head.weight.detach()
    name = "base_model.model.lm_head.weight"
    for value, words in (
        (head + 1, "lm_head differs from its base .* and is not in modules_to_save"),
        (torch.zeros(66, 16), r"lm_head has .*\[66, 16\].*, and in its base .* \[64, 16\].*if tokens were added"),
    ):
        save_file(weights | {name: value.contiguous()}, path)
        with pytest.raises(DataError, match=words) as caught:
            load_start(str(tmp_path / "adapter"), LORA, "ppo")
        assert "\n" not in str(caught.value)
    save_file(weights | {name: head.contiguous()}, path)  # peft writes what it did not train, if tokens might be new
    load_start(str(tmp_path / "adapter"), LORA, "ppo")


def test_an_adapter_of_another_model_is_named(tmp_path):
    make_adapter(tmp_path)
    save_model(tmp_path / "base", tiny_model("gpt2"), tiny_tokenizer(), "")
    with pytest.raises(DataError, match="adapter: does not fit its base .*base: ") as caught:
        load_language_model(tmp_path / "adapter")
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_its_own_comes_before_that_of_the_base(tmp_path):
    make_adapter(tmp_path)
    assert load_tokenizer(tmp_path / "adapter").chat_template is None
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert load_tokenizer(tmp_path / "adapter").chat_template == tokenizer.chat_template
