"""Shapes and types are checked while tests run: at the beginning of each."""

import jaxtyping
import pytest
import torch

from likelier.text.padding import compute_position_ids
from typecheck import CALLS


def test_the_first_calls_of_a_test_are_checked():
    integers = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(jaxtyping.TypeCheckError, match="compute_position_ids"):
        compute_position_ids(integers)
    for _ in range(CALLS):
        compute_position_ids(integers.bool())
    assert compute_position_ids(integers).tolist() == [[0, 1, 2]] * 2


def test_and_of_the_next_test_again():
    with pytest.raises(jaxtyping.TypeCheckError, match="compute_position_ids"):
        compute_position_ids(torch.ones(2, 3, dtype=torch.long))
