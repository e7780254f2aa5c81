"""The ceiling that people's agreement sets, and the accuracy on people never learned from."""

import numpy as np
import pytest

from likelier.records import Preference
from likelier.reward.people import agree_on_comparisons, bound_ceiling, check_people, measure_ceiling


def judge(prompt: str, choices: str, **more: float) -> list[Preference]:
    """One judgement a letter: `a` or `b` was chosen, `t` is a tie; annotators are named by their place."""
    return [
        Preference(prompt, "b" if choice == "b" else "a", "a" if choice == "b" else "b", annotator=f"{place}",
                   target=0.5 if choice == "t" else 1.0, **more)
        for place, choice in enumerate(choices)
    ]  # fmt: skip


def test_agreement_is_that_of_two_people_drawn_from_those_of_a_comparison() -> None:
    agreed, _ = agree_on_comparisons([*judge("p", "aab"), *judge("q", "bb"), *judge("r", "a"), *judge("s", "at")])
    assert agreed == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1, 1])  # of three pairs of people one agrees


def test_who_reverses_is_read_reversed() -> None:
    reverser = judge("p", "b", flip=1.0)
    assert agree_on_comparisons([*judge("p", "a"), *reverser])[0] == pytest.approx([1, 1])


def test_bounds_of_the_ceiling() -> None:
    assert bound_ceiling(0.68) == [0.68, 0.8]  # all comparisons alike, q = 0.8: 0.64 + 0.04 = 0.68
    assert bound_ceiling(0.45) == [0.5, 0.5]
    assert bound_ceiling(1.0) == [1.0, 1.0]


@pytest.mark.parametrize("shape", [0.2, 1.0, 20.0])
def test_the_best_possible_accuracy_lies_within_the_bounds(shape: float) -> None:
    generator = np.random.default_rng(0)
    first = generator.beta(shape, shape, 4000)
    best = np.maximum(first, 1 - first).mean()
    votes = ["".join("a" if generator.random() < q else "b" for _ in range(3)) for q in first]
    found = measure_ceiling([pair for number, each in enumerate(votes) for pair in judge(f"p{number}", each)])
    low, high = found["ceiling_interval"]
    assert low < best < high
    assert found["agreement"] == pytest.approx((first**2 + (1 - first) ** 2).mean(), abs=0.02)


def test_nobody_judged_the_same() -> None:
    found = measure_ceiling([*judge("p", "a"), *judge("q", "b")])
    assert found["ceiling"] is found["agreement_interval"] is found["ceiling_in_words"] is None


def test_people_never_learned_from() -> None:
    train = [Preference("p", "a", "b", annotator="ann")]
    held_out = [
        Preference(f"{row}", "a", "b", annotator=name) for row, name in enumerate(["ann", "bob", "bob", "cyd", ""])
    ]
    found = check_people(np.array([1.0, 1.0, -1.0, 1.0, -1.0]), train, held_out)
    assert (found["unseen_people"], found["unseen_people_accuracy"]) == (2, pytest.approx(2 / 3))
    assert found["unseen_people_in_words"].startswith("On 2 people that it never learned from it ranks 66.7% (")
    alone = check_people(np.ones(1), train, held_out[:1])
    assert (alone["unseen_people"], alone["unseen_people_accuracy"]) == (0, None)
