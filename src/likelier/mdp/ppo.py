"""PPO with a tabular policy, using the same update and advantages as language models."""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from likelier.config import UpdateConfig
from likelier.mdp.exact import Floats, TabularMDP
from likelier.mdp.learners import Episodes, episode_length_limit, sample_episodes
from likelier.ppo.advantages import gae
from likelier.ppo.batch import Batch
from likelier.ppo.losses import entropy_from_logits
from likelier.ppo.masks import masked_whiten
from likelier.ppo.policy import Evaluation, Policy, evaluate_old_policy
from likelier.ppo.update import ppo_update
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer, schedule, seeded_generator, set_learning_rate

CONFIG = UpdateConfig(learning_rate=0.1, gamma=1.0, vf_coef=0.5, cliprange_value=None, max_grad_norm=10.0)
"""A row is a single step; gamma comes from the MDP."""


@runtime_checkable
class StatePolicy(Policy, Protocol):
    """A policy with a state value function. Its inputs are `{"state": [B, T]}`."""

    def state_values(self, states: Tensor) -> Tensor:
        """Return the values of states, in the shape of `states`."""
        ...


class TablePolicy(nn.Module):
    """A `Policy` with tables of logits [S, A] and values [S]."""

    def __init__(self, num_states: int, num_actions: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_states, num_actions))
        self.values = nn.Parameter(torch.zeros(num_states))

    def evaluate(self, inputs: Mapping[str, Tensor], actions: Tensor, mask: Tensor) -> Evaluation:
        """Evaluate log-probabilities, values and entropies of actions [B, T]."""
        logits = self.logits[inputs["state"]]
        logprobs = torch.log_softmax(logits, -1).gather(-1, actions[..., None])[..., 0]
        return Evaluation(logprobs, self.state_values(inputs["state"]), entropy_from_logits(logits))

    def state_values(self, states: Tensor) -> Tensor:
        """Return the values of states, in the shape of `states`."""
        return self.values[states]

    @torch.no_grad()
    def probabilities(self) -> Floats:
        """Return the action probabilities [S, A], float64."""
        table: Floats = torch.softmax(self.logits.double(), -1).numpy()
        return table


def tabular_ppo(
    mdp: TabularMDP, iterations: int, seed: int = 0, count: int = 64, config: UpdateConfig = CONFIG
) -> Iterator[Floats]:
    """Yield the policy [S, A] after each iteration of sampling, GAE and update."""
    policy = TablePolicy(*mdp.rewards.shape)
    optimizer = make_optimizer([(policy.parameters(), config.learning_rate)], config)
    guard, generator = Guard(config.max_skipped_updates), np.random.default_rng(seed)
    for step in range(iterations):
        set_learning_rate(optimizer, schedule(step, iterations, config))
        samples = sample_episodes(mdp, policy.probabilities(), count, episode_length_limit(mdp.gamma), generator)
        shuffle = seeded_generator(seed, step, "tabular ppo")
        ppo_update(policy, optimizer, make_batch(mdp, policy, samples, config, shuffle), config, shuffle, guard)
        yield policy.probabilities()


def make_batch(
    mdp: TabularMDP, policy: StatePolicy, samples: Episodes, config: UpdateConfig, shuffle: torch.Generator
) -> Batch:
    """Make a batch of shuffled single steps from episodes, without padding."""
    ended = torch.from_numpy(samples.next_states == len(mdp.rewards))
    active = torch.from_numpy(samples.active == 1)
    next_states = torch.from_numpy(np.where(samples.next_states == len(mdp.rewards), 0, samples.next_states))
    states, actions = torch.from_numpy(samples.states), torch.from_numpy(samples.actions)
    rewards = torch.where(active, torch.from_numpy(samples.rewards).float(), 0.0)
    with torch.no_grad():
        values = torch.where(active, policy.state_values(states), 0.0)
        next_values = torch.where(active & ~ended, policy.state_values(next_states), 0.0)
    continues = (active & ~ended).float()
    continues[:, -1] = 0.0  # truncated here: GAE bootstraps from the next state's value
    advantages, returns = gae(rewards, values, next_values, continues, mdp.gamma, config.lam)
    order = torch.randperm(int(active.sum()), generator=shuffle)
    rows = [column[active][order][:, None] for column in (states, actions, masked_whiten(advantages, active), returns)]
    inputs, mask = {"state": rows[0]}, torch.ones_like(rows[0], dtype=torch.bool)
    old = evaluate_old_policy(policy, inputs, rows[1], mask, config)
    return Batch(inputs, rows[1], mask, old.logprobs, old.values, rows[2], rows[3])
