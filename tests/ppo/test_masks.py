"""Masked statistics: hand-worked numbers, and nothing from outside the mask."""

import pytest
import torch

from likelier.ppo.masks import Packing, has_gaps, masked_mean, masked_var, masked_whiten

X = torch.tensor([[1.0, 2.0, 99.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_mean_by_hand():
    assert masked_mean(X, MASK).item() == pytest.approx(7 / 3, abs=1e-12)
    assert masked_mean(X, MASK, dim=1).tolist() == [1.5, 4.0]


def test_variance_by_hand():
    assert masked_var(X, MASK).item() == pytest.approx(14 / 9, abs=1e-12)  # of 1, 2, 4
    assert masked_var(X, MASK, unbiased=True).item() == pytest.approx(7 / 3, abs=1e-12)


def test_whitening_by_hand():
    whitened = masked_whiten(X, MASK, eps=0.0)
    scale = (14 / 9) ** -0.5
    expected = [[-4 / 3 * scale, -1 / 3 * scale, 0.0], [5 / 3 * scale, 0.0, 0.0]]
    torch.testing.assert_close(whitened, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)
    kept = masked_whiten(X, MASK, shift_mean=False, eps=0.0)
    assert masked_mean(kept, MASK).item() == pytest.approx(7 / 3, abs=1e-12)


def test_empty_mask_gives_zero():
    nothing = torch.zeros_like(MASK)
    assert masked_mean(X, nothing).item() == 0.0
    assert masked_var(X, nothing).item() == 0.0
    assert masked_whiten(X, nothing).tolist() == [[0.0] * 3] * 2


def test_no_numbers_at_all_give_zero():
    assert masked_mean(X[:0], MASK[:0]).item() == 0.0
    assert masked_var(X[:0], MASK[:0]).item() == 0.0
    assert masked_whiten(X[:0], MASK[:0]).shape == (0, 3)


@pytest.mark.parametrize(("number", "count"), [(0.1, 3), (100.1, 1000), (1e6 / 3, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_numbers_have_no_variance_and_no_whitened_signal(number, count, dtype):
    # the plain mean of a thousand 100.1 is off by 8e-6 in fp32: whitened, that made 0.08 of nothing
    x, mask = torch.full((1, count), number, dtype=dtype), torch.ones(1, count, dtype=torch.bool)
    assert masked_var(x, mask).item() == 0.0
    assert (masked_whiten(x, mask) == 0).all()
    torch.testing.assert_close(masked_whiten(x, mask, shift_mean=False), x)


def test_gradients_of_the_variance_by_hand():
    x = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64, requires_grad=True)
    masked_var(x, torch.ones(1, 3, dtype=torch.bool)).backward()
    torch.testing.assert_close(x.grad, 2 / 3 * torch.tensor([[-2.0, -1.0, 3.0]], dtype=torch.float64))


@pytest.mark.parametrize("filler", [float("nan"), float("inf"), float("-inf")])
def test_what_is_masked_never_reaches_result_or_gradient(filler):
    spoiled = torch.where(MASK, X, filler).requires_grad_()
    clean = X.clone().requires_grad_()
    for function in (masked_mean, masked_var, lambda x, mask: masked_whiten(x, mask).square().sum()):
        values = [function(x, MASK) for x in (spoiled, clean)]
        gradients = [torch.autograd.grad(value, x)[0] for value, x in zip(values, (spoiled, clean), strict=True)]
        assert values[0].item() == values[1].item()
        assert torch.equal(*gradients)
        assert (gradients[0][~MASK] == 0).all()


def test_packing_and_back():
    mask = torch.tensor([[False, True, False, True], [True, True, False, False]])
    packing, numbers = Packing(mask), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert packing.pack(numbers)[:, :2].tolist() == [[2, 4], [5, 6]]
    assert torch.equal(packing.unpack(packing.pack(numbers)), numbers)
    assert has_gaps(mask)
    assert not has_gaps(packing.pack(mask))
