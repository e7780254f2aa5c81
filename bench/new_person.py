"""How soon is a new person's taste known? A prior over reward heads fitted on others, beside what knows no others.

`python bench/new_person.py simulated` draws people whose tastes are mixtures of the demo's three, who like length more
or less; `unlike` those whose taste none of the others has; `ukp --data DIR` replays the workers of ukp-convarg1, each
on debates that are not among those of the prior. Of each person's next answers (of ukp; of simulated people what they
honestly prefer) the share that is foretold after 0 to 50 answers: by a head of their own (`scratch`), by one of all
others together (`average`), by the prior, by prior and scratch weighed by their forecasts (`mixed`), and by a start
learned by Reptile (Nichol et al. 2018). Intervals over seeds. The last line: of the first 20 answers, how many are
foretold, one after another.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from likelier.demo.make_prior import describe_pairs, draw_liking, find_directions
from likelier.demo.people import SPREAD
from likelier.intervals import Floats, t_interval
from likelier.reward.head_prior import Gaussian, Learner, fit_prior, update

SHOWN, FIRST = (0, 1, 2, 5, 10, 20, 50), 20
REPTILE_STEPS, REPTILE_RATE, META_RATE, META_ROUNDS = 8, 2.0, 0.1, 3


class Person(NamedTuple):
    """Answers in the order given, and what is to be foretold."""

    wins: Floats
    """[N, D]"""
    test: Floats
    """[M, D]: preferred minus other."""


def draw_people(
    rows: Floats, gaps: Floats, count: int, seed: int, kinds: Sequence[int], asked_from: range
) -> list[Person]:
    """Draw people with mixtures of some tastes: 50 answers each, and what they like of the others of these rows."""
    people = []
    for number in range(count):
        generator = np.random.default_rng([seed, number, *kinds])
        liked = draw_liking(gaps, kinds, generator)
        sign = np.where(generator.random(len(liked)) < expit(liked), 1.0, -1.0)
        asked = generator.permutation(np.array(asked_from))
        given, held = asked[: max(SHOWN)], asked[max(SHOWN) :]
        people.append(Person(rows[given] * sign[given, None], rows[held] * np.sign(liked[held])[:, None]))
    return people


def measure(people: Sequence[Person], others: Sequence[Floats]) -> dict[tuple[str, int], float]:
    """Return the share of `test` that is foretold, by method and answers."""
    nothing = Gaussian(np.zeros(others[0].shape[1]), SPREAD**2 * np.eye(others[0].shape[1]))
    prior, average, start = fit_prior(others, SPREAD), update(nothing, np.concatenate(others)), learn_start(others)
    hits: dict[tuple[str, int], list[float]] = {}
    for person in people:
        learner, right = Learner([prior, nothing]), []
        for count in range(max(SHOWN) + 1):
            if count in SHOWN:
                wins = person.wins[:count]
                heads = {
                    "scratch": update(nothing, wins).mean,
                    "average": average.mean,
                    "prior": update(prior, wins).mean,
                }
                heads["Reptile"] = take_steps(start, wins) if count else start
                for name, head in heads.items():
                    hits.setdefault((name, count), []).append(foretold(person.test @ head))
                mixed = np.array([learner.predict(row) for row in person.test])
                hits.setdefault(("mixed", count), []).append(foretold(mixed - 0.5))
            if count < len(person.wins):
                if count < FIRST:
                    right.append(foretold(np.array([learner.predict(person.wins[count]) - 0.5])))
                learner.add(person.wins[count])
        hits.setdefault(("first", FIRST), []).append(sum(right))
        alone, right = Learner([nothing]), []
        for win in person.wins[:FIRST]:
            right.append(foretold(np.array([alone.predict(win) - 0.5])))
            alone.add(win)
        hits.setdefault(("first, scratch", FIRST), []).append(sum(right))
    return {key: float(np.mean(each)) for key, each in hits.items()}


def foretold(logits: Floats) -> float:
    """Return the share of positive numbers; 0 counts half."""
    return float(np.mean(np.where(logits == 0, 0.5, logits > 0)))


def take_steps(weights: Floats, wins: Floats) -> Floats:
    """Return weights after some steps of gradient descent on a person's answers."""
    for _ in range(REPTILE_STEPS):
        weights = weights + REPTILE_RATE * wins.T @ expit(-(wins @ weights)) / len(wins)
    return weights


