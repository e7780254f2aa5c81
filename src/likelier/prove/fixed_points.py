"""Where training on a tabular language model ends, from theory: closed forms, or the expected update followed exactly.

With p the policy's distribution over whole responses, ref the reference's, L = log p - log ref and r the rewards:

    optimum          E[r] - beta KL(p || ref)      p ∝ ref exp(r / beta)
    best response    E[r]                          all on the highest reward
    reversed         E[r] - beta KL(ref || p)      p = beta ref / (lambda - r), lambda so that p sums to 1
    squares          E[r] - beta E[L^2 / 2]        followed
    pushed down      of no objective: k2 or k3 as if it were a reward; followed
    next token       pi(a|s) ∝ ref(a|s) exp(E[r | s, a] / beta): each token pays for itself only
    spread …         as without the word, beta multiplied by the spread of the rewards that p itself has
    length optimum   p ∝ ref exp((r + c |y|) / beta), c = beta KL(p || ref) / E_p|y|: each token is paid for
    length …         what else a penalty in the loss leads to where each response's loss is divided by its length |y|
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import PPOConfig
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.kl import kl_in_loss, kl_term_of
from likelier.ppo.losses import by_response
from likelier.prove.tabular_lm import TabularLM, best_log_distribution, kl_divergence
from likelier.rlhf.rollout import penalties
from likelier.training.setup import make_optimizer, schedule, set_learning_rate

LogDistribution = Float[Tensor, " R"]
Maximiser = Callable[[float], LogDistribution]
"""From a price of KL to the best policy at that price."""
SPREAD_EPS = 1e-4
"""What group_normalised adds to the standard deviation."""


@dataclass(frozen=True)
class Table:
    """A language model whose every response is known, with a reward for each and the price of a nat of KL."""

    reference: TabularLM
    rewards: Float[Tensor, " R"]
    beta: float

    @property
    def ref(self) -> LogDistribution:
        return self.reference.log_distribution().double()

    @property
    def optimum(self) -> LogDistribution:
        return best_log_distribution(self.ref, self.rewards.double(), self.beta)


def fixed_point_name(config: PPOConfig) -> str:
    """What settings lead to, by the table above."""
    kind, place = config.kl_estimator, config.kl_place
    if place == "reward":
        return "optimum" if kind == "k1" else "pushed down"
    if place == "loss":
        name = {"k1": "best response", "k2": "optimum", "k3": "reversed"}[kind]
    else:
        name = {"k1": "optimum", "k2": "squares", "k3": "optimum"}[kind]
    if config.kl_level == "token" and name == "optimum":
        name = "next token"
    elif ALGORITHMS[config.algorithm].spread and name != "best response":
        name = "spread" if name == "optimum" else f"spread {name}"
    return f"length {name}" if config.loss_aggregation == "sequence" else name


def fixed_point_key(config: PPOConfig) -> tuple[str, str]:
    """The name, and what else of the settings decides where that is."""
    name = fixed_point_name(config)
    if name == "pushed down":
        return name, f"{config.kl_estimator} {config.loss_aggregation}"
    if name.startswith("length"):
        return name, f"{config.algorithm} {config.kl_estimator} {config.kl_place} {config.kl_level}"
    return name, config.algorithm if "spread" in name else ""


def fixed_point(table: Table, config: PPOConfig) -> LogDistribution:
    """The policy that these settings lead to on this table."""
    ref, rewards, name = table.ref, table.rewards.double(), fixed_point_name(config)
    if name == "optimum":
        return table.optimum
    if name == "best response":
        return torch.log_softmax(torch.where(rewards == rewards.max(), ref, -torch.inf), 0)
    if name == "reversed":
        return reversed_best(ref, rewards, table.beta)
    if name == "next token":
        return next_token_best(table)
    if name == "length optimum":
        return length_best(table)
    if name == "spread":
        return at_own_spread(lambda price: best_log_distribution(ref, rewards, price), table, config)
    if name == "spread reversed":
        return at_own_spread(lambda price: reversed_best(ref, rewards, price), table, config)
    return followed(table, config)


def reversed_best(ref: LogDistribution, rewards: Float[Tensor, " R"], beta: float) -> LogDistribution:
    """The maximum of E[r] - beta KL(ref || p): p = beta ref / (lambda - r), by bisection for lambda > max r."""
    low, high = rewards.max(), rewards.max() + beta  # at `high` every lambda - r is at least beta, so p sums to <= 1
    for _ in range(200):
        middle = (low + high) / 2
        if (beta * ref.exp() / (middle - rewards)).sum() > 1:
            low = middle
        else:
            high = middle
    return torch.log_softmax(ref - (high - rewards).log(), 0)


def length_best(table: Table) -> LogDistribution:
    """p ∝ ref exp((r + c |y|) / beta) with c = beta KL(p || ref) / E|y|, followed from c = 0 on.

    There (r - beta L - E[r]) / |y| is the same for every response. Without the division it is beta times the KL below
    0 throughout, which costs nothing, since E[grad log p] = 0; divided by a length it costs short responses more.
    """
    ref, rewards, lengths = table.ref, table.rewards.double(), table.reference.masks.sum(1).double()
    found, bonus = table.optimum, 0.0
    for _ in range(5000):
        before, bonus = bonus, table.beta * kl_divergence(found, ref) / float((found.exp() * lengths).sum())
        if abs(bonus - before) < 1e-12:
            break
        found = best_log_distribution(ref, rewards + bonus * lengths, table.beta)
    return found


def next_token_best(table: Table) -> LogDistribution:
    """pi(a|s) ∝ ref(a|s) exp(Q(s, a) / beta) with Q the mean reward under pi, from the last token to the first."""
    model = table.reference.copy(critic=False).double()
    states, logits = model.states(model.responses), model.logits.detach().clone()
    worth = torch.zeros(len(logits))[states[:, 0]].double() + table.rewards.double()  # of each response's prefix
    for t in reversed(range(model.length)):
        here = model.masks[:, t]
        worths = torch.zeros_like(logits)
        worths[states[here, t], model.responses[here, t]] = worth[here]
        of_length = states[here, t].unique()
        logits[of_length] = logits[of_length] + worths[of_length] / table.beta
        means = (torch.softmax(logits, -1) * worths).sum(-1)
        worth = torch.where(here, means[states[:, t]], worth)
    model.logits.data = logits
    return model.log_distribution()


def at_own_spread(best: Maximiser, table: Table, config: PPOConfig) -> LogDistribution:
    """The policy that is best at the price of beta times its own spread, found from the reference's spread on.

    Where the spread shrinks faster than the policy sharpens there is none but the best response, at spread 0.
    """
    rewards, lengths = table.rewards.double(), table.reference.masks.sum(1)
    found, spread = table.ref, 0.0
    for _ in range(5000):
        before, spread = spread, float(return_std(rewards, found.exp(), lengths, config))
        if abs(spread - before) < 1e-12:
            break
        found = best(table.beta * (spread + SPREAD_EPS))
    return found


def return_std(gains: Tensor, probabilities: Tensor, lengths: Tensor, config: PPOConfig) -> Tensor:
    """Standard deviation that advantages are divided by: GRPO's over responses, REINFORCE++'s over tokens."""
    weights = probabilities * (lengths if ALGORITHMS[config.algorithm].spread == "tokens" else 1)
    weights = weights / weights.sum()
    return (weights * (gains - (weights * gains).sum()).square()).sum().sqrt()


def followed(table: Table, config: PPOConfig, steps: int = 300, learning_rate: float = 0.15) -> LogDistribution:
    """Where the expected update ends that starts at the reference: no sampling, every response by its probability."""
    policy, reference = (table.reference.copy(critic=False).double() for _ in range(2))
    optimizer = make_optimizer([(policy.parameters(), learning_rate)], config)
    for step in range(steps):
        set_learning_rate(optimizer, schedule(step, steps, config))
        optimizer.zero_grad()
        expected_loss(policy, reference, table.rewards.double(), config).backward()
        optimizer.step()
    return policy.log_distribution()


def expected_loss(
    policy: TabularLM, reference: TabularLM, rewards: Float[Tensor, " R"], config: PPOConfig
) -> Float[Tensor, ""]:
    """A loss with the gradient that training has on average at ratio 1: the sum over all responses, by probability."""
    mask = policy.masks
    logprobs = policy.evaluate({}, policy.responses, mask).logprobs
    old = logprobs.detach()
    with torch.no_grad():
        ref = reference.evaluate({}, policy.responses, mask).logprobs
        probabilities = old.sum(1).exp()
        gains = rewards - penalties(old, ref, mask, config.kl_coef, config).sum(1)
        advantages = gains - (probabilities * gains).sum()
        if ALGORITHMS[config.algorithm].spread:
            advantages = advantages / (return_std(gains, probabilities, mask.sum(1), config) + SPREAD_EPS)
    terms = -advantages[:, None] * logprobs
    if term := kl_term_of(config, config.kl_coef):
        terms = terms + term.coef * kl_in_loss(logprobs, old, ref, mask, term)
    return (probabilities[:, None] * by_response(terms, mask, config.loss_aggregation)).sum()
