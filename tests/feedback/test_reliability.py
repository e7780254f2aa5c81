"""Who can be trusted: Dawid-Skene on real crowds, the skilled Bradley-Terry model on known ones."""

import csv
import gzip
import time
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
    negative_log_posterior,
    read_choices,
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
def test_dawid_skene_is_above_the_majority_on_real_crowds(shared: Path, name: str) -> None:
    items, annotators, labels, truth = read_crowd(shared, name)
    found = dawid_skene(items, annotators, labels)
    best = dict(zip(found.items.tolist(), found.probabilities.argmax(axis=1).tolist(), strict=True))
    accuracy = np.mean([best[item] == answer for item, answer in truth.items()])
    majority, at_least = CROWDS[name]
    assert accuracy > majority
    assert accuracy >= at_least


def test_without_a_prior_unanimous_annotators_are_perfect() -> None:
    found = dawid_skene([1, 1, 2, 2], ["ann", "ben"] * 2, [0, 0, 1, 1], prior=False)
    assert found.probabilities.tolist() == [[1, 0], [0, 1]]
    assert found.confusion.tolist() == [np.eye(2).tolist()] * 2
    assert found.class_prior.tolist() == [0.5, 0.5]


def test_with_a_prior_nobody_is_perfect_and_rows_sum_to_one() -> None:
    found = dawid_skene(["p", "p", "p", "q", "q"], ["a", "b", "c", "a", "b"], [0, 0, 1, 1, 1])
    assert found.items.tolist() == ["p", "q"]
    assert found.annotators.tolist() == ["a", "b", "c"]
    assert found.probabilities.shape == (2, 2)
    assert found.confusion.shape == (3, 2, 2)
    np.testing.assert_allclose(found.confusion.sum(axis=2), 1)
    assert found.confusion.min() > 0
    assert found.probabilities[0, 0] > 0.9
    # Rightly 0 where the truth is 0, once: (1 + 2) / (1 + 2.5) with two pseudo-counts right and a half wrong.
    assert found.confusion[0, 0, 0] == pytest.approx(3 / 3.5, abs=0.02)


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
        found = dawid_skene(items, annotators, labels, symmetric=symmetric)
        diagonal = found.confusion.diagonal(axis1=1, axis2=2).mean(axis=1)
        estimated = dict(zip(found.annotators.tolist(), diagonal.tolist(), strict=True))
        for name, right in accuracy.items():
            assert estimated[name] == pytest.approx(right, abs=0.06)
        assert estimated["reversed"] < 0.05
    full = dawid_skene(items, annotators, labels)
    assert full.confusion[full.annotators.tolist().index("reversed"), 0, 1] > 0.95
    assert (full.probabilities.argmax(axis=1) == truth).mean() > 0.97


def test_more_classes_than_were_given_and_labels_that_are_none() -> None:
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
    careless: list[float] | None = None,
    ties: float = 0.0,
    num: int = 4000,
) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """Scores of 30 responses, and what annotators a0, a1, ... say of random pairs by the model's own formula."""
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
    guess = generator.random(num) < np.array(careless or [0] * len(skill))[annotator]
    drawn = np.where(guess, 2 * generator.integers(2, size=num), drawn)
    said = {
        "left": left.tolist(),
        "right": right.tolist(),
        "annotators": [f"a{number}" for number in annotator],
        "choices": np.array(["left", "tie", "right"])[drawn].tolist(),
    }
    return scores, said


def test_gradient_of_the_posterior() -> None:
    _, said = simulate(0, [1, 1, 0], ties=0.7, num=300)
    _, _, data = read_choices(**said)
    generator = np.random.default_rng(0)
    at = np.concatenate([generator.normal(size=36), generator.random(3), generator.normal(size=3)])
    ends = 30 + 3 * np.arange(4)
    weight = generator.random(300)

    def loss(x: np.ndarray) -> float:
        return negative_log_posterior(Parameters(*np.split(x, ends)), data, weight)[0]

    def gradient(x: np.ndarray) -> np.ndarray:
        found = negative_log_posterior(Parameters(*np.split(x, ends)), data, weight)[1]
        return np.concatenate([found.score, found.skill, found.bias, found.random, found.log_tie])

    assert check_grad(loss, gradient, at) < 1e-4


def test_without_annotator_effects_it_is_bradley_terry() -> None:
    scores, said = simulate(1, [1.0])
    left, right = said["left"], said["right"]
    beaten = [(x, y) if c == "left" else (y, x) for x, y, c in zip(left, right, said["choices"], strict=True)]
    oracle = choix.opt_pairwise(30, beaten, alpha=1 / 8)  # the same prior: standard deviation 2
    found = skilled_bradley_terry(**said)
    mine = np.array([found.scores[i] for i in range(30)])
    assert found.skill == {"a0": pytest.approx(1, abs=0.01)}
    assert found.random["a0"] < 0.03
    assert np.abs(mine - (oracle - oracle.mean())).max() < 0.1
    assert np.abs(mine - scores).max() < 0.6


