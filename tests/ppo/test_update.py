"""The update: ratio exactly 1 before the first step, steps counted, guards that hold, cuts that change nothing."""

import math

import pytest
import torch
from torch import nn

from likelier.config import UpdateConfig
from likelier.errors import NumericError
from likelier.ppo.batch import Batch
from likelier.ppo.kl import KLTerm
from likelier.ppo.objective import PPOLoss
from likelier.ppo.update import clip_gradients, epoch_minibatches, largest_state, ppo_update
from likelier.training.guard import Guard
from small_policy import Net, experience, weights_of


def update(net, batch, config, guard=None, rate=1e-2):
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    return ppo_update(net, optimizer, batch, config, torch.Generator().manual_seed(2), guard or Guard(3))


@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
def test_before_the_first_step_the_ratio_is_exactly_one(micro_batch_size):
    config = UpdateConfig(num_ppo_epochs=1, num_mini_batches=1, micro_batch_size=micro_batch_size)
    net = Net()
    stats = update(net, experience(net, config=config), config)
    assert stats["first_ratio_deviation"] == 0.0
    assert stats["ratio"] == 1.0
    assert stats["approx_kl"] == 0.0
    assert stats["clipfrac"] == 0.0


@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
def test_every_minibatch_of_the_first_epoch_repeats_the_old_evaluation_bit_by_bit(micro_batch_size):
    config = UpdateConfig(num_ppo_epochs=1, num_mini_batches=4, micro_batch_size=micro_batch_size)
    net = Net()
    stats = update(net, experience(net, rows=17, config=config), config, rate=0.0)
    assert (stats["ratio"], stats["ratio_var"]) == (1.0, 0.0)
    assert (stats["approx_kl"], stats["ratio_deviation"], stats["value_clipfrac"]) == (0.0, 0.0, 0.0)


def test_steps_are_counted():
    config = UpdateConfig(num_ppo_epochs=3, num_mini_batches=4)
    net = Net()
    assert update(net, experience(net, config=config), config)["optimizer_steps"] == 12
    assert all(weight.grad is None for weight in net.parameters())  # sampling has their memory


@pytest.mark.parametrize("how", ["token", "sequence", "fixed"])
@pytest.mark.parametrize("level", ["response", "token"])
def test_a_kl_penalty_in_the_loss_is_cut_and_padded_like_the_rest(how, level):
    runs = []
    for size, filler in ((None, 0.0), (1, math.nan), (3, -math.inf)):
        config = UpdateConfig(num_mini_batches=2, micro_batch_size=size, loss_aggregation=how)
        net = Net(dtype=torch.float64)
        batch = experience(net, config=config, dtype=torch.float64)
        ref = torch.where(batch.mask, batch.old_logprobs + batch.advantages / 3, filler)
        batch = Batch(**{**vars(batch), "ref_logprobs": ref})
        optimizer, draw = torch.optim.SGD(net.parameters(), lr=1e-2), torch.Generator().manual_seed(2)
        before, objective = weights_of(net), PPOLoss(KLTerm(0.5, "k2", level, ratio=True))
        stats = ppo_update(net, optimizer, batch, config, draw, Guard(3), objective)
        runs.append((before, stats, weights_of(net)))
    assert not torch.equal(runs[0][0], runs[0][2])
    for _, stats, weights in runs[1:]:
        torch.testing.assert_close(weights, runs[0][2], atol=1e-10, rtol=0)
        assert stats == {name: pytest.approx(value, abs=1e-10) for name, value in runs[0][1].items()}


def test_the_price_of_the_penalty_counts():
    config = UpdateConfig(num_ppo_epochs=1, num_mini_batches=1)
    stats = []
    for coef in (0.0, 2.0):
        net = Net(dtype=torch.float64)
        batch = experience(net, dtype=torch.float64)
        batch = Batch(**{**vars(batch), "ref_logprobs": batch.old_logprobs - 0.5})
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
        objective = PPOLoss(KLTerm(coef, "k2", "token", ratio=False))
        stats.append(ppo_update(net, optimizer, batch, config, torch.Generator(), Guard(3), objective))
    assert stats[0]["kl_loss"] == pytest.approx(0.125, abs=1e-12)
    assert stats[1]["loss"] - stats[0]["loss"] == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize("how", ["token", "sequence", "fixed"])
def test_micro_batches_change_neither_weights_nor_stats(how):
    runs = []
    for size in (None, 1, 3, 5):
        config = UpdateConfig(num_mini_batches=2, micro_batch_size=size, loss_aggregation=how, entropy_coef=0.1)
        net = Net(dtype=torch.float64)
        stats = update(net, experience(net, config=config, dtype=torch.float64), config)
        runs.append((weights_of(net), stats))
    for weights, stats in runs[1:]:
        torch.testing.assert_close(weights, runs[0][0], atol=1e-10, rtol=0)
        assert stats == {name: pytest.approx(value, abs=1e-10) for name, value in runs[0][1].items()}


