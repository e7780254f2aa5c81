"""Careless shares where the truth is known: the scale of the reward, and its accuracy where people misbehave.

`python bench/careless.py scale` draws people who answer by Bradley-Terry's model, of whom some flip coins, estimates
their careless shares by the package, and fits a factor on the true differences of scores with the likelihood
of the pairs; 1 is right. `scores`: responses recur, each in about 20 answers; `votes`: each comparison is judged by
three; `words`: nothing recurs, and the words of the responses explain the answers. `python bench/careless.py others`
does the same for people who follow no such model, `pairs` counts honest people with large shares at two votes a
comparison, and `accuracy` trains a linear reward on pairs of people who
misbehave, by the rules of `preferences`. `left-out --data DIR` has the log-likelihood of left-out answers of real
people (ukp-convarg1).
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from likelier.feedback.careless import estimate_careless
from likelier.feedback.check import IGNORES_PAIR, check_annotators, estimate_careless_beside
from likelier.feedback.expected import expect_answers
from likelier.feedback.shares import Share
from likelier.feedback.votes import Votes
from likelier.records import Preference
from likelier.reward.careless import learn_flips
from likelier.reward.pairs import Pairs

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Answer = Callable[[np.random.Generator, "Panel"], Floats]


class Panel(NamedTuple):
    """Who judges what, [N] each."""

    annotator: Indices
    comparison: Indices
    first: Indices
    second: Indices
    difference: Floats
    """True score of the first minus that of the second."""
    longer: Floats
    """1 where the first is longer, else -1."""
    order: Indices
    """Place among the person's answers."""


