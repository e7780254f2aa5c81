"""Our side of vLLM: weights, settings, adapters, errors. `tests/fakes/vllm` stands in for it, not in test_vllm.py."""

import copy
import math
import sys
from pathlib import Path

import pytest
import torch

from likelier.config import LoRA
from likelier.engines import vllm_sampler
from likelier.engines.local import LocalEngine
from likelier.engines.vllm_sampler import EngineSettings, VLLMSampler, make_seeds, make_settings
from likelier.errors import ConfigError, NumericError
from likelier.text.adapters import add_adapter, copy_sharing_weights
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.sampler import AsyncSampler, Sampler, Samples, Sampling, draw_uniforms
from likelier.training.setup import seeded_generator
from model_families import VOCABULARY, tiny_model, tiny_tokenizer

FAKES = Path(__file__).parents[1] / "fakes"
PROMPTS = ["abc", "the cat sat", "x"] * 4


@pytest.fixture(autouse=True)
def fake_vllm(monkeypatch):
    """`import vllm` finds the small one."""
    monkeypatch.syspath_prepend(str(FAKES))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


def make(model=None, **settings) -> VLLMSampler:
    return VLLMSampler(model or tiny_model(), tiny_tokenizer(), EngineSettings(**settings))


def draw(sampler: Sampler, sampling: Sampling, seed: int = 0, prompts=PROMPTS) -> Samples:
    draws = draw_uniforms(torch.Generator().manual_seed(seed), len(prompts), sampling.response_length, "cpu")
    return sampler.sample(prompts, sampling, draws)


def measure_gap(model, samples: Samples, temperature: float) -> float:
    parts = samples.prompt_tokens, samples.prompt_mask, samples.tokens, samples.mask
    ours, _ = compute_response_logprobs(model, *parts, temperature)
    return float((ours.detach() - samples.logprobs)[samples.mask].abs().max())


def adapted(model, rank: int = 2):
    """The model with an adapter that says something, and its base."""
    base = copy_sharing_weights(model)
    add_adapter(model, LoRA(lora_rank=rank), "ppo", seeded_generator(0, 0, "lora"))
    change_adapter(model, 1)
    return model, base


def change_adapter(model, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3, generator=generator)


