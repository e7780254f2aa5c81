"""Padding and masks, worked out by hand."""

import torch

from likelier.text.padding import compute_position_ids, pad_left, pad_right, to_right_padding, unpadded_inputs


def test_padding_by_length_only() -> None:
    tokens, mask = pad_left([[5], [0, 7, 0]], pad=0)
    assert tokens.tolist() == [[0, 0, 5], [0, 7, 0]]
    assert mask.tolist() == [[False, False, True], [True, True, True]]
    tokens, mask = pad_right([[5], [], [0, 7]], pad=0)
    assert tokens.tolist() == [[5, 0], [0, 0], [0, 7]]
    assert mask.tolist() == [[True, False], [False, False], [True, True]]


def test_padding_moves_behind_the_texts() -> None:
    tokens = torch.tensor([[0, 5, 0], [7, 0, 8]])
    mask = torch.tensor([[False, True, True], [True, False, True]])
    moved, moved_mask = to_right_padding(tokens, mask)
    assert moved.tolist() == [[5, 0, 0], [7, 8, 0]]  # 0 is a token where the mask says so
    assert moved_mask.tolist() == [[True, True, False]] * 2


def test_positions_count_from_the_first_real_token() -> None:
    mask = torch.tensor([[False, False, True, True], [True, True, True, True]])
    assert compute_position_ids(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_unpadded_inputs_let_every_token_see_all_before_it() -> None:
    inputs = unpadded_inputs(torch.tensor([[5, 0]]))
    assert inputs["attention_mask"].tolist() == [[1, 1]]
    assert inputs["use_cache"] is False
