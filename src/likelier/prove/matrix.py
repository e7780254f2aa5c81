"""The matrix of `prove`: each algorithm with each KL estimator in each place, compared with the exact optimum."""

import contextlib
import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import PPOConfig
from likelier.finetune.dpo_loss import dpo_loss
from likelier.jobs import map_in_processes
from likelier.ppo.algorithms import ALGORITHMS
from likelier.progress import progress
from likelier.prove.fixed_points import LogDistribution, Table, fixed_point, fixed_point_key
from likelier.prove.tabular_lm import TabularLM, kl_divergence, train_tabular
from likelier.training.setup import make_optimizer, schedule, seeded_generator, set_learning_rate

REACHED_KL = 0.01
"""A policy has reached the optimum if KL(policy || optimum) is at most this, in nats."""
MIN_SEPARATION = 0.03
"""Tables are drawn until KL(fixed point || optimum) of the other fixed points is at least this, in nats."""
BEST_OF = 4
BETA = 0.5
SHAPES: tuple[tuple[int, int, int | None], ...] = (
    (4, 3, 0),
    (5, 2, None),
    (3, 4, 0),
    (8, 2, 0),
    (3, 3, None),
    (6, 2, 0),
)
"""(vocabulary, length, end token) of random tables, by seed in turn."""
ESTIMATORS = ("k1", "k2", "k3")
PLACES = ("reward", "loss", "loss_ratio")
TOKEN_LEVEL_CELLS = (("k2", "loss"), ("k3", "loss_ratio"))
SEQUENCE_MEAN_CELLS = (
    ("ppo", "k1", "reward"),
    ("grpo", "k1", "reward"),
    ("rloo", "k2", "loss"),
    ("grpo", "k3", "loss"),
)
GROUP_CELLS = (("k1", "reward"), ("k2", "loss"), ("k3", "loss"))
GROUP_SIZES = (4, 16)
"""Responses to a prompt as people use them."""
BATCH_SIZE = 1024
NUM_STEPS = 150
SETTINGS: dict[str, Any] = {
    "num_ppo_epochs": 1,
    "num_mini_batches": 2,
    "learning_rate": 0.15,
    "adam_eps": 1e-8,
    "max_grad_norm": 100.0,
    "whiten_advantages": False,
    "response_length": 64,
}
"""Two optimizer steps per batch, so that ratios leave 1. Algorithms with groups get one group per batch."""
CRITIC_SETTINGS: dict[str, Any] = {"vf_coef": 1.0, "cliprange_value": None}
RESPONSES_PER_BATCH = 64
"""Tables of more responses than this get proportionally larger batches."""


@dataclass(frozen=True)
class Row:
    """A training setup, its fixed point in theory, and where training ended; distances in nats."""

    algorithm: str
    estimator: str | None
    place: str | None
    group: int | None
    """Responses in a group with its own mean and spread; None: the algorithm has no groups."""
    expected: bool
    """True if its fixed point is the optimum, or within `REACHED_KL` of it."""
    distance: float
    """KL(policy || optimum)."""
    reached: bool
    fixed_point: str
    """Name of its fixed point; the names are defined in prove/fixed_points.py."""
    fixed_point_distance: float
    """KL(fixed point || policy)."""
    fixed_point_to_optimum: float
    """KL(fixed point || optimum), exact."""

    @property
    def holds(self) -> bool:
        """True if training agrees with theory."""
        return self.expected == self.reached


def make_config(
    table: Table,
    algorithm: str,
    estimator: str,
    place: str,
    level: str = "response",
    aggregation: str | None = None,
    group: int | None = None,
) -> PPOConfig:
    """Make the settings of one run on a table; `level` is `kl_level`, `aggregation` is `loss_aggregation`.

    `group` is the number of responses in a group; by default a whole batch is one.
    """
    size = BATCH_SIZE * min(8, math.ceil(len(table.rewards) / RESPONSES_PER_BATCH))
    sizes: dict[str, Any] = {"batch_size": size, "total_episodes": size * NUM_STEPS}
    sizes["responses_per_prompt"] = (group or size) if ALGORITHMS[algorithm].needs_groups else 1
    own: dict[str, Any] = {
        "algorithm": algorithm,
        "kl_estimator": estimator,
        "kl_place": place,
        "kl_level": level,
        "kl_coef": table.beta,
        **({} if aggregation is None else {"loss_aggregation": aggregation}),
    }
    return PPOConfig(**SETTINGS, **sizes, **own, **(CRITIC_SETTINGS if ALGORITHMS[algorithm].has_critic else {}))


