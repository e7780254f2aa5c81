"""Our own sampler: against a full forward pass, stop reasons, and that a response depends on its own draws only."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from likelier.errors import ConfigError, DataError, NumericError
from likelier.text.cached_decode import CachedDecoder
from likelier.text.exact_sampler import draw_tokens, split_by_padding
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.sampler import Samples, Sampling
from model_families import SIZES, tiny_model, tiny_tokenizer
from samplers import sample

PROMPTS = ["abc", "the cat sat", "x", "hello there, you", "no", "a b c d"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def largest_difference(model: torch.nn.Module, samples: Samples, temperature: float) -> float:
    """From what one forward pass over the whole texts says of the sampled tokens."""
    whole = torch.cat([samples.prompt_tokens, samples.tokens], 1)
    known = torch.cat([samples.prompt_mask, samples.mask], 1)
    places = (known.long().cumsum(1) - 1).clamp(min=0)
    options = {} if type(model).__name__.startswith("Bloom") else {"position_ids": places}
    with torch.no_grad():
        logits = model(input_ids=whole, attention_mask=known.long(), **options).logits
    logprobs = (logits[:, samples.prompt_tokens.shape[1] - 1 : -1].float() / temperature).log_softmax(-1)
    expected = logprobs.gather(2, samples.tokens[:, :, None])[:, :, 0]
    return float((expected - samples.logprobs)[samples.mask].abs().max())


def test_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([[0.1, 0.2, 0.0, 0.7]]).log().repeat(5, 1)
    tokens, logprobs = draw_tokens(logits, 1.0, torch.tensor([0.0, 0.65, 0.75, 0.85, 0.95]))
    assert tokens.tolist() == [3, 3, 1, 1, 0]  # targets 1, 0.35, 0.25, 0.15, 0.05 under 0.1, 0.3, 0.3, 1.0
    assert torch.allclose(logprobs.exp(), torch.tensor([0.7, 0.7, 0.2, 0.2, 0.1]))


def test_draw_never_takes_an_impossible_token() -> None:
    logits = torch.full((1000, 4), -torch.inf)
    logits[:, 1:3] = 0.0
    tokens, _ = draw_tokens(
        logits, 1.0, torch.cat([torch.tensor([0.0, 1 - 2**-24]), torch.rand(998, generator=seeded())])
    )
    assert set(tokens.tolist()) == {1, 2}


def test_draw_follows_the_distribution_at_a_temperature() -> None:
    logits = torch.tensor([0.0, 2.0 * torch.log(torch.tensor(3.0))]).repeat(20_000, 1)
    tokens, logprobs = draw_tokens(logits, 2.0, torch.rand(20_000, generator=seeded()))
    assert abs(float(tokens.float().mean()) - 0.75) < 0.01  # standard deviation 0.003
    assert logprobs[tokens == 1][0].exp().item() == pytest.approx(0.75)


@pytest.mark.parametrize("family", SIZES)
def test_logprobs_are_those_of_a_full_forward_pass(family: str) -> None:
    model = tiny_model(family)
    samples = sample(model, tiny_tokenizer(), PROMPTS, Sampling(24, temperature=0.7), seeded())
    assert largest_difference(model, samples, 0.7) < 1e-4
    again = compute_response_logprobs(
        model, samples.prompt_tokens, samples.prompt_mask, samples.tokens, samples.mask, temperature=0.7
    )[0]
    assert torch.allclose(again, samples.logprobs, atol=1e-4)


@pytest.mark.parametrize("name", ["stories260K", "stories-char-940K"])
def test_real_models_agree_with_a_full_forward_pass(shared: Path, name: str) -> None:
    folder = shared / "models" / name
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    prompts = ["Once upon a time", "Lily and Tom went to the park. They saw a big dog", "One day"] * 4
    samples = sample(model, tokenizer, prompts, Sampling(80), seeded())
    assert largest_difference(model, samples, 1.0) < 1e-4
    assert samples.texts[0].startswith(",")  # "Once upon a time, there was …" with no blank lost or added


def test_a_response_depends_on_its_own_draws_only() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    together = sample(model, tokenizer, PROMPTS, Sampling(40), seeded())
    apart = sample(model, tokenizer, PROMPTS, Sampling(40), seeded(), rows=1)
    assert torch.equal(together.tokens, apart.tokens)
    assert torch.allclose(together.logprobs, apart.logprobs, atol=1e-5)
    assert not torch.equal(together.tokens, sample(model, tokenizer, PROMPTS, Sampling(40), seeded(1)).tokens)


class Waits(TorchDispatchMode):
    """Counts what would wait for a GPU (a number fetched, rows counted) or make a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched = self.made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.fetched += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        self.made += func in (torch.ops.aten.lift_fresh.default, torch.ops.aten.scalar_tensor.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "granite"])
def test_no_token_waits_for_the_device(family: str) -> None:
    """32 more tokens: eight looks at who has finished, nothing made on the CPU. Granite has transformers' own step."""
    model, counts = tiny_model(family), {}
    for length in (8, 8, 40):  # the first one checks the model
        with Waits() as waits:
            sample(model, tiny_tokenizer(), ["abc", "x"], Sampling(length, end_token=False), seeded())
        counts[length] = waits
    assert counts[40].fetched - counts[8].fetched == 8
    if family != "granite":  # whose attention on a CPU makes its scale one each time
        assert counts[40].made == counts[8].made


