"""Statistics of responses, and KL on models that draw every token from a distribution known by hand."""

import math
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from likelier.config import EvalConfig
from likelier.errors import DataError, NumericError
from likelier.evaluation.responses import (
    EvaluatedModel,
    RecordedResponses,
    Responses,
    compute_log_ratios,
    describe_responses,
    estimate_kl,
    respond_and_score,
)
from likelier.files import write_jsonl
from likelier.records import Prompt
from likelier.reward.responses import ResponseBatch, score_all
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
        made.append(EvaluatedModel.load(str(folder / name), torch.device("cpu"), EvalConfig()))
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
    texts, reasons = ["kind kind cruel", "kind"], ["length", "eos"]
    batch = ResponseBatch([Prompt("cruel")] * 2, texts)
    stats = describe_responses(Responses(batch, reasons, sample(models[0], 2)))
    # words kind kind cruel kind: 2 of 4 differ; pairs kind-kind, kind-cruel: 2 of 2
    assert (stats.response_length, stats.ended_rate, stats.distinct_1, stats.distinct_2) == (3.0, 0.5, 0.5, 1.0)


def test_a_damaged_judge_is_an_error(models):
    prompts = [Prompt("cruel"), Prompt("kind")]
    scores = torch.tensor([0.5, 2.0])
    judges = Scorer({"judge": lambda batch: score_all(scores)}, {"judge": 1.0})
    found = respond_and_score(models[0], prompts, judges, config(), 0, "test")
    assert found.scores["judge"].tolist() == [0.5, 2.0]
    scores[1] = math.inf
    with pytest.raises(NumericError, match=r"^judge: a score is not finite"):
        respond_and_score(models[0], prompts, judges, config(), 0, "test")


def test_responses_of_a_file_follow_their_prompts(tmp_path: Path):
    lines = [
        {"prompt": "cruel", "responses": [{"text": "one", "stop_reason": "length"}, {"text": "two"}]},
        {"prompt": "kind", "response": "three"},
        {"prompt": "cruel", "responses": ["four"]},
    ]
    write_jsonl(tmp_path / "r.jsonl", lines)
    recorded = RecordedResponses.load(str(tmp_path / "r.jsonl"))
    cruel, kind = Prompt("cruel", source="p.jsonl:1"), Prompt("kind", source="p.jsonl:2")
    found = recorded.respond([kind, cruel, cruel, cruel], config(), 0, "test")
    assert (found.texts, found.stop_reasons) == (["three", "one", "two", "four"], ["", "length", "", ""])
    stats = describe_responses(found)
    assert (stats.response_length, stats.ended_rate, stats.distinct_1) == (None, 0.0, 1.0)

    recorded.check([cruel, cruel, cruel, kind], config())
    recorded.check([cruel], config(responses_per_prompt=3))
    with pytest.raises(DataError, match=r"r.jsonl: 1 response to p.jsonl:2, which begins 'kind'; eval needs 2"):
        recorded.check([cruel, kind], config(responses_per_prompt=2))
    with pytest.raises(DataError, match=r"r.jsonl: no response to a prompt, which begins 'tall'; eval needs 1"):
        recorded.check([Prompt("tall")], config())
    for bad in ({}, {"responses": []}, {"responses": "one"}, {"response": 3}, {"responses": [{"text": None}]}):
        write_jsonl(tmp_path / "bad.jsonl", [{"prompt": "kind"} | bad])
        with pytest.raises(DataError, match=r"bad.jsonl:1: `response` must be a text"):
            RecordedResponses.load(str(tmp_path / "bad.jsonl"))
