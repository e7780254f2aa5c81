"""Fixed points of training on a tabular language model: in closed form, or by following the exact expected update.

With p the policy's distribution over whole responses, ref the reference's, L = log p - log ref and r the rewards:

    optimum          E[r] - beta KL(p || ref)      p ∝ ref exp(r / beta)
    best response    E[r]                          all probability on the highest reward
    reversed         E[r] - beta KL(ref || p)      p = beta ref / (lambda - r), with lambda such that p sums to 1
    squares          E[r] - beta E[L^2 / 2]        numerically
    pushed down      k2 or k3 as a reward, which is not the gradient of E[r] - beta E[k2 or k3]; numerically
    next token       pi(a|s) ∝ ref(a|s) exp(E[r | s, a] / beta): each token is charged its own KL only
    spread …         as without the word, with beta multiplied by the standard deviation of the rewards under p itself
    group spread …   as spread, for groups of a few responses: r is replaced by its expected advantage in such a group
    length optimum   p ∝ ref exp((r + c |y|) / beta), c = beta KL(p || ref) / E_p|y|: a bonus for each token
    length …         other KL losses where each response's loss is divided by its length |y|; numerically
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import PPOConfig
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.kl import kl_in_loss, make_kl_term
from likelier.ppo.losses import scale_by_length
from likelier.prove.groups import group_advantages
from likelier.prove.tabular_lm import TabularLM, kl_divergence, optimal_log_distribution
from likelier.rlhf.rewards import compute_kl_penalties
from likelier.training.setup import make_optimizer, schedule, set_learning_rate

LogDistribution = Float[Tensor, " R"]
SolveForBeta = Callable[[float], LogDistribution]
"""beta -> optimal policy."""
SPREAD_EPS = 1e-4
"""The constant that `group_normalised` adds to the standard deviation."""

MAX_ITERATIONS, TOLERANCE = 5000, 1e-12
MAX_GROUP_ITERATIONS, GROUP_TOLERANCE = 100, 1e-4
MAX_SMALL_GROUP = 64
"""Larger groups count as one of all responses: their advantages may be 8 and more, which beta no longer holds."""


@dataclass(frozen=True)
class Table:
    """A tabular reference model with a reward per response and a KL coefficient."""

    reference: TabularLM
    rewards: Float[Tensor, " R"]
    beta: float

    @property
    def ref(self) -> LogDistribution:
        """Log-probabilities of all responses under the reference, float64."""
        return self.reference.log_distribution().double()

    @property
    def optimum(self) -> LogDistribution:
        """Log-probabilities of the optimal policy, float64."""
        return optimal_log_distribution(self.ref, self.rewards.double(), self.beta)


def fixed_point_name(config: PPOConfig) -> str:
    """Return the name of the settings' fixed point, from the table above."""
    kind, place = config.kl_estimator, config.kl_place
    if place == "reward":
        # E_p[k1] is KL(p || ref), and a reward's score-function gradient leaves out the derivative through the
        # estimator itself: E[grad k1] = E[grad log p] = 0, so nothing is lost with k1, but it is with k2 and k3.
        return "optimum" if kind == "k1" else "pushed down"
    if place == "loss":
        # Differentiated as a loss on samples of p without the score term: E[grad k1] = E[grad log p] = 0, so there is
        # no penalty; grad k2 = L grad log p is the gradient of KL(p || ref); E[grad k3] is that of KL(ref || p).
        name = {"k1": "best response", "k2": "optimum", "k3": "reversed"}[kind]
    else:
        # Times the ratio, the score term is there: the gradient is that of the estimator's expectation, E[L],
        # E[L^2 / 2] or E[exp(-L) - 1 + L]; the first and the last are KL(p || ref).
        name = {"k1": "optimum", "k2": "squares", "k3": "optimum"}[kind]
    # A KL loss per token has no credit for later tokens: the KL that a token leads to is not charged to it.
    if config.kl_level == "token" and name == "optimum":
        name = "next token"
    # Advantages divided by a standard deviation, a penalty that is not: beta is in effect multiplied by it.
    elif ALGORITHMS[config.algorithm].spread and name != "best response":
        name = "spread" if name == "optimum" else f"spread {name}"
        name = f"group {name}" if small_group(config) else name
    return f"length {name}" if config.loss_aggregation == "sequence" else name


