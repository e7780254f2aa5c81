"""Careless shares of simulated people, by scores of recurring responses and by votes on the same comparison."""

from dataclasses import replace

import numpy as np
import pytest
from bench.careless import measure_pairs
from scipy.special import expit

from likelier.feedback.careless import Answers, ByVotes, estimate_careless, spread_lean
from likelier.feedback.check import estimate_careless_beside
from likelier.feedback.votes import Votes

PEOPLE, EACH = 10, 60


def draw_votes(recurring: bool, coins: int, spread: float = 2.0, to_left: float = 0.5, seed: int = 0) -> Votes:
    """Votes of ten people, the first of whom ignore the responses; three on each pair, or each response in about 12."""
    generator = np.random.default_rng(seed)
    count = PEOPLE * EACH
    if recurring:
        annotator, scores = np.repeat(np.arange(PEOPLE), EACH), generator.normal(0, spread, 100)
        first, second = np.sort([generator.permutation(100)[:2] for _ in range(count)]).T
        comparison = first * 100 + second
    else:
        annotator = np.concatenate([generator.permutation(PEOPLE)[:3] for _ in range(count // 3)])
        comparison = np.repeat(np.arange(count // 3), 3)
        first, second, scores = 2 * comparison, 2 * comparison + 1, generator.normal(0, spread, count)
    swapped = generator.random(count) < 0.5
    left, right = np.where(swapped, second, first), np.where(swapped, first, second)
    to_this = np.where(annotator < coins, to_left, expit(scores[left] - scores[right]))
    sign = np.where(generator.random(count) < to_this, 1.0, -1.0)
    left_is_first = np.where(left < right, 1.0, -1.0)
    nothing = np.full(count, np.nan)
    return Votes(annotator, comparison, left, right, sign, left_is_first, nothing, nothing, np.ones(count, bool))


@pytest.mark.parametrize("recurring", [True, False], ids=["scores", "votes"])
def test_coins_are_told_from_honest_mistakes(recurring: bool) -> None:
    careless = estimate_careless(draw_votes(recurring, coins=3), PEOPLE)
    assert careless is not None
    assert careless.shares[:3].min() > 0.7
    assert careless.shares[3:].mean() < 0.08
    assert careless.guess_left.tolist() == [0.5] * PEOPLE


@pytest.mark.parametrize("recurring", [True, False], ids=["scores", "votes"])
def test_honest_people_who_often_disagree(recurring: bool) -> None:
    """A quarter of their answers is wrong (an error rate of 0.26), which is what close pairs do."""
    careless = estimate_careless(draw_votes(recurring, coins=0, spread=1.0), PEOPLE)
    assert careless is not None
    assert careless.shares.mean() < 0.06


def test_who_leans_to_a_side_has_it_as_the_guess() -> None:
    careless = estimate_careless(draw_votes(True, coins=2, to_left=0.9), PEOPLE)
    assert careless is not None
    assert careless.guess_left[:2] == pytest.approx([0.9, 0.9], abs=0.1)
    assert careless.shares[:2].min() > 0.7
    # half of the answers, of which all are left: three quarters of all are
    assert spread_lean(np.array([0.25]), np.array([0.5])).tolist() == [0.98]
    assert spread_lean(np.array([0.2, 0.0]), np.array([0.5, 0.0])) == pytest.approx([0.9, 0.5])


def test_nothing_is_said_where_nothing_is_known() -> None:
    """Each comparison judged once, no response seen twice; or ties alone."""
    votes = draw_votes(False, coins=0)
    assert estimate_careless(votes.select(np.arange(len(votes.sign)) % 3 == 0), PEOPLE) is None
    assert estimate_careless(replace(votes, sign=0 * votes.sign), PEOPLE) is None


def test_the_votes_of_a_comparison_by_hand() -> None:
    """With one honest vote and a normal d: the integral of sigmoid(d)^2 over that of sigmoid(d)."""
    zeros, ones = np.zeros(2, np.int64), np.ones(2)
    model = ByVotes(Answers(np.arange(2), zeros, zeros + 1, zeros, ones, ones > 0, ones))
    model.fit_spread = lambda share, guess: 2.0  # type: ignore[method-assign]
    d = np.linspace(-20, 20, 40001)
    density = np.exp(-(d**2) / 8)
    expected = (density * expit(d) ** 2).sum() / (density * expit(d)).sum()
    assert model.predict(np.zeros(2), ones / 2) == pytest.approx([expected, expected], abs=1e-3)
    # the other one ignores the pair: nothing is known
    assert model.predict(np.array([0.0, 1.0]), ones / 2)[0] == pytest.approx(0.5)


def test_who_is_known_not_to_read_does_not_make_others_look_careless() -> None:
    """Three of ten flip coins; the shares of the seven are those that the seven have among themselves."""
    votes, reads = draw_votes(False, coins=3, spread=0.8, seed=3), np.arange(PEOPLE) >= 3
    beside, together = estimate_careless_beside(votes, reads), estimate_careless(votes, PEOPLE)
    among = estimate_careless(votes.select(votes.annotator >= 3), PEOPLE)
    assert beside is not None
    assert together is not None
    assert among is not None
    assert beside.shares.tolist() == [*together.shares[:3], *among.shares[3:]]
    assert among.shares[3:].mean() < together.shares[3:].mean()


def test_honest_people_at_two_votes_a_comparison() -> None:
    """Of 40 panels 10 had somebody at 0.3 or more while weights of the shares were learned, and 38 were named one."""
    panels = [measure_pairs((12, 100), 0.8, 0.0, 0, seed) for seed in range(8)]
    assert sum(greatest >= 0.3 for _, greatest, _ in panels) <= 1
    assert not any(is_named for *_, is_named in panels)
