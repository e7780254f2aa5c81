"""DPO's loss against numbers worked out by hand, and its minimum against the known optimum."""

import math

import pytest
import torch

from likelier.finetune.dpo_loss import dpo_loss
from likelier.reward.loss import AnswerIntervals


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def nats(x):
    return math.log(1 + math.exp(-x))


def test_by_hand():
    # d = 0.5 * ((-1 + 2) - (-3 + 2)) = 1, and -1 for the second pair
    loss, stats = dpo_loss(t(-1.0, -3.0), t(-3.0, -1.0), t(-2.0, -2.0), t(-2.0, -2.0), 0.5)
    assert loss.item() == pytest.approx((nats(1.0) + nats(-1.0)) / 2, abs=1e-12)
    assert stats["rewards/chosen"].item() == 0.0
    assert stats["rewards/margins"].item() == 0.0
    assert stats["rewards/accuracies"].item() == 0.5


def test_targets_and_weights_by_hand():
    pair = (t(-1.0), t(-3.0), t(-2.0), t(-2.0), 0.5)
    smoothed = 0.9 * nats(1.0) + 0.1 * nats(-1.0)
    assert dpo_loss(*pair, target=0.9)[0].item() == pytest.approx(smoothed, abs=1e-12)
    assert dpo_loss(*pair, target=t(0.9), weight=t(2.0))[0].item() == pytest.approx(2 * smoothed, abs=1e-12)


def test_at_the_reference_the_gradient_is_half_of_beta():
    chosen = t(-1.0).requires_grad_()
    dpo_loss(chosen, t(-3.0), t(-1.0), t(-3.0), 0.3)[0].backward()
    assert chosen.grad.item() == pytest.approx(-0.15, abs=1e-12)


def test_no_pairs_cost_nothing_and_large_margins_stay_finite():
    assert dpo_loss(t(), t(), t(), t(), 0.1)[0].item() == 0.0
    chosen = t(-1e4, 0.0).requires_grad_()
    loss, _ = dpo_loss(chosen, t(0.0, -1e4), t(0.0, 0.0), t(0.0, 0.0), 1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(chosen.grad).all()


def test_the_gradient_vanishes_at_the_known_optimum_and_only_there():
    rewards, ref, beta = t(1.0, -0.5, 0.3), t(0.2, 0.5, 0.3).log(), 0.4
    one, two = (pair.flatten() for pair in torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij"))
    target = torch.sigmoid(rewards[one] - rewards[two])

    def gradient(log_policy):
        logits = log_policy.clone().requires_grad_()
        logprobs = torch.log_softmax(logits, -1)
        dpo_loss(logprobs[one], logprobs[two], ref[one], ref[two], beta, target)[0].backward()
        return logits.grad.abs().max().item()

    assert gradient(ref + rewards / beta) < 1e-12
    assert gradient(ref) > 1e-2


def test_careless_answers_do_not_move_the_optimum():
    """The likelihood expects that 40 % of the answers ignore the pair, and the reward is as it was."""
    rewards, ref, beta = t(1.0, -0.5, 0.3), t(0.2, 0.5, 0.3).log(), 0.4
    one, two = (pair.flatten() for pair in torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij"))
    target = 0.6 * torch.sigmoid(rewards[one] - rewards[two]) + 0.4 * 0.5
    logits = (ref + rewards / beta).requires_grad_()
    logprobs = torch.log_softmax(logits, -1)
    dpo_loss(logprobs[one], logprobs[two], ref[one], ref[two], beta, target, noise=(0.2, 0.5))[0].backward()
    assert logits.grad.abs().max().item() < 1e-12


def test_how_much_better_by_hand():
    # d = 1, "slightly" from 0 to 2: sigmoid(1) - sigmoid(-1) = 2 sigmoid(1) - 1; a fifth careless, a third of them so
    pair, said = (t(-1.0), t(-3.0), t(-2.0), t(-2.0), 0.5), AnswerIntervals(t(0.0), t(2.0), t(1 / 3))
    read = 2 / (1 + math.exp(-1)) - 1
    assert dpo_loss(*pair, intervals=said)[0].item() == pytest.approx(-math.log(read))
    noisy = dpo_loss(*pair, noise=(t(0.1), t(0.5)), intervals=said)[0]
    assert noisy.item() == pytest.approx(-math.log(0.8 * read + 0.2 / 3))
    plain = AnswerIntervals(t(0.0), t(math.inf), t(0.5))
    assert dpo_loss(*pair, intervals=plain)[0] == dpo_loss(*pair)[0]