@pytest.mark.parametrize("end_token", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_keeps_what_the_protocol_promises(family, end_token):
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    sampler = make(model)
    assert isinstance(sampler, Sampler)
    samples = draw(sampler, Sampling(12, temperature=0.9, end_token=end_token))
    assert samples.prompts == PROMPTS
    assert samples.tokens.shape == samples.mask.shape == samples.logprobs.shape == (12, 12)
    for row in range(len(PROMPTS)):
        tokens = samples.tokens[row, samples.mask[row]].tolist()
        ended = end_token and tokens[-1] == tokenizer.eos_token_id
        assert ended or len(tokens) == 12
        assert samples.mask[row].tolist() == [True] * len(tokens) + [False] * (12 - len(tokens))
        assert samples.stop_reasons[row] == ("end_token" if ended else "length")
        assert samples.texts[row] == tokenizer.decode(tokens, skip_special_tokens=True)
    assert samples.logprobs[~samples.mask].count_nonzero() == 0
    assert measure_gap(model, samples, 0.9) < 1e-5


def test_the_draws_decide_the_responses():
    sampler = make()
    first, again, other = (draw(sampler, Sampling(6), seed) for seed in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.logprobs, again.logprobs)
    assert not torch.equal(first.tokens, other.tokens)
    alone = sampler.sample(PROMPTS[:1], Sampling(6), torch.rand(12, 6, generator=torch.Generator().manual_seed(0))[:1])
    assert torch.equal(alone.tokens[0], first.tokens[0])


def test_changed_weights_reach_the_engine_when_they_are_loaded():
    model = tiny_model(tie_word_embeddings=True)
    sampler = make(model)
    draw(sampler, Sampling(4))
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    assert draw(sampler, Sampling(4)).logprobs[0, 0].item() != pytest.approx(-math.log(VOCABULARY), rel=1e-3)
    sampler.load_weights(model)
    assert draw(sampler, Sampling(4)).logprobs[0, 0].item() == pytest.approx(-math.log(VOCABULARY))
    assert sampler.engine.engine.llm.resets == 2  # what it kept of prompts is of the old weights


def test_adapters_are_swapped_and_the_base_is_handed_over_once(monkeypatch):
    model, base = adapted(tiny_model())
    sampler = make(model)
    policy = draw(sampler, Sampling(8))
    handed = []
    monkeypatch.setattr(sampler.engine, "load_weights", handed.append)
    assert sampler.engine.engine.llm.arguments["max_lora_rank"] == 8  # the next one that vLLM has
    assert measure_gap(model, policy, 1.0) < 1e-4
    sampler.load_weights(base)
    plain = draw(sampler, Sampling(8))
    assert measure_gap(base, plain, 1.0) < 1e-4
    assert not torch.equal(plain.tokens, policy.tokens)
    change_adapter(model, 2)
    sampler.load_weights(model)
    changed = draw(sampler, Sampling(8))
    assert measure_gap(model, changed, 1.0) < 1e-4
    assert not torch.equal(changed.logprobs, policy.logprobs)
    assert handed == []
    sampler.load_weights(tiny_model(seed=5))
    draw(sampler, Sampling(8))
    assert len(handed) == 1  # another base


@pytest.mark.parametrize("has_adapter", [False, True])
def test_it_draws_ahead_by_the_weights_of_the_moment(monkeypatch, has_adapter):
    def start(python, arguments, gpu, threads):
        return LocalEngine(arguments)

    monkeypatch.setattr(vllm_sampler, "EngineProcess", start)
    model = adapted(tiny_model())[0] if has_adapter else tiny_model()
    sampler = make(model, ahead=2)
    assert isinstance(sampler, AsyncSampler)
    draws = draw_uniforms(torch.Generator().manual_seed(0), len(PROMPTS), 8, "cpu")
    asked = []
    for version in range(6):
        if has_adapter:
            change_adapter(model, version)
        else:
            model.get_output_embeddings().weight.data.normal_(std=0.3, generator=torch.Generator().manual_seed(version))
        sampler.load_weights(model)
        asked.append((copy.deepcopy(model), sampler.ask(PROMPTS, Sampling(8), draws)))
        if version < 2:
            continue
        drawn_by, wait = asked.pop(0)  # two are under way
        assert measure_gap(drawn_by, wait(), 1.0) < 1e-4
        assert measure_gap(model, wait(), 1.0) > 1e-2


def test_merged_weights_go_where_the_engine_takes_no_adapters():
    model, base = adapted(tiny_model("gpt2"))
    sampler = make(model)
    assert measure_gap(model, draw(sampler, Sampling(8)), 1.0) < 1e-4
    assert "enable_lora" not in sampler.engine.engine.llm.arguments
    sampler.load_weights(base)
    assert measure_gap(base, draw(sampler, Sampling(8)), 1.0) < 1e-4


def test_stored_weights_are_unpacked_and_say_the_type(monkeypatch):
    pytest.importorskip("bitsandbytes")
    from likelier.text.frozen_weights import store_weights

    model = tiny_model()
    store_weights(model, "4bit")
    model, _ = adapted(model)
    sampler = make(model, arguments={"dtype": "float32"})
    assert measure_gap(model, draw(sampler, Sampling(8)), 1.0) < 1e-4
    del sampler
    other = make(model)
    draw(other, Sampling(2))
    assert other.engine.engine.llm.arguments["dtype"] == "bfloat16"


def test_a_stop_string_ends_a_response_at_the_token_that_completes_it():
    sampler = make()
    samples = draw(sampler, Sampling(40, stop_strings=("a",)), prompts=PROMPTS * 2)
    stopped = [row for row, reason in enumerate(samples.stop_reasons) if reason == "stop_string"]
    assert stopped
    letter = tiny_tokenizer()("a", add_special_tokens=False)["input_ids"][0]
    for row in range(len(samples.texts)):
        tokens = samples.tokens[row, samples.mask[row]].tolist()
        assert (tokens.count(letter) == 1 and tokens[-1] == letter) == (row in stopped)
        assert "a" not in samples.texts[row]


def test_settings_in_the_words_of_vllm():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.generation_config.eos_token_id = [7, 2]
    plain = {
        "max_tokens": 5,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "stop": [],
        "stop_token_ids": [2, 7],
        "ignore_eos": True,
        "detokenize": False,
    }
    assert make_settings(model, tokenizer, Sampling(5)) == plain
    asked = Sampling(5, 0.7, ("end", "\n"), end_token=False, top_k=3, top_p=0.9, min_p=0.1)
    other = {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "stop": ["end", "\n"], "stop_token_ids": []}
    assert make_settings(model, tokenizer, asked) == plain | other | {"detokenize": True}


def test_seeds_by_hand():
    draws = torch.tensor([[0.0, 0.5, 0.9], [2**-24, 0.0, 0.9], [0.5, 2**-24, 0.1]])
    assert make_seeds(draws) == [2**47, 1, 2**23 + 2**24]
    assert make_seeds(draws[:, :1]) == [0, 1, 2**23]


def test_truncated_draws_are_of_what_is_left():
    sampler = make()
    assert torch.equal(draw(sampler, Sampling(6, top_k=1)).logprobs, torch.zeros(12, 6))


def test_it_says_when_the_engine_computes_something_else(monkeypatch, capsys):
    import vllm

    honest = vllm.LLM.answer

    def answer(factor):
        def biased(self, prompt, settings):
            return honest(self, prompt, settings | {"temperature": factor})

        return biased

    monkeypatch.setattr(vllm.LLM, "answer", answer(1.01))
    sampler = make()
    draw(sampler, Sampling(8))
    started, said = capsys.readouterr().err.splitlines()
    assert started == "vLLM speaks on stdout"
    assert "nats a token on average (float32, its first " in said
    assert "importance_cap: 2" in said
    draw(sampler, Sampling(8))
    assert capsys.readouterr().err == ""  # once
    monkeypatch.setattr(vllm.LLM, "answer", answer(3.0))
    with pytest.raises(NumericError, match="does not compute what LlamaForCausalLM computes here; use sampler: exact"):
        draw(make(), Sampling(8))


def test_what_vllm_raises_and_prints_is_one_line_on_stderr(capsys):
    with pytest.raises(ConfigError, match=r"^vLLM: start: ValueError: no such model$"):
        draw(make(arguments={"refuse": "no such\nmodel"}), Sampling(4))
    draw(make(), Sampling(4))
    out, err = capsys.readouterr()
    assert (out, err) == ("", "vLLM speaks on stdout\n")


def test_no_room_and_another_architecture_are_refused():
    sampler = make(max_length=20)
    with pytest.raises(ConfigError, match="response_length: 20 leaves no room"):
        draw(sampler, Sampling(20))
    draw(sampler, Sampling(4))
    sampler.load_weights(tiny_model(intermediate_size=48))
    with pytest.raises(ConfigError, match=r"mlp\.gate_proj\.weight of another shape"):
        draw(sampler, Sampling(4))
