"""Statistics of responses, and KL on models that draw every token from a distribution known by hand."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from likelier.config import EvalConfig
from likelier.errors import NumericError
from likelier.evaluation.responses import (
    EvaluatedModel,
    compute_log_ratios,
    describe_responses,
    estimate_kl,
    sample_and_score,
)
from likelier.records import Prompt
from likelier.reward.responses import score_all
from likelier.reward.sources import Scorer
from likelier.text.models import load_tokenizer
from likelier.text.sampler import Samples, Sampling
from tiny import save_tiny_model


def set_odds(model: GPT2LMHeadModel, token: int, odds: float) -> None:
    """Make the last state the same everywhere, so that `token` has these odds and every other token odds 1."""
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        model.lm_head.weight.zero_()
        model.lm_head.weight[token, 0] = math.log(odds)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluatedModel, EvaluatedModel]:
    """Models a, with six tokens alike, and b, with odds 5 for `kind`."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = load_tokenizer(str(save_tiny_model(folder / "words", ["kind", "cruel"])))
    shape = GPT2Config(vocab_size=6, n_positions=32, n_embd=4, n_layer=1, n_head=1, tie_word_embeddings=False)
    made = []
    for name, odds in (("a", 1.0), ("b", 5.0)):
        model = GPT2LMHeadModel(shape)
        set_odds(model, tokenizer.convert_tokens_to_ids("kind"), odds)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        made.append(EvaluatedModel.load(str(folder / name), torch.device("cpu"), 64))
    return made[0], made[1]


def config(**more: object) -> EvalConfig:
    return EvalConfig(response_length=3, stop_token=None, batch_size=64, device="cpu", **more)  # type: ignore[arg-type]


def sample(model: EvaluatedModel, count: int, **more: object) -> Samples:
    generator = torch.Generator().manual_seed(0)
    return model.sample(["cruel"] * count, Sampling.from_config(config(**more)), generator)


def test_log_ratios_are_those_of_the_tokens(models):
    a, b = models
    samples = sample(b, 5)
    kind = b.tokenizer.convert_tokens_to_ids("kind")
    ratios = {True: math.log(0.5 * 6), False: math.log(0.1 * 6)}
    expected = [sum(ratios[token == kind] for token in row) for row in samples.tokens[1:4].tolist()]
    assert compute_log_ratios(a.model, b.model, samples, torch.arange(1, 4)).tolist() == pytest.approx(expected)


def test_kl_is_per_response_at_temperature_1(models):
    a, b = models
    per_token = 0.5 * math.log(3) + 5 * 0.1 * math.log(0.6)
    clusters = [str(at) for at in range(400)]
    for temperature in (1.0, 0.2):
        cold = config(temperature=temperature)
        _, kl, interval = estimate_kl(a, b, sample(b, 400, temperature=temperature), clusters, cold, seed=0)
        assert interval[0] < 3 * per_token < interval[1]
        assert kl == pytest.approx(3 * per_token, abs=0.15)


def test_length_and_diversity(models):
    samples = sample(models[0], 2)
    samples = replace(samples, texts=["kind kind cruel", "kind"], stop_reasons=["length", "eos"])
    stats = describe_responses(samples)
    # words kind kind cruel kind: 2 of 4 differ; pairs kind-kind, kind-cruel: 2 of 2
    assert (stats.response_length, stats.ended_rate, stats.distinct_1, stats.distinct_2) == (3.0, 0.5, 0.5, 1.0)


def test_a_damaged_judge_is_an_error(models):
    prompts = [Prompt("cruel"), Prompt("kind")]
    scores = torch.tensor([0.5, 2.0])
    judges = Scorer({"judge": lambda batch: score_all(scores)}, {"judge": 1.0})
    found = sample_and_score(models[0], prompts, judges, config(), torch.Generator())
    assert found.scores["judge"].tolist() == [0.5, 2.0]
    scores[1] = math.inf
    with pytest.raises(NumericError, match=r"^judge: a score is not finite"):
        sample_and_score(models[0], prompts, judges, config(), torch.Generator())
