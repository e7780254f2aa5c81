"""Known answers: what they say by hand of models that draw every token alike, and bad files in one line."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from likelier.config import build_config
from likelier.errors import ConfigError, DataError
from likelier.evaluation import compare
from likelier.evaluation.knowledge import (
    KnownAnswer,
    compare_answer_logprobs,
    compute_answer_logprobs,
    read_known_answers,
    tokenize_answers,
)
from likelier.evaluation.result import EvaluationResult
from likelier.files import write_jsonl
from likelier.text.models import load_causal_lm, load_tokenizer
from tiny import save_tiny_model
from tiny_ppo import make_config, make_world, train

ANSWERS = [
    {"prompt": "cruel", "completion": "kind"},
    {"prompt": "cruel cruel", "completion": "kind cruel kind"},
    {"prompt": [{"role": "user", "content": "kind"}], "completion": [{"role": "assistant", "content": " cruel"}]},
]
LOGPROBS_A = [math.log(1 / 6), 3 * math.log(1 / 6), math.log(1 / 6)]
LOGPROBS_B = [math.log(1 / 2), math.log(1 / 2 * 1 / 10 * 1 / 2), math.log(1 / 10)]
"""Of models that draw each of six tokens alike, and `kind` five times as often as any other."""

REWARD = """
def reward(prompts, responses):
    return [float(response.count("a")) for response in responses]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("knowledge")
    tokenizer = AutoTokenizer.from_pretrained(save_tiny_model(folder / "words", ["kind", "cruel"]))
    shape = GPT2Config(vocab_size=6, n_positions=16, n_embd=4, n_layer=1, n_head=1, tie_word_embeddings=False)
    for name, odds in (("a", 1.0), ("b", 5.0)):
        model = GPT2LMHeadModel(shape)
        with torch.no_grad():
            model.transformer.ln_f.weight.zero_()
            model.transformer.ln_f.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
            model.lm_head.weight.zero_()
            model.lm_head.weight[tokenizer.convert_tokens_to_ids("kind"), 0] = math.log(odds)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "judges.py").write_text("def length(prompts, responses):\n    return [len(each) for each in responses]\n")
    write_jsonl(folder / "prompts.jsonl", [{"prompt": "cruel"}, {"prompt": "kind"}])
    write_jsonl(folder / "known.jsonl", ANSWERS)
    return folder


def evaluate(folder: Path, out: Path, **more: Any) -> dict[str, Any]:
    block = {"model_a": str(folder / "a"), "model_b": str(folder / "b"), "prompts": str(folder / "prompts.jsonl")}
    block |= {"scorer": [{"function": f"{folder}/judges.py:length"}], "response_length": 1, "device": "cpu"}
    return compare.evaluate(build_config({"eval": block | more}), out).to_json()


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_an_answers_log_probability_is_the_sum_of_its_tokens(folder: Path, batch_size: int):
    answers = read_known_answers(folder / "known.jsonl")
    for name, expected in (("a", LOGPROBS_A), ("b", LOGPROBS_B)):
        model, tokenizer = load_causal_lm(folder / name), load_tokenizer(str(folder / name))
        found = compute_answer_logprobs(model, tokenize_answers(model, tokenizer, answers), batch_size)
        assert found == pytest.approx(expected, abs=1e-5)


def test_both_models_are_compared_by_the_same_answers(folder: Path, tmp_path: Path):
    found = evaluate(folder, tmp_path, knowledge=str(folder / "known.jsonl"))
    known = found["knowledge"]
    assert (known["n"], known["less_likely"]) == (3, pytest.approx(1 / 3))
    assert known["logprob_a"] == pytest.approx(sum(LOGPROBS_A) / 3, abs=1e-5)
    assert known["difference"] == pytest.approx((sum(LOGPROBS_B) - sum(LOGPROBS_A)) / 3, abs=1e-5)
    assert EvaluationResult.from_json(found).to_json() == found
    assert "The 3 known answers are about as likely as before: +0.76 nats each (-2.07 to +3.58)." in found["in_words"]
    assert "knowledge" not in evaluate(folder, tmp_path / "without")


