"""A batch goes through an update whole; minibatches take every row once."""

import torch

from likelier.ppo.batch import Batch, minibatches, order_by_length


def three_rows():
    numbers = torch.arange(6.0).view(3, 2)
    mask = torch.ones(3, 2, dtype=torch.bool)
    return Batch({"tokens": numbers.long()}, numbers.long(), mask, numbers, None, numbers + 10, None)


def test_rows_select_everywhere():
    batch = three_rows()
    some = batch.rows(torch.tensor([2, 0]))
    assert len(some) == 2
    assert some.inputs["tokens"].tolist() == [[4, 5], [0, 1]]
    assert some.advantages.tolist() == [[14.0, 15.0], [10.0, 11.0]]
    assert some.old_values is None


def test_the_references_log_probabilities_come_along():
    batch = Batch(**{**vars(three_rows()), "ref_logprobs": torch.arange(6.0).view(3, 2) - 9})
    assert batch.rows(torch.tensor([1])).ref_logprobs.tolist() == [[-7.0, -6.0]]
    assert three_rows().rows(torch.tensor([1])).ref_logprobs is None


def test_a_cut_keeps_every_row_in_order():
    batch = three_rows()
    assert [part.actions.tolist() for part in batch.cut(2)] == [[[0, 1], [2, 3]], [[4, 5]]]
    assert batch.cut(None) == [batch]
    assert batch.cut(3) == [batch]


def test_minibatches_take_every_row_once():
    parts = minibatches(10, 4, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(parts).tolist()) == list(range(10))
    assert [len(part) for part in parts] == [3, 3, 2, 2]
    assert torch.cat(parts).tolist() != list(range(10))


def test_without_a_generator_rows_come_in_order():
    assert torch.cat(minibatches(5, 2, None)).tolist() == [0, 1, 2, 3, 4]


def test_rows_of_like_length_share_a_micro_batch():
    rows, lengths = torch.tensor([4, 0, 3, 1]), torch.tensor([7, 2, 9, 2, 5])
    assert order_by_length(rows, lengths, 2).tolist() == [3, 1, 4, 0]  # of 2, 2, 5 and 7 tokens
    assert order_by_length(rows, lengths, 4).tolist() == [4, 0, 3, 1]
    assert order_by_length(rows, lengths, None).tolist() == [4, 0, 3, 1]
    assert order_by_length(rows, None, 2).tolist() == [4, 0, 3, 1]