def draw_panel(kind: str, people: int, each: int, spread: float, generator: np.random.Generator) -> Panel:
    """Draw comparisons, true scores with a standard deviation of `spread`, and who judges what."""
    count = people * each
    if kind == "scores":
        annotator, scores = np.repeat(np.arange(people), each), generator.normal(0, spread, max(4, count // 10))
        first = generator.integers(len(scores), size=count)
        second = (first + generator.integers(1, len(scores), size=count)) % len(scores)
        first, second = np.minimum(first, second), np.maximum(first, second)
        comparison = np.unique(first * len(scores) + second, return_inverse=True)[1]
    else:
        pairs = count // 3
        annotator = np.concatenate([generator.permutation(people)[:3] for _ in range(pairs)])
        comparison, scores = np.repeat(np.arange(pairs), 3), generator.normal(0, spread, 2 * pairs)
        first, second = 2 * comparison, 2 * comparison + 1
    # People like longer responses better now and then, as they do in the real data.
    lengths = generator.normal(0, 1, len(scores)) + 0.3 * scores / spread
    longer = np.where(lengths[first] > lengths[second], 1.0, -1.0)
    order = np.zeros(len(annotator), np.int64)
    for person in range(people):
        own = annotator == person
        order[own] = np.arange(own.sum())
    return Panel(annotator, comparison, first, second, scores[first] - scores[second], longer, order)


def make_votes(panel: Panel, prefers_first: Floats, to_left: Floats, generator: np.random.Generator) -> Votes:
    """Votes with random sides; `prefers_first` is 1 or -1, 0 a tie; where `to_left` is not 0, that side: 1 left."""
    swapped = generator.random(len(prefers_first)) < 0.5
    left, right = np.where(swapped, panel.second, panel.first), np.where(swapped, panel.first, panel.second)
    sign = np.where(to_left != 0, to_left, np.where(swapped, -prefers_first, prefers_first))
    left_is_first = np.where(left < right, 1.0, -1.0)
    seconds, longer = np.full(len(sign), np.nan), np.where(swapped, -panel.longer, panel.longer)
    return Votes(panel.annotator, panel.comparison, left, right, sign, left_is_first, longer, seconds, seconds != 0)


def answer_honestly(generator: np.random.Generator, panel: Panel) -> Floats:
    """Answer by Bradley and Terry."""
    return np.where(generator.random(len(panel.difference)) < expit(panel.difference), 1.0, -1.0)


def flip_coins(generator: np.random.Generator, panel: Panel) -> Floats:
    """Answer without looking."""
    return generator.choice([1.0, -1.0], len(panel.difference))


def slip_sometimes(generator: np.random.Generator, panel: Panel) -> Floats:
    """Be right in 85 of 100, however close the pair is."""
    return np.where(generator.random(len(panel.difference)) < 0.85, 1.0, -1.0) * np.sign(panel.difference)


def see_unequally(generator: np.random.Generator, panel: Panel) -> Floats:
    """Answer by Bradley and Terry, each person with a skill of their own between a half and one and a half."""
    skill = generator.uniform(0.5, 1.5, int(panel.annotator.max()) + 1)[panel.annotator]
    return np.where(generator.random(len(panel.difference)) < expit(skill * panel.difference), 1.0, -1.0)


def tire(generator: np.random.Generator, panel: Panel) -> Floats:
    """Answer honestly at first; by the last answer half of them are coins."""
    share = 0.5 * panel.order / panel.order.max()
    coins = generator.random(len(share)) < share
    return np.where(coins, flip_coins(generator, panel), answer_honestly(generator, panel))


def tie_when_indifferent(generator: np.random.Generator, panel: Panel) -> Floats:
    """Answer by Bradley and Terry, but for a tie where the perceived difference is below a half."""
    perceived = panel.difference + generator.logistic(size=len(panel.difference))
    return np.where(np.abs(perceived) < 0.5, 0.0, np.sign(perceived))


def fit_scale(difference: Floats, sign: Floats, flip: Floats) -> float:
    """Return the factor on the true differences under which the answers are likeliest; ties count as a half."""

    def loss(scale: float) -> float:
        first, second = (
            np.log((1 - 2 * flip) * expit(d) + flip + 1e-300) for d in (scale * difference, -scale * difference)
        )
        return -float(((1 + sign) / 2 * first + (1 - sign) / 2 * second).sum())

    return float(minimize_scalar(loss, bounds=(0.01, 20), method="bounded").x)


def measure_scale(
    kind: str, size: tuple[int, int], spread: float, answers: tuple[Answer, Answer], seed: int
) -> tuple[float, float, float, float, float]:
    """Scales by estimated shares, by none, and by the truth; mean share of the others and of the first three tenths."""
    generator = np.random.default_rng(seed)
    people, each = size
    panel = draw_panel(kind, people, each, spread, generator)
    bad = panel.annotator < round(0.3 * people)
    sign = np.where(bad, answers[1](generator, panel), answers[0](generator, panel))
    votes = make_votes(panel, sign, 0 * sign, generator)
    careless = estimate_careless(votes, people)
    shares = careless.shares if careless else np.zeros(people)
    truth = 0.5 * bad if answers[1] is flip_coins else 0.0 * bad
    scales = [fit_scale(panel.difference, sign, flip) for flip in (shares[panel.annotator] / 2, 0.0 * bad, truth)]
    few = round(0.3 * people)
    return (*scales, float(shares[few:].mean()), float(shares[:few].mean()))  # type: ignore[return-value]


def measure_words(size: tuple[int, int], spread: float, answers: tuple[Answer, Answer], seed: int) -> list[float]:
    """The same by the words of the responses, each of which is seen once by one person: the reward model's way."""
    generator = np.random.default_rng(seed)
    people, each = size
    words, count = generator.integers(30, size=(2, people * each, 6)), people * each
    values = generator.normal(0, 1, 30)
    values *= spread / np.sqrt(6) / values.std()
    first, second = values[words].sum(axis=2)
    annotator = np.tile(np.arange(people), each)
    numbers = np.arange(count)
    panel = Panel(annotator, numbers, 2 * numbers, 2 * numbers + 1, first - second, np.ones(count), numbers)
    few = round(0.3 * people)
    sign = np.where(annotator < few, answers[1](generator, panel), answers[0](generator, panel))
    texts = [[" ".join(f"w{word}" for word in text) for text in side] for side in words]
    rows = []
    for row, sides in enumerate(zip(*texts, strict=True)):
        chosen, rejected = sides if sign[row] > 0 else sides[::-1]
        names = {"annotator": f"{annotator[row]:03d}", "conversation": str(row), "flip_kind": "unidentified"}
        rows.append(Preference(str(row), chosen, rejected, **names))
    flip = np.array([pair.flip for pair in learn_flips(Pairs(rows, [], [], "")).train])
    truth = np.where((annotator < few) & (answers[1] is flip_coins), 0.5, 0.0)
    scales = [fit_scale(panel.difference, sign, each) for each in (flip, 0 * flip, truth)]
    return [*scales, float(2 * flip[annotator >= few].mean()), float(2 * flip[annotator < few].mean())]


SIZES = ((10, 180), (12, 100), (12, 40), (40, 40), (12, 20))
SPREADS = (0.4, 0.8, 1.5, 4.0)


def print_scales(seeds: int) -> None:
    """Print mean scales of honest panels and of panels with 30 % coin-flippers."""
    for kind in ("words", "scores", "votes"):
        for size in SIZES:
            for name, bad in (("honest", answer_honestly), ("30 % coins", flip_coins)):
                cells = []
                for spread in SPREADS:
                    measure = measure_words if kind == "words" else partial(measure_scale, kind)
                    runs = [measure(size, spread, (answer_honestly, bad), seed) for seed in range(seeds)]
                    scale, plain, truth, good, careless = np.mean(runs, axis=0)
                    cells.append(f"{spread}: {scale:.2f} ({plain:.2f}, {truth:.2f}; {good:.2f}, {careless:.2f})")
                print(f"{kind} {size[0]} x {size[1]} {name}  " + "  ".join(cells), flush=True)


OTHERS = {
    "right in 85 of 100": slip_sometimes,
    "skills of 0.5 to 1.5": see_unequally,
    "tiring": tire,
    "ties of the indifferent": tie_when_indifferent,
}


def print_others(seeds: int) -> None:
    """Print the same of people who do not follow the model, all of them and beside 30 % coin-flippers."""
    for name, answer in OTHERS.items():
        for kind in ("scores", "votes"):
            for beside, bad in (("alone", answer), ("30 % coins", flip_coins)):
                cells = []
                for spread in SPREADS:
                    runs = [measure_scale(kind, (12, 100), spread, (answer, bad), seed) for seed in range(seeds)]
                    scale, plain, truth, good, careless = np.mean(runs, axis=0)
                    cells.append(f"{spread}: {scale:.2f} ({plain:.2f}, {truth:.2f}; {good:.2f}, {careless:.2f})")
                print(f"{name}, {beside}, {kind}  " + "  ".join(cells), flush=True)


def measure_pairs(
    size: tuple[int, int], spread: float, tie: float, coins: float, seed: int
) -> tuple[float, float, bool]:
    """Scale, greatest share of the others, and whether one of them is named, at two votes a comparison."""
    generator = np.random.default_rng(seed)
    people, pairs = size[0], size[0] * size[1] // 2
    annotator = np.concatenate([generator.permutation(people)[:2] for _ in range(pairs)])
    comparison, scores = np.repeat(np.arange(pairs), 2), generator.normal(0, spread / np.sqrt(2), 2 * pairs)
    first, second = 2 * comparison, 2 * comparison + 1
    ones = np.ones(len(annotator))
    panel = Panel(annotator, comparison, first, second, scores[first] - scores[second], ones, comparison)
    few = round(coins * people)
    perceived = panel.difference + generator.logistic(size=len(annotator))
    sign = np.where(np.abs(perceived) < tie, 0.0, np.sign(perceived))
    sign = np.where(annotator < few, flip_coins(generator, panel), sign)
    careless = estimate_careless(make_votes(panel, sign, 0 * sign, generator), people)
    assert careless is not None
    scale = fit_scale(panel.difference, sign, careless.shares[annotator] / 2)
    return scale, float(careless.shares[few:].max()), bool(careless.low[few:].max() > 0.05)


def print_pairs(seeds: int) -> None:
    """Print how many honest panels of two votes a comparison hold somebody with a large share, and mean scales."""
    for size, spread, tie in (((8, 75), 1.2, 0.0), ((8, 75), 1.2, 0.7), ((12, 100), 1.2, 0.0), ((12, 100), 0.8, 0.0)):
        honest, coins = ([measure_pairs(size, spread, tie, part, seed) for seed in range(seeds)] for part in (0, 0.3))
        print(
            f"{size[0]} x {size[1]}, spread {spread}{', ties' * (tie > 0)}: somebody at 0.3 or more in "
            f"{sum(each[1] >= 0.3 for each in honest)} of {seeds}, named in {sum(each[2] for each in honest)}; scale "
            f"{np.mean([each[0] for each in honest]):.2f}, 30 % coins {np.mean([each[0] for each in coins]):.2f}",
            flush=True,
        )


def misbehave(panel: Panel, third: str, generator: np.random.Generator) -> Votes:
    """Of twelve people one clicks at random, one takes the left, and two the longer one, or answer the reverse."""
    honest = answer_honestly(generator, panel)
    follows = generator.random(len(honest)) < 0.95
    vice = np.where(panel.annotator == 0, flip_coins(generator, panel), honest)
    other = panel.longer if third == "longer" else -honest
    vice = np.where((panel.annotator == 2) | (panel.annotator == 3), other, vice)
    to_left = np.where((panel.annotator == 1) & follows, 1.0, 0.0)
    return make_votes(panel, np.where(follows, vice, honest), to_left, generator)


def fit_linear(features: Floats, sign: Floats, flip: Floats, guess: Floats, weight: Floats) -> Floats:
    """Coefficients of a reward of features, by the likelihood of the pairs, with a little ridge; EM by Newton."""
    coefficients = np.zeros(features.shape[1])
    for _ in range(60):
        right = expit(sign * (features @ coefficients))
        read = (1 - np.minimum(2 * np.minimum(flip, 1 - flip), 1)) * np.where(flip > 0.5, 1 - right, right)
        chance = np.minimum(2 * np.minimum(flip, 1 - flip), 1) * guess
        attention = weight * read / (read + chance + 1e-300)
        turned = np.where(flip > 0.5, -sign, sign)
        likely = np.where(flip > 0.5, 1 - right, right)
        gradient = features.T @ (attention * turned * (1 - likely)) - 0.1 * coefficients
        curvature = (features * (attention * right * (1 - right))[:, None]).T @ features + 0.1 * np.eye(len(gradient))
        step = np.linalg.solve(curvature, gradient)
        coefficients += step
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def measure_accuracy(third: str, each: int, seed: int) -> list[float]:
    """Accuracy of rewards of 20 features on new pairs: plain, by default, with shares and nobody dropped, honest, and
    of the eight who do not misbehave, by somebody who knows them."""
    generator = np.random.default_rng(seed)
    people, dimensions = 12, 20
    panel = draw_panel("votes", people, each, 1.5, generator)
    direction = generator.normal(size=dimensions)
    direction *= 1.5 / np.linalg.norm(direction)
    texts = generator.normal(size=(2 * (people * each // 3), dimensions))
    lengths = texts[:, 0] + texts[:, 1]
    panel = panel._replace(
        difference=(texts[panel.first] - texts[panel.second]) @ direction,
        longer=np.where(lengths[panel.first] > lengths[panel.second], 1.0, -1.0),
    )
    votes, honest = misbehave(panel, third, generator), answer_honestly(generator, panel)
    none, names = Share(*np.zeros((3, people), np.int64)), [f"{number:02d}" for number in range(people)]
    flags = [each.flags for each in check_annotators(votes, names, expect_answers(votes, people), none)]
    turned = np.array([-1.0 if "reversed" in each else 1.0 for each in flags])[votes.annotator]
    reads = np.array([IGNORES_PAIR.isdisjoint(own) for own in flags])
    careless = estimate_careless_beside(replace(votes, sign=votes.sign * turned), reads)
    assert careless is not None
    flip = np.array([1.0 if "reversed" in own else careless.shares[number] / 2 for number, own in enumerate(flags)])
    side = careless.guess_left[votes.annotator]
    guess = np.where(votes.sign > 0, side, 1 - side)
    kept = np.array([not own or set(own) <= {"reversed"} for own in flags])
    features, sign = texts[panel.first] - texts[panel.second], votes.labels
    ones, halves = np.ones(len(sign)), np.full(len(sign), 0.5)
    ways = (
        (sign, 0 * ones, halves, ones),
        (sign, flip[votes.annotator], guess, 1.0 * kept[votes.annotator]),
        (sign, flip[votes.annotator], guess, ones),
        (honest, 0 * ones, halves, ones),
        (sign, 0 * ones, halves, 1.0 * (votes.annotator > 3)),
    )
    fresh = generator.normal(size=(4000, dimensions))
    return [float(((fresh @ fit_linear(features, *way) > 0) == (fresh @ direction > 0)).mean()) for way in ways]


def print_accuracies(seeds: int) -> None:
    """Print accuracies on new pairs, where four of twelve people misbehave."""
    for third in ("longer", "reversed"):
        for each in (15, 40, 100):
            means = np.mean([measure_accuracy(third, each, seed) for seed in range(seeds)], axis=0)
            plain, default, all_kept, honest, oracle = 100 * means
            print(
                f"random, left, 2 {third}; 12 x {each}: plain {plain:.1f}, default {default:.1f}, nobody dropped "
                f"{all_kept:.1f}, twelve honest {honest:.1f}, the eight alone {oracle:.1f}",
                flush=True,
            )


def read_ukp(data: Path) -> tuple[list[dict[str, Any]], Votes]:
    """Return the records of ukp-convarg1 that are no ties, and their votes; the sides are sorted by id."""
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    import ukp_convarg1

    records = [each for each in ukp_convarg1.judgements(data / "ukp-convarg1") if each["choice"] != "tie"]
    pairs = [sorted([each["left"]["model"], each["right"]["model"]]) for each in records]
    comparison = np.unique([" ".join(pair) for pair in pairs], return_inverse=True)[1]
    annotator = np.unique([each["annotator"] for each in records], return_inverse=True)[1]
    chosen = [each[each["choice"]]["model"] for each in records]
    sign = np.array([1.0 if one == pair[0] else -1.0 for one, pair in zip(chosen, pairs, strict=True)])
    ids = np.unique(np.array(pairs), return_inverse=True)[1].reshape(-1, 2)
    nothing, no_sides = np.full(len(sign), np.nan), np.zeros(len(sign), bool)
    return records, Votes(annotator, comparison, *ids.T, sign, np.ones(len(sign)), nothing, nothing, no_sides)


def print_left_out(data: Path) -> None:
    """Print the log-likelihood of each answer by the others' votes on the pair, with careless shares and without."""
    from likelier.feedback.careless import ByVotes, arrange_answers

    _, votes = read_ukp(data)
    annotator, sign = votes.annotator, votes.sign
    people, half = int(annotator.max()) + 1, np.full(len(sign), 0.5)
    fold = np.random.default_rng(0).integers(5, size=len(sign))
    plain, shared = np.zeros(len(sign)), np.zeros(len(sign))
    for number in range(5):
        careless = estimate_careless(votes.select(fold != number), people)
        assert careless is not None
        # With the shares of the other folds, and by the others' votes on the pair, which are not of this answer.
        model = ByVotes(arrange_answers(votes))
        share = careless.shares[annotator]
        read = {"plain": model.predict(0 * half, half), "shared": model.predict(share, half)}
        out = fold == number
        plain[out] = np.log(read["plain"][out])
        shared[out] = np.log(((1 - share) * read["shared"] + share / 2)[out])
    shares = careless.shares[np.bincount(annotator, minlength=people) > 0]
    print(
        f"ukp-convarg1, {len(sign)} left-out answers of {people} people: {plain.mean():.4f} nats without shares, "
        f"{shared.mean():.4f} with; mean share {shares.mean():.3f}, above a half {np.mean(shares > 0.5):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["scale", "others", "pairs", "accuracy", "left-out"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    if given.what == "left-out":
        print_left_out(given.data)
        return
    {"scale": print_scales, "others": print_others, "pairs": print_pairs, "accuracy": print_accuracies}[given.what](
        given.seeds
    )


if __name__ == "__main__":
    main()
