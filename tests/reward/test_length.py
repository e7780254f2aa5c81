"""The length term beside a reward model: its formula, and that a lean to length goes there and not into the score."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from likelier.config import Config, build_config
from likelier.files import read_json, write_jsonl
from likelier.records import Preference
from likelier.reward.ensemble import load_ensemble
from likelier.reward.length import LengthTerm, add_length, describe_length, length_parts, read_length_weights
from likelier.reward.loss import preference_loss
from likelier.reward.pairs import load_pairs
from likelier.reward.train import Member, score_pairs, train_reward
from likelier.runs.run import Run
from tiny import save_tiny_model

WORDS = ["kind", "cruel", "dog", "cat", "sun", "sea"]


def test_the_parts_of_a_pair_by_hand():
    """9 characters beside 2: (1 + 9) / (1 + 2) = 10 / 3, and tanh(ln(r) / 2) = (r - 1) / (r + 1) = 7 / 13."""
    pairs = [Preference("p", "a" * 9, "bb"), Preference("p", "bb", "a" * 9), Preference("p", "", "")]
    parts = length_parts(pairs)
    assert parts[0] == pytest.approx([7 / 13, math.tanh(2 * math.log(10 / 3)), math.tanh(8 * math.log(10 / 3))])
    assert parts[1].tolist() == (-parts[0]).tolist()
    assert parts[2].tolist() == [0.0, 0.0, 0.0]


def test_weights_that_are_learned_give_log_odds_and_a_sentence():
    term = LengthTerm()
    pairs = [Preference("p", "a" * 9, "bb")]
    assert term(pairs).tolist() == [0.0]
    with torch.no_grad():
        term.weights.copy_(torch.tensor([13.0, 0.0, 0.0]))
    assert term(pairs).item() == pytest.approx(7.0)
    assert add_length(pairs, np.array([13.0, 0.0, 0.0])) == pytest.approx([7.0])
    assert add_length(pairs, None).tolist() == [0.0]
    # tanh(ln(2) / 2) = 1 / 3, and sigmoid(ln 3) = 3 / 4
    found = describe_length(np.array([3 * math.log(3), 0.0, 0.0]))
    assert found["double_length_share"] == pytest.approx(0.75)
    assert "twice as long in 75.0%" in found["length_in_words"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs in which `kind` is better than `cruel`, and the longer response has another factor of 4 in its odds."""
    folder, random = tmp_path_factory.mktemp("length"), np.random.default_rng(0)
    save_tiny_model(folder / "base", [*WORDS, "the"])
    for part, count in {"train": 240, "valid": 60, "test": 60}.items():
        pairs = []
        for at in range(count):
            texts = [" ".join([word, *random.choice(WORDS[2:], random.integers(1, 6))]) for word in WORDS[:2]]
            odds = 1.5 + np.sign(len(texts[0]) - len(texts[1])) * math.log(4)
            chosen, rejected = texts if random.random() < 1 / (1 + math.exp(-odds)) else texts[::-1]
            pairs.append(Preference("the dog", chosen, rejected, conversation=f"{part}-{at}"))
        write_jsonl(folder / "preferences" / f"{part}.jsonl", pairs)
    return folder


def settings(folder: Path, **more: Any) -> Config:
    block = {"learning_rate": 3e-3, "num_epochs": 4, "batch_size": 16, "device": "cpu", "length_debias": True} | more
    return build_config({"model": str(folder / "base"), "data": str(folder / "preferences"), "reward_model": block})


def train(config: Config, run_folder: Path, resume: str = "never") -> dict[str, Any]:
    with Run(run_folder, "reward", config, resume) as run:
        return train_reward(config, run)


@pytest.mark.slow
def test_length_goes_into_the_term_and_a_resume_has_the_same_bits(folder: Path, tmp_path: Path):
    plain = train(settings(folder, length_debias=False), tmp_path / "plain")
    whole = train(settings(folder), tmp_path / "whole")
    assert "double_length_share" not in plain
    assert "length_weights" not in read_json(tmp_path / "plain/model/card.json")
    assert read_length_weights(tmp_path / "plain") is None
    weights = read_length_weights(tmp_path / "whole")
    assert weights is not None
    assert 0.6 < whole["double_length_share"] == describe_length(weights)["double_length_share"] < 0.95
    pairs = load_pairs(settings(folder)).drop_equal_after_cut(settings(folder)).test
    score = np.subtract(*score_pairs(load_ensemble(str(tmp_path / "whole"), "cpu").score, pairs))
    assert whole["accuracy"] == pytest.approx((score > 0).mean())
    assert whole["accuracy_with_length"] == pytest.approx((score + add_length(pairs, weights) > 0).mean())
    assert whole["accuracy_with_length"] != whole["accuracy"]

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Run(tmp_path / "killed", "reward", settings(folder, save_steps=7)) as run:
        end_step = run.end_step
        run.end_step = lambda step, *rest: die() if step == 40 else end_step(step, *rest)  # type: ignore[method-assign]
        train_reward(settings(folder, save_steps=7), run)
    resumed = train(settings(folder, save_steps=7), tmp_path / "killed", "auto")
    assert resumed["double_length_share"] == whole["double_length_share"]
    for name in ("model/model.safetensors", "model/card.json", "metrics.jsonl"):
        one, other = (hashlib.sha256((tmp_path / run / name).read_bytes()).digest() for run in ("whole", "killed"))
        assert one == other, name


def test_the_loss_has_the_term_in_it_for_ties_too(folder: Path):
    pairs = [Preference("the dog", "kind dog sun sea", "cruel"), Preference("the dog", "cat", "sun sea", target=0.5)]
    member, plain = Member(settings(folder), 0), Member(settings(folder, length_debias=False), 0)
    assert member.length is not None
    assert member.loss(pairs)[0].item() == plain.loss(pairs)[0].item()
    with torch.no_grad():
        member.length.weights.copy_(torch.tensor([1.0, 0.5, 0.0]))
    added = torch.tensor(add_length(pairs, np.array([1.0, 0.5, 0.0])))
    better, worse = map(torch.tensor, score_pairs(plain.reward.score, pairs))
    expected = preference_loss(better + added, worse, target=torch.tensor([1.0, 0.5]).double())
    assert member.loss(pairs)[0].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.slow
def test_several_models_and_heads_have_a_term_each(folder: Path, tmp_path: Path):
    for kind in ("models", "heads", "adapters"):
        config = settings(folder, ensemble_size=2, ensemble=kind, num_epochs=1)
        result = train(config, tmp_path / kind)
        assert 0.5 < result["double_length_share"] < 0.95, kind
