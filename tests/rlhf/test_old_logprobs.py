"""Sampler and trainer: how far apart they are, the weights that make up for it, and where reuse is refused."""

import dataclasses
import math

import pytest
import torch

from likelier.config import PPOConfig
from likelier.errors import NumericError
from likelier.ppo.policy import evaluate_old_policy
from likelier.rlhf.old_logprobs import banded_weights, behaviour_logprobs, importance_weights, logprob_gap
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.policy import TextPolicy
from likelier.text.sampler import Sampling
from likelier.training.setup import seeded_generator
from samplers import sample
from tiny import save_tiny_model
from tiny_ppo import make_config, make_world, train

MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_apart_by_hand():
    own = torch.tensor([[-1.0, -2.0, 9.0], [-3.0, math.nan, math.inf]])
    sampler = torch.tensor([[-1.5, -2.0, 0.0], [-2.9, 0.0, 0.0]])
    mean, largest = logprob_gap(own, sampler, MASK)
    assert float(mean) == pytest.approx((0.5 + 0.0 + 0.1) / 3)
    assert float(largest) == pytest.approx(0.5)


def test_importance_weights_are_truncated_above_only():
    own = torch.tensor([[0.5, -0.5, 3.0], [2.0, math.nan, 0.0]]).log().nan_to_num(0.0)
    own[0, 1] = math.log(0.25)
    sampler = torch.tensor([[1.0, 1.0, 1.0], [0.5, 1.0, 1.0]]).log()
    weights = importance_weights(own, sampler, MASK, 2.0)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.25, 0.0], [2.0, 0.0, 0.0]]))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A policy and what it sampled."""
    folder = save_tiny_model(tmp_path_factory.mktemp("mismatch") / "model", words=["a", "b"])
    model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    samples = sample(model, tokenizer, ["a", "b a"] * 4, Sampling(6), seeded_generator(0, 0, "test"))
    return model, samples


def old(drawn, samples=None, critic=None, **settings):
    model, found = drawn[0], samples or drawn[1]
    inputs = {"prompt_tokens": found.prompt_tokens, "prompt_mask": found.prompt_mask}
    ppo = PPOConfig(batch_size=8, num_mini_batches=2, **settings)
    return behaviour_logprobs(TextPolicy.build(model, critic), inputs, found, ppo)


def shifted(samples, by):
    return dataclasses.replace(samples, logprobs=samples.logprobs + by * samples.mask)


@pytest.mark.parametrize("critic", [None, "shared"])
def test_the_samplers_are_reused_only_where_asked(drawn, critic):
    reused = old(drawn, critic=critic, old_logprobs="sampler")
    own = old(drawn, critic=critic)
    assert reused.logprobs is drawn[1].logprobs
    assert own.logprobs is not drawn[1].logprobs
    assert (reused.values is None, own.values is None) == (critic is None, critic is None)
    assert 0.0 <= float(own.mean_gap) <= float(own.max_gap) < 1e-5
    assert own.weights is None


def test_what_is_reused_is_compared_with_a_quarter_of_the_rows(drawn, monkeypatch):
    read = []

    def evaluate(policy, inputs, tokens, *rest):
        read.append(len(tokens))
        return evaluate_old_policy(policy, inputs, tokens, *rest)

    monkeypatch.setattr("likelier.rlhf.old_logprobs.evaluate_old_policy", evaluate)
    model, samples = drawn
    inputs = {"prompt_tokens": samples.prompt_tokens, "prompt_mask": samples.prompt_mask}
    for parts, kept in ((1, "sampler"), (8, "sampler"), (1, "recompute")):
        ppo = PPOConfig(batch_size=8, num_mini_batches=parts, old_logprobs=kept)
        behaviour_logprobs(TextPolicy.build(model, None), inputs, samples, ppo)
    assert read == [2, 1, 8]


def test_reuse_is_refused_above_a_mean_of_0_01(drawn):
    assert float(old(drawn, shifted(drawn[1], 0.009), old_logprobs="sampler").mean_gap) == pytest.approx(
        0.009, rel=0.01
    )
    with pytest.raises(NumericError, match=r"differ by 0.011 nats a token .* ppo.old_logprobs=recompute") as caught:
        old(drawn, shifted(drawn[1], 0.011), old_logprobs="sampler")
    assert "\n" not in str(caught.value)
    with pytest.raises(NumericError, match="nan"):
        old(drawn, shifted(drawn[1], math.nan), old_logprobs="sampler")


def test_recomputing_goes_on_and_weighs(drawn):
    off = shifted(drawn[1], -math.log(3.0))  # the trainer finds each token three times as likely
    found = old(drawn, off, importance_cap=2.0)
    torch.testing.assert_close(found.weights, 2.0 * off.mask)
    assert float(found.mean_gap) == pytest.approx(math.log(3.0), rel=1e-4)


def test_tokens_outside_of_the_band_count_nothing(drawn):
    for shift, weight in ((-math.log(3.0), 3.0), (-math.log(6.0), 0.0), (math.log(1.6), 0.625), (math.log(3.0), 0.0)):
        off = shifted(drawn[1], shift)
        torch.testing.assert_close(old(drawn, off, importance_floor=0.5, importance_cap=5.0).weights, weight * off.mask)


def test_the_band_of_a_hand_worked_row():
    ratio = torch.tensor([[0.4, 0.5, 1.0, 5.0, 5.1, 2.0]])
    mask = torch.tensor([[True] * 5 + [False]])
    found = banded_weights(ratio.double().log(), torch.zeros(1, 6).double(), mask, 0.4999, 5.0001)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.5, 1.0, 5.0, 0.0, 0.0]]).double(), rtol=1e-6, atol=0)
    huge = banded_weights(torch.zeros(1, 1), torch.full((1, 1), -1e9), torch.tensor([[True]]), 0.5, 5.0)
    assert huge.tolist() == [[0.0]]


REWARD = """
def reward(prompts, responses):
    return [float(response.count("a")) for response in responses]
"""


@pytest.mark.slow
def test_both_settings_reach_the_update(tmp_path, monkeypatch):
    world = make_world(tmp_path, REWARD)
    honest = ExactSampler.sample

    def biased(*args):
        return shifted(honest(*args), -0.005)

    monkeypatch.setattr(ExactSampler, "sample", biased)
    plain = train(make_config(world), tmp_path / "plain")
    reused = train(make_config(world, old_logprobs="sampler"), tmp_path / "reused")
    weighed = train(make_config(world, importance_cap=2.0), tmp_path / "weighed")
    assert plain[0]["first_ratio_deviation"] == 0.0
    assert reused[0]["first_ratio_deviation"] == pytest.approx(math.exp(0.005) - 1, rel=1e-3)
    assert weighed[0]["policy_loss"] == pytest.approx(plain[0]["policy_loss"] * math.exp(0.005), rel=1e-3)
    for lines in (plain, reused, weighed):
        assert lines[0]["sampler_difference"] == pytest.approx(0.005, rel=1e-2)
        assert lines[0]["sampler_difference_max"] == pytest.approx(0.005, rel=1e-2)
