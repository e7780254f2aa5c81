"""What strengths of preference add to the sides: accuracy and scale of a reward, where the truth is known.

`python bench/strengths.py` draws twelve people who say which of two responses is better and how much, three on each
pair, by the proportional-odds model with thresholds 0, 1 and 2.5, or otherwise; estimates careless shares and
thresholds by the package, and learns a linear reward of 20 features (true differences with a standard deviation of
1.5 √2) from the same judgements: by their sides, with thresholds common to all, and with each person's own. Printed are
the accuracy on new pairs and the scale (1 is right: the covariance with the true scores over their variance), and the
mean of the paired difference to sides alone with Student's 95 % interval.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from careless import Floats, Indices, draw_panel, make_votes
from scipy.stats import t as student

from likelier.explain.head import Answers, fit_head
from likelier.feedback.careless import estimate_careless
from likelier.feedback.strengths import fit_gaps, fit_thresholds, grade_votes, measure_chances
from likelier.feedback.votes import Votes

PEOPLE, DIMENSIONS, SPREAD = 12, 20, 1.5
COMMON = np.array([0.0, 1.0, 2.5])
Thresholds = Callable[[np.random.Generator], Floats]


def share_thresholds(generator: np.random.Generator) -> Floats:
    """Thresholds of the model, the same for all."""
    return np.tile(COMMON, (PEOPLE, 1))


def differ(generator: np.random.Generator) -> Floats:
    """Gaps of each person, the logarithms with a standard deviation of 0.7."""
    gaps = np.diff(COMMON) * np.exp(0.7 * generator.normal(size=(PEOPLE, 2)))
    return np.pad(gaps.cumsum(axis=1), ((0, 0), (1, 0)))


def take_extremes(generator: np.random.Generator) -> Floats:
    """Four hardly ever say more than slightly, four hardly ever less than much."""
    return np.repeat([COMMON, [0.0, 4.0, 7.0], [0.0, 0.1, 0.3]], PEOPLE // 3, axis=0)


PANELS: dict[str, tuple[Thresholds, float, float]] = {
    "follow the model": (share_thresholds, 0.0, 0.0),
    "use the scale differently": (differ, 0.0, 0.0),
    "keep to an end of the scale": (take_extremes, 0.0, 0.0),
    "30 % careless": (share_thresholds, 0.3, 0.0),
    "30 % careless, scales differ": (differ, 0.3, 0.0),
    "a third give strengths at random": (share_thresholds, 0.0, 1 / 3),
    "all give strengths at random": (share_thresholds, 0.0, 1.0),
}
"""Each with thresholds, the share of people who answer without looking, and that of people who see which side is better
and say how much at random."""


def draw_strengths(kind: str, each: int, seed: int) -> tuple[Votes, Floats, Floats, Floats]:
    """Return votes with strengths, the features of the pairs' differences, those of new pairs, and the true weights."""
    generator = np.random.default_rng(seed)
    thresholds, careless, aimless = PANELS[kind]
    panel = draw_panel("votes", PEOPLE, each, SPREAD, generator)
    direction = generator.normal(size=DIMENSIONS)
    direction *= SPREAD / np.linalg.norm(direction)
    texts = generator.normal(size=(2 * (PEOPLE * each // 3), DIMENSIONS))
    features = texts[panel.first] - texts[panel.second]
    perceived = features @ direction + generator.logistic(size=len(features))
    sign = np.where(perceived > 0, 1.0, -1.0)
    strength = (np.abs(perceived)[:, None] >= thresholds(generator)[panel.annotator]).sum(axis=1)
    bad = panel.annotator < round(careless * PEOPLE)
    sign = np.where(bad, generator.choice([1.0, -1.0], len(sign)), sign)
    strength = np.where(bad | (panel.annotator >= (1 - aimless) * PEOPLE), generator.permutation(strength), strength)
    votes = replace(make_votes(panel, sign, 0 * sign, generator), strength=strength.astype(np.int64))
    return votes, features, generator.normal(size=(4000, DIMENSIONS)), direction


def make_answers(votes: Votes, flip: Floats, thresholds: Floats | None, chance: Floats) -> Answers:
    """Return the answers that the preferred side is better, with the intervals of their strengths."""
    ones, none = np.ones(len(flip)), np.zeros(len(flip))
    if thresholds is None:
        return Answers(ones, ones, none, 1 - 2 * flip, flip, none, none + np.inf)
    ends = np.pad(thresholds, ((0, 0), (0, 1)), constant_values=np.inf)
    assert votes.strength is not None
    lower, upper = ends[votes.annotator, votes.strength - 1], ends[votes.annotator, votes.strength]
    known = np.isfinite(lower)
    floor = np.where(known, 2 * flip * chance, flip)
    return Answers(ones, ones, none, 1 - 2 * flip, floor, np.where(known, lower, 0.0), np.where(known, upper, np.inf))


def measure(kind: str, each: int, seed: int) -> Floats:
    """Accuracy and scale, [3, 2], by sides, by common thresholds and by each person's."""
    votes, features, fresh, direction = draw_strengths(kind, each, seed)
    careless = estimate_careless(votes, PEOPLE)
    assert careless is not None
    graded = grade_votes(votes, careless, PEOPLE)
    assert graded is not None
    everybody: Indices = np.zeros(len(graded.annotator), np.int64)
    common = np.tile(fit_gaps(graded._replace(annotator=everybody), 1).thresholds, (PEOPLE, 1))
    own = fit_thresholds(votes, careless, PEOPLE)
    flip = careless.shares[votes.annotator] / 2
    chance = measure_chances(votes, careless, np.ones(len(flip), bool))
    rows, results = votes.labels[:, None] * features, []
    for thresholds in (None, common, own):
        head = fit_head(rows, make_answers(votes, flip, thresholds, chance), 0.1, np.eye(DIMENSIONS))
        learned, true = head.differences(fresh), fresh @ direction
        results.append([100 * np.mean((learned > 0) == (true > 0)), learned @ true / (true @ true)])
    return np.array(results)


def describe(values: Floats) -> str:
    """Mean with Student's 95 % interval over seeds."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.2f} ({values.mean() - half:+.2f} to {values.mean() + half:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--each", type=int, nargs="+", default=[40, 100], help="judgements of each person")
    given = parser.parse_args()
    for kind in PANELS:
        for each in given.each:
            runs = np.array([measure(kind, each, seed) for seed in range(given.seeds)])
            accuracy, scale = runs.mean(axis=0).T
            spread = ", ".join(f"{each:.2f}" for each in runs[:, :, 1].std(axis=0, ddof=1))
            print(
                f"{kind}, {PEOPLE} x {each}: accuracy {accuracy[0]:.1f} by sides, common {accuracy[1]:.1f}, own "
                f"{accuracy[2]:.1f}; gain of common {describe(runs[:, 1, 0] - runs[:, 0, 0])}, of own "
                f"{describe(runs[:, 2, 0] - runs[:, 0, 0])}; scale {scale[0]:.2f}, {scale[1]:.2f}, {scale[2]:.2f} "
                f"(sd {spread})",
                flush=True,
            )


if __name__ == "__main__":
    main()
