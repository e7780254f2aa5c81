"""How far people agree, hence how far any reward model can agree with them; and those it never learned from."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from likelier.intervals import Floats, Interval, rate_interval
from likelier.records import Preference
from likelier.reward.check import compute_hits
from likelier.reward.judged import clusters


def check_people(difference: Floats, train: Sequence[Preference], held_out: Sequence[Preference]) -> dict[str, Any]:
    """Return the ceiling that people's agreement sets, and the accuracy on people who are not in `train`.

    `difference` [N]: scores of chosen minus rejected of the held-out pairs. Null where nobody judged the same
    comparison twice, and where all people of the held-out pairs are in `train`.
    """
    known = {pair.annotator for pair in train}
    new = np.array([bool(pair.annotator) and pair.annotator not in known for pair in held_out], bool)
    right = compute_hits(difference, held_out)
    people = [pair.annotator for pair, is_new in zip(held_out, new, strict=True) if is_new]
    found = measure_ceiling([*train, *held_out]) | {"unseen_people": len(set(people))}
    if not people:
        return found | dict.fromkeys(("unseen_people_accuracy", "unseen_people_interval", "unseen_people_in_words"))
    # Clusters are people, of whom others are to come, and not prompts.
    accuracy, interval = float(right[new].mean()), rate_interval(right[new], people)
    return found | {
        "unseen_people_accuracy": accuracy,
        "unseen_people_interval": interval,
        "unseen_people_in_words": describe_unseen(len(set(people)), accuracy, interval),
    }


def measure_ceiling(pairs: Sequence[Preference]) -> dict[str, Any]:
    """Return how often two people agree on a comparison, and the bounds of the best possible accuracy.

    A judgement by a person drawn anew has, given the comparison, the probability q of its first response; two such
    people agree with p = E[q^2 + (1 - q)^2], and the best prediction is right with E[max(q, 1 - q)]. Since
    2 (q - 1/2)^2 <= |q - 1/2| <= 1/2, that lies between p and (1 + sqrt(2 p - 1)) / 2 (Jensen): at p if people are
    sure or toss coins, at the upper bound if all comparisons are equally hard. This holds for exchangeable people,
    whose answers are independent given the comparison, without ties. The interval takes in that of p.
    """
    agreed, names = agree_on_comparisons(pairs)
    if not agreed.size:
        return dict.fromkeys(("agreement", "agreement_interval", "ceiling", "ceiling_interval", "ceiling_in_words"))
    agreement, interval = float(agreed.mean()), rate_interval(agreed, names)
    return {
        "agreement": agreement,
        "agreement_interval": interval,
        "ceiling": bound_ceiling(agreement),
        "ceiling_in_words": describe_ceiling(agreement, bound_ceiling(agreement)),
        "ceiling_interval": interval and [bound_ceiling(interval[0])[0], bound_ceiling(interval[1])[1]],
    }


def bound_ceiling(agreement: float) -> Interval:
    """Return p and (1 + sqrt(2 p - 1)) / 2, both at least 1/2: so often a coin is right too.

    >>> bound_ceiling(0.82)
    [0.82, 0.9]
    """
    return [max(agreement, 0.5), round(0.5 + math.sqrt(max(2 * agreement - 1, 0.0)) / 2, 12)]


def agree_on_comparisons(pairs: Sequence[Preference]) -> tuple[Floats, list[str]]:
    """Return for each judgement of a comparison that two or more people judged the share of pairs of people who agree
    on it, [N], and its cluster. Ties and ratings do not count; who reverses is read reversed, as in the accuracy."""
    votes: dict[tuple[str, ...], list[bool]] = {}
    cluster: dict[tuple[str, ...], str] = {}
    for pair, name in zip(pairs, clusters(pairs), strict=True):
        if pair.target == 1.0:
            key = (str(pair.prompt), *sorted((pair.chosen, pair.rejected)))
            votes.setdefault(key, []).append((pair.chosen == key[1]) != (pair.flip > 0.5))
            cluster[key] = name
    agreed, names = [], []
    for key, given in votes.items():
        count, first = len(given), sum(given)
        if count > 1:
            other = count - first
            share = (first * (first - 1) + other * (other - 1)) / (count * (count - 1))
            agreed += [share] * count
            names += [cluster[key]] * count
    return np.array(agreed), names


def describe_ceiling(agreement: float, ceiling: Interval) -> str:
    """Return the ceiling as a sentence, with what it takes to be true."""
    return (
        f"Two people agree on {agreement:.1%} of comparisons, so the best possible score ranks between "
        f"{ceiling[0]:.1%} and {ceiling[1]:.1%} as another such person does (people exchangeable, answers independent "
        "given the comparison, no ties)."
    )


def describe_unseen(people: int, accuracy: float, interval: Interval | None) -> str:
    """Return the accuracy on people who are not in the training pairs as a sentence."""
    span = f" ({interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    return f"On {people} people that it never learned from it ranks {accuracy:.1%}{span} as they did."