def test_the_interval_is_paired_over_prompts():
    answers = [KnownAnswer(prompt, "kind", "") for prompt in ("one", "two", "three")]
    a, b = np.array([-1.0, -9.0, -20.0]), np.array([-2.0, -11.0, -23.0])
    found = compare_answer_logprobs(answers, a, b)
    assert (found.logprob_a, found.logprob_b, found.difference, found.less_likely) == (-10.0, -12.0, -2.0, 1.0)
    # -1, -2 and -3 have a standard error of 1 / sqrt(3); Student's t of two degrees of freedom is 4.3027.
    assert found.difference_interval == pytest.approx([-4.4842, 0.4842], abs=1e-4)
    twice = compare_answer_logprobs([*answers, *answers], np.tile(a, 2), np.tile(b, 2))
    assert twice.difference_interval == pytest.approx(found.difference_interval)  # the same prompts say nothing new
    same = compare_answer_logprobs(answers, a, a)
    assert (same.difference, same.difference_interval, same.less_likely) == (0.0, None, 0.0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            {"prompt": "cruel"},
            "known.jsonl:1: expected `prompt` (a text or messages) and `completion`, the right answer",
        ),
        ({"prompt": "cruel", "completion": " "}, "known.jsonl:1: a known answer is a text"),
        ({"prompt": "cruel", "completion": 4}, "known.jsonl:1: `completion` must be"),
        ({"prompt": "cruel", "completion": [{"role": "user", "content": "a"}]}, "must be a text or one message"),
        ({"prompt": "kind " * 15, "completion": "kind kind"}, "known.jsonl:1: 18 tokens do not fit the model's 16"),
        ({"prompt": "un", "completion": "known"}, "known.jsonl:1: `completion` melts into the prompt's last word"),
        (None, "known.jsonl: no known answers"),
    ],
)
def test_bad_lines_are_refused_in_one_line_before_anything_is_sampled(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: dict[str, Any] | None, expected: str
):
    def fail(*arguments: Any) -> None:
        raise AssertionError("sampled")

    monkeypatch.setattr("likelier.evaluation.responses.EvaluatedModel.respond", fail)
    (tmp_path / "known.jsonl").write_text(json.dumps(line) + "\n" if line else "")
    with pytest.raises(DataError) as error:
        evaluate(folder, tmp_path, knowledge=str(tmp_path / "known.jsonl"))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_responses_knows_nothing(folder: Path):
    block = {"model_a": str(folder / "a"), "model_b": "answers.jsonl", "knowledge": "known.jsonl"}
    with pytest.raises(ConfigError, match=r"eval: knowledge: .* answers\.jsonl is a file"):
        build_config({"eval": block})


@pytest.mark.slow
def test_forgetting_is_measured_during_training(tmp_path: Path):
    world = make_world(tmp_path, REWARD)
    write_jsonl(tmp_path / "known.jsonl", [{"prompt": "b", "completion": "b b"}, {"prompt": "a", "completion": "b"}])
    config = make_config(world, eval_steps=1, learning_rate=0.05, kl_coef=0.0)
    block = config.eval.model_copy(update={"knowledge": str(tmp_path / "known.jsonl")})
    known = config.model_copy(update={"eval": block})
    measured = [line["eval_knowledge"] for line in train(known, tmp_path / "run")]
    assert len(set(measured)) == 3
    model, tokenizer = load_causal_lm(tmp_path / "run" / "model"), load_tokenizer(str(tmp_path / "run" / "model"))
    answers = tokenize_answers(model, tokenizer, read_known_answers(tmp_path / "known.jsonl"))
    assert measured[-1] == pytest.approx(compute_answer_logprobs(model, answers, 1).mean(), abs=1e-5)
    assert "eval_knowledge" not in train(config, tmp_path / "plain")[-1]