def learn_start(others: Sequence[Floats]) -> Floats:
    """Return the start that Reptile learns from the answers of some people, [D]."""
    weights = np.zeros(others[0].shape[1])
    generator = np.random.default_rng(0)
    for _ in range(META_ROUNDS * len(others)):
        wins = others[generator.integers(len(others))]
        weights = weights + META_RATE * (take_steps(weights, wins[generator.permutation(len(wins))[:20]]) - weights)
    return weights


def run_simulated(seed: int, unlike: bool, size: int, demo: tuple[Floats, Floats]) -> dict[tuple[str, int], float]:
    """Draw 40 people for the prior and 20 new ones, who judge other pairs."""
    rows = demo[0] @ find_directions(demo[0], size)
    some, other = ([0, 1], [2]) if unlike else ([0, 1, 2], [0, 1, 2])
    others = draw_people(rows, demo[1], 40, seed, some, range(250))
    people = draw_people(rows, demo[1], 20, 1000 + seed, other, range(250, 500))
    return measure(people, [each.wins for each in others])


def read_ukp(data: Path, size: int) -> dict[str, list[tuple[str, Floats]]]:
    """Return each worker's answers in order: the debate, and the features of the preferred argument minus the other."""
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    import ukp_convarg1
    from ask import describe

    answers = [each for each in ukp_convarg1.judgements(data / "ukp-convarg1") if each["choice"] != "tie"]
    texts = sorted({each[side]["text"] for each in answers for side in ("left", "right")})
    place, features = {text: at for at, text in enumerate(texts)}, describe(texts)
    gaps = [features[place[each["left"]["text"]]] - features[place[each["right"]["text"]]] for each in answers]
    rows = np.array(gaps) @ find_directions(np.array(gaps), size)
    workers: dict[str, list[tuple[str, Floats]]] = {}
    for each, row in zip(answers, rows, strict=True):
        sign = 1.0 if each["choice"] == "left" else -1.0
        workers.setdefault(each["annotator"], []).append((each["prompt"], sign * row))
    return workers


def run_ukp(seed: int, workers: dict[str, list[tuple[str, Floats]]]) -> dict[tuple[str, int], float]:
    """Draw new people of 70 answers or more from some debates, others for the prior from the rest."""
    generator = np.random.default_rng([5, seed])
    debates = sorted({debate for given in workers.values() for debate, _ in given})
    new = set(generator.permutation(debates)[: len(debates) // 3])
    people, others = [], []
    for name in generator.permutation(sorted(workers)):
        here = np.array([row for debate, row in workers[name] if debate in new])
        there = np.array([row for debate, row in workers[name] if debate not in new])
        if len(here) >= 70 and len(people) < 30:
            here = generator.permutation(here)
            people.append(Person(here[: max(SHOWN)], here[max(SHOWN) :]))
        elif len(there) >= 20 and len(others) < 150:
            others.append(generator.permutation(there)[:60])
    return measure(people, others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulated", "unlike", "ukp"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--size", type=int, default=32, help="directions of features")
    given = parser.parse_args()
    if given.what == "ukp":
        workers = read_ukp(given.data, given.size)
        results = [run_ukp(seed, workers) for seed in range(given.seeds)]
    else:
        demo = describe_pairs(500, seed=0)
        results = [run_simulated(seed, given.what == "unlike", given.size, demo) for seed in range(given.seeds)]
    for name, count in results[0]:
        values = [each[name, count] for each in results]
        low, high = t_interval(values) or (float("nan"), float("nan"))
        print(f"{name:15} {count:3}  {np.mean(values):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