def small_group(config: PPOConfig) -> int | None:
    """Return the size of groups so small that their own spread is not that of all responses; None: of no others."""
    small = ALGORITHMS[config.algorithm].spread == "responses" and config.responses_per_prompt <= MAX_SMALL_GROUP
    return config.responses_per_prompt if small else None


def fixed_point_key(config: PPOConfig) -> tuple[str, str]:
    """Return (name, the other settings that the fixed point depends on), a cache key."""
    name = fixed_point_name(config)
    if name == "pushed down":
        return name, f"{config.kl_estimator} {config.loss_aggregation}"
    if name.startswith("length"):
        return name, f"{config.algorithm} {config.kl_estimator} {config.kl_place} {config.kl_level}"
    return name, f"{config.algorithm} {small_group(config)}" if "spread" in name else ""


def fixed_point(table: Table, config: PPOConfig) -> LogDistribution:
    """Return the log-probabilities of the settings' fixed point on this table, [R], float64."""
    ref, rewards, name = table.ref, table.rewards.double(), fixed_point_name(config)
    if name == "optimum":
        return table.optimum
    if name == "best response":
        return torch.log_softmax(torch.where(rewards == rewards.max(), ref, -torch.inf), 0)
    if name == "reversed":
        return reversed_kl_optimum(ref, rewards, table.beta)
    if name == "next token":
        return next_token_optimum(table)
    if name == "length optimum":
        return length_optimum(table)
    if name == "spread":
        return spread_optimum(lambda beta: optimal_log_distribution(ref, rewards, beta), table, config)
    if name == "spread reversed":
        return spread_optimum(lambda beta: reversed_kl_optimum(ref, rewards, beta), table, config)
    if name == "group spread":
        return group_optimum(lambda gains: optimal_log_distribution(ref, gains, table.beta), table, config)
    if name == "group spread reversed":
        return group_optimum(lambda gains: reversed_kl_optimum(ref, gains, table.beta), table, config)
    return follow_expected_update(table, config)


def reversed_kl_optimum(ref: LogDistribution, rewards: Float[Tensor, " R"], beta: float) -> LogDistribution:
    """Maximise E[r] - beta KL(ref || p): p = beta ref / (lambda - r), by bisection for lambda > max r."""
    low, high = rewards.max(), rewards.max() + beta  # at `high` every lambda - r is at least beta, so p sums to <= 1
    for _ in range(200):
        middle = (low + high) / 2
        if (beta * ref.exp() / (middle - rewards)).sum() > 1:
            low = middle
        else:
            high = middle
    return torch.log_softmax(ref - (high - rewards).log(), 0)


def length_optimum(table: Table) -> LogDistribution:
    """Solve p ∝ ref exp((r + c |y|) / beta) with c = beta KL(p || ref) / E|y| by fixed-point iteration from c = 0."""
    # Each response's gain r - beta L - E[r], divided by its length, must be level for the expected update to vanish.
    # At the optimum the gain is -beta KL for every response, which has no effect as long as it is constant
    # (E[grad log p] = 0); divided by the length it pushes short responses down harder. Hence the bonus per token.
    ref, rewards, lengths = table.ref, table.rewards.double(), table.reference.masks.sum(1).double()
    policy, bonus = table.optimum, 0.0
    for _ in range(MAX_ITERATIONS):
        previous, bonus = bonus, table.beta * kl_divergence(policy, ref) / float((policy.exp() * lengths).sum())
        if abs(bonus - previous) < TOLERANCE:
            break
        policy = optimal_log_distribution(ref, rewards + bonus * lengths, table.beta)
    return policy