def make_matrix(table: Table) -> list[PPOConfig]:
    """List all algorithms x places x estimators, KL losses per token, losses averaged per response, small groups."""
    configs = [
        make_config(table, name, estimator, place) for name, place, estimator in product(ALGORITHMS, PLACES, ESTIMATORS)
    ]
    configs += [make_config(table, "ppo", estimator, place, "token") for estimator, place in TOKEN_LEVEL_CELLS]
    configs += [make_config(table, *cell, "response", "sequence") for cell in SEQUENCE_MEAN_CELLS]
    return configs + [make_config(table, "grpo", *cell, group=size) for cell in GROUP_CELLS for size in GROUP_SIZES]


def describe_place(config: PPOConfig) -> str:
    """Return the `place` of a row: kl_place, with suffixes for a token-level KL and for a mean over responses."""
    level = "" if config.kl_level == "response" else f"_{config.kl_level}"
    return config.kl_place + level + ("_sequence" if config.loss_aggregation == "sequence" else "")


def random_table(seed: int, beta: float = BETA) -> Table:
    """Draw standard normal logits and rewards until all other fixed points are clearly separate from the optimum."""
    vocabulary, length, end_token = SHAPES[seed % len(SHAPES)]
    generator = seeded_generator(seed, 0, "prove")
    while True:
        reference = TabularLM(vocabulary, length, end_token=end_token)
        reference.logits.data = torch.randn(reference.logits.shape, generator=generator)
        table = Table(reference, torch.randn(len(reference.responses), generator=generator), beta)
        others = [
            make_config(table, "ppo", "k3", "loss"),
            make_config(table, "ppo", "k2", "loss", "token"),
            make_config(table, "grpo", "k2", "loss"),
            make_config(table, "grpo", "k3", "loss"),
        ]
        # Responses of equal length: a mean per response is the plain mean, and its fixed point the optimum.
        if reference.masks.sum(1).unique().numel() > 1:
            others.append(make_config(table, "rloo", "k2", "loss", "response", "sequence"))
        if all(kl_divergence(fixed_point(table, other), table.optimum) > MIN_SEPARATION for other in others):
            return table


def prove(table: Table, seed: int = 0, workers: int = 1, configs: Iterable[PPOConfig] | None = None) -> list[Row]:
    """Train every row of the matrix (or of `configs`) on a table and compare it with its fixed point."""
    selected = list(make_matrix(table) if configs is None else configs)
    fixed_points: dict[tuple[str, str], LogDistribution] = {}
    rows = []
    with (
        progress("prove", len(selected)) as bar,
        contextlib.closing(train_all(table, selected, seed, workers)) as policies,
    ):
        for config, policy in zip(selected, policies, strict=True):
            key = fixed_point_key(config)
            if key not in fixed_points:
                fixed_points[key] = fixed_point(table, config)
            group = config.responses_per_prompt if ALGORITHMS[config.algorithm].needs_groups else None
            cell = config.algorithm, config.kl_estimator, describe_place(config), group
            rows.append(make_row(table, policy, cell, key[0], fixed_points[key]))
            bar.advance(note=" ".join(map(str, cell[:3])))
    if configs is None:
        rows += [prove_dpo(table, seed), prove_best_of_n(table, seed)]
    return rows


def make_row(
    table: Table,
    policy: LogDistribution,
    cell: tuple[str, str | None, str | None, int | None],
    name: str,
    fixed: LogDistribution,
    expected: bool | None = None,
) -> Row:
    """Measure a policy's distances from its fixed point `fixed`, called `name`, and from the optimum."""
    distance, fixed_to_optimum = kl_divergence(policy, table.optimum), kl_divergence(fixed, table.optimum)
    return Row(
        *cell,
        expected=fixed_to_optimum <= REACHED_KL if expected is None else expected,
        distance=distance,
        reached=distance <= REACHED_KL,
        fixed_point=name,
        fixed_point_distance=kl_divergence(fixed, policy),
        fixed_point_to_optimum=fixed_to_optimum,
    )