def test_skills_biases_and_carelessness_come_back() -> None:
    skill = [1] * 6 + [0, -1, 1, 1, 0.5]
    bias = [0] * 8 + [1.5, -1, 0]
    scores, said = simulate(2, skill, bias, ties=0.5)
    found = skilled_bradley_terry(**said)
    for number, (gamma, b) in enumerate(zip(skill, bias, strict=True)):
        assert found.skill[f"a{number}"] == pytest.approx(gamma, abs=0.35)
        assert found.side_bias[f"a{number}"] == pytest.approx(b, abs=0.5)
    mine = np.array([found.scores[i] for i in range(30)])
    assert np.corrcoef(mine, scores)[0, 1] > 0.98
    assert found.random["a6"] > 0.3 > max(found.random[f"a{number}"] for number in range(6))


def test_careless_share_comes_back() -> None:
    _, said = simulate(3, [1] * 8, careless=[0] * 5 + [0.3, 0.6, 1.0], num=12000)
    found = skilled_bradley_terry(**said)
    assert [found.random[f"a{number}"] for number in (5, 6)] == pytest.approx([0.3, 0.6], abs=0.15)
    assert abs(found.skill["a7"] * (1 - found.random["a7"])) < 0.1
    assert max(found.random[f"a{number}"] for number in range(5)) < 0.12


@pytest.mark.parametrize("seed", range(3))
def test_the_mirrored_solution_is_ruled_out(seed: int) -> None:
    scores, said = simulate(seed, [1] * 7 + [-1] * 5, num=2500)
    found = skilled_bradley_terry(**said)
    assert np.corrcoef([found.scores[i] for i in range(30)], scores)[0, 1] > 0.95
    assert all(found.skill[f"a{number}"] > 0.5 for number in range(7))
    assert all(found.skill[f"a{number}"] < -0.4 for number in range(7, 12))


def test_few_people_judge_each_pair_and_three_reversed_judge_half_of_all() -> None:
    generator = np.random.default_rng(0)
    better, annotator = np.arange(830).repeat(3), generator.choice(12, 2490, p=[1 / 18] * 9 + [1 / 6] * 3)
    agree = np.where(annotator < 9, generator.random(2490) < 0.88, generator.random(2490) < 0.12)
    on_left = generator.random(2490) < 0.5
    left = [f"good{pair}" if here else f"bad{pair}" for pair, here in zip(better, on_left, strict=True)]
    right = [f"bad{pair}" if here else f"good{pair}" for pair, here in zip(better, on_left, strict=True)]
    choices = ["left" if x == y else "right" for x, y in zip(agree, on_left, strict=True)]
    started = time.process_time()
    found = skilled_bradley_terry(left, right, annotator.tolist(), choices)
    assert time.process_time() - started < 10
    assert np.mean([found.probability(f"good{pair}", f"bad{pair}") > 0.5 for pair in set(better.tolist())]) > 0.9
    assert all((found.skill[number] > 0) == (number < 9) for number in range(12))


def test_components_have_scores_of_their_own() -> None:
    found = skilled_bradley_terry(["p", "q", "x"], ["q", "r", "y"], ["ann"] * 3, ["left", "left", "right"])
    assert found.component["p"] == found.component["q"] == found.component["r"] != found.component["x"]
    assert found.scores["p"] + found.scores["q"] + found.scores["r"] == pytest.approx(0, abs=1e-12)
    assert found.scores["x"] + found.scores["y"] == pytest.approx(0, abs=1e-12)
    assert found.scores["p"] > found.scores["q"] > found.scores["r"]
    assert found.probability("p", "r") == pytest.approx(expit(found.scores["p"] - found.scores["r"]))
    with pytest.raises(ValueError, match="not connected"):
        found.probability("p", "x")


def test_ties_draw_scores_together() -> None:
    wins = skilled_bradley_terry(["p"] * 8, ["q"] * 8, ["ann"] * 8, ["left"] * 8)
    ties = skilled_bradley_terry(["p"] * 16, ["q"] * 16, ["ann"] * 16, ["left"] * 8 + ["tie"] * 8)
    assert 0 < ties.scores["p"] < wins.scores["p"]


def test_the_same_judgements_give_the_same_bits() -> None:
    _, said = simulate(5, [1, 1, 0], ties=0.3, num=300)
    assert skilled_bradley_terry(**said) == skilled_bradley_terry(**said)


def test_what_cannot_be_read_is_named() -> None:
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
    found = skilled_bradley_terry(
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
    tau = kendalltau([found.scores[system] for system in published], -np.arange(len(published))).statistic
    assert tau > 0.9
