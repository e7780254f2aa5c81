"""KL estimators and controllers against numbers worked out by hand."""

import math
import re

import pytest
import torch

from likelier.config import PPOConfig
from likelier.doctor.findings.settings import explain_misplaced_penalty
from likelier.ppo.kl import AdaptiveKL, FixedKL, KLTerm, clamped_share, kl_estimate, kl_in_loss, make_kl_term


def test_estimators_by_hand():
    logprobs, ref = torch.tensor([-1.0, -2.0], dtype=torch.float64), torch.tensor([-1.5, -1.0], dtype=torch.float64)
    assert kl_estimate(logprobs, ref, "k1").tolist() == [0.5, -1.0]
    assert kl_estimate(logprobs, ref, "k2").tolist() == [0.125, 0.5]
    expected = [math.exp(-0.5) - 1 + 0.5, math.exp(1.0) - 1 - 1.0]
    assert kl_estimate(logprobs, ref, "k3").tolist() == pytest.approx(expected, abs=1e-12)


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.05, 0.15, 0.8], dtype=torch.float64)
    exact = (policy * (policy / reference).log()).sum()
    expected = {k: (policy * kl_estimate(policy.log(), reference.log(), k)).sum() for k in ("k1", "k2", "k3")}
    assert expected["k1"].item() == pytest.approx(exact.item(), abs=1e-12)
    assert expected["k3"].item() == pytest.approx(exact.item(), abs=1e-12)
    assert abs(expected["k2"] - exact) > 0.4


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_extreme_log_ratios_stay_finite(kind, gap):
    logprobs = torch.tensor([gap], requires_grad=True)
    estimate = kl_estimate(logprobs, torch.zeros(1), kind)
    estimate.sum().backward()
    assert torch.isfinite(estimate).all()
    assert torch.isfinite(logprobs.grad).all()


def test_the_clamped_are_counted():
    mask = torch.tensor([[True, True, True, False]])
    assert clamped_share(torch.tensor([[21.0, -20.5, 20.0, 99.0]]), torch.zeros(1, 4), mask).item() == pytest.approx(
        2 / 3
    )
    assert clamped_share(torch.zeros(1, 4), torch.full((1, 4), math.nan), mask & False).item() == 0.0


def test_a_penalty_in_the_loss_by_hand():
    # log-ratios to the reference 0.5 and -1 in the first response, 2 in the second; to the sampler log 2, 0 and log 3
    logprobs = torch.tensor([[-1.0, -2.0], [-1.0, math.nan]], dtype=torch.float64)
    ref = torch.tensor([[-1.5, -1.0], [-3.0, math.inf]], dtype=torch.float64)
    old = logprobs - torch.tensor([[math.log(2), 0.0], [math.log(3), 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True], [True, False]])

    def found(kind, level, ratio):
        return kl_in_loss(logprobs, old, ref, mask, KLTerm(1.0, kind, level, ratio)).flatten().tolist()

    assert found("k2", "token", False) == [0.125, 0.5, 2.0, 0.0]
    assert found("k2", "token", True) == pytest.approx([0.25, 0.5, 6.0, 0.0], abs=1e-12)
    assert found("k2", "response", False) == [0.0625, 0.0625, 2.0, 0.0]  # (0.5 - 1)^2 / 2, half of it on each token
    assert found("k2", "response", True) == pytest.approx([0.125, 0.125, 6.0, 0.0], abs=1e-12)
    k3 = math.exp(0.5) - 1 - 0.5, math.exp(-2) - 1 + 2
    assert found("k3", "response", False) == pytest.approx([k3[0] / 2, k3[0] / 2, k3[1], 0.0], abs=1e-12)


PI, REF = (
    torch.tensor(weights, dtype=torch.float64).log_softmax(-1)
    for weights in ([[0.3, -1.0], [0.2, 0.9], [-0.5, 0.4]], [[0.0, 1.0], [2.0, 0.0], [0.1, 0.3]])
)
PAIRS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])


def said(table):
    """Log-probabilities of the four responses of two tokens; rows of `table`: first token, second after 0, after 1."""
    return torch.stack([table[0][PAIRS[:, 0]], table[1:][PAIRS[:, 0], PAIRS[:, 1]]], 1)


def gradient(of):
    logits = PI.clone().requires_grad_()
    of(said(torch.log_softmax(logits, -1))).backward()
    return logits.grad


def forward_kl(logprobs):
    whole, ref = logprobs.sum(1), said(REF).sum(1)
    return (whole.exp() * (whole - ref)).sum()


def backward_kl(logprobs):
    whole, ref = logprobs.sum(1), said(REF).sum(1)
    return (ref.exp() * (ref - whole)).sum()


def squares(logprobs):
    whole, ref = logprobs.sum(1), said(REF).sum(1)
    return (whole.exp() * (whole - ref).square() / 2).sum()