@pytest.mark.parametrize("how", ["token", "sequence", "fixed"])
@pytest.mark.parametrize("filler", [0.0, math.nan, -math.inf])
def test_what_stands_outside_the_mask_changes_nothing(how, filler):
    config = UpdateConfig(num_mini_batches=2, loss_aggregation=how, entropy_coef=0.1)
    runs = []
    for outside in (1.0, filler):
        net = Net(dtype=torch.float64)
        batch = experience(net, config=config, dtype=torch.float64)
        names = ("old_logprobs", "old_values", "advantages", "returns")
        spoiled = {name: torch.where(batch.mask, getattr(batch, name), outside) for name in names}
        stats = update(net, Batch(**{**vars(batch), **spoiled}), config)
        runs.append((weights_of(net), stats))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_target_kl_leaves_out_the_step_that_would_go_too_far():
    settings = {"num_mini_batches": 1, "entropy_coef": 0.1}
    stopped = UpdateConfig(num_ppo_epochs=20, target_kl=1e-3, **settings)
    net = Net()
    stats = update(net, experience(net, config=stopped), stopped, rate=0.5)
    steps = int(stats["optimizer_steps"])
    assert 1 <= steps < 20
    same = Net()
    free = UpdateConfig(num_ppo_epochs=steps, **settings)
    update(same, experience(same, config=free), free, rate=0.5)
    assert torch.equal(weights_of(net), weights_of(same))


def test_the_loss_is_policy_plus_value_minus_entropy():
    config = UpdateConfig(num_ppo_epochs=1, num_mini_batches=1, vf_coef=0.3, entropy_coef=0.2)
    net = Net(dtype=torch.float64)
    stats = update(net, experience(net, config=config, dtype=torch.float64), config)
    whole = stats["policy_loss"] + 0.3 * stats["value_loss"] - 0.2 * stats["entropy"]
    assert stats["loss"] == pytest.approx(whole, abs=1e-12)


def test_a_policy_without_values_needs_no_returns():
    config = UpdateConfig(num_ppo_epochs=2, num_mini_batches=2, micro_batch_size=3)
    net = Net()
    net.critic = False
    batch = experience(net, config=config)
    assert batch.old_values is None
    stats = update(net, Batch(**{**vars(batch), "returns": None}), config)
    assert stats["optimizer_steps"] == 4
    assert "value_loss" not in stats


def test_the_first_pass_takes_rows_as_they_come_and_later_ones_shuffle():
    config = UpdateConfig(num_ppo_epochs=3, num_mini_batches=2)
    parts = list(epoch_minibatches(8, config, torch.Generator().manual_seed(0)))
    assert [part.tolist() for part in parts[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    later = [torch.cat(parts[2:4]).tolist(), torch.cat(parts[4:]).tolist()]
    assert [sorted(rows) for rows in later] == [list(range(8))] * 2
    assert list(range(8)) != later[0] != later[1] != list(range(8))
    whole = epoch_minibatches(8, config.model_copy(update={"num_mini_batches": 1}), torch.Generator())
    assert [part.tolist() for part in whole] == [list(range(8))] * 3


def test_gradients_are_clipped():
    config = UpdateConfig(num_ppo_epochs=1, num_mini_batches=1, max_grad_norm=1e-3)
    net, before = Net(), Net()
    stats = update(net, experience(net, config=config), config, rate=1.0)
    moves = [(a - b).detach().square().sum() for a, b in zip(net.parameters(), before.parameters(), strict=True)]
    moved = float(sum(moves)) ** 0.5
    assert stats["grad_norm"] > 1e-3
    assert moved == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(("limit", "left"), [(10.0, [3.0, 4.0]), (5.0, [3.0, 4.0]), (1.0, [0.6, 0.8])])
def test_gradients_above_the_limit_are_scaled_and_others_stay(limit, left):
    pair = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    pair[0].grad, pair[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients(pair, limit) == 5.0
    assert torch.cat([each.grad for each in pair]).tolist() == pytest.approx(left)


def test_one_number_among_many_that_an_optimizer_remembers_is_found():
    pair = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.AdamW(pair)
    assert largest_state(optimizer) == 0.0
    pair[0].grad, pair[1].grad = torch.ones(2), torch.tensor([1.0, 50.0])
    optimizer.step()
    assert largest_state(optimizer) == pytest.approx(
        5.0
    )  # exp_avg is 0.1 of the gradient, exp_avg_sq 0.001 of its square


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["advantages", "returns", "old_logprobs", "old_values"])
def test_a_number_that_is_not_finite_never_reaches_the_weights(bad, where):
    config = UpdateConfig(num_ppo_epochs=2, num_mini_batches=2)
    net = Net()
    batch = experience(net, config=config)
    spoiled = getattr(batch, where).clone()
    spoiled[0, 0] = bad
    guard = Guard(10)
    stats = update(net, Batch(**{**vars(batch), where: spoiled}), config, guard)
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert stats["skipped_updates"] == guard.skipped
    assert guard.skipped == 2  # one minibatch of each epoch holds the spoiled row


def test_too_many_in_a_row_stop_the_run():
    config = UpdateConfig(num_ppo_epochs=2, num_mini_batches=1)
    net = Net()
    batch = experience(net, config=config)
    with pytest.raises(NumericError, match="not finite in 2 updates in a row"):
        update(net, Batch(**{**vars(batch), "advantages": batch.advantages * math.nan}), config, Guard(2))
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_an_update_without_a_single_good_minibatch_still_names_its_stats():
    config = UpdateConfig(num_ppo_epochs=1, num_mini_batches=2)
    net, same = Net(), Net()
    batch = experience(net, config=config)
    stats = update(net, Batch(**{**vars(batch), "advantages": batch.advantages * math.nan}), config)
    assert (stats["optimizer_steps"], stats["skipped_updates"]) == (0.0, 2.0)
    assert stats["approx_kl"] == 0.0
    assert math.isnan(stats["policy_loss"])
    assert torch.equal(weights_of(net), weights_of(same))
