"""The closed form is the definition: terms, derivatives and losses in every branch, and the weights after an update."""

import math
from itertools import product

import pytest
import torch

from likelier.config import UpdateConfig
from likelier.control.fast.losses import ClosedFormLoss, policy_gradient, value_gradient
from likelier.ppo.batch import Batch
from likelier.ppo.losses import default_normalizer, policy_terms, value_terms
from likelier.ppo.objective import LossContext, PPOLoss
from likelier.ppo.policy import Evaluation
from likelier.ppo.update import ppo_update
from likelier.training.guard import Guard
from small_policy import Net, experience, weights_of

LOG_RATIOS = (-30.0, -1.5, -0.25, -0.1, 0.0, 0.05, 0.3, 1.5, 30.0)
"""Clamped, far and just below the clip range, within it, just and far above, clamped."""
CHANGES = (-3.0, -0.3, -0.1, 0.1, 0.3, 3.0)
ERRORS = (-1.0, -0.07, 0.04, 1.0)
CLIPS = [(0.2, None, None), (0.2, 0.4, None), (0.2, None, 3.0), (0.1, 0.3, 1.5)]


def every_branch():
    """Log-ratios with good and bad advantages; moves of values with errors to either side; in float64, 6 rows of 9."""
    policy = torch.tensor([*product(LOG_RATIOS, (2.0, 0.5, -0.5, -2.0)), *product(LOG_RATIOS, (1.0, -1.0))])
    critic = torch.tensor([*product(CHANGES, ERRORS)] * 3)[:54]
    log_ratios, advantages = policy.double().T.reshape(2, 6, 9)
    changes, errors = critic.double().T.reshape(2, 6, 9)
    old_logprobs = -1.0 - torch.arange(54.0).double().view(6, 9) / 100
    old_values = torch.arange(54.0).double().view(6, 9) / 10
    values = old_values + changes
    return old_logprobs + log_ratios, old_logprobs, advantages, values, old_values, values - errors


MASK = torch.arange(9) < torch.tensor([9, 7, 9, 1, 9, 8])[:, None]


