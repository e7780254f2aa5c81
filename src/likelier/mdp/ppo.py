"""PPO on a table: the functions of `ppo/` that train language models, on a policy of which everything is known."""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from likelier.config import UpdateConfig
from likelier.mdp.exact import Floats, TabularMDP
from likelier.mdp.learners import Episodes, episodes, walk_length
from likelier.ppo.advantages import gae
from likelier.ppo.batch import Batch
from likelier.ppo.losses import entropy_from_logits
from likelier.ppo.masks import masked_whiten
from likelier.ppo.update import Evaluation, Policy, old_evaluation, ppo_update
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer, schedule, seeded_generator, set_learning_rate

CONFIG = UpdateConfig(learning_rate=0.1, gamma=1.0, vf_coef=0.5, cliprange_value=None, max_grad_norm=10.0)
"""Rows are single steps; gamma is the MDP's."""


@runtime_checkable
class StatePolicy(Policy, Protocol):
    """A policy that also says what each state is worth. Its inputs are `{"state": [B, T]}`."""

    def state_values(self, states: Tensor) -> Tensor: ...


class TablePolicy(nn.Module):
    """Logits [S, A] and values [S], one entry a state: the `Policy` of an update."""

    def __init__(self, num_states: int, num_actions: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_states, num_actions))
        self.values = nn.Parameter(torch.zeros(num_states))

    def evaluate(self, inputs: Mapping[str, Tensor], actions: Tensor, mask: Tensor) -> Evaluation:
        logits = self.logits[inputs["state"]]
        logprobs = torch.log_softmax(logits, -1).gather(-1, actions[..., None])[..., 0]
        return Evaluation(logprobs, self.state_values(inputs["state"]), entropy_from_logits(logits))

    def state_values(self, states: Tensor) -> Tensor:
        return self.values[states]

    @torch.no_grad()
    def probabilities(self) -> Floats:
        table: Floats = torch.softmax(self.logits.double(), -1).numpy()
        return table


def tabular_ppo(
    mdp: TabularMDP, iterations: int, seed: int = 0, count: int = 64, config: UpdateConfig = CONFIG
) -> Iterator[Floats]:
    """Policies [S, A] after each iteration: sample, advantages by GAE, update."""
    policy = TablePolicy(*mdp.rewards.shape)
    optimizer = make_optimizer([(policy.parameters(), config.learning_rate)], config)
    guard, generator = Guard(config.max_skipped_updates), np.random.default_rng(seed)
    for step in range(iterations):
        set_learning_rate(optimizer, schedule(step, iterations, config))
        seen = episodes(mdp, policy.probabilities(), count, walk_length(mdp.gamma), generator)
        shuffle = seeded_generator(seed, step, "tabular ppo")
        ppo_update(policy, optimizer, batch_of(mdp, policy, seen, config, shuffle), config, shuffle, guard)
        yield policy.probabilities()


def batch_of(
    mdp: TabularMDP, policy: StatePolicy, seen: Episodes, config: UpdateConfig, shuffle: torch.Generator
) -> Batch:
    """Episodes as rows of one step each, shuffled; what comes after an episode's end is left out."""
    ended = torch.from_numpy(seen.following == len(mdp.rewards))
    alive = torch.from_numpy(seen.alive == 1)
    following = torch.from_numpy(np.where(seen.following == len(mdp.rewards), 0, seen.following))
    states, actions = torch.from_numpy(seen.states), torch.from_numpy(seen.actions)
    rewards = torch.where(alive, torch.from_numpy(seen.rewards).float(), 0.0)
    with torch.no_grad():
        values = torch.where(alive, policy.state_values(states), 0.0)
        next_values = torch.where(alive & ~ended, policy.state_values(following), 0.0)
    goes_on = (alive & ~ended).float()
    goes_on[:, -1] = 0.0  # cut here: the value of the next state stands for the rest
    advantages, returns = gae(rewards, values, next_values, goes_on, mdp.gamma, config.lam)
    order = torch.randperm(int(alive.sum()), generator=shuffle)
    rows = [column[alive][order][:, None] for column in (states, actions, masked_whiten(advantages, alive), returns)]
    inputs, mask = {"state": rows[0]}, torch.ones_like(rows[0], dtype=torch.bool)
    old = old_evaluation(policy, inputs, rows[1], mask, config)
    return Batch(inputs, rows[1], mask, old.logprobs, old.values, rows[2], rows[3])