def train_all(table: Table, configs: list[PPOConfig], seed: int, workers: int) -> Generator[LogDistribution]:
    """Train with each config and yield the final policies in order; `workers` changes the time, not the results."""
    train = partial(train_on_table, table, seed)
    if workers == 1:
        yield from map(train, configs)
    else:
        yield from map_in_processes(train, configs, workers, partial(torch.set_num_threads, 1))


def train_on_table(table: Table, seed: int, config: PPOConfig) -> LogDistribution:
    """Return the final policy of a run through the same update and advantages as language models train with."""
    return train_tabular(table.reference, table.rewards, config, seed)[0].log_distribution().double()


def prove_dpo(table: Table, seed: int) -> Row:
    """Train DPO on random pairs, each judged once by Bradley-Terry with the table's rewards."""
    return make_row(table, train_dpo(table, seed), ("dpo", None, None, None), "optimum", table.optimum)


def train_dpo(table: Table, seed: int) -> LogDistribution:
    """Return the policy that DPO ends at; the first response is preferred with probability sigmoid(r_1 - r_2)."""
    config = make_config(table, "ppo", "k1", "reward")
    policy, rewards, size = table.reference.copy(critic=False), table.rewards, 4 * config.batch_size
    optimizer, ref = make_optimizer([(policy.parameters(), config.learning_rate)], config), table.ref.float()
    # Four times as many steps as the matrix: at beta 0.25 log-ratios move by up to 10 nats.
    steps = 4 * config.steps
    for step in range(steps):
        set_learning_rate(optimizer, schedule(step, steps, config))
        generator = seeded_generator(seed, step, "dpo")
        first, second = torch.randint(len(rewards), (2, size), generator=generator)
        second_wins = torch.rand(size, generator=generator) > torch.sigmoid(rewards[first] - rewards[second])
        chosen, rejected = torch.where(second_wins, second, first), torch.where(second_wins, first, second)
        logprobs = policy.evaluate({}, policy.responses, policy.masks).logprobs.sum(1)
        optimizer.zero_grad()
        dpo_loss(logprobs[chosen], logprobs[rejected], ref[chosen], ref[rejected], table.beta)[0].backward()
        optimizer.step()
    return policy.log_distribution().double()


def prove_best_of_n(table: Table, seed: int, n: int = BEST_OF, groups: int = 20_000) -> Row:
    """Sample best-of-n from the reference many times; its exact distribution is the row's fixed point."""
    generator = seeded_generator(seed, 0, "best of")
    samples = table.reference.rows(table.reference.sample(n * groups, generator)).view(groups, n)
    best = samples.gather(1, table.rewards[samples].argmax(1, keepdim=True))[:, 0]
    frequencies = torch.bincount(best, minlength=len(table.rewards)).double() / groups
    exact = best_of_n_distribution(table.ref, table.rewards.double(), n)
    distance = kl_divergence(exact, table.optimum)
    return Row(
        algorithm="best_of_n",
        estimator=None,
        place=None,
        group=None,
        expected=False,
        distance=distance,
        reached=distance <= REACHED_KL,
        fixed_point=f"best of {n}",
        fixed_point_distance=kl_divergence(frequencies.log(), exact),
        fixed_point_to_optimum=distance,
    )


def best_of_n_distribution(ref: LogDistribution, rewards: Float[Tensor, " R"], n: int) -> LogDistribution:
    """Return the exact distribution of the best of n samples: P(all <= r) - P(all < r), with ties split as in ref.

    KL(best of n || ref) is at most log n - (n - 1) / n, and close to it where every single response is unlikely
    (Beirami et al. 2024).
    """
    probabilities = ref.exp()
    at_most = torch.stack([probabilities[rewards <= reward].sum() for reward in rewards])
    below = torch.stack([probabilities[rewards < reward].sum() for reward in rewards])
    equal = at_most - below
    return (at_most.pow(n) - below.pow(n)).log() + ref - equal.log()