@pytest.mark.parametrize("clips", CLIPS)
def test_policy_terms_and_derivative(clips):
    logprobs, old_logprobs, advantages, *_ = every_branch()
    logprobs.requires_grad_()
    terms = policy_terms(logprobs, old_logprobs, advantages, MASK, *clips)
    terms.loss.sum().backward()
    found = policy_gradient(logprobs, old_logprobs, advantages, MASK, *clips)
    torch.testing.assert_close(found.loss, terms.loss.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(found.dloss_dlogprob, logprobs.grad, rtol=1e-14, atol=0)
    assert torch.equal(found.ratio, terms.ratio.detach())
    assert torch.equal(found.log_ratio, terms.log_ratio.detach())


def test_the_derivative_by_hand():
    # within the clip -A r; clipped both ways 0, where that is a loss -A r; clamped 0; bounded by the dual clip 0
    log_ratios, advantages = (torch.tensor([row]).double() for row in zip(
        (0.0, 1.0), (1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (25.0, -1.0), (1.5, -1.0), strict=True
    ))  # fmt: skip
    mask = torch.ones(1, 7, dtype=torch.bool)
    found = policy_gradient(log_ratios, torch.zeros(1, 7).double(), advantages, mask, 0.2, None, 4.0)
    e = math.e
    assert found.dloss_dlogprob[0].tolist() == pytest.approx([-1.0, 0.0, 0.0, e, -1 / e, 0.0, 0.0], rel=1e-12)
    assert found.loss[0].tolist() == pytest.approx([-1.0, -1.2, 0.8, e, -1 / e, 4.0, 4.0], rel=1e-12)


class ByClosedForm(torch.autograd.Function):
    """Terms and their derivative as a node of autograd's graph."""

    @staticmethod
    def forward(ctx, x, terms_and_derivative):
        terms, derivative = terms_and_derivative(x)
        ctx.save_for_backward(derivative)
        return terms

    @staticmethod
    def backward(ctx, upstream):
        return upstream * ctx.saved_tensors[0], None


@pytest.mark.parametrize("clips", CLIPS)
def test_gradcheck_of_the_policy(clips):
    logprobs, old_logprobs, advantages, *_ = every_branch()

    def closed_form(x):
        return policy_gradient(x, old_logprobs, advantages, MASK, *clips)[:2]

    assert torch.autograd.gradcheck(lambda x: ByClosedForm.apply(x, closed_form), logprobs.requires_grad_())


@pytest.mark.parametrize("clip", [None, 0.2])
def test_gradcheck_of_the_critic(clip):
    *_, values, old_values, returns = every_branch()

    def closed_form(x):
        return value_gradient(x, old_values, returns, MASK, clip)

    assert torch.autograd.gradcheck(lambda x: ByClosedForm.apply(x, closed_form), values.requires_grad_())


@pytest.mark.parametrize("clip", [None, 0.2])
def test_value_terms_and_derivative(clip):
    *_, values, old_values, returns = every_branch()
    values.requires_grad_()
    terms = value_terms(values, old_values, returns, MASK, clip)
    terms.loss.sum().backward()
    loss, dloss_dvalue = value_gradient(values, old_values, returns, MASK, clip)
    torch.testing.assert_close(loss, terms.loss.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(dloss_dvalue, values.grad, rtol=1e-14, atol=0)
    moved_from_error = (dloss_dvalue == 0) & MASK
    assert moved_from_error.any() == (clip is not None)


def backward(objective, config, filler, critic=True):
    """Losses, and gradients by log-probabilities, values and entropy; `filler` stands outside the mask."""
    given = [torch.where(MASK, x, filler) for x in every_branch()]
    logprobs, old_logprobs, advantages, values, old_values, returns = given
    entropy = torch.where(MASK, 0.1 + advantages.square(), filler)
    leaves = [x.requires_grad_() for x in (logprobs, values, entropy)]
    batch = Batch({}, torch.zeros(6, 9), MASK, old_logprobs, old_values, advantages, returns)
    normalizer = 3 * default_normalizer(MASK, config.loss_aggregation)  # a third of the minibatch is here
    context = LossContext(config, normalizer, 3 * default_normalizer(MASK, "token"))
    losses = objective.backward(Evaluation(logprobs, values if critic else None, entropy), batch, context)
    return losses, [x.grad for x in leaves]


@pytest.mark.parametrize("aggregation", ["token", "sequence", "fixed"])
@pytest.mark.parametrize("filler", [0.0, math.nan, math.inf])
@pytest.mark.parametrize(("entropy_coef", "critic", "cliprange_value"), [(0.1, True, 0.2), (0.0, False, None)])
def test_losses_and_gradients_of_a_micro_batch(aggregation, filler, entropy_coef, critic, cliprange_value):
    config = UpdateConfig(
        loss_aggregation=aggregation,
        clip_high=0.3,
        dual_clip=3.0,
        entropy_coef=entropy_coef,
        vf_coef=0.7,
        cliprange_value=cliprange_value,
    )
    losses, gradients = backward(PPOLoss(), config, filler, critic)
    fast_losses, fast_gradients = backward(ClosedFormLoss(), config, filler, critic)
    assert losses.keys() == fast_losses.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(fast_losses[name], loss, rtol=1e-14, atol=0)
        assert not fast_losses[name].requires_grad
    for gradient, fast in zip(gradients, fast_gradients, strict=True):
        assert (gradient is None) == (fast is None)
        if gradient is not None:
            torch.testing.assert_close(fast, gradient, rtol=1e-13, atol=0)
            assert (fast[~MASK] == 0).all()


@pytest.mark.parametrize("aggregation", ["token", "sequence", "fixed"])
def test_an_update_ends_with_the_same_weights_and_stats(aggregation):
    ends = []
    for objective in (PPOLoss(), ClosedFormLoss()):
        config = UpdateConfig(num_mini_batches=2, micro_batch_size=3, loss_aggregation=aggregation, vf_coef=1.0)
        net = Net(dtype=torch.float64)
        batch = experience(net, config=config, dtype=torch.float64)
        optimizer, draw = torch.optim.SGD(net.parameters(), lr=0.3), torch.Generator().manual_seed(2)
        stats = ppo_update(net, optimizer, batch, config, draw, Guard(3), objective)
        assert stats["clipfrac"] > 0
        assert stats["value_clipfrac"] > 0
        ends.append((weights_of(net), stats))
    torch.testing.assert_close(ends[1][0], ends[0][0], rtol=1e-12, atol=1e-14)
    assert ends[1][1] == pytest.approx(ends[0][1], rel=1e-10, abs=1e-13)
