"""A tabular language model, small enough to enumerate its responses, and its training with the shipped update.

A policy is a table of logits with one row per prefix. Responses have a fixed length, or stop at an end token or at the
length limit; truncated ones are responses like any other. With gamma 1 and temperature 1 the optimal policy under a KL
penalty is known: pi* ∝ pi_ref exp(r / beta) (Korbak et al. 2022).
"""

from collections.abc import Mapping
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from likelier.config import PPOConfig
from likelier.ppo.advantages import AdvantageInputs, compute_advantages
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.batch import Batch
from likelier.ppo.objective import make_objective
from likelier.ppo.policy import Evaluation, evaluate_old_policy
from likelier.ppo.update import ppo_update
from likelier.ppo.user_loss import load_loss
from likelier.rlhf.rewards import add_at_last_token, compute_kl_penalties
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer, schedule, seeded_generator, set_learning_rate


class TabularLM(nn.Module):
    """A tabular policy over responses of at most `length` tokens, with a value per prefix; a `Policy`."""

    def __init__(
        self,
        vocabulary: int,
        length: int,
        logits: Float[Tensor, "S V"] | None = None,
        critic: bool = True,
        end_token: int | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary, self.length, self.end_token = vocabulary, length, end_token
        self.responses = all_responses(vocabulary, length, end_token)
        self.masks = self.mask(self.responses)
        self.row_by_code = torch.zeros(vocabulary**length, dtype=torch.long)
        self.row_by_code[self.code(self.responses)] = torch.arange(len(self.responses))
        prefixes = sum(vocabulary**t for t in range(length))
        self.logits = nn.Parameter(torch.zeros(prefixes, vocabulary) if logits is None else logits.clone())
        self.values = nn.Parameter(torch.zeros(prefixes).to(self.logits)) if critic else None

    def copy(self, critic: bool = True) -> "TabularLM":
        """Return a trainable copy of the policy, with values of 0 if `critic`."""
        return TabularLM(self.vocabulary, self.length, self.logits.detach(), critic, self.end_token)

    def states(self, actions: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """Return the index of the prefix before each token: by length, then by base-`vocabulary` code."""
        code = torch.zeros(len(actions), dtype=torch.long)
        offset, states = 0, []
        for t in range(self.length):
            states.append(offset + code)
            offset += self.vocabulary**t
            code = code * self.vocabulary + actions[:, t]
        return torch.stack(states, 1)

    def mask(self, actions: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        """Return the response mask: True up to and including the first end token."""
        if self.end_token is None:
            return torch.ones_like(actions, dtype=torch.bool)
        ends = (actions == self.end_token).long()
        return ends.cumsum(1) - ends == 0

    def code(self, actions: Int[Tensor, "B T"]) -> Int[Tensor, " B"]:
        """Return each response's base-`vocabulary` code, ignoring tokens after its end."""
        digits = actions if self.end_token is None else torch.where(self.mask(actions), actions, self.end_token)
        return (digits * self.vocabulary ** torch.arange(self.length - 1, -1, -1)).sum(1)

    def rows(self, actions: Int[Tensor, "B T"]) -> Int[Tensor, " B"]:
        """Return the index of each response in `responses`, and so in a table of rewards."""
        return self.row_by_code[self.code(actions)]

    def evaluate(self, inputs: Mapping[str, Tensor], actions: Int[Tensor, "B T"], mask: Tensor) -> Evaluation:
        """Evaluate log-probabilities, values and entropies of actions [B, T]; masked places are 0."""
        states = self.states(actions)
        logprobs = torch.log_softmax(self.logits, -1)[states]
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        chosen = logprobs.gather(-1, actions[..., None])[..., 0]
        values = None if self.values is None else torch.where(mask, self.values[states], 0.0)
        return Evaluation(torch.where(mask, chosen, 0.0), values, torch.where(mask, entropy, 0.0))

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Int[Tensor, "B T"]:
        """Sample actions [count, T]; places after an end token hold tokens too, which the mask leaves out."""
        actions = torch.zeros(count, self.length, dtype=torch.long)
        for t in range(self.length):
            probabilities = torch.softmax(self.logits, -1)[self.states(actions)[:, t]]
            actions[:, t] = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        return actions

    @torch.no_grad()
    def log_distribution(self) -> Float[Tensor, " R"]:
        """Return the log-probability of every response, in the order of `all_responses`."""
        return self.evaluate({}, self.responses, self.masks).logprobs.sum(1)


def all_responses(vocabulary: int, length: int, end_token: int | None = None) -> Int[Tensor, "R T"]:
    """List every response in lexicographic order, padded with end tokens."""
    responses = (
        tokens
        for tokens in product(range(vocabulary), repeat=length)
        if end_token not in tokens or set(tokens[tokens.index(end_token) :]) == {end_token}
    )
    return torch.tensor(list(responses))


def optimal_log_distribution(
    ref: Float[Tensor, " R"], rewards: Float[Tensor, " R"], beta: float
) -> Float[Tensor, " R"]:
    """Return log pi* with pi* ∝ pi_ref exp(r / beta)."""
    return torch.log_softmax(ref + rewards / beta, 0)


def kl_divergence(p: Float[Tensor, " R"], q: Float[Tensor, " R"]) -> float:
    """Return KL(p || q) in nats of two log-distributions, by enumeration; 0 log 0 is 0."""
    return float(torch.where(p.isneginf(), 0.0, p.exp() * (p - q)).sum())


def train_tabular(
    reference: TabularLM, rewards: Float[Tensor, " R"], config: PPOConfig, seed: int = 0
) -> tuple[TabularLM, list[float]]:
    """Train a copy of `reference`; returns it with max |ratio - 1| before each batch's first step (must be 0)."""
    policy = reference.copy(ALGORITHMS[config.algorithm].has_critic)
    optimizer = make_optimizer([(policy.parameters(), config.learning_rate)], config)
    guard, deviations = Guard(5), []
    objective = make_objective(config, config.kl_coef, load_loss(config.loss))
    for step in range(config.steps):
        set_learning_rate(optimizer, schedule(step, config.steps, config))
        generator = seeded_generator(seed, step, "tabular")
        batch = sample_batch(policy, reference, rewards, config, generator)
        stats = ppo_update(policy, optimizer, batch, config, generator, guard, objective)
        deviations.append(stats["first_ratio_deviation"])
    return policy, deviations


def sample_batch(
    policy: TabularLM, reference: TabularLM, rewards: Float[Tensor, " R"], config: PPOConfig, generator: torch.Generator
) -> Batch:
    """Sample a batch with the penalty and advantages of rlhf/rollout.py."""
    actions = policy.sample(config.batch_size, generator)
    mask = policy.mask(actions)
    logprobs, values, _ = evaluate_old_policy(policy, {}, actions, mask, config)
    with torch.no_grad():
        ref_logprobs = reference.evaluate({}, actions, mask).logprobs
    scores = rewards[policy.rows(actions)]
    penalties = compute_kl_penalties(logprobs, ref_logprobs, mask, config.kl_coef, config)
    token_rewards = add_at_last_token(-penalties, scores, mask)
    groups = torch.arange(config.batch_size // config.responses_per_prompt)
    group = groups.repeat_interleave(config.responses_per_prompt)
    advantages, returns = compute_advantages(AdvantageInputs(token_rewards, mask, group, values, config))
    return Batch({}, actions, mask, logprobs, values, advantages, returns, ref_logprobs)
