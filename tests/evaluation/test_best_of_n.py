"""One judge's figures for best-of-n, on pools small enough to work out by hand."""

import numpy as np
import pytest

from likelier.errors import LikelierError
from likelier.evaluation.best_of_n import score_best_of_n
from likelier.evaluation.statistics import best_of_n_weights

POOL = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]])
OPPONENTS = np.array([[2.0], [0.0]])
LONGER = np.zeros((2, 3, 1))


def test_figures_by_hand():
    # best of two of three: the highest is in 2 of 3 subsets, the middle one in the third
    weights = best_of_n_weights(POOL, 2)
    assert weights.tolist() == [pytest.approx([0, 1 / 3, 2 / 3]), pytest.approx([0, 1 / 3, 2 / 3])]
    found = score_best_of_n(weights, POOL.ravel(), OPPONENTS, ["p", "q"], LONGER)
    # prompt p: 2 ties with 2, 3 wins; prompt q: 0 ties with 0, 6 wins: 1/2 * 1/3 + 2/3 for both
    assert found.win_rate == pytest.approx(5 / 6)
    assert found.score == pytest.approx((2 / 3 + 2 + 4) / 2)
    assert found.difference == pytest.approx((2 / 3 + 2 + 4) / 2 - 1)
    assert found.in_stds == pytest.approx(found.difference / 1.0)  # opponents 2 and 0: mean 1, deviation 1


def test_a_prompt_with_an_unscored_response_is_left_out():
    scores = POOL.copy()
    scores[1, 0] = np.nan
    found = score_best_of_n(best_of_n_weights(POOL, 3), scores.ravel(), OPPONENTS, ["p", "q"], LONGER)
    assert (found.score, found.win_rate, found.difference) == (3.0, 1.0, 1.0)
    assert found.in_stds is None  # a single opponent has no spread


def test_a_judge_that_scored_no_prompt_completely_is_an_error():
    with pytest.raises(LikelierError, match=r"eval\.best_of: a judge .* returned None"):
        score_best_of_n(best_of_n_weights(POOL, 2), POOL.ravel(), np.full((2, 1), np.nan), ["p", "q"], LONGER)


def test_what_is_chosen_for_its_length_wins_no_more_at_equal_length():
    """Forty prompts, a pool of a long and a short answer, the long one always chosen and liked in three of four.

    By one opponent as long as the short one and one as long as the long one: longer answers win by 3/4 against 1/4.
    """
    prompts = [str(number) for number in range(40)]
    weights = np.tile([1.0, 0.0], (40, 1))
    scores = np.tile([2.0, 1.0], (40, 1))
    scores[::4, 0] = 0.0
    opponents = np.tile([1.0, 2.0], (40, 1))  # the long one ties with the second
    longer = np.tile([[9.0, 0.0], [0.0, -9.0]], (40, 1, 1))
    found = score_best_of_n(weights, scores.ravel(), opponents, prompts, longer)
    assert found.win_rate == pytest.approx((0.75 + 0.375) / 2)
    assert found.length_controlled == pytest.approx(0.375, abs=0.01)
    assert found.length_controlled_interval[0] < 0.375 < found.length_controlled_interval[1]
    assert (
        score_best_of_n(weights[:9], scores[:9].ravel(), opponents[:9], prompts[:9], longer[:9]).length_controlled
        is None
    )