def test_one_long_prompt_does_not_widen_a_batch_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = torch.tensor([3, 1, 2, 50, 3])
    order = lengths.argsort(stable=True)
    cut = split_by_padding(order, lengths, max_rows=8, max_padding=20)
    assert [batch.tolist() for batch in cut] == [
        [1, 2, 0, 4],
        [3],
    ]  # 1 + 2 tokens of padding; the long one: 4 * 47 more
    assert [batch.tolist() for batch in split_by_padding(order, lengths, 8, 2)] == [[1, 2], [0, 4], [3]]
    assert [batch.tolist() for batch in split_by_padding(order, lengths, 2, 200)] == [[1, 2], [0, 4], [3]]
    model, tokenizer, widths = tiny_model(), tiny_tokenizer(), []
    monkeypatch.setattr(CachedDecoder, "prefill", record_shapes(widths))
    prompts = ["a" * 100, *"abcdefghij"]
    together = sample(model, tokenizer, prompts, Sampling(4, end_token=False), seeded())
    assert widths == [(10, 2), (1, 101)]
    apart = sample(model, tokenizer, prompts, Sampling(4, end_token=False), seeded(), rows=1)
    assert torch.equal(together.tokens, apart.tokens)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "gemma3_text"])
def test_a_prompt_that_several_rows_answer_is_run_once(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, widths = tiny_model(family), tiny_tokenizer(), []
    monkeypatch.setattr(CachedDecoder, "prefill", record_shapes(widths))
    prompts = ["the cat", "a", "the cat", "b", "a", "the cat"]
    together = sample(model, tokenizer, prompts, Sampling(12), seeded())
    assert widths == [(3, 8)]
    apart = sample(model, tokenizer, prompts, Sampling(12), seeded(), rows=1)
    assert torch.equal(together.tokens, apart.tokens)
    torch.testing.assert_close(together.logprobs, apart.logprobs, rtol=1e-4, atol=1e-5)


def record_shapes(shapes: list[tuple[int, ...]]) -> Any:
    """`CachedDecoder.prefill` that notes the shape of what it runs."""
    prefill = CachedDecoder.prefill

    def recording(decoder: CachedDecoder, tokens: torch.Tensor, *more: Any) -> torch.Tensor:
        shapes.append(tuple(tokens.shape))
        return prefill(decoder, tokens, *more)

    return recording


def test_responses_end_with_the_end_token_whatever_pads() -> None:
    model = tiny_model(eos_token_id=0, bos_token_id=0)
    tokenizer = tiny_tokenizer(bos="<s>", eos="<s>", pad="<s>")
    samples = sample(model, tokenizer, PROMPTS * 20, Sampling(40), seeded())
    lengths = samples.mask.sum(1)
    for row, reason in enumerate(samples.stop_reasons):
        tokens = samples.tokens[row, : lengths[row]].tolist()
        assert 0 not in tokens[:-1]
        assert reason == ("end_token" if tokens[-1] == 0 else "length")
        assert samples.mask[row].tolist() == [True] * len(tokens) + [False] * (40 - len(tokens))
    assert set(samples.stop_reasons) == {"end_token", "length"}
    assert samples.logprobs[~samples.mask].abs().sum() == 0


def test_every_end_token_of_the_generation_config_counts() -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = [2, 7, 8, 9]
    samples = sample(model, tiny_tokenizer(), PROMPTS * 20, Sampling(40), seeded())
    last = [row[int(size) - 1] for row, size in zip(samples.tokens.tolist(), samples.mask.sum(1), strict=True)]
    ended = {token for token, reason in zip(last, samples.stop_reasons, strict=True) if reason == "end_token"}
    assert ended == {2, 7, 8, 9}


def test_without_end_token_every_response_is_full() -> None:
    samples = sample(tiny_model(), tiny_tokenizer(), PROMPTS, Sampling(30, end_token=False), seeded())
    assert samples.mask.all()
    assert set(samples.stop_reasons) == {"length"}


def test_a_stop_string_ends_the_tokens_and_is_cut_from_the_text() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    free = sample(model, tokenizer, PROMPTS, Sampling(40, end_token=False), seeded())
    stop = free.texts[1][10:12]
    stopped = sample(
        model, tokenizer, PROMPTS, Sampling(40, end_token=False, stop_strings=("not there", stop)), seeded()
    )
    at, size = free.texts[1].index(stop), int(stopped.mask[1].sum())
    assert stopped.stop_reasons[1] == "stop_string"
    assert stopped.texts[1] == free.texts[1][:at]
    assert torch.equal(stopped.tokens[1, :size], free.tokens[1, :size])
    assert tokenizer.decode(stopped.tokens[1, :size], skip_special_tokens=True) == free.texts[1][: at + 2]
    assert stop not in tokenizer.decode(stopped.tokens[1, : size - 1], skip_special_tokens=True)


def test_dropped_rows_leave_the_others_as_they_were() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.generation_config.eos_token_id = list(range(2, 12))  # most responses end soon, at different steps
    samples = sample(model, tokenizer, PROMPTS * 8, Sampling(48), seeded())
    assert len(set(samples.mask.sum(1).tolist())) > 10
    assert largest_difference(model, samples, 1.0) < 1e-4


def test_bf16_runs_and_stays_close() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    samples = sample(model, tokenizer, PROMPTS, Sampling(16, bf16=True), seeded())
    assert samples.logprobs.dtype == torch.float32
    assert 1e-6 < largest_difference(model, samples, 1.0) < 0.2


def test_a_prompt_that_leaves_no_room_is_named() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    with pytest.raises(DataError, match="prompt 2 has 101 tokens, at most 96 fit: 'aaaa"):
        sample(model, tokenizer, ["a", "a" * 100], Sampling(32), seeded())
    with pytest.raises(ConfigError, match="response_length: 128"):
        sample(model, tokenizer, ["a"], Sampling(128), seeded())


def test_damaged_weights_are_named() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(torch.nan)
    with pytest.raises(NumericError, match="not finite"):
        sample(model, tiny_tokenizer(), PROMPTS, Sampling(4), seeded())
