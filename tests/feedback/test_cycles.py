"""Cyclic triads against every triple of responses, one by one."""

from itertools import combinations

import numpy as np
import pytest

from likelier.feedback import cycles
from likelier.feedback.cycles import count_cycles


def test_one_triad_each_way_by_hand() -> None:
    """Ann goes round (0 > 1 > 2 > 0), ben does not, cho misses a pair."""
    annotator = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    low, high = np.array([0, 1, 0, 0, 1, 0, 0, 1]), np.array([1, 2, 2, 1, 2, 2, 1, 2])
    prefers_low = np.array([True, True, False, True, True, True, True, True])
    p_low = np.array([0.9, 0.8, 0.6, 0.5, 0.5, 0.5, 0.9, 0.9])
    found = count_cycles(annotator, low, high, prefers_low, p_low, 4)
    assert found.triads.tolist() == [1, 1, 0, 0]
    assert found.cyclic.tolist() == [1, 0, 0, 0]
    assert found.expected.tolist() == pytest.approx([0.9 * 0.8 * 0.4 + 0.1 * 0.2 * 0.6, 0.25, 0, 0])


def draw_tournament(seed: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    pairs = [(who, *pair) for who in range(3) for pair in combinations(range(8), 2) if generator.random() < 0.7]
    annotator, low, high = np.array([pairs[place] for place in generator.permutation(len(pairs))]).T
    return annotator, low, high, generator.random(len(low)) < 0.5, generator.random(len(low))


def test_as_every_triple_one_by_one() -> None:
    annotator, low, high, prefers_low, p_low = draw_tournament(0)
    answers = {key: (won, p) for *key, won, p in zip(annotator, low, high, prefers_low, p_low, strict=True)
               for key in [tuple(map(int, key))]}  # fmt: skip
    found = count_cycles(annotator, low, high, prefers_low, p_low, 3)
    for who in range(3):
        triads = [
            (answers[who, a, b], answers[who, b, c], answers[who, a, c])
            for a, b, c in combinations(range(8), 3)
            if {(who, a, b), (who, b, c), (who, a, c)} <= answers.keys()
        ]
        assert found.triads[who] == len(triads)
        assert found.cyclic[who] == sum(ab[0] == bc[0] != ac[0] for ab, bc, ac in triads)
        chances = [ab[1] * bc[1] * (1 - ac[1]) + (1 - ab[1]) * (1 - bc[1]) * ac[1] for ab, bc, ac in triads]
        assert found.expected[who] == pytest.approx(sum(chances))


def test_a_part_of_very_many_triads_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    tournament = draw_tournament(1)
    everything = count_cycles(*tournament, 3).triads.sum()
    monkeypatch.setattr(cycles, "MAX_WEDGES", 60)
    some = count_cycles(*tournament, 3).triads.sum()
    assert 0 < some < everything


def test_no_answers() -> None:
    none = np.zeros(0, np.int64)
    assert count_cycles(none, none, none, none > 0, none.astype(float), 2).triads.tolist() == [0, 0]
