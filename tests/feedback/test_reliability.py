"""The skilled Bradley-Terry model on simulated annotators."""

import csv
import gzip
from pathlib import Path
from typing import Any

import choix
import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit
from scipy.stats import kendalltau

from likelier.feedback.reliability import (
    Parameters,
    encode_choices,
    negative_log_posterior,
    skilled_bradley_terry,
)


def simulate(
    seed: int,
    skill: list[float],
    bias: list[float] | None = None,
    guess_rate: list[float] | None = None,
    ties: float = 0.0,
    num: int = 4000,
) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """Draw scores of 30 responses, and judgements of random pairs by annotators a0, a1, ... from the model itself."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 1.5, 30)
    scores -= scores.mean()
    left = generator.integers(30, size=num)
    right = (left + generator.integers(1, 30, size=num)) % 30
    annotator = generator.integers(len(skill), size=num)
    side = np.array(bias or [0] * len(skill))[annotator]
    half = (np.array(skill)[annotator] * (scores[left] - scores[right]) + side) / 2
    weights = np.stack([np.exp(half), np.full(num, ties), np.exp(-half)])
    drawn = (generator.random(num) > np.cumsum(weights / weights.sum(axis=0), axis=0)).sum(axis=0)
    guess = generator.random(num) < np.array(guess_rate or [0] * len(skill))[annotator]
    drawn = np.where(guess, 2 * generator.integers(2, size=num), drawn)
    answers = {
        "left": left.tolist(),
        "right": right.tolist(),
        "annotators": [f"a{number}" for number in annotator],
        "choices": np.array(["left", "tie", "right"])[drawn].tolist(),
    }
    return scores, answers


def test_gradient_of_the_posterior() -> None:
    _, answers = simulate(0, [1, 1, 0], ties=0.7, num=300)
    _, _, data = encode_choices(**answers)
    generator = np.random.default_rng(0)
    point = np.concatenate([generator.normal(size=36), generator.random(3), generator.normal(size=3)])
    boundaries = 30 + 3 * np.arange(4)
    weight = generator.random(300)

    def loss(x: np.ndarray) -> float:
        return negative_log_posterior(Parameters(*np.split(x, boundaries)), data, weight)[0]

    def gradient(x: np.ndarray) -> np.ndarray:
        estimate = negative_log_posterior(Parameters(*np.split(x, boundaries)), data, weight)[1]
        return np.concatenate([estimate.score, estimate.skill, estimate.bias, estimate.random, estimate.log_tie])

    assert check_grad(loss, gradient, point) < 1e-4


def test_reduces_to_bradley_terry_without_annotator_effects() -> None:
    scores, answers = simulate(1, [1.0])
    left, right = answers["left"], answers["right"]
    beaten = [(x, y) if c == "left" else (y, x) for x, y, c in zip(left, right, answers["choices"], strict=True)]
    oracle = choix.opt_pairwise(30, beaten, alpha=1 / 8)  # the same prior: standard deviation 2
    estimate = skilled_bradley_terry(**answers)
    estimated = np.array([estimate.scores[i] for i in range(30)])
    assert estimate.skill == {"a0": pytest.approx(1, abs=0.01)}
    assert estimate.random["a0"] < 0.03
    assert np.abs(estimated - (oracle - oracle.mean())).max() < 0.1
    assert np.abs(estimated - scores).max() < 0.6


def test_skills_biases_and_guess_rates_are_recovered() -> None:
    skill = [1] * 6 + [0, -1, 1, 1, 0.5]
    bias = [0] * 8 + [1.5, -1, 0]
    scores, answers = simulate(2, skill, bias, ties=0.5)
    estimate = skilled_bradley_terry(**answers)
    for number, (gamma, b) in enumerate(zip(skill, bias, strict=True)):
        assert estimate.skill[f"a{number}"] == pytest.approx(gamma, abs=0.35)
        assert estimate.side_bias[f"a{number}"] == pytest.approx(b, abs=0.5)
    estimated = np.array([estimate.scores[i] for i in range(30)])
    assert np.corrcoef(estimated, scores)[0, 1] > 0.98
    assert estimate.random["a6"] > 0.3 > max(estimate.random[f"a{number}"] for number in range(6))


def test_guess_rate_is_recovered() -> None:
    _, answers = simulate(3, [1] * 8, guess_rate=[0] * 5 + [0.3, 0.6, 1.0], num=12000)
    estimate = skilled_bradley_terry(**answers)
    assert [estimate.random[f"a{number}"] for number in (5, 6)] == pytest.approx([0.3, 0.6], abs=0.15)
    assert abs(estimate.skill["a7"] * (1 - estimate.random["a7"])) < 0.1
    assert max(estimate.random[f"a{number}"] for number in range(5)) < 0.12


@pytest.mark.parametrize("seed", range(3))
def test_the_mirrored_solution_is_ruled_out(seed: int) -> None:
    scores, answers = simulate(seed, [1] * 7 + [-1] * 5, num=2500)
    estimate = skilled_bradley_terry(**answers)
    assert np.corrcoef([estimate.scores[i] for i in range(30)], scores)[0, 1] > 0.95
    assert all(estimate.skill[f"a{number}"] > 0.5 for number in range(7))
    assert all(estimate.skill[f"a{number}"] < -0.4 for number in range(7, 12))


def test_three_reversed_annotators_with_half_of_all_judgements() -> None:
    generator = np.random.default_rng(0)
    better, annotator = np.arange(830).repeat(3), generator.choice(12, 2490, p=[1 / 18] * 9 + [1 / 6] * 3)
    agree = np.where(annotator < 9, generator.random(2490) < 0.88, generator.random(2490) < 0.12)
    on_left = generator.random(2490) < 0.5
    left = [f"good{pair}" if here else f"bad{pair}" for pair, here in zip(better, on_left, strict=True)]
    right = [f"bad{pair}" if here else f"good{pair}" for pair, here in zip(better, on_left, strict=True)]
    choices = ["left" if x == y else "right" for x, y in zip(agree, on_left, strict=True)]
    estimate = skilled_bradley_terry(left, right, annotator.tolist(), choices)
    assert np.mean([estimate.probability(f"good{pair}", f"bad{pair}") > 0.5 for pair in set(better.tolist())]) > 0.9
    assert all((estimate.skill[number] > 0) == (number < 9) for number in range(12))


def test_scores_of_each_component_sum_to_zero() -> None:
    estimate = skilled_bradley_terry(["p", "q", "x"], ["q", "r", "y"], ["ann"] * 3, ["left", "left", "right"])
    assert estimate.component["p"] == estimate.component["q"] == estimate.component["r"] != estimate.component["x"]
    assert estimate.scores["p"] + estimate.scores["q"] + estimate.scores["r"] == pytest.approx(0, abs=1e-12)
    assert estimate.scores["x"] + estimate.scores["y"] == pytest.approx(0, abs=1e-12)
    assert estimate.scores["p"] > estimate.scores["q"] > estimate.scores["r"]
    assert estimate.probability("p", "r") == pytest.approx(expit(estimate.scores["p"] - estimate.scores["r"]))
    with pytest.raises(ValueError, match="not connected"):
        estimate.probability("p", "x")


def test_ties_shrink_score_differences() -> None:
    wins = skilled_bradley_terry(["p"] * 8, ["q"] * 8, ["ann"] * 8, ["left"] * 8)
    ties = skilled_bradley_terry(["p"] * 16, ["q"] * 16, ["ann"] * 16, ["left"] * 8 + ["tie"] * 8)
    assert 0 < ties.scores["p"] < wins.scores["p"]


def test_the_same_judgements_give_the_same_bits() -> None:
    _, answers = simulate(5, [1, 1, 0], ties=0.3, num=300)
    assert skilled_bradley_terry(**answers) == skilled_bradley_terry(**answers)


def test_invalid_judgements_are_refused() -> None:
    with pytest.raises(ValueError, match=r"equally long and not empty, got \(0, 0, 0, 0\)"):
        skilled_bradley_terry([], [], [], [])
    with pytest.raises(ValueError, match="left, right or tie, got 'both'"):
        skilled_bradley_terry(["p"], ["q"], ["ann"], ["both"])
    with pytest.raises(ValueError, match="response p is compared with itself"):
        skilled_bradley_terry(["p"], ["p"], ["ann"], ["tie"])


@pytest.mark.slow
def test_ranking_of_translation_systems_as_published(shared: Path) -> None:
    with gzip.open(shared / "data/wmt-ranking/wmt15.fin-eng.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    order = [int(row["system1rank"]) - int(row["system2rank"]) for row in rows]
    estimate = skilled_bradley_terry(
        [row["system1Id"] for row in rows],
        [row["system2Id"] for row in rows],
        [row["judgeID"] for row in rows],
        ["left" if step < 0 else "right" if step > 0 else "tie" for step in order],
    )
    published = [
        line.split()[0]
        for line in (shared / "data/wmt-ranking/wmt15-results-fin-eng.txt").read_text().splitlines()
        if not line.startswith("+")
    ]
    tau = kendalltau([estimate.scores[system] for system in published], -np.arange(len(published))).statistic
    assert tau > 0.9
