"""A user's own loss: the built-in one written by hand trains alike, cuts change nothing, errors are one line."""

import math
from dataclasses import replace

import pytest
import torch

from likelier.config import PPOConfig, UpdateConfig
from likelier.errors import ConfigError, LikelierError
from likelier.ppo.kl import KLTerm
from likelier.ppo.losses import policy_loss
from likelier.ppo.objective import PPOLoss, make_objective
from likelier.ppo.update import ppo_update
from likelier.ppo.user_loss import UserLoss, load_loss
from likelier.training.guard import Guard
from small_policy import Net, experience, weights_of


def clipped(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    """The built-in one, term by term."""
    ratio = (logprobs - old_logprobs).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))


def squared(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    """The same with k2 of each token."""
    terms = clipped(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef)
    return terms + kl_coef * (logprobs - ref_logprobs).square() / 2


def one_number(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    return policy_loss(logprobs, old_logprobs, advantages, mask)[0]


def updated(objective, filler=0.0, **settings):
    """Weights and stats after an update of 16 rows, with `filler` outside the mask."""
    config = UpdateConfig(**{"num_mini_batches": 2, "entropy_coef": 0.1, **settings})
    net = Net(dtype=torch.float64)
    batch = experience(net, config=config, dtype=torch.float64)
    batch = replace(batch, ref_logprobs=batch.old_logprobs + batch.advantages / 3)
    names = ("old_logprobs", "ref_logprobs", "advantages", "old_values", "returns")
    batch = replace(batch, **{name: torch.where(batch.mask, getattr(batch, name), filler) for name in names})
    optimizer, generator = torch.optim.SGD(net.parameters(), lr=0.1), torch.Generator().manual_seed(2)
    stats = ppo_update(net, optimizer, batch, config, generator, Guard(3), objective)
    return weights_of(net), stats


def own(function, kl_coef=0.0):
    return PPOLoss(user_loss=UserLoss("losses.py:f", function, kl_coef))


@pytest.mark.parametrize(("function", "term"), [(clipped, None), (squared, KLTerm(0.7, "k2", "token", ratio=False))])
@pytest.mark.parametrize("aggregation", ["token", "sequence", "fixed"])
def test_the_built_in_loss_written_by_hand_trains_alike(function, term, aggregation):
    weights, stats = updated(PPOLoss(term), loss_aggregation=aggregation)
    own_weights, own_stats = updated(own(function, 0.7), loss_aggregation=aggregation)
    torch.testing.assert_close(own_weights, weights, atol=1e-12, rtol=0)
    assert math.isnan(own_stats.pop("clipfrac"))  # nobody knows whether it clips
    kl_loss = 0.7 * stats.pop("kl_loss") if term else 0.0
    assert own_stats.pop("policy_loss") == pytest.approx(stats.pop("policy_loss") + kl_loss, abs=1e-12)
    assert stats.pop("clipfrac") > 0
    assert own_stats == pytest.approx(stats, abs=1e-12)


def test_one_number_trains_as_its_terms_do():
    weights, _ = updated(own(clipped))
    torch.testing.assert_close(updated(own(one_number))[0], weights, atol=1e-12, rtol=0)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "fixed"])
def test_micro_batches_change_nothing(aggregation):
    weights, stats = updated(own(squared, 0.7), loss_aggregation=aggregation)
    for size in (1, 3):
        cut_weights, cut_stats = updated(own(squared, 0.7), loss_aggregation=aggregation, micro_batch_size=size)
        torch.testing.assert_close(cut_weights, weights, atol=1e-10, rtol=0)
        assert cut_stats == pytest.approx(stats, abs=1e-10, nan_ok=True)


@pytest.mark.parametrize("filler", [math.nan, math.inf])
def test_outside_the_mask_the_function_sees_zeros(filler):
    weights, stats = updated(own(squared, 0.7), filler)
    assert torch.equal(weights, updated(own(squared, 0.7))[0])
    assert stats["skipped_updates"] == 0.0


