"""Scores that functions and services return: which numbers are read, and how the others are named."""

import numpy as np
import pytest
import torch

from likelier.errors import LikelierError
from likelier.reward.parse_scores import parse_scores, parse_token_scores


@pytest.mark.parametrize(
    "found",
    [
        [np.float32(0.5), np.int64(2)],
        np.array([0.5, 2.0], dtype=np.float16),
        torch.tensor([0.5, 2.0], dtype=torch.bfloat16, requires_grad=True),
        [torch.tensor(0.5), torch.tensor(2)],
        (0.5, 2),
    ],
    ids=str,
)
def test_numbers_of_numpy_and_torch_are_numbers(found: object):
    assert parse_scores(found, 2, "it").tolist() == [0.5, 2.0]
    assert parse_token_scores([found, found], [2, 2], "it").tolist() == [[0.5, 2.0]] * 2


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (np.array([1.0, np.nan]), "nan at index 1"),
        (np.array([True, False]), "True at index 0"),
        (np.array(["a", "b"]), "str at index 0"),
        (torch.ones(3), "3 scores for 2 responses"),
        (torch.tensor(1.0), "returned float; return a list"),
        ([torch.ones(1), 1.0], "Tensor at index 0"),
        ([1.0, np.complex128(1)], "complex at index 1"),
        ({0: 1.0, 1: 2.0}, "returned dict; return a list"),
    ],
    ids=str,
)
def test_arrays_that_are_no_scores_are_named(found: object, said: str):
    with pytest.raises(LikelierError, match=said):
        parse_scores(found, 2, "it")


def test_scores_beyond_float32_are_refused():
    with pytest.raises(LikelierError, match="1e\\+39 at index 0"):
        parse_scores([1e39], 1, "it")
    assert parse_scores([-3e38], 1, "it").isfinite().all()


def test_none_leaves_a_response_out_where_that_is_allowed():
    assert parse_scores([1.0, None], 2, "it", allow_none=True).isnan().tolist() == [False, True]
    with pytest.raises(LikelierError, match="NoneType at index 1; return finite floats"):
        parse_scores([1.0, None], 2, "it")
    with pytest.raises(LikelierError, match="nan at index 0; return finite floats, or None to leave a response out"):
        parse_scores([float("nan"), 1.0], 2, "it", allow_none=True)


def test_none_for_the_tokens_of_a_response():
    scores = parse_token_scores([[1.0], None, [2.0, 3.0]], [1, 1, 2], "it")
    assert scores[[0, 2]].tolist() == [[1.0, 0.0], [2.0, 3.0]]
    assert scores[1].isnan().all()
