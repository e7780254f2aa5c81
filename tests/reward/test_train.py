"""Reward training on a tiny model: it learns, every setting bites, and it comes back with the same bits."""

import dataclasses
import hashlib
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from likelier.config import Config, RewardModelConfig, build_config
from likelier.errors import ConfigError, DataError, NumericError, Stopped
from likelier.files import read_json, read_jsonl, write_jsonl
from likelier.intervals import clopper_pearson
from likelier.records import Preference
from likelier.reward.ensemble import load_ensemble
from likelier.reward.pairs import BatchPlan, load_pairs
from likelier.reward.train import Member, distinct_texts, train_reward
from likelier.runs.run import Run
from tiny import save_tiny_model

WORDS = ["kind", "cruel", "dog", "cat", "sun", "sea"]


def draw_pairs(count: int, seed: int) -> list[Preference]:
    """The response with `kind` in it is better than the one with `cruel`."""
    random = np.random.default_rng(seed)

    def text(word: str) -> str:
        return " ".join(random.permutation([word, *random.choice(WORDS[2:], random.integers(1, 5))]))

    return [Preference("the dog", text("kind"), text("cruel"), conversation=f"{seed}-{at}") for at in range(count)]


def fill(folder: Path) -> Path:
    """Write a base model, and preferences split in three."""
    save_tiny_model(folder / "base", [*WORDS, "the"])
    for seed, (part, count) in enumerate({"train": 96, "valid": 24, "test": 32}.items()):
        write_jsonl(folder / "preferences" / f"{part}.jsonl", draw_pairs(count, seed))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("reward"))


def settings(folder: Path, **more: Any) -> Config:
    block = {"learning_rate": 3e-3, "num_epochs": 3, "batch_size": 16, "device": "cpu"} | more
    return build_config({"model": str(folder / "base"), "data": str(folder / "preferences"), "reward_model": block})


def train(config: Config, run_folder: Path, resume: str = "never") -> dict[str, Any]:
    with Run(run_folder, "reward", config, resume) as run:
        return train_reward(config, run)


def digests(run: Path) -> dict[str, str]:
    """What must be the same after a resume: weights and the log."""
    files = [*run.glob("model*/model.safetensors"), *run.glob("model*/card.json"), run / "metrics.jsonl"]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[dict[str, Any], Path]:
    run = folder / "run"
    return train(settings(folder, ensemble_size=2, save_steps=4), run), run


def test_it_learns_and_says_how_well(trained: tuple[dict[str, Any], Path]):
    result, run = trained
    assert result["accuracy"] >= 0.9
    # 32 pairs of as many conversations are worth 31 votes, n - 1 for the estimated variance; 32 if all are right.
    trials = 32 if result["accuracy"] == 1 else 31
    assert result["accuracy_interval"] == pytest.approx(clopper_pearson(result["accuracy"], trials))
    assert result["log_loss"] < 0.4
    assert 0.0 <= result["calibration_error"] < 0.3
    assert result["length_only_accuracy"] < 0.75
    assert result["bag_of_words_accuracy"] == 1.0
    assert result["steps"] == result["optimizer_steps"] == 2 * 3 * 6
    assert result["run"] == str(run)
    assert result["seconds"] > 0
    assert read_json(run / "result.json") == result


def test_the_log_has_the_names_of_trl(trained: tuple[dict[str, Any], Path]):
    lines = [line for _, line in read_jsonl(trained[1] / "metrics.jsonl")]
    names = {"loss", "accuracy", "min_reward", "mean_reward", "max_reward", "margin", "learning_rate", "grad_norm"}
    assert names | {"step", "epoch", "num_tokens", "optimizer_steps", "member"} <= set(lines[0])
    assert [line["step"] for line in lines] == list(range(1, 37))
    assert [line["step"] for line in lines if "eval_loss" in line] == [6, 12, 18, 24, 30, 36]
    assert [line["member"] for line in lines] == [0] * 18 + [1] * 18
    assert lines[0]["min_reward"] <= lines[0]["mean_reward"] <= lines[0]["max_reward"]
    assert lines[17]["loss"] < 0.5 < lines[0]["loss"]


