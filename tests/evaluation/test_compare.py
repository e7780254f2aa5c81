"""Evaluation against models whose distribution is known by hand: every token is drawn alike, whatever came before."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from likelier.candidates import write_candidates
from likelier.config import Config, build_config
from likelier.errors import ConfigError, LikelierError
from likelier.evaluation import compare
from likelier.evaluation.result import EvaluationResult
from likelier.files import read_json, write_jsonl
from tiny import save_tiny_model

JUDGES = """
def kind(prompts, responses):
    return [float(text.split().count("kind")) for text in responses]

def cruel(prompts, responses):
    return [float(text.split().count("cruel")) for text in responses]
"""

COLUMNS = """
def kind(prompts, responses, asked):
    return [float(text.split().count("kind")) if word == "kind" else None for text, word in zip(responses, asked)]

def longest(completions, completion_ids, **columns):
    return [float(len(ids)) for ids in completion_ids]

def nothing(prompts, responses, asked):
    return [None for _ in responses]

def not_there(prompts, responses, reference):
    return [0.0 for _ in responses]
"""

KL_PER_TOKEN = 0.5 * math.log(3) + 5 * 0.1 * math.log(0.6)
"""Of b (kind 1/2, each of five others 1/10) from a (each of six 1/6)."""


def save_unigram_model(folder: Path, odds_of_kind: float, words: Path) -> None:
    """A GPT-2 whose last state is always the same, so that `kind` has `odds_of_kind` and every other token odds 1."""
    tokenizer = AutoTokenizer.from_pretrained(words)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=4, n_layer=1, n_head=1, n_positions=32, tie_word_embeddings=False
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        model.lm_head.weight.zero_()
        model.lm_head.weight[tokenizer.convert_tokens_to_ids("kind"), 0] = math.log(odds_of_kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    save_tiny_model(folder / "words", ["kind", "cruel"])  # with four special tokens: six in all
    save_unigram_model(folder / "a", 1.0, folder / "words")
    save_unigram_model(folder / "b", 5.0, folder / "words")
    save_tiny_model(folder / "other", ["kind", "cruel", "dog"])
    (folder / "judges.py").write_text(JUDGES)
    prompts = [{"prompt": " ".join(["cruel"] * (1 + at % 3)), "conversation": str(at)} for at in range(500)]
    write_jsonl(folder / "prompts.jsonl", prompts)
    return folder


def settings(folder: Path, **more: Any) -> Config:
    block = {
        "model_a": str(folder / "a"),
        "model_b": str(folder / "b"),
        "prompts": str(folder / "prompts.jsonl"),
        "scorer": [{"function": f"{folder / 'judges.py'}:{name}", "name": name} for name in ("kind", "cruel")],
        "responses_per_prompt": 4,
        "response_length": 1,
        "stop_token": None,
        "batch_size": 500,
        "device": "cpu",
    }
    return build_config({"eval": block | more})


def evaluate(config: Config, out: Path) -> dict[str, Any]:
    return compare.evaluate(config, out).to_json()


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    selector = [{"function": f"{folder / 'judges.py'}:kind"}]
    return evaluate(settings(folder, best_of=[4, 1], selector=selector), folder / "out")


def test_win_rate_and_scores(found: dict[str, Any]):
    # b writes `kind` in 1/2 and a in 1/6: b wins 1/2 * 5/6 and ties 1/2 * 1/6 + 1/2 * 5/6 = 1/2, so 5/12 + 1/4 = 2/3
    assert found["n"] == 2000
    assert found["win_rate"] == pytest.approx(2 / 3, abs=0.03)
    assert found["ties"] == pytest.approx(1000, abs=100)
    assert found["interval"][0] < 2 / 3 < found["interval"][1]
    assert found["interval"][1] - found["interval"][0] == pytest.approx(4 * 0.3227 / math.sqrt(2000), rel=0.15)
    assert (found["score_a"], found["score_b"]) == (pytest.approx(1 / 6, abs=0.03), pytest.approx(1 / 2, abs=0.04))


def test_other_models_are_compared_on_the_same_prompts(folder: Path, found: dict[str, Any]):
    others = [{"model": str(folder / "b")}, {"model": str(folder / "a"), "name": "start"}]
    with_others = evaluate(settings(folder, others=others, num_prompts=100), folder / "others")
    same, start = with_others["others"]
    assert (same["name"], start["name"]) == ("b", "start")
    for name in ("win_rate", "interval", "score_b", "kl", "kl_interval", "judges"):
        assert same[name] == with_others[name]  # model_b itself, with the same random numbers
    assert start["kl"] == pytest.approx(0.0, abs=1e-6)
    assert start["judges"]["cruel"]["win_rate"] == pytest.approx(0.5, abs=0.1)
    assert "others" not in found
    assert EvaluationResult.from_json(with_others).to_json() == with_others


def test_every_judge_has_its_figures(found: dict[str, Any]):
    assert list(found["judges"]) == ["kind", "cruel"]
    kind, cruel = found["judges"].values()
    assert kind["win_rate"] == found["win_rate"]
    assert kind["length_controlled"] == found["length_controlled"] != kind["win_rate"]
    assert cruel["score_a"] == pytest.approx(1 / 6, abs=0.03)
    assert cruel["score_b"] == pytest.approx(1 / 10, abs=0.03)
    assert cruel["win_rate"] == pytest.approx(0.5 + (1 / 10 - 1 / 6) / 2, abs=0.03)
    assert kind["in_stds"] == pytest.approx((1 / 3) / math.sqrt(5 / 36), rel=0.12)


def test_kl_is_the_known_one(found: dict[str, Any], folder: Path):
    assert found["kl"] == pytest.approx(KL_PER_TOKEN, abs=0.05)
    assert found["kl_interval"][0] < KL_PER_TOKEN < found["kl_interval"][1]
    whole = evaluate(settings(folder, response_length=4), folder / "longer")
    assert whole["kl"] == pytest.approx(4 * KL_PER_TOKEN, abs=0.1)  # nats per whole response, not per token


def test_kl_is_at_temperature_1_whatever_the_samples_were(folder: Path):
    cold = evaluate(settings(folder, temperature=0.2, response_length=4), folder / "cold")
    assert cold["score_b"] > 3.9  # 5^5 to 1 for `kind` at each token
    assert cold["kl"] == pytest.approx(4 * KL_PER_TOKEN, abs=0.1)


def test_best_of_n_of_the_old_model(found: dict[str, Any]):
    one, four = found["best_of"]
    assert (one["n"], four["n"]) == (1, 4)
    assert (one["kl_bound"], four["kl_bound"]) == (0.0, pytest.approx(math.log(4) - 0.75))
    share = 1 - (5 / 6) ** 4
    assert one["win_rate"] == pytest.approx(0.5, abs=0.03)
    assert four["score"] == four["selector_score"] == pytest.approx(share, abs=0.06)
    assert four["win_rate"] == pytest.approx(0.5 + (share - 1 / 6) / 2, abs=0.04)
    assert four["interval"][0] < four["win_rate"] < four["interval"][1]
    assert four["difference"] == pytest.approx(share - 1 / 6, abs=0.07)
    assert set(four["judges"]) == {"kind", "cruel"}


def test_what_the_responses_are_like(found: dict[str, Any]):
    for name in "ab":
        assert found[name]["response_length"] == 1.0
        assert found[name]["ended_rate"] == 0.0
    # at most two words are ever written, in about 2000 * 1/3 and 2000 * 6/10 responses with one
    assert found["a"]["distinct_1"] == pytest.approx(2 / (2000 / 3), rel=0.15)
    assert found["b"]["distinct_1"] == pytest.approx(2 / 1200, rel=0.1)


def test_the_file_holds_the_samples_and_is_what_was_returned(found: dict[str, Any], folder: Path):
    whole = read_json(folder / "out" / "evaluation.json")
    samples = whole.pop("samples")
    responses, worst = whole.pop("responses"), whole.pop("worst", [])
    assert whole == found
    assert {name: {key: len(values) for key, values in each.items()} for name, each in responses.items()} == {
        "a": {"length": found["n"], "score": found["n"]},
        "b": {"length": found["n"], "score": found["n"], "kl": found["n"]},
    }
    falls = [sample["score_b"] - sample["score_a"] for sample in worst]
    assert falls == sorted(falls)
    assert max(falls, default=-1) < 0
    assert len(samples) == 32
    assert EvaluationResult.from_json(whole).to_json() == whole
    for each in samples:
        assert each["score_b"] == float(each["response_b"].split().count("kind"))
        assert each["scores_a"]["cruel"] == float(each["response_a"].split().count("cruel"))
        assert each["prompt"].startswith("cruel")


def test_a_model_against_itself(folder: Path):
    same = evaluate(settings(folder, model_b=str(folder / "a")), folder / "same")
    assert same["kl"] == 0.0
    assert same["interval"][0] < 0.5 < same["interval"][1]
    assert same["win_rate"] != 0.5  # different random numbers for the two


def test_responses_end_where_asked(folder: Path):
    found = evaluate(settings(folder, response_length=8, stop_token="eos"), folder / "ended")
    # a ends with one token of six at each step: the mean of min(geometric, 8) is 6 (1 - (5/6)^8)
    assert found["a"]["response_length"] == pytest.approx(6 * (1 - (5 / 6) ** 8), abs=0.2)
    assert found["a"]["ended_rate"] == pytest.approx(1 - (5 / 6) ** 8, abs=0.04)
    stopped = evaluate(settings(folder, response_length=8, stop_strings=["kind"]), folder / "stopped")
    assert stopped["b"]["ended_rate"] == pytest.approx(1 - (1 / 2) ** 8, abs=0.01)


def test_models_with_other_tokens_have_no_kl(folder: Path):
    found = evaluate(settings(folder, model_b=str(folder / "other"), num_prompts=8), folder / "others")
    assert found["kl"] is None
    assert found["n"] == 32


def test_responses_that_are_there_are_judged_as_if_they_were_new(folder: Path):
    for name in "ab":
        write_candidates(str(folder / name), folder / "prompts.jsonl", 4, folder / f"{name}.jsonl", 1)
    files = {f"model_{name}": str(folder / f"{name}.jsonl") for name in "ab"}
    plain = {"response_length": 256, "stop_token": "eos", "batch_size": 64}
    recorded = evaluate(settings(folder, **files, **plain), folder / "recorded")
    assert recorded["win_rate"] == pytest.approx(2 / 3, abs=0.03)
    assert recorded["judges"]["cruel"]["score_b"] == pytest.approx(1 / 10, abs=0.03)
    assert (recorded["kl"], recorded["b"]["response_length"]) == (None, None)
    assert recorded["b"]["ended_rate"] == pytest.approx(1 / 10, abs=0.03)
    assert EvaluationResult.from_json(recorded).to_json() == recorded

    one = evaluate(settings(folder, model_a=files["model_a"], others=[{"model": files["model_b"]}]), folder / "half")
    assert one["others"][0]["win_rate"] == recorded["win_rate"]
    assert one["win_rate"] == pytest.approx(2 / 3, abs=0.03)
    assert one["kl"] is one["others"][0]["kl"] is None
    with pytest.raises(ConfigError, match=r"response_length would have no effect: all responses stand in files"):
        settings(folder, **files)
    selector = [{"function": f"{folder / 'judges.py'}:kind"}]
    with pytest.raises(ConfigError, match=r"best_of: it samples from model_a, and .*a.jsonl is a file of responses"):
        settings(folder, model_a=files["model_a"], best_of=[2], selector=selector)


def test_seed_decides_everything(folder: Path):
    first, second = (evaluate(settings(folder, num_prompts=20), folder / name) for name in ("one", "two"))
    other = settings(folder, num_prompts=20).model_copy(update={"seed": 1})
    assert first == second
    assert evaluate(other, folder / "three")["win_rate"] != first["win_rate"]


def test_what_is_missing_is_named(folder: Path):
    for name, empty in (("model_a", ""), ("model_b", ""), ("prompts", ""), ("scorer", [])):
        with pytest.raises(ConfigError, match=f"eval.{name}"):
            evaluate(settings(folder, **{name: empty}), folder / "never")
    with pytest.raises(ConfigError, match=r"eval\.selector"):
        evaluate(settings(folder, best_of=[2]), folder / "never")
    assert not (folder / "never").exists()


def with_columns(folder: Path, *names: str, **more: Any) -> Config:
    """Every second prompt asks for `kind`; judges of `COLUMNS`."""
    (folder / "columns.py").write_text(COLUMNS)
    prompts = [{"prompt": "cruel " * (at + 1), "asked": ("kind", "cruel")[at % 2]} for at in range(12)]
    write_jsonl(folder / "columns.jsonl", prompts)
    judges = [{"function": f"{folder / 'columns.py'}:{name}", "name": name} for name in names]
    return settings(folder, prompts=str(folder / "columns.jsonl"), scorer=judges, **more)


def test_a_judge_reads_columns_and_counts_only_what_it_scored(folder: Path):
    selector = [{"function": f"{folder / 'columns.py'}:longest"}]
    config = with_columns(folder, "kind", "longest", best_of=[2], selector=selector)
    found = evaluate(config, folder / "columns")
    assert (found["n"], found["judges"]["longest"]["n"]) == (24, 48)
    assert found["judges"]["longest"]["win_rate"] == 0.5
    assert set(found["best_of"][0]["judges"]) == {"kind", "longest"}
    for sample in read_json(folder / "columns" / "evaluation.json")["samples"]:
        kind = float(sample["response_b"].split().count("kind"))
        expected = kind if sample["extra"]["asked"] == "kind" else None
        assert sample["scores_b"] == {"kind": expected, "longest": 1.0}
        assert sample["score_b"] == expected


def test_judges_that_cannot_score_these_prompts_are_named(folder: Path):
    with pytest.raises(ConfigError, match=r"columns.py:not_there`: its parameter `reference` is no column .*: asked"):
        evaluate(with_columns(folder, "kind", "not_there"), folder / "never")
    with pytest.raises(LikelierError, match=r"^eval.scorer: nothing returned None for every response"):
        evaluate(with_columns(folder, "nothing"), folder / "never")