def next_token_optimum(table: Table) -> LogDistribution:
    """Solve pi(a|s) ∝ ref(a|s) exp(Q(s, a) / beta), Q the mean reward under pi, backwards from the last token."""
    model = table.reference.copy(critic=False).double()
    states, logits = model.states(model.responses), model.logits.detach().clone()
    value = table.rewards.double()  # [R], value of each response's first t + 1 tokens
    for t in reversed(range(model.length)):
        active = model.masks[:, t]
        q = torch.zeros_like(logits)
        q[states[active, t], model.responses[active, t]] = value[active]
        prefixes = states[active, t].unique()
        # The plain mean of the values, not the soft maximum beta log E[exp(Q / beta)]: with the latter, the KL of
        # later tokens would be charged too, and the result would be the optimum.
        logits[prefixes] = logits[prefixes] + q[prefixes] / table.beta
        means = (torch.softmax(logits, -1) * q).sum(-1)
        value = torch.where(active, means[states[:, t]], value)
    model.logits.data = logits
    return model.log_distribution()


def spread_optimum(solve: SolveForBeta, table: Table, config: PPOConfig) -> LogDistribution:
    """Solve for the policy optimal at beta times its own spread, by fixed-point iteration from the reference's spread.

    Where the spread shrinks faster than the policy sharpens, the only solution is the best response, with spread 0.
    """
    rewards, lengths = table.rewards.double(), table.reference.masks.sum(1)
    policy, spread = table.ref, 0.0
    for _ in range(MAX_ITERATIONS):
        previous, spread = spread, float(return_std(rewards, policy.exp(), lengths, config))
        if abs(spread - previous) < TOLERANCE:
            break
        policy = solve(table.beta * (spread + SPREAD_EPS))
    return policy


def group_optimum(
    solve: Callable[[Float[Tensor, " R"]], LogDistribution], table: Table, config: PPOConfig
) -> LogDistribution:
    """Solve for the policy that is optimal for its own expected advantages, by damped iteration from the reference."""
    expect, policy = group_advantages(table.rewards, config.responses_per_prompt), table.ref
    for _ in range(MAX_GROUP_ITERATIONS):
        previous, policy = policy, torch.log_softmax((policy + solve(expect(policy))) / 2, 0)
        if (policy.exp() - previous.exp()).abs().max() < GROUP_TOLERANCE:
            break
    return policy


def return_std(gains: Tensor, probabilities: Tensor, lengths: Tensor, config: PPOConfig) -> Tensor:
    """Return the standard deviation that divides advantages: GRPO's over responses, REINFORCE++'s over tokens."""
    weights = probabilities * (lengths if ALGORITHMS[config.algorithm].spread == "tokens" else 1)
    weights = weights / weights.sum()
    return (weights * (gains - (weights * gains).sum()).square()).sum().sqrt()


def follow_expected_update(
    table: Table, config: PPOConfig, steps: int = 300, learning_rate: float = 0.15
) -> LogDistribution:
    """Train from the reference with the exact expected update, without sampling; returns log-probabilities [R]."""
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
    """Return a loss whose gradient is training's expected one at ratio 1: summed over all responses by probability."""
    mask = policy.masks
    logprobs = policy.evaluate({}, policy.responses, mask).logprobs
    # Expectations are under the sampling policy: probabilities and advantages are constants, the gradient flows through
    # `logprobs` alone, as in the update (at ratio 1, grad ratio = grad log p).
    old = logprobs.detach()
    with torch.no_grad():
        ref = reference.evaluate({}, policy.responses, mask).logprobs
        probabilities = old.sum(1).exp()
        gains = rewards - compute_kl_penalties(old, ref, mask, config.kl_coef, config).sum(1)
        advantages = gains - (probabilities * gains).sum()
        if size := small_group(config):
            advantages = group_advantages(gains, size)(old.sum(1))
        elif ALGORITHMS[config.algorithm].spread:
            advantages = advantages / (return_std(gains, probabilities, mask.sum(1), config) + SPREAD_EPS)
    terms = -advantages[:, None] * logprobs
    if term := make_kl_term(config, config.kl_coef):
        terms = terms + term.coef * kl_in_loss(logprobs, old, ref, mask, term)
    return (probabilities[:, None] * scale_by_length(terms, mask, config.loss_aggregation)).sum()
