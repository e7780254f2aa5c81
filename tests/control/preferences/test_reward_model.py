"""The ensemble: its loss by hand, what it learns of a known reward, and what is kept apart to measure it."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from likelier.control.preferences import reward_model
from likelier.control.preferences.reward_model import (
    Comparisons,
    RewardEnsemble,
    comparison_loss,
    encode_steps,
    pad_clips,
)
from likelier.control.spaces import make_action_decoder


def test_the_loss_by_hand():
    """Logit log 3: 0.9 x 0.75 + 0.05 = 0.725; the second member counts twice, and the tie half and half."""
    logits = torch.tensor([[math.log(3.0)], [0.0]])
    weights = torch.tensor([[1.0], [2.0]])
    assert comparison_loss(logits, torch.tensor([1.0]), weights).item() == pytest.approx(
        -math.log(0.725) - 2 * math.log(0.5)
    )
    assert comparison_loss(logits, torch.tensor([0.5]), weights).item() == pytest.approx(
        -0.5 * (math.log(0.725) + math.log(0.275)) - 2 * math.log(0.5)
    )


def test_steps_beyond_a_clip_do_not_count():
    model = RewardEnsemble(2, 3, 0)
    steps = torch.randn(4, 2, 5, 2)
    mask = torch.ones(4, 2, 5, dtype=torch.bool)
    mask[:, 1, 3:] = False
    by_hand = model(steps)[..., 0, :].sum(-1) - model(steps)[..., 1, :3].sum(-1)
    torch.testing.assert_close(model.logits(steps, mask), by_hand)


def make_known(num, seed=0):
    """Clips of 6 steps of 3 numbers, whose reward is the first less twice the second; sure answers."""
    draw = torch.Generator().manual_seed(seed)
    steps = torch.randn(num, 2, 6, 3, generator=draw)
    true = (steps[..., 0] - 2 * steps[..., 1]).sum(-1)
    targets = (true[:, 0] > true[:, 1]).double()
    return Comparisons(steps, torch.ones(num, 2, 6, dtype=torch.bool), targets), steps[..., 0] - 2 * steps[..., 1]


def test_a_known_reward_is_learned_from_answers_alone():
    known, _ = make_known(300)
    known.targets[::10] = math.nan  # not answered yet
    model = RewardEnsemble(3, 3, 0)
    model.fit(known, 0)
    fresh, rewards = make_known(200, seed=1)
    learned = model.rewards(fresh.steps)
    assert np.corrcoef(learned.flatten(), rewards.flatten())[0, 1] > 0.9
    hits = model.hits(known)
    assert 0.55 * 270 < len(hits) < 270  # 1 - (1 - 1/e)^3 = 0.75 of the answered ones are left out by a member
    assert hits.mean() > 0.8
    answered = known.steps[known.targets.isfinite()]
    scaled = model(answered) / model.unit[:, None, None, None]
    assert scaled.square().mean((1, 2, 3)).tolist() == pytest.approx([1.0] * 3, rel=1e-4)


def test_answers_that_say_nothing_are_foretold_by_chance():
    known, _ = make_known(300)
    coins = torch.randint(2, (300,), generator=torch.Generator().manual_seed(3)).double()
    model = RewardEnsemble(3, 3, 0)
    model.fit(Comparisons(known.steps, known.mask, coins), 0)
    assert model.hits(Comparisons(known.steps, known.mask, coins)).mean() == pytest.approx(0.5, abs=0.1)


def test_bags_stay_as_comparisons_come(monkeypatch):
    monkeypatch.setattr(reward_model, "FIRST_STEPS", 1)
    model = RewardEnsemble(3, 2, 7)
    assert model.bags(400)[:, :100].equal(model.bags(100))
    assert (model.bags(400) == 0).double().mean().item() == pytest.approx(math.exp(-1), abs=0.05)
    first, _ = make_known(50)
    model.fit(first, 0)
    scale = model.scale.clone()
    model.fit(make_known(80, seed=5)[0], 1)
    assert model.scale.equal(scale)


def test_inputs_are_observations_beside_actions():
    seen = np.array([[0.5, 1.0]], np.float32)
    discrete = make_action_decoder(spaces.MultiDiscrete([2, 3]), "e")
    assert encode_steps(seen, np.array([[1, 0]]), discrete).tolist() == [[0.5, 1.0, 0, 1, 1, 0, 0]]
    box = make_action_decoder(spaces.Box(-2, 2, (1,)), "e")
    assert encode_steps(seen, np.array([[-3.0]]), box).tolist() == [[0.5, 1.0, -1.0]]  # as it is executed
    steps, mask = pad_clips([seen, np.concatenate([seen, seen])], 3)
    assert steps[0].tolist() == [[0.5, 1.0], [0, 0], [0, 0]]
    assert mask.tolist() == [[True, False, False], [True, True, False]]
