"""The sampler seam: what `Sampler` promises, held by ours and by two others."""

import math

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from likelier.config import EvalConfig, PPOConfig
from likelier.text.exact_sampler import ExactSampler
from likelier.text.sampler import Sampler, Samples, Sampling, draw_uniforms, join_samples
from model_families import VOCABULARY, tiny_model, tiny_tokenizer
from samplers import EngineSampler, ScriptedSampler

PROMPTS = ["abc", "the cat sat", "x"] * 4


def make(name: str) -> Sampler:
    tokenizer = tiny_tokenizer()
    samplers: dict[str, Sampler] = {
        "exact": ExactSampler(tiny_model(), tokenizer, rows=7),
        "scripted": ScriptedSampler(tokenizer, VOCABULARY - 5),
        "engine": EngineSampler(tokenizer),
    }
    return samplers[name]


def drawn(name: str, sampling: Sampling, seed: int = 0) -> Samples:
    sampler = make(name)
    sampler.load_weights(tiny_model(seed=1))
    draws = draw_uniforms(torch.Generator().manual_seed(seed), len(PROMPTS), sampling.response_length, "cpu")
    return sampler.sample(PROMPTS, sampling, draws)


@pytest.mark.parametrize("end_token", [True, False])
@pytest.mark.parametrize("name", ["exact", "scripted", "engine"])
def test_what_the_protocol_promises(name: str, end_token: bool) -> None:
    sampling, tokenizer = Sampling(12, temperature=0.9, end_token=end_token), tiny_tokenizer()
    samples = drawn(name, sampling)
    assert samples.prompts == PROMPTS
    assert samples.tokens.shape == samples.mask.shape == samples.logprobs.shape == (len(PROMPTS), 12)
    for row, prompt in enumerate(PROMPTS):
        asked = samples.prompt_tokens[row, samples.prompt_mask[row]].tolist()
        assert asked == [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        length = int(samples.mask[row].sum())
        tokens = samples.tokens[row, :length].tolist()
        assert samples.mask[row].tolist() == [True] * length + [False] * (12 - length)
        assert length >= 1
        ended = end_token and tokens[-1] == tokenizer.eos_token_id
        assert ended or length == 12
        assert samples.stop_reasons[row] == ("end_token" if ended else "length")
        assert samples.texts[row] == tokenizer.decode(tokens, skip_special_tokens=True)
    assert torch.isfinite(samples.logprobs).all()
    assert (samples.logprobs[samples.mask] < 0).all()
    assert samples.logprobs[~samples.mask].count_nonzero() == 0


def test_parts_are_joined_in_the_order_of_the_rows() -> None:
    sampler, draws = make("exact"), torch.rand(3, 6, generator=torch.Generator().manual_seed(0))
    prompts = ["abc", "the cat sat", "x"]
    whole = sampler.sample(prompts, Sampling(6), draws)
    rows = [[2, 0], [1]]
    parts = [sampler.sample([prompts[row] for row in part], Sampling(6), draws[part]) for part in rows]
    joined = join_samples(parts, [2, 0, 1])
    assert (joined.prompts, joined.texts, joined.stop_reasons) == (prompts, whole.texts, whole.stop_reasons)
    assert torch.equal(joined.tokens, whole.tokens)
    assert torch.equal(joined.prompt_tokens, whole.prompt_tokens)
    assert torch.equal(joined.prompt_mask, whole.prompt_mask)


@pytest.mark.parametrize("name", ["exact", "scripted", "engine"])
def test_the_draws_decide_the_responses(name: str) -> None:
    first, again, other = drawn(name, Sampling(6)), drawn(name, Sampling(6)), drawn(name, Sampling(6), seed=1)
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert not torch.equal(first.tokens, other.tokens)


@pytest.mark.parametrize("name", ["exact", "engine"])
def test_loaded_weights_write_the_responses(name: str) -> None:
    sampler, sampling, model = make(name), Sampling(4), tiny_model()
    draws = draw_uniforms(torch.Generator().manual_seed(0), 1, 4, "cpu")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    sampler.load_weights(model)
    logprobs = sampler.sample(["abc"], sampling, draws).logprobs
    assert logprobs[0, 0].item() == pytest.approx(-math.log(VOCABULARY), rel=1e-2)


def test_scripted_responses_are_what_the_draws_say() -> None:
    sampler = make("scripted")
    draws = torch.tensor([[4.5, 5.5, 2.5, 6.5], [2.5, 9.5, 9.5, 9.5], [4.5, 4.5, 4.5, 6.5]]) / (VOCABULARY - 5)
    samples = sampler.sample(["a", "b", "c"], Sampling(4), draws)
    assert samples.texts == ["ab", "", "aaac"]
    assert samples.stop_reasons == ["end_token", "end_token", "length"]
    assert samples.mask.sum(1).tolist() == [3, 1, 4]
    assert samples.logprobs[0].tolist() == pytest.approx([-math.log(59)] * 3 + [0.0])


def test_uniforms_are_those_of_the_generator() -> None:
    expected = torch.rand(3, 4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(draw_uniforms(torch.Generator().manual_seed(5), 3, 4, "cpu"), expected)


def test_sampling_settings_of_a_block() -> None:
    config = PPOConfig(response_length=7, temperature=0.5, stop_token=None, stop_strings=["."], bf16=True)
    assert Sampling.from_config(config) == Sampling(7, 0.5, (".",), end_token=False, bf16=True)
    assert Sampling.from_config(EvalConfig()) == Sampling(256, 1.0, (), end_token=True, bf16=False)


def test_top_k_and_top_p_by_hand():
    """Probabilities 0.5, 0.3, 0.15, 0.05 in another order; top-p keeps what reaches it, and always the likeliest."""
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()

    def kept(**limits):
        return Sampling(1, **limits).truncate(logits)[0].isfinite().tolist()

    assert Sampling(1).truncate(logits) is logits
    assert kept(top_k=2) == [False, True, False, True]
    assert kept(top_p=0.5) == [False, True, False, False]
    assert kept(top_p=0.75) == [False, True, False, True]
    assert kept(top_p=1e-6) == [False, True, False, False]
    assert kept(top_k=3, top_p=0.9) == [True, True, False, True]
    assert kept(top_p=0.75, temperature=0.5) == [False, True, False, True]  # 0.69 of the squares, 0.93 with the second
    assert kept(top_p=0.6, temperature=0.5) == [False, True, False, False]
    assert kept(min_p=0.29) == [True, True, False, True]  # 0.15 of 0.5 are 0.3
    assert kept(min_p=0.31) == [False, True, False, True]
    assert kept(min_p=0.29, temperature=0.5) == [False, True, False, True]  # 0.09, and 0.36
    assert kept(min_p=1.0) == [False, True, False, False]


def test_a_models_own_generation_settings():
    sizes = {
        "vocab_size": 8,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    plain = Sampling(8, 0.7)
    assert plain.with_generation_config(model) == plain  # it names none
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.6, top_k=20, top_p=0.95)
    assert plain.with_generation_config(model) == Sampling(8, 0.6, top_k=20, top_p=0.95)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.6, min_p=0.1)
    assert plain.with_generation_config(model).min_p == 0.1
