"""Log-probabilities, KL and the last step of chains, by hand."""

import math

import pytest
import torch
from torch import nn

from likelier.config import build_config
from likelier.images.chain import ChainPolicy, path_kl, sample_trajectories
from likelier.ppo.policy import evaluate_old_policy


class Drift(nn.Module):
    """Two steps of two numbers: x + b with deviations 1 and 1/2; the picture is x times `gain`."""

    def __init__(self, b: float, gain: float = 1.0) -> None:
        super().__init__()
        self.size, self.gain = 2, gain
        self.b = nn.Parameter(torch.tensor(b))
        self.register_buffer("deviations", torch.tensor([1.0, 0.5]))

    def means(self, states, steps):
        return states + self.b * (1 + steps[:, None])

    def finish(self, states):
        return self.gain * states


STATES = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]])
ACTIONS = torch.tensor([[[1.0, 2.0], [1.0, 2.5]]])
MASK = torch.ones(1, 2, dtype=torch.bool)


def test_log_probabilities_are_sums_over_the_numbers_of_a_step():
    outputs = ChainPolicy(Drift(0.0)).evaluate({"states": STATES}, ACTIONS, MASK)
    # Two standard normals at 1 and 2; two of deviation 1/2 at 0 and 1/2, that is 0 and 1 deviation.
    first, second = -0.5 * (1 + 4) - math.log(2 * math.pi), -0.5 * 1 - math.log(2 * math.pi) - 2 * math.log(0.5)
    assert outputs.logprobs.tolist() == [pytest.approx([first, second], rel=1e-6)]
    assert outputs.entropy.tolist()[0][0] == pytest.approx(1 + math.log(2 * math.pi))


def test_kl_of_steps_by_hand():
    # Means are apart by b = 0.3 and 2 b = 0.6 in both numbers: 2 * 0.09 / 2, and 2 * 0.36 / (2 * 0.25).
    assert path_kl(Drift(0.3), Drift(0.0), STATES).tolist() == [pytest.approx([0.09, 1.44], rel=1e-5)]
    assert path_kl(Drift(0.0), Drift(0.0), STATES).tolist() == [[0.0, 0.0]]


def test_the_mean_log_ratio_of_what_the_policy_draws_is_its_kl():
    policy, start = Drift(0.3), Drift(0.0)
    drawn = sample_trajectories(policy, start, 4000, torch.Generator().manual_seed(0))
    mask = torch.ones(4000, 2, dtype=torch.bool)
    ours, theirs = (
        ChainPolicy(each).evaluate({"states": drawn.states}, drawn.actions, mask) for each in (policy, start)
    )
    ratio = (ours.logprobs - theirs.logprobs).sum(1)
    exact = path_kl(policy, start, drawn.states).sum(1)
    assert exact.mean().item() == pytest.approx(1.53, rel=1e-5)
    assert ratio.mean().item() == pytest.approx(1.53, abs=4 * math.sqrt(2 * 1.53 / 4000))


def test_the_last_step_is_that_of_the_start_and_has_no_noise():
    drawn = sample_trajectories(Drift(0.3, gain=5.0), Drift(0.0, gain=2.0), 3, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.pictures, 2.0 * drawn.actions[:, -1])
    assert torch.equal(drawn.states[:, 1], drawn.actions[:, 0])


def test_the_first_ratio_is_exactly_one():
    """The passes that give the old log-probabilities are those of the first epoch, to the bit."""
    from likelier.images.diffusion import Diffusion

    torch.manual_seed(0)
    chain, ppo = Diffusion(64, width=32), build_config({"ppo": {"algorithm": "reinforce_pp", "batch_size": 64}}).ppo
    drawn = sample_trajectories(chain, chain, 64, torch.Generator().manual_seed(0))
    inputs, mask = {"states": drawn.states}, torch.ones(64, 15, dtype=torch.bool)
    old = evaluate_old_policy(ChainPolicy(chain), inputs, drawn.actions, mask, ppo)
    rows = torch.arange(16)  # the first of four minibatches
    new = ChainPolicy(chain).evaluate({"states": drawn.states[rows]}, drawn.actions[rows], mask[rows])
    assert torch.equal(new.logprobs, old.logprobs[rows])
