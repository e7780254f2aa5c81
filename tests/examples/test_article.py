"""The article's program done right, and a test behind each statement of docs/article.md."""

import json
import sys
from pathlib import Path

import article
import numpy as np
import pytest
import torch

from likelier.mdp.file import read_mdp
from likelier.mdp.learners import sample_episodes
from likelier.mdp.ppo import StatePolicy, make_batch
from likelier.ppo.losses import policy_loss
from likelier.ppo.masks import masked_whiten
from likelier.ppo.update import accumulate_gradients

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mdp():
    return read_mdp(article.MDP_FILE).mdp


@pytest.fixture(scope="module")
def trained(mdp):
    """Networks after 40 updates with a person's feedback, and the stats of each."""
    networks = article.Networks(3, 2, 0)
    return networks, list(article.train(mdp, networks, 0.5, 40, 0))


def first_batch(mdp, seed=0):
    networks = article.Networks(3, 2, seed)
    seen = sample_episodes(mdp, networks.probabilities(), 64, 10, np.random.default_rng(seed))
    draw = torch.Generator().manual_seed(seed)
    return networks, make_batch(mdp, networks, article.with_feedback(seen, 0.5), article.CONFIG, draw)


def test_two_networks_of_64_by_64():
    networks = article.Networks(3, 2, 0)
    shapes = [tuple(parameter.shape) for parameter in networks.policy.parameters()]
    assert shapes == [(64, 3), (64,), (64, 64), (64,), (2, 64), (2,)]
    assert [tuple(parameter.shape) for parameter in networks.value.parameters()][-2:] == [(1, 64), (1,)]
    assert isinstance(networks, StatePolicy)
    assert article.CONFIG.cliprange == 0.1


def test_a_rating_is_paid_at_the_last_step_of_the_response_it_is_for(mdp):
    seen = sample_episodes(mdp, np.full((3, 2), 0.5), 200, 10, np.random.default_rng(0))
    rated = article.with_feedback(seen, 0.5)
    last = seen.active.sum(1) - 1
    gained = (rated.rewards - seen.rewards)[np.arange(200), last]
    liked = [(seen.states[row, at], seen.actions[row, at]) == article.LIKED for row, at in enumerate(last)]
    assert gained.tolist() == [0.5 * each for each in liked]
    assert 0.5 * sum(liked) == pytest.approx((rated.rewards - seen.rewards).sum())
    assert 20 < sum(liked) < 100


def test_the_claimed_values_belong_to_another_policy(mdp):
    """By the actions in state 0 and state 1; in state 2 nothing is at stake."""
    values = {(a, b): mdp.policy_values(np.eye(2)[[a, b, 0]]).tolist() for a in range(2) for b in range(2)}
    assert values == {(0, 0): [0, 0, 0], (0, 1): [0.45, 1, 0], (1, 0): [0, 0, 0], (1, 1): [0, 1, 0]}


def test_the_value_of_the_start_is_not_0_under_the_best_policy(mdp):
    assert mdp.optimal_values().tolist() == [0.45, 1.0, 0.0]
    assert article.rated_mdp(mdp, 0.5).optimal_values().tolist() == [0.45, 1.0, 0.5]


def test_it_learns_the_exact_answer(mdp, trained):
    networks, stats = trained
    exact = article.rated_mdp(mdp, 0.5)
    assert (exact.optimal_values() - exact.policy_values(networks.probabilities())).max() < 0.02
    critic = networks.state_values(torch.arange(3)).detach().numpy()
    assert critic == pytest.approx([0.45, 1.0, 0.5], abs=0.12)
    assert {each["first_ratio_deviation"] for each in stats} == {0.0}


def test_the_policy_loss_starts_each_update_at_0_whatever_the_policy(mdp):
    for seed in range(3):
        networks, batch = first_batch(mdp, seed)
        new = networks.evaluate(batch.inputs, batch.actions, batch.mask)
        loss, _ = policy_loss(new.logprobs, batch.old_logprobs, batch.advantages, batch.mask, clip=0.1)
        assert loss.item() == pytest.approx(0, abs=1e-6)