def test_other_tools_load_the_model_and_see_the_same_scores(trained: tuple[dict[str, Any], Path], folder: Path):
    run = trained[1]
    model = AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    assert model.config.num_labels == 1
    tokens = tokenizer(["the dog kind sun </s>", "the dog cruel </s>"], padding=True, return_tensors="pt")
    with torch.no_grad():
        raw = model(tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits[:, 0]
    centred = load_ensemble(str(run / "model"), "cpu").score(["the dog", "the dog"], [" kind sun", " cruel"])
    mean = read_json(run / "model" / "card.json")["score_mean"]
    assert centred.tolist() == pytest.approx((raw - mean).tolist(), abs=1e-5)


def test_scores_are_centred_on_the_training_responses(trained: tuple[dict[str, Any], Path]):
    run = trained[1]
    pairs = draw_pairs(96, seed=0)
    for name in ("model", "model-1"):
        ensemble = load_ensemble(str(run / name), "cpu")
        scores = ensemble.score(["the dog"] * 192, [text for pair in pairs for text in (pair.chosen, pair.rejected)])
        assert scores.mean().item() == pytest.approx(0.0, abs=1e-5)
        assert scores.std(unbiased=False).item() == pytest.approx(read_json(run / name / "card.json")["score_std"])


def test_members_of_an_ensemble_differ(trained: tuple[dict[str, Any], Path]):
    first, second = (load_ensemble(str(trained[1] / name), "cpu") for name in ("model", "model-1"))
    assert first.score(["the dog"], ["kind"]).tolist() != second.score(["the dog"], ["kind"]).tolist()


@pytest.mark.parametrize("stop_at", [1, 7, 18, 20, 36])
def test_stopped_and_resumed_it_ends_with_the_same_bits(
    trained: tuple[dict[str, Any], Path], folder: Path, tmp_path: Path, stop_at: int
):
    config = settings(folder, ensemble_size=2, save_steps=4)
    with pytest.raises(Stopped) if stop_at < 36 else pytest.raises(KeyboardInterrupt):
        stop_after(config, tmp_path / "run", stop_at)
    result = train(config, tmp_path / "run", "auto")
    assert digests(tmp_path / "run") == digests(trained[1])
    varying = {"run", "seconds"}
    assert {k: v for k, v in result.items() if k not in varying} == {
        k: v for k, v in trained[0].items() if k not in varying
    }


def stop_after(config: Config, run_folder: Path, step: int) -> None:
    """Train until SIGTERM comes during a step; behind the last step, until the process dies."""
    with Run(run_folder, "reward", config) as run:
        log = run.log

        def log_and_stop(at: int, *rest: Any) -> None:
            log(at, *rest)
            run.signal_received = signal.SIGTERM if at == step else run.signal_received

        run.log = log_and_stop  # type: ignore[method-assign]
        run.finish = die  # type: ignore[method-assign, assignment]
        train_reward(config, run)


def die(*_: Any) -> None:
    raise KeyboardInterrupt


def test_killed_between_checkpoints_the_lost_steps_are_taken_again(
    trained: tuple[dict[str, Any], Path], folder: Path, tmp_path: Path
):
    config = settings(folder, ensemble_size=2, save_steps=4)
    with pytest.raises(KeyboardInterrupt), Run(tmp_path / "run", "reward", config) as run:
        end_step = run.end_step
        run.end_step = lambda step, *rest: die() if step == 23 else end_step(step, *rest)  # type: ignore[method-assign]
        train_reward(config, run)
    assert sum(1 for _ in read_jsonl(tmp_path / "run" / "metrics.jsonl")) == 23
    train(config, tmp_path / "run", "auto")
    assert digests(tmp_path / "run") == digests(trained[1])


def test_micro_batches_change_nothing_but_memory(folder: Path):
    pairs = draw_pairs(16, seed=5)
    for center in (0.0, 0.1):
        whole, cut = (
            Member(settings(folder, center_coef=center, micro_batch_size=size), 0) for size in (None, 3)
        )  # fmt: skip
        first, second = whole.update(pairs), cut.update(pairs)
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)


def one_step(folder: Path, pairs: list[Preference], **more: Any) -> dict[str, float]:
    return Member(settings(folder, **more), 0).update(pairs)


