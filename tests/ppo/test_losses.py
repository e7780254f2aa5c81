"""Losses and their stats against numbers worked out by hand; invariances to 1e-10; nothing from outside the mask."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likelier.ppo.losses import default_normalizer, entropy_from_logits, policy_loss, value_loss


def t(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def log(*rows):
    return t(*rows).log()


ALL = torch.tensor([[True, True]])


def test_policy_loss_by_hand():
    # ratios 1.5 and 0.5; advantages 1 and -1; clipped at 1.2 and 0.8: terms -1.2 and 0.8
    loss, stats = policy_loss(log([1.5, 0.5]), t([0.0, 0.0]), t([1.0, -1.0]), ALL)
    assert loss.item() == pytest.approx((-1.2 + 0.8) / 2, abs=1e-12)
    assert stats["ratio"].item() == pytest.approx(1.0, abs=1e-12)
    assert stats["ratio_var"].item() == pytest.approx(0.25, abs=1e-12)
    assert stats["approx_kl"].item() == pytest.approx((0.5 - math.log(1.5) - 0.5 - math.log(0.5)) / 2, abs=1e-12)
    assert stats["clipfrac"].item() == 1.0
    assert stats["log_ratio_clamped"].item() == 0.0


def test_log_ratios_are_clamped_inside_exp_and_nowhere_else():
    # log-ratios 30 and -30: the ratio stops at exp(20) and exp(-20), the KL still says 30 and -30
    loss, stats = policy_loss(t([30.0, -30.0]), t([0.0, 0.0]), t([-1.0, 0.0]), ALL)
    up, down = math.exp(20), math.exp(-20)
    assert loss.item() == pytest.approx(up / 2, rel=1e-12)
    assert stats["ratio"].item() == pytest.approx((up + down) / 2, rel=1e-12)
    assert stats["approx_kl"].item() == pytest.approx((up - 1 - 30 + down - 1 + 30) / 2, rel=1e-12)
    assert stats["log_ratio_clamped"].item() == 1.0


def test_the_pessimistic_branch_is_not_clipped():
    # ratio 1.5 with advantage -1 hurts more than its clip; ratio 0.5 with advantage 1 gains less
    loss, stats = policy_loss(log([1.5, 0.5]), t([0.0, 0.0]), t([-1.0, 1.0]), ALL)
    assert loss.item() == pytest.approx((1.5 - 0.5) / 2, abs=1e-12)
    assert stats["clipfrac"].item() == 0.0


def test_clip_high_and_dual_clip_by_hand():
    loss, _ = policy_loss(log([1.5, 1.0]), t([0.0, 0.0]), t([1.0, 0.0]), ALL, clip=0.2, clip_high=0.4)
    assert loss.item() == pytest.approx(-1.4 / 2, abs=1e-12)
    loss, _ = policy_loss(log([9.0, 9.0]), t([0.0, 0.0]), t([-1.0, 1.0]), ALL, dual_clip=3.0)
    assert loss.item() == pytest.approx((3.0 - 1.2) / 2, abs=1e-12)


def test_aggregation_by_hand():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    advantages = -t([1.0, 2.0, 3.0], [10.0, 0.0, 0.0])
    same = torch.zeros(2, 3, dtype=torch.float64)
    means = {how: policy_loss(same, same, advantages, mask, aggregate=how)[0].item() for how in ("token", "sequence")}
    assert means == {"token": pytest.approx(4.0, abs=1e-12), "sequence": pytest.approx(6.0, abs=1e-12)}
    fixed, _ = policy_loss(same, same, advantages, mask, aggregate="fixed", normalizer=2 * 5)
    assert fixed.item() == pytest.approx(1.6, abs=1e-12)


def test_value_loss_by_hand():
    # values 1 and 2 from old 0 and 2, returns 2 and 2, clip 0.5: errors 1 and 0, clipped 2.25 and 0
    loss, stats = value_loss(t([1.0, 2.0]), t([0.0, 2.0]), t([2.0, 2.0]), ALL, clip=0.5)
    assert loss.item() == pytest.approx(0.5 * 2.25 / 2, abs=1e-12)
    assert stats["clipfrac"].item() == 0.5
    assert stats["explained_variance"].item() == 0.0  # returns do not vary
    free, stats = value_loss(t([1.0, 2.0]), t([0.0, 2.0]), t([2.0, 2.0]), ALL, clip=None)
    assert free.item() == pytest.approx(0.25, abs=1e-12)
    assert stats["clipfrac"].item() == 0.0


def test_rounding_is_not_counted_as_clipping():
    draw = torch.Generator().manual_seed(0)
    values, old, returns = (0.1 * torch.rand(1, 1000, generator=draw) - 0.05 for _ in range(3))  # all within the clip
    _, stats = value_loss(values, old, returns, torch.ones(1, 1000).bool(), clip=0.2)
    assert stats["clipfrac"].item() == 0.0  # old + (values - old) is not always values


def test_explained_variance_by_hand():
    _, stats = value_loss(t([0.0, 0.0]), t([1.0, 2.0]), t([1.0, 3.0]), ALL)
    assert stats["explained_variance"].item() == pytest.approx(1 - 0.25 / 1.0, abs=1e-12)


def test_returns_that_do_not_vary_are_not_explained():
    _, stats = value_loss(t([0.0, 0.0, 0.0]), t([0.0, 1.0, 2.0]), t([0.1, 0.1, 0.1]), torch.ones(1, 3).bool())
    assert stats["explained_variance"].item() == 0.0  # their rounded mean is not 0.1


def test_entropy_by_hand():
    assert entropy_from_logits(t([0.0, 0.0, -math.inf])).item() == pytest.approx(math.log(2), abs=1e-12)
    logits = t([0.0, 1.0, -math.inf]).requires_grad_()
    entropy_from_logits(logits).sum().backward()
    assert torch.isfinite(logits.grad).all()


def case(seed, rows=4, width=5):
    draw = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(rows, width, generator=draw, dtype=torch.float64) for _ in range(3)]
    lengths = torch.randint(1, width + 1, (rows,), generator=draw)
    return tensors, torch.arange(width) < lengths[:, None]


def losses(tensors, mask, normalizer=None, how="token"):
    one, two, three = tensors
    policy = policy_loss(one, two, three, mask, aggregate=how, normalizer=normalizer)[0]
    value = value_loss(one, two, three, mask, normalizer=normalizer)[0] if how == "token" else 0.0
    return policy + value


def gradient(tensors, mask, **kw):
    leaf = tensors[0].clone().requires_grad_()
    loss = losses([leaf, *tensors[1:]], mask, **kw)
    loss.backward()
    return loss.detach(), leaf.grad


@pytest.mark.parametrize("filler", [0.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("how", ["token", "sequence"])
def test_padding_of_any_kind_on_either_side_changes_nothing(filler, side, how):
    tensors, mask = case(1)
    widths = (2, 0) if side == "left" else (0, 2)
    padded = [torch.nn.functional.pad(torch.where(mask, x, filler), widths, value=filler) for x in tensors]
    wide = torch.nn.functional.pad(mask, widths)
    plain, found = gradient(tensors, mask, how=how), gradient(padded, wide, how=how)
    torch.testing.assert_close(found[0], plain[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(found[1][wide], plain[1][mask], atol=1e-10, rtol=0)
    assert (found[1][~wide] == 0).all()


@pytest.mark.parametrize("how", ["token", "sequence", "fixed"])
def test_cutting_into_micro_batches_and_row_order_change_nothing(how):
    tensors, mask = case(2, rows=6)
    normalizer = default_normalizer(mask, how)
    whole = gradient(tensors, mask, normalizer=normalizer, how=how)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    parts = [
        gradient([x[rows] for x in tensors], mask[rows], normalizer=normalizer, how=how) for rows in order.split(2)
    ]
    torch.testing.assert_close(sum(part[0] for part in parts), whole[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(torch.cat([part[1] for part in parts])[order.argsort()], whole[1], atol=1e-10, rtol=0)


def test_an_empty_mask_costs_nothing():
    tensors, mask = case(3)
    loss, grad = gradient(tensors, torch.zeros_like(mask))
    assert loss.item() == 0.0
    assert (grad == 0).all()


def test_stats_are_detached_and_have_no_axes():
    tensors, mask = case(4)
    leaf = tensors[0].requires_grad_()
    for stats in (policy_loss(leaf, *tensors[1:], mask)[1], value_loss(leaf, *tensors[1:], mask)[1]):
        for value in stats.values():
            assert value.shape == ()
            assert not value.requires_grad


extreme = st.floats(-1e4, 1e4) | st.sampled_from([0.0, 1e4, -1e4])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(extreme, extreme, st.floats(-1e6, 1e6), st.booleans()), min_size=1, max_size=6))
def test_extreme_inputs_give_finite_losses_and_gradients(tokens):
    columns = [torch.tensor([[token[at] for token in tokens]], dtype=torch.float32) for at in range(3)]
    mask = torch.tensor([[token[3] for token in tokens]])
    loss, grad = gradient(columns, mask)
    assert torch.isfinite(loss)
    assert torch.isfinite(grad).all()
