"""What the doctor reads of a rollout, against numbers worked out by hand."""

import math

import pytest
import torch

from likelier.intervals import correlation
from likelier.rlhf.measures import (
    measure_repetition,
    measure_sampling,
    measure_scores,
    monte_carlo_explained_variance,
)

MASK = torch.tensor([[True, True, False], [True, True, True]])


PROMPTS = torch.tensor([[True, True], [False, True]])
"""The second prompt is padded."""


def test_tokens_likelier_than_their_distribution_says():
    own = torch.tensor([[-0.5, -0.5, 9.0], [-1.0, -1.0, -1.0]])
    sampler = torch.tensor([[-0.5, -0.5, 0.0], [-1.0, -1.0, -1.0]])
    found = measure_sampling(own, torch.ones(2, 3), sampler, MASK, PROMPTS)
    assert float(found["sampling_gap"]) == pytest.approx((-0.5 - 0.5) / 5)
    assert float(found["sampling_gap_error"]) == pytest.approx(math.sqrt(0.25 + 0.25) / 5)
    assert float(found["sampler_kl"]) == 0.0


def test_sampler_and_trainer_apart_in_the_padded_row_only():
    own = torch.tensor([[-0.5, -0.5, 0.0], [-1.0, -1.0, -1.0]])
    sampler = torch.tensor([[-0.5, -0.5, 7.0], [-1.5, -1.0, -0.7]])
    found = measure_sampling(own, torch.ones(2, 3), sampler, MASK, PROMPTS)
    assert float(found["sampler_difference_unpadded"]) == 0.0
    assert float(found["sampler_kl"]) == pytest.approx((-0.5 + 0.3) / 5)
    swapped = measure_sampling(own, torch.ones(2, 3), sampler, MASK, PROMPTS.flip(0))
    assert float(swapped["sampler_difference_unpadded"]) == pytest.approx((0.5 + 0.3) / 3)


def test_shares_at_the_ends_and_groups_without_spread():
    scores, group = torch.tensor([1.0, 3.0, 1.0, 1.0]), torch.tensor([0, 1, 0, 1])
    found = {name: float(value) for name, value in measure_scores(scores, group, 2).items()}
    assert found == pytest.approx(
        {"score_top_share": 0.25, "score_bottom_share": 0.75, "group_score_std": math.sqrt(2) / 2, "equal_groups": 0.5}
    )
    assert set(measure_scores(scores, group, 1)) == {"score_top_share", "score_bottom_share"}


def test_repeated_pairs_within_a_response():
    tokens = torch.tensor([[1, 2, 1, 2, 1], [7, 7, 7, 9, 9]])
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    assert float(measure_repetition(tokens, mask)) == pytest.approx((2 + 1) / 6)  # 12 21 12 21 and 77 77
    assert float(measure_repetition(tokens[:1, :1], mask[:1, :1])) == 0.0


def test_values_are_held_against_what_truly_followed():
    mask = torch.ones(2, 2, dtype=torch.bool)
    rewards = torch.tensor([[0.0, 1.0], [0.0, 3.0]])  # with gamma 0.5: returns 0.5, 1, 1.5, 3
    perfect = torch.tensor([[0.5, 1.0], [1.5, 3.0]])
    assert float(monte_carlo_explained_variance(perfect, rewards, mask, 0.5)) == pytest.approx(1.0)
    assert float(monte_carlo_explained_variance(torch.zeros(2, 2), rewards, mask, 0.5)) == 0.0
    assert float(monte_carlo_explained_variance(-perfect, rewards, mask, 0.5)) == pytest.approx(1 - 4)
    assert float(monte_carlo_explained_variance(perfect, torch.zeros(2, 2), mask, 0.5)) == 0.0


def test_correlation_by_hand():
    assert float(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))) == pytest.approx(1.0)
    assert float(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 1.0]))) == pytest.approx(0.0)
    assert float(correlation(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0]))) == 0.0