def test_what_it_writes_into_its_arguments_stays_there():
    def careless(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
        terms = clipped(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef)
        for tensor in (old_logprobs, ref_logprobs, advantages):
            tensor.zero_()
        mask.fill_(False)
        return terms

    assert torch.equal(updated(own(careless))[0], updated(own(clipped))[0])


def test_target_kl_still_ends_the_update():
    _, stats = updated(own(clipped), num_ppo_epochs=20, target_kl=1e-3)
    assert 1 <= stats["optimizer_steps"] < 40


def test_one_number_of_a_part_of_a_minibatch_is_refused():
    with pytest.raises(
        ConfigError, match=r"returned one number for a part of a minibatch.*ppo.micro_batch_size"
    ) as caught:
        updated(own(one_number), micro_batch_size=3)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    UserLoss("losses.py:f", one_number, 0.0).try_out(4, 3, True, torch.device("cpu"))
    with pytest.raises(ConfigError, match="for a part of a minibatch"):
        UserLoss("losses.py:f", one_number, 0.0).try_out(4, 3, False, torch.device("cpu"))


def raises(*everything):
    raise ValueError("two\nlines")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raises, "loss function `losses.py:f` raises ValueError: two lines"),
        (
            lambda logprobs, *others: logprobs.sum(1),
            r"a tensor of shape \[4\]; return a term for each token, a tensor of",
        ),
        (lambda *everything: 1.0, "returned float; return a term for each token"),
        (lambda logprobs, *others: logprobs / 0, "returned -inf, which is not finite, of arguments that are"),
        (lambda logprobs, *others: logprobs.sum() * math.nan, "returned nan, which is not finite"),
        (lambda logprobs, *others: logprobs.detach(), "without gradient; compute it from logprobs"),
        (lambda logprobs, old, ref: logprobs, "raises TypeError: .*takes 3 positional arguments but 6 were given"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(function, words):
    with pytest.raises(LikelierError, match=words) as caught:
        UserLoss("losses.py:f", function, 0.0).try_out(4, 3, True, torch.device("cpu"))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_term_outside_the_mask_may_be_anything():
    def zero_over_zero(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
        return logprobs - torch.log(mask.to(logprobs))

    UserLoss("losses.py:f", zero_over_zero, 0.0).try_out(4, 3, True, torch.device("cpu"))
    zero_inside = UserLoss("losses.py:f", lambda logprobs, *others: torch.log(logprobs * 0.0), 0.0)
    with pytest.raises(LikelierError, match="returned -inf, which is not finite"):  # the same number in the mask
        zero_inside.try_out(4, 3, True, torch.device("cpu"))


def test_where_an_argument_is_not_finite_the_guard_decides():
    config, net = UpdateConfig(num_ppo_epochs=1, num_mini_batches=2), Net()
    batch = experience(net, config=config)
    batch = replace(batch, ref_logprobs=batch.old_logprobs)
    batch.advantages[0, 0] = math.nan
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    stats = ppo_update(net, optimizer, batch, config, torch.Generator(), Guard(3), own(clipped))
    assert (stats["optimizer_steps"], stats["skipped_updates"]) == (1.0, 1.0)


def test_the_objective_follows_the_settings():
    assert make_objective(PPOConfig(kl_place="loss", kl_estimator="k2"), 0.1, None) == PPOLoss(
        KLTerm(0.1, "k2", "response", ratio=False)
    )
    assert make_objective(PPOConfig(), 0.1, None) == PPOLoss()
    assert make_objective(PPOConfig(loss="a.py:f"), 0.1, clipped) == PPOLoss(user_loss=UserLoss("a.py:f", clipped, 0.1))


def test_no_such_file():
    assert load_loss(None) is None
    with pytest.raises(ConfigError, match="loss function `nowhere.py:f`: no such file"):
        load_loss("nowhere.py:f")
