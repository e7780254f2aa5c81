"""Scores to rewards to advantages, against numbers worked out by hand."""

import pytest
import torch

from likelier.config import PPOConfig, RewardSource
from likelier.records import Prompt
from likelier.reward.sources import make_scorer
from likelier.rlhf.rewards import add_at_last_token
from likelier.rlhf.rollout import Actors
from likelier.rlhf.scores import Shaper
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer, make_frozen_copy
from likelier.text.policy import TextPolicy
from likelier.training.setup import seeded_generator
from samplers import sample_rollouts
from tiny import save_tiny_model

MASK = torch.tensor([[True, True, False], [True, True, True]])


def ppo(**settings):
    return PPOConfig(**{"whiten_advantages": False, "batch_size": 4, **settings})


FUNCTIONS = """
def sevens(prompts, responses):
    return [7.0 for text in responses]

def is_a(prompts, responses, tokens):
    return [[float(token.strip() == "a") for token in row] for row in tokens]
"""


@pytest.fixture(scope="module")
def rewarded(tmp_path_factory):
    """What a rollout pays at each token: with gamma 0, lambda 0 and values 0 the return is the reward."""
    folder = tmp_path_factory.mktemp("rollout")
    save_tiny_model(folder / "model", words=["a", "b"])
    (folder / "mine.py").write_text(FUNCTIONS)

    def roll(*sources, moved=0.0, **settings):
        """`moved`: how far the policy has gone since the reference drew the responses."""
        model, tokenizer = load_causal_lm(folder / "model"), load_tokenizer(folder / "model")
        found = [RewardSource(function=f"{folder / 'mine.py'}:{name}", per=per) for name, per in sources]
        ppo = PPOConfig(
            batch_size=64, response_length=6, gamma=0.0, lam=0.0, kl_coef=0.0, whiten_advantages=False, **settings
        )
        policy = TextPolicy.build(model, "shared")
        reference = make_frozen_copy(model)
        sampler = ExactSampler(reference, tokenizer)
        with torch.no_grad():
            model.lm_head.weight.add_(
                moved * torch.randn(model.lm_head.weight.shape, generator=seeded_generator(0, 0, ""))
            )
        actors = Actors(policy, reference, tokenizer, sampler, make_scorer(found, "cpu"), Shaper(ppo))
        draw = seeded_generator(0, 0, "test")
        return sample_rollouts(actors, [Prompt("a"), Prompt("b")] * 32, ppo, 0.0, draw), tokenizer

    return roll


def last_tokens(rollout):
    mask, tokens = rollout.batch.mask, rollout.samples.tokens
    return tokens[torch.arange(len(tokens)), mask.sum(1) - 1]


def test_the_end_token_carries_the_score_and_a_missing_one_is_punished(rewarded):
    rollout, tokenizer = rewarded(("sevens", "response"), missing_eos_score=-1.0)
    reasons = rollout.samples.stop_reasons
    assert set(reasons) == {"end_token", "length"}
    paid, mask = rollout.batch.returns, rollout.batch.mask
    at = torch.arange(len(mask))
    for row, reason in enumerate(reasons):
        ended = reason == "end_token"
        assert (last_tokens(rollout)[row] == tokenizer.eos_token_id) == ended
        assert paid[row, mask[row].sum() - 1] == (7.0 if ended else -1.0)
    assert (paid * mask).count_nonzero() == len(mask)  # and no other token has anything
    assert torch.equal(rollout.rewards.sum(1), paid[at, mask.sum(1) - 1])


def test_the_token_that_completes_a_stop_string_carries_the_score(rewarded):
    rollout, tokenizer = rewarded(("sevens", "response"), stop_strings=["a"], stop_token=None, missing_eos_penalty=2.0)
    reasons = rollout.samples.stop_reasons
    assert set(reasons) == {"stop_string", "length"}
    assert not any("a" in text for text in rollout.samples.texts)
    paid, mask = rollout.batch.returns * rollout.batch.mask, rollout.batch.mask
    for row, reason in enumerate(reasons):
        stopped = reason == "stop_string"
        assert (last_tokens(rollout)[row] == tokenizer.convert_tokens_to_ids("a")) == stopped
        assert paid[row, mask[row].sum() - 1] == (7.0 if stopped else 5.0)
        assert paid[row].sum() == (7.0 if stopped else 5.0)


def test_token_rewards_reach_their_tokens(rewarded):
    rollout, tokenizer = rewarded(("is_a", "token"), ("sevens", "response"), reward_scale=2.0)
    mask = rollout.batch.mask
    is_a = (rollout.samples.tokens == tokenizer.convert_tokens_to_ids("a")) & mask
    wanted = add_at_last_token(2.0 * is_a, torch.full((len(mask),), 14.0), mask)
    torch.testing.assert_close(rollout.batch.returns * mask, wanted)
    torch.testing.assert_close(rollout.scored.scores, is_a.sum(1) + 7.0)
    torch.testing.assert_close(rollout.scored.judged.unweighted["mine.py:is_a"], is_a.sum(1).float())
    assert rollout.stats()["score/mine.py:is_a"] == pytest.approx(float(is_a.sum(1).float().mean()))


def test_the_kl_of_an_older_policys_tokens_is_that_of_the_policy_as_it_is(rewarded):
    """Tokens of the reference say log pi - log ref below 0; weighted they say the KL of pi, which cannot be."""
    rollout, _ = rewarded(("sevens", "response"), stop_token=None, async_steps=1, importance_cap=1e3, moved=0.5)
    plain, _ = rewarded(("sevens", "response"), stop_token=None, importance_cap=1e3, moved=0.5)
    assert torch.equal(rollout.samples.tokens, plain.samples.tokens)
    log_ratio = (rollout.batch.old_logprobs - rollout.ref_logprobs) * rollout.batch.mask
    assert torch.equal(plain.kl, log_ratio.sum(1))
    torch.testing.assert_close(rollout.kl, (log_ratio * log_ratio.exp()).sum(1), rtol=1e-4, atol=1e-4)
    assert plain.kl.mean() < -0.01 < 0.01 < rollout.kl.mean()
    assert rollout.stats()["staleness"] == 0.0
    assert "staleness" not in plain.stats()


def test_micro_batches_hold_rows_of_like_length_and_everything_moves_with_its_row(rewarded):
    source, settings = ("is_a", "token"), {"num_mini_batches": 4}
    whole, _ = rewarded(source, **settings)
    cut, _ = rewarded(source, micro_batch_size=4, **settings)
    lengths = cut.batch.lengths.view(4, 16)
    assert torch.equal(lengths, lengths.sort(dim=1).values)
    for part in range(4):  # the same rows in each minibatch, as they were drawn
        rows = slice(16 * part, 16 * part + 16)
        drawn, moved = (
            sorted(zip(found.samples.texts[rows], found.batch.returns[rows].sum(1).tolist(), strict=True))
            for found in (whole, cut)
        )
        assert [text for text, _ in moved] == [text for text, _ in drawn]
        assert [sum_ for _, sum_ in moved] == pytest.approx([sum_ for _, sum_ in drawn], abs=1e-5)
    assert [prompt.text for prompt in cut.prompts] == cut.samples.prompts
    assert cut.kl.tolist() == [0.0] * 64  # policy and reference see the same micro-batches