def test_settings_and_fields_of_a_pair_reach_the_loss(folder: Path):
    pairs = draw_pairs(8, seed=5)
    plain = one_step(folder, pairs)
    erring = [dataclasses.replace(pair, flip=0.3) for pair in pairs]
    assert one_step(folder, erring)["loss"] != plain["loss"]
    assert one_step(folder, erring, use_flip=False)["loss"] == plain["loss"]
    for change in ({"weight": 2.0}, {"target": 0.5}, {"margin": 1.0}, {"lower": 0.5}, {"upper": 1.5}):
        changed = [dataclasses.replace(pair, **change) for pair in pairs]
        assert one_step(folder, changed)["loss"] != plain["loss"]
    assert one_step(folder, pairs, center_coef=1.0)["loss"] > plain["loss"]
    assert one_step(folder, pairs, from_scratch=True)["loss"] != plain["loss"]
    responses = len({text for pair in pairs for text in (pair.chosen, pair.rejected)})  # of one prompt
    assert one_step(folder, pairs, max_length=3)["num_tokens"] == 3 * responses < plain["num_tokens"]
    assert one_step(folder, pairs, bf16=True)["loss"] == pytest.approx(plain["loss"], rel=0.02)


def test_the_seed_decides_head_and_random_weights(folder: Path):
    def weights(seed: int, number: int, **more: Any) -> torch.Tensor:
        config = settings(folder, **more).model_copy(update={"seed": seed})
        return torch.cat([each.flatten() for each in Member(config, number).reward.parameters()])

    for more in ({}, {"from_scratch": True}):
        assert torch.equal(weights(0, 0, **more), weights(0, 0, **more))
        assert not torch.equal(weights(0, 0, **more), weights(1, 0, **more))
        assert not torch.equal(weights(0, 0, **more), weights(0, 1, **more))


def test_steps_follow_from_the_data_and_patience_ends_them(folder: Path, tmp_path: Path, monkeypatch: Any):
    """96 pairs in batches of 48: 150 passes unless a number is given; shorter patience ends them, and a resume too."""
    pairs = load_pairs(settings(folder)).train
    assert BatchPlan.from_pairs(pairs, RewardModelConfig(batch_size=48)).num_epochs == 150
    assert BatchPlan.from_pairs(pairs, RewardModelConfig(batch_size=48, num_epochs=2)).num_epochs == 2
    assert BatchPlan.from_pairs(pairs * 400, RewardModelConfig(batch_size=48)).num_epochs == 1
    monkeypatch.setattr("likelier.reward.train.PATIENCE", 4)
    config = settings(folder, num_epochs=None, batch_size=48, learning_rate=0.1, save_steps=3)
    result = train(config, tmp_path / "run")
    losses = [line["eval_loss"] for _, line in read_jsonl(tmp_path / "run/metrics.jsonl") if "eval_loss" in line]
    assert result["steps"] == result["optimizer_steps"] == 2 * len(losses) < 300
    assert losses.index(min(losses)) == len(losses) - 3  # two passes of two steps without a gain
    before = digests(tmp_path / "run")
    train(config, tmp_path / "run", "auto")
    assert digests(tmp_path / "run") == before


def test_early_stopping_keeps_the_best_epoch(folder: Path):
    # the second epoch ends with another model, whose validation loss is worse
    member, valid = Member(settings(folder), 0), draw_pairs(16, seed=7)
    for _ in range(8):
        member.update(draw_pairs(32, seed=8))
    member.end_epoch(valid, 1)
    best = {name: value.clone() for name, value in member.reward.model.state_dict().items()}
    swapped = [dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in draw_pairs(32, seed=8)]
    for _ in range(8):
        member.update(swapped)
    worse = member.end_epoch(valid, 1)["eval_loss"]
    assert member.best_loss is not None
    assert worse > member.best_loss
    assert all(torch.equal(value, best[name]) for name, value in member.best.state_dict().items())


def test_without_early_stopping_the_last_weights_stay(folder: Path):
    member = Member(settings(folder, early_stopping=False), 0)
    member.end_epoch(draw_pairs(8, seed=7), 1)
    assert member.best_loss is None


def test_numbers_that_are_not_finite_never_reach_the_weights(folder: Path):
    member, pairs = Member(settings(folder), 0), draw_pairs(4, seed=1)
    before = torch.cat([each.flatten() for each in member.reward.parameters()])
    poisoned = [dataclasses.replace(pair, weight=float("inf")) for pair in pairs]
    for _ in range(4):
        member.update(poisoned)
    with pytest.raises(NumericError, match="not finite"):
        member.update(poisoned)
    assert torch.equal(torch.cat([each.flatten() for each in member.reward.parameters()]), before)
    assert member.state.counts["optimizer_steps"] == 0


