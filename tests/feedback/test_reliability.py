"""Dawid-Skene on real crowds; the skilled Bradley-Terry model on simulated annotators."""

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
    dawid_skene,
    encode_choices,
    negative_log_posterior,
    skilled_bradley_terry,
)

CROWDS = {
    # majority vote as in the README of the data; Dawid-Skene about as in Zheng et al. (2017), table 6
    "bluebirds": (0.759, 0.89),
    "rte": (0.897, 0.925),
    "face": (0.637, 0.64),
    "product": (0.897, 0.935),
}


def read_crowd(shared: Path, name: str) -> tuple[list[str], list[str], list[int], dict[str, int]]:
    """(items, annotators, labels, truth) of a set of crowd labels."""
    folder = shared / "data/crowd-labels"
    if name == "rte":
        with gzip.open(folder / "snow2008/rte.standardized.tsv.gz", "rt") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        truth = {row["orig_id"]: int(row["gold"]) for row in rows}
        return (
            [r["orig_id"] for r in rows],
            [r["!amt_worker_ids"] for r in rows],
            [int(r["response"]) for r in rows],
            truth,
        )
    with gzip.open(folder / name / "truth.csv.gz", "rt") as file:
        truth = {row["question"]: int(row["truth"]) for row in csv.DictReader(file)}
    with gzip.open(folder / name / "answer.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    return [r["question"] for r in rows], [r["worker"] for r in rows], [int(r["answer"]) for r in rows], truth


@pytest.mark.parametrize("name", CROWDS)
def test_dawid_skene_beats_majority_vote_on_real_crowds(shared: Path, name: str) -> None:
    items, annotators, labels, truth = read_crowd(shared, name)
    estimate = dawid_skene(items, annotators, labels)
    best = dict(zip(estimate.items.tolist(), estimate.probabilities.argmax(axis=1).tolist(), strict=True))
    accuracy = np.mean([best[item] == answer for item, answer in truth.items()])
    majority, at_least = CROWDS[name]
    assert accuracy > majority
    assert accuracy >= at_least


def test_without_a_prior_unanimous_annotators_are_perfect() -> None:
    estimate = dawid_skene([1, 1, 2, 2], ["ann", "ben"] * 2, [0, 0, 1, 1], prior=False)
    assert estimate.probabilities.tolist() == [[1, 0], [0, 1]]
    assert estimate.confusion.tolist() == [np.eye(2).tolist()] * 2
    assert estimate.class_prior.tolist() == [0.5, 0.5]


def test_with_a_prior_nobody_is_perfect_and_rows_sum_to_one() -> None:
    estimate = dawid_skene(["p", "p", "p", "q", "q"], ["a", "b", "c", "a", "b"], [0, 0, 1, 1, 1])
    assert estimate.items.tolist() == ["p", "q"]
    assert estimate.annotators.tolist() == ["a", "b", "c"]
    assert estimate.probabilities.shape == (2, 2)
    assert estimate.confusion.shape == (3, 2, 2)
    np.testing.assert_allclose(estimate.confusion.sum(axis=2), 1)
    assert estimate.confusion.min() > 0
    assert estimate.probabilities[0, 0] > 0.9
    # Rightly 0 where the truth is 0, once: (1 + 2) / (1 + 2.5) with two pseudo-counts right and a half wrong.
    assert estimate.confusion[0, 0, 0] == pytest.approx(3 / 3.5, abs=0.02)


def test_dawid_skene_recovers_confusions_and_forgives_a_reversed_annotator() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(3, size=600)
    accuracy = {"good": 0.9, "fair": 0.7, "fine": 0.8, "other": 0.8, "random": 1 / 3}
    items, annotators, labels = [], [], []
    for name, right in accuracy.items():
        wrong = (truth + generator.integers(1, 3, size=600)) % 3
        items += list(range(600))
        annotators += [name] * 600
        labels += np.where(generator.random(600) < right, truth, wrong).tolist()
    annotators += ["reversed"] * 600
    items += list(range(600))
    labels += ((truth + 1) % 3).tolist()
    for symmetric in (False, True):
        estimate = dawid_skene(items, annotators, labels, symmetric=symmetric)
        diagonal = estimate.confusion.diagonal(axis1=1, axis2=2).mean(axis=1)
        estimated = dict(zip(estimate.annotators.tolist(), diagonal.tolist(), strict=True))
        for name, right in accuracy.items():
            assert estimated[name] == pytest.approx(right, abs=0.06)
        assert estimated["reversed"] < 0.05
    full = dawid_skene(items, annotators, labels)
    assert full.confusion[full.annotators.tolist().index("reversed"), 0, 1] > 0.95
    assert (full.probabilities.argmax(axis=1) == truth).mean() > 0.97


def test_classes_without_labels_and_invalid_labels() -> None:
    assert dawid_skene([1, 1], ["a", "b"], [0, 0], num_classes=3).probabilities.shape == (1, 3)
    assert dawid_skene([1, 1], ["a", "b"], [0, 0], num_classes=2, prior=False).probabilities.tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="whole numbers from 0 to 1, got 0 to 2"):
        dawid_skene([1, 1], ["a", "b"], [0, 2], num_classes=2)
    with pytest.raises(ValueError, match="whole numbers"):
        dawid_skene([1, 1], ["a", "b"], [0, -1])
    with pytest.raises(ValueError, match=r"equally many .* \(2, 2, 1\)"):
        dawid_skene([1, 1], ["a", "b"], [0])
    with pytest.raises(ValueError, match="equally many"):
        dawid_skene([], [], [])


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