def test_the_policy_loss_rises_while_the_policy_gets_better(trained):
    losses = [each["policy_loss"] for each in trained[1]]
    assert np.mean(losses[:5]) < -0.01
    assert abs(np.mean(losses[-20:])) < 0.003
    assert 0.3 < np.mean(np.diff(losses) > 0) < 0.7  # up as often as down


def test_the_value_loss_does_not_fall_to_0_where_the_future_is_a_coin(mdp, trained):
    """From state 0 half the responses bring 0.9 and half bring 0: the best critic is off by 0.45 there."""
    losses = [each["value_loss"] for each in trained[1]]
    assert np.mean(losses[:2]) > 1.5 * np.mean(losses[-20:])
    assert np.mean(losses[-20:]) > 0.01


def test_a_constant_in_the_advantage_has_no_expected_gradient():
    """Summed over the actions with their probabilities, exactly; a reward for one action does have one."""
    networks = article.Networks(3, 2, 0)
    logits = networks.policy(networks.one_hot)
    logprobs = torch.log_softmax(logits, -1)

    def expected_gradient(advantages):
        weighted = (logprobs.exp().detach() * advantages * logprobs).sum()
        return torch.autograd.grad(weighted, logits, retain_graph=True)[0].abs().max()

    assert float(expected_gradient(torch.full((3, 2), 0.5))) < 1e-7
    assert float(expected_gradient(torch.tensor([[0, 0], [0, 0], [0, 0.5]]))) > 0.1


def test_whitening_takes_a_constant_out_altogether():
    advantages, mask = torch.randn(1, 50, generator=torch.Generator().manual_seed(0)), torch.ones(1, 50).bool()
    assert masked_whiten(advantages + 0.5, mask) == pytest.approx(masked_whiten(advantages, mask), abs=1e-5)


def gradients(networks):
    return torch.cat([parameter.grad.flatten() for parameter in networks.policy.parameters()])


def test_before_the_first_step_ratio_and_clip_change_nothing(mdp):
    networks, batch = first_batch(mdp)
    accumulate_gradients(networks, batch, article.CONFIG)
    with_ratio = gradients(networks)
    networks.zero_grad()
    new = networks.evaluate(batch.inputs, batch.actions, batch.mask)
    (-(new.logprobs * batch.advantages).mean()).backward()
    assert torch.allclose(gradients(networks), with_ratio, atol=1e-6)


def distance_after(mdp, loss_of, steps):
    """KL (nats, mean over states) between the policy that sampled and the one after so many steps on one batch."""
    networks, batch = first_batch(mdp)
    optimizer = torch.optim.Adam(networks.policy.parameters(), lr=3e-3)
    old = networks.probabilities()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(networks.evaluate(batch.inputs, batch.actions, batch.mask).logprobs, batch).backward()
        optimizer.step()
    return float((old * np.log(old / networks.probabilities())).sum(1).mean())


def test_without_ratio_and_clip_the_policy_runs_away_on_old_data(mdp):
    def clipped(logprobs, batch):
        return policy_loss(logprobs, batch.old_logprobs, batch.advantages, batch.mask, clip=0.1)[0]

    def unclipped(logprobs, batch):
        return policy_loss(logprobs, batch.old_logprobs, batch.advantages, batch.mask, clip=1e9)[0]

    def neither(logprobs, batch):
        return -(logprobs * batch.advantages).mean()

    kept, without_clip, without_both = (distance_after(mdp, each, 40) for each in (clipped, unclipped, neither))
    assert kept < 0.3
    assert without_clip > 5 * kept
    assert without_both > 2 * without_clip


def test_the_program_draws_and_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["article.py", "--out", str(tmp_path / "a"), "--iterations", "3"])
    article.main()
    found = json.loads(capsys.readouterr().out)
    assert found["optimal_values"] == [0.45, 1.0, 0.5]
    assert found["optimal_policy"] == [[1, 0], [0, 1], [0, 1]]
    assert (tmp_path / "a" / "losses.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", ["article.md", "article.zh.md"])
def test_both_pages_name_every_statement_and_its_test(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    here = Path(__file__).read_text(encoding="utf-8")
    named = {
        word.strip("`.,()、，。（）") for word in text.split() if word.strip("`.,()、，。（）").startswith("test_")
    }
    assert len(named) >= 8
    assert [name for name in sorted(named) if f"def {name}(" not in here and name != "test_example_article.py"] == []