def test_batches_hold_each_pair_once_and_like_lengths_together():
    random = np.random.default_rng(0)
    lengths = [int(length) for length in random.integers(1, 100, size=205)]
    plan = BatchPlan(lengths, list(range(205)), batch_size=10, num_epochs=2)
    assert (plan.batches, plan.steps) == (21, 42)
    steps = list(plan.batches_from(0, seed=0, member=0))
    assert [at for at, _ in steps] == list(range(42))
    for epoch in (steps[:21], steps[21:]):
        assert sorted(row for _, rows in epoch for row in rows) == list(range(205))
    widths = [max(lengths[row] for row in rows) - min(lengths[row] for row in rows) for _, rows in steps]
    assert np.mean(widths) < 20  # 90 in random batches
    assert [at for at, _ in steps if plan.ends_epoch(at)] == [20, 41]
    assert steps[:21] != steps[21:]
    assert list(plan.batches_from(17, seed=0, member=0)) == steps[17:]
    assert list(plan.batches_from(0, seed=0, member=1)) != steps
    assert list(plan.batches_from(0, seed=1, member=0)) != steps


def test_the_pairs_of_a_prompt_stay_in_one_batch_unless_they_are_more_than_that():
    """Six prompts with 4 pairs each fill batches of 8 in twos; one with 9 pairs is cut like pairs without a prompt."""
    settings = RewardModelConfig(batch_size=8, num_epochs=5)
    few = [Preference(f"{prompt}", "a", "b") for _ in range(4) for prompt in range(6)]
    for _, rows in BatchPlan.from_pairs(few, settings).batches_from(0, seed=0, member=0):
        assert sorted(Counter(few[row].prompt for row in rows).values()) == [4, 4]
    many = [Preference("one", "a" * length, "b") for length in (1, 50, 2, 51, 3, 52, 4, 53, 5)]
    assert BatchPlan.from_pairs(many, settings).groups == list(range(9))
    assert BatchPlan.from_pairs(many[:8], settings).groups == [0] * 8


def test_a_response_in_several_pairs_is_scored_once():
    turns = [{"role": "user", "content": "p"}]
    sides = [("p", "x", "y"), ("p", "y", "z"), (turns, "x", "y"), ("p", "y", "x")]
    prompts, responses, places = distinct_texts([Preference(*side) for side in sides])
    assert prompts == ["p", "p", turns, "p", turns]
    assert responses == ["x", "y", "x", "z", "y"]
    assert places == [[0, 1, 2, 1], [1, 3, 4, 0]]


def test_loss_and_gradient_are_those_of_each_pair_by_itself(folder: Path):
    pairs = draw_pairs(3, seed=0)
    judged_again = [dataclasses.replace(pairs[0], flip=0.1), dataclasses.replace(pairs[0], flip=0.3, target=0.5)]
    together, apart = (
        Member(settings(folder, micro_batch_size=size), 0).update([*pairs, *judged_again]) for size in (None, 1)
    )
    assert together["num_tokens"] < apart["num_tokens"]
    assert together["loss"] == pytest.approx(apart["loss"], rel=1e-5)
    assert together["grad_norm"] == pytest.approx(apart["grad_norm"], rel=1e-4)


def test_without_held_out_pairs_quality_is_unknown(folder: Path, tmp_path: Path):
    write_jsonl(tmp_path / "data" / "train.jsonl", draw_pairs(8, seed=0))
    (tmp_path / "data" / "test.jsonl").write_text("")
    config = settings(folder, num_epochs=1).model_copy(update={"data": str(tmp_path / "data")})
    result = train(config, tmp_path / "run")
    assert result["accuracy"] is None
    assert result["steps"] == 1


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path):
    config = settings(folder)
    with pytest.raises(ConfigError, match="model: give"):
        train(config.model_copy(update={"model": ""}), tmp_path / "a")
    with pytest.raises(ConfigError, match="data: give"):
        train(config.model_copy(update={"data": ""}), tmp_path / "b")
    with pytest.raises(DataError, match=r"train\.jsonl: no such file"):
        train(config.model_copy(update={"data": str(tmp_path)}), tmp_path / "c")
