"""A language model small enough to know everything about it: PPO's answer beside the exact one.

Responses of fixed length over a small vocabulary; the policy is a table of logits, one row a prefix. With gamma 1 and
temperature 1 the best policy under a KL penalty is known: pi* ∝ pi_ref exp(r / beta) (Korbak et al. 2022).
"""

from collections.abc import Mapping
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likelier.config import PPOConfig
from likelier.ppo.batch import Batch
from likelier.ppo.kl import kl_estimate
from likelier.ppo.update import Evaluation, old_evaluation, ppo_update
from likelier.rlhf.rollout import advantages_of, place_scores
from likelier.training import Guard, make_optimizer, schedule, seeded_generator, set_learning_rate


class TabularLM(nn.Module):
    """A policy over responses of `length` tokens, with a value for each prefix; the `Policy` of an update."""

    def __init__(
        self, vocabulary: int, length: int, logits: Float[Tensor, "S V"] | None = None, critic: bool = True
    ) -> None:
        super().__init__()
        self.vocabulary, self.length = vocabulary, length
        prefixes = sum(vocabulary**t for t in range(length))
        self.logits = nn.Parameter(torch.zeros(prefixes, vocabulary) if logits is None else logits.clone())
        self.values = nn.Parameter(torch.zeros(prefixes)) if critic else None

    def states(self, actions: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """The number of the prefix before each token: prefixes are counted by length, then like numerals."""
        before = torch.zeros(len(actions), dtype=torch.long)
        first, found = 0, []
        for t in range(self.length):
            found.append(first + before)
            first += self.vocabulary**t
            before = before * self.vocabulary + actions[:, t]
        return torch.stack(found, 1)

    def evaluate(self, inputs: Mapping[str, Tensor], actions: Int[Tensor, "B T"], mask: Tensor) -> Evaluation:
        states = self.states(actions)
        logprobs = torch.log_softmax(self.logits, -1)[states]
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        chosen = logprobs.gather(-1, actions[..., None])[..., 0]
        return Evaluation(chosen, None if self.values is None else self.values[states], entropy)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Int[Tensor, "B T"]:
        actions = torch.zeros(count, self.length, dtype=torch.long)
        for t in range(self.length):
            probabilities = torch.softmax(self.logits, -1)[self.states(actions)[:, t]]
            actions[:, t] = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        return actions

    @torch.no_grad()
    def log_distribution(self) -> Float[Tensor, " R"]:
        """Log-probability of every response, in the order of `all_responses`."""
        responses = all_responses(self.vocabulary, self.length)
        return self.evaluate({}, responses, torch.ones_like(responses, dtype=torch.bool)).logprobs.sum(1)


def all_responses(vocabulary: int, length: int) -> Int[Tensor, "R T"]:
    return torch.tensor(list(product(range(vocabulary), repeat=length)))


def best_log_distribution(ref: Float[Tensor, " R"], rewards: Float[Tensor, " R"], beta: float) -> Float[Tensor, " R"]:
    """log pi* where pi* ∝ pi_ref exp(r / beta)."""
    return torch.log_softmax(ref + rewards / beta, 0)


def kl_divergence(p: Float[Tensor, " R"], q: Float[Tensor, " R"]) -> float:
    """KL(p || q) in nats of two log-distributions, by enumeration."""
    return float((p.exp() * (p - q)).sum())


def train_tabular(
    reference: TabularLM, rewards: Float[Tensor, " R"], config: PPOConfig, seed: int = 0
) -> tuple[TabularLM, list[float]]:
    """Train a copy of `reference` on a table of rewards; the policy, and max |ratio - 1| before each first step.

    The rollout is rlhf/rollout.py's: the same penalty, the same advantages, the same update.
    """
    policy = TabularLM(reference.vocabulary, reference.length, reference.logits.detach(), config.algorithm == "ppo")
    optimizer = make_optimizer([(policy.parameters(), config.learning_rate)], config)
    place = reference.vocabulary ** torch.arange(reference.length - 1, -1, -1)
    mask, guard, deviations = torch.ones(config.batch_size, reference.length, dtype=torch.bool), Guard(5), []
    group = torch.arange(config.batch_size // config.responses_per_prompt).repeat_interleave(
        config.responses_per_prompt
    )
    for step in range(config.steps):
        set_learning_rate(optimizer, schedule(step, config.steps, config))
        draw = seeded_generator(seed, step, "tabular")
        actions = policy.sample(config.batch_size, draw)
        logprobs, values, _ = old_evaluation(policy, {}, actions, mask, config)
        with torch.no_grad():
            ref_logprobs = reference.evaluate({}, actions, mask).logprobs
        scores = rewards[(actions * place).sum(1)]
        penalty = config.kl_coef * kl_estimate(logprobs, ref_logprobs, config.kl_estimator)
        advantages, returns = advantages_of(place_scores(-penalty, scores, mask), values, mask, group, config)
        batch = Batch({}, actions, mask, logprobs, values, advantages, returns)
        deviations.append(ppo_update(policy, optimizer, batch, config, draw, guard)["first_ratio_deviation"])
    return policy, deviations