@pytest.mark.parametrize(
    ("kind", "ratio", "truth"),
    [
        ("k1", False, lambda logprobs: 0.0 * logprobs.sum()),
        ("k2", False, forward_kl),
        ("k3", False, backward_kl),
        ("k1", True, forward_kl),
        ("k2", True, squares),
        ("k3", True, forward_kl),
    ],
)
def test_what_a_penalty_in_the_loss_really_follows(kind, ratio, truth):
    old, mask = said(PI), torch.ones(4, 2, dtype=torch.bool)
    term = KLTerm(1.0, kind, "response", ratio)

    def expected(logprobs):
        return (old.sum(1).exp() * kl_in_loss(logprobs, old, said(REF), mask, term).sum(1)).sum()

    torch.testing.assert_close(gradient(expected), gradient(truth), atol=1e-12, rtol=0)


def test_token_by_token_the_first_token_does_not_pay_for_what_it_leads_to():
    old, mask = said(PI), torch.ones(4, 2, dtype=torch.bool)
    term = KLTerm(1.0, "k2", "token", False)
    found = gradient(
        lambda logprobs: (old.sum(1).exp() * kl_in_loss(logprobs, old, said(REF), mask, term).sum(1)).sum()
    )
    exact = gradient(forward_kl)
    torch.testing.assert_close(found[1:], exact[1:], atol=1e-12, rtol=0)  # nothing follows the last token
    alone = gradient(lambda logprobs: (PI[0].exp() * (logprobs[[0, 2], 0] - REF[0]) ** 2 / 2).sum())
    torch.testing.assert_close(found[0], alone[0], atol=1e-12, rtol=0)
    assert (found[0] - exact[0]).abs().max() > 0.1


def test_the_term_follows_the_settings_and_the_controllers_price():
    assert make_kl_term(PPOConfig(), 0.1) is None
    config = PPOConfig(kl_place="loss_ratio", kl_estimator="k3", kl_level="token")
    assert make_kl_term(config, 0.1) == KLTerm(0.1, "k3", "token", ratio=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"kl_estimator": "k2"}, "k2 in the reward pushes down tokens"),
        ({"kl_estimator": "k3"}, "k3 in the reward pushes down tokens"),
        ({"kl_estimator": "k3", "kl_coef": 0.0}, None),
        ({"kl_place": "loss", "whiten_advantages": False}, "no penalty at all"),
        ({"kl_place": "loss", "kl_estimator": "k2", "whiten_advantages": False}, None),
        ({"kl_place": "loss", "kl_estimator": "k2"}, "advantages are divided by their spread"),
        ({"kl_place": "loss", "kl_estimator": "k2", "algorithm": "reinforce_pp"}, "divided by their spread"),
        ({"kl_place": "loss", "kl_estimator": "k2", "algorithm": "dr_grpo", "responses_per_prompt": 2}, None),
        (
            {
                "kl_place": "loss",
                "kl_estimator": "k3",
                "algorithm": "grpo",
                "responses_per_prompt": 2,
                "whiten_advantages": False,
            },
            "KL\\(reference \\|\\| policy\\).*divided by their spread",
        ),
        ({"kl_place": "loss_ratio", "kl_estimator": "k3", "whiten_advantages": False}, None),
        ({"kl_place": "loss_ratio", "kl_estimator": "k2", "whiten_advantages": False}, "is not the KL"),
        ({"kl_place": "loss", "kl_estimator": "k2", "kl_level": "token", "whiten_advantages": False}, "leads to"),
        (
            {"kl_place": "loss", "kl_estimator": "k2", "loss_aggregation": "sequence", "whiten_advantages": False},
            "long responses are charged less",
        ),
        ({"loss_aggregation": "sequence"}, None),
    ],
)
def test_a_penalty_that_does_not_do_what_it_says_says_so_in_one_line(settings, words):
    found = explain_misplaced_penalty(PPOConfig(**settings))
    if words is None:
        assert found is None
    else:
        assert "\n" not in found
        assert re.search(words, found)


def test_adaptive_controller_by_hand():
    controller = AdaptiveKL(0.2, target=6.0, horizon=10_000)
    controller.update(kl=6.6, n=512)  # 10 % above
    assert controller.coef == pytest.approx(0.2 * (1 + 0.1 * 512 / 10_000), abs=1e-15)
    controller.update(kl=100.0, n=1000)  # clipped at 20 %
    assert controller.coef == pytest.approx(0.2 * 1.00512 * 1.02, abs=1e-15)
    low = AdaptiveKL(0.2, 6.0, 1000)
    low.update(kl=-3.0, n=100)
    assert low.coef == pytest.approx(0.2 * 0.98, abs=1e-15)


def test_fixed_controller_stays():
    controller = FixedKL(0.05)
    controller.update(kl=50.0, n=512)
    assert controller.coef == 0.05
