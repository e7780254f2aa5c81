"""The proof matrix: every algorithm with every KL estimator in every place, beside the exact answer."""

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import PPOConfig
from likelier.finetune.dpo_loss import dpo_loss
from likelier.ppo.algorithms import ALGORITHMS
from likelier.progress import progress
from likelier.prove.fixed_points import LogDistribution, Table, fixed_point, fixed_point_key
from likelier.prove.tabular_lm import TabularLM, kl_divergence, train_tabular
from likelier.training.setup import make_optimizer, schedule, seeded_generator, set_learning_rate

NEAR = 0.01
"""A policy has reached the optimum where KL(policy || optimum) is at most so many nats."""
CLEAR = 0.03
"""A drawn table is taken where what else there is to be reached is at least so far from the optimum."""
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
"""Vocabulary, length and end token of the drawn tables, in turn."""
KINDS = ("k1", "k2", "k3")
PLACES = ("reward", "loss", "loss_ratio")
TOKEN = (("k2", "loss"), ("k3", "loss_ratio"))
SEQUENCE = (("ppo", "k1", "reward"), ("grpo", "k1", "reward"), ("rloo", "k2", "loss"), ("grpo", "k3", "loss"))
BATCH_SIZE = 1024
STEPS = 150
SETTINGS: dict[str, Any] = {
    "num_ppo_epochs": 1,
    "num_mini_batches": 2,
    "learning_rate": 0.15,
    "adam_eps": 1e-8,
    "max_grad_norm": 100.0,
    "whiten_advantages": False,
}
"""One group of all responses where there are groups; two optimizer steps on each batch, so that ratios leave 1."""
CRITIC: dict[str, Any] = {"vf_coef": 1.0, "cliprange_value": None}
RESPONSES_PER_BATCH = 64
"""A table of more responses than this gets a larger batch."""


@dataclass(frozen=True)
class Row:
    """One way of training, where theory says that it ends, and where it ended; distances in nats."""

    algorithm: str
    estimator: str | None
    place: str | None
    expected: bool
    """Whether the end that theory gives it is the optimum, or as near to it as `reached` asks."""
    distance: float
    """KL(policy || optimum)."""
    reached: bool
    fixed_point: str
    """What it truly leads to; the names stand in rlhf/fixed_points.py."""
    fixed_point_distance: float
    """KL(fixed point || policy)."""
    fixed_point_to_optimum: float
    """KL(fixed point || optimum), exactly."""

    @property
    def holds(self) -> bool:
        return self.expected == self.reached


def settings_of(
    table: Table, algorithm: str, kind: str, place: str, level: str = "response", aggregation: str | None = None
) -> PPOConfig:
    """Settings of one run on a table."""
    size = BATCH_SIZE * min(8, math.ceil(len(table.rewards) / RESPONSES_PER_BATCH))
    sizes: dict[str, Any] = {"batch_size": size, "total_episodes": size * STEPS}
    sizes["responses_per_prompt"] = size if ALGORITHMS[algorithm].needs_groups else 1
    own: dict[str, Any] = {
        "algorithm": algorithm,
        "kl_estimator": kind,
        "kl_place": place,
        "kl_level": level,
        "kl_coef": table.beta,
        **({} if aggregation is None else {"loss_aggregation": aggregation}),
    }
    return PPOConfig(**SETTINGS, **sizes, **own, **(CRITIC if ALGORITHMS[algorithm].has_critic else {}))


def matrix(table: Table) -> list[PPOConfig]:
    """Every algorithm, place and estimator; a penalty in the loss that sees single tokens; means of each response."""
    rows = [settings_of(table, name, kind, place) for name, place, kind in product(ALGORITHMS, PLACES, KINDS)]
    rows += [settings_of(table, "ppo", kind, place, "token") for kind, place in TOKEN]
    return rows + [settings_of(table, *cell, "response", "sequence") for cell in SEQUENCE]


def place_of(config: PPOConfig) -> str:
    """The place of a row: where the penalty is, of what it is taken, and whose mean the loss is."""
    level = "" if config.kl_level == "response" else f"_{config.kl_level}"
    return config.kl_place + level + ("_sequence" if config.loss_aggregation == "sequence" else "")


def random_table(seed: int, beta: float = BETA) -> Table:
    """Logits and rewards drawn from the standard normal, until other fixed points are clearly not the optimum."""
    vocabulary, length, end_token = SHAPES[seed % len(SHAPES)]
    draw = seeded_generator(seed, 0, "prove")
    while True:
        reference = TabularLM(vocabulary, length, end_token=end_token)
        reference.logits.data = torch.randn(reference.logits.shape, generator=draw)
        table = Table(reference, torch.randn(len(reference.responses), generator=draw), beta)
        others = [
            settings_of(table, "ppo", "k3", "loss"),
            settings_of(table, "ppo", "k2", "loss", "token"),
            settings_of(table, "grpo", "k2", "loss"),
            settings_of(table, "grpo", "k3", "loss"),
        ]
        if reference.masks.sum(1).unique().numel() > 1:
            others.append(settings_of(table, "rloo", "k2", "loss", "response", "sequence"))
        if all(kl_divergence(fixed_point(table, other), table.optimum) > CLEAR for other in others):
            return table


def prove(table: Table, seed: int = 0, workers: int = 1, configs: Iterable[PPOConfig] | None = None) -> list[Row]:
    """Train every row of the matrix (or of `configs`) on a table."""
    chosen = list(matrix(table) if configs is None else configs)
    found: dict[tuple[str, str], LogDistribution] = {}
    rows = []
    with progress("prove", len(chosen)) as job:
        for config, ended in zip(chosen, trained_all(table, chosen, seed, workers), strict=True):
            key = fixed_point_key(config)
            if key not in found:
                found[key] = fixed_point(table, config)
            cell = config.algorithm, config.kl_estimator, place_of(config)
            rows.append(row(table, ended, cell, key[0], found[key]))
            job.advance(note=" ".join(cell))
    if configs is None:
        rows += [dpo_row(table, seed), best_of_row(table, seed)]
    return rows


def row(
    table: Table,
    ended: LogDistribution,
    cell: tuple[str, str | None, str | None],
    name: str,
    fixed: LogDistribution,
    expected: bool | None = None,
) -> Row:
    """A policy's distances from where it was to end and from the optimum."""
    distance, apart = kl_divergence(ended, table.optimum), kl_divergence(fixed, table.optimum)
    return Row(
        *cell,
        expected=apart <= NEAR if expected is None else expected,
        distance=distance,
        reached=distance <= NEAR,
        fixed_point=name,
        fixed_point_distance=kl_divergence(fixed, ended),
        fixed_point_to_optimum=apart,
    )


def trained_all(table: Table, configs: list[PPOConfig], seed: int, workers: int) -> Iterator[LogDistribution]:
    """Where each of the settings ends, in order; the number of processes changes nothing but the time."""
    work = partial(trained, table, seed)
    if workers == 1:
        yield from map(work, configs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from pool.map(work, configs)


def trained(table: Table, seed: int, config: PPOConfig) -> LogDistribution:
    """Where a training run ends, through the update and the advantages that language models are trained with."""
    return train_tabular(table.reference, table.rewards, config, seed)[0].log_distribution().double()


def dpo_row(table: Table, seed: int) -> Row:
    """DPO on pairs of any two responses, each judged once: the first is preferred with sigmoid(r_1 - r_2)."""
    return row(table, dpo_trained(table, seed), ("dpo", None, None), "optimum", table.optimum)


def dpo_trained(table: Table, seed: int) -> LogDistribution:
    config = settings_of(table, "ppo", "k1", "reward")
    policy, rewards, size = table.reference.copy(critic=False), table.rewards, 4 * config.batch_size
    optimizer, ref = make_optimizer([(policy.parameters(), config.learning_rate)], config), table.ref.float()
    steps = 4 * config.steps  # at beta 0.25 a log-ratio has 10 nats to go
    for step in range(steps):
        set_learning_rate(optimizer, schedule(step, steps, config))
        draw = seeded_generator(seed, step, "dpo")
        one, two = torch.randint(len(rewards), (2, size), generator=draw)
        swapped = torch.rand(size, generator=draw) > torch.sigmoid(rewards[one] - rewards[two])
        chosen, rejected = torch.where(swapped, two, one), torch.where(swapped, one, two)
        logprobs = policy.evaluate({}, policy.responses, policy.masks).logprobs.sum(1)
        optimizer.zero_grad()
        dpo_loss(logprobs[chosen], logprobs[rejected], ref[chosen], ref[rejected], table.beta)[0].backward()
        optimizer.step()
    return policy.log_distribution().double()


def best_of_row(table: Table, seed: int, n: int = BEST_OF, groups: int = 20_000) -> Row:
    """The best of n samples of the reference, drawn many times; its exact distribution is its fixed point."""
    draw = seeded_generator(seed, 0, "best of")
    drawn = table.reference.rows(table.reference.sample(n * groups, draw)).view(groups, n)
    best = drawn.gather(1, table.rewards[drawn].argmax(1, keepdim=True))[:, 0]
    seen = torch.bincount(best, minlength=len(table.rewards)).double() / groups
    exact = best_of_n(table.ref, table.rewards.double(), n)
    distance = kl_divergence(exact, table.optimum)
    return Row(
        algorithm="best_of_n",
        estimator=None,
        place=None,
        expected=False,
        distance=distance,
        reached=distance <= NEAR,
        fixed_point=f"best of {n}",
        fixed_point_distance=kl_divergence(seen.log(), exact),
        fixed_point_to_optimum=distance,
    )


def best_of_n(ref: LogDistribution, rewards: Float[Tensor, " R"], n: int) -> LogDistribution:
    """The exact distribution of the best of n samples: P(all at most r) - P(all below r), shared out as ref does.

    KL(best of n || ref) is at most log n - (n - 1) / n, and close to it where no single response is likely
    (Beirami et al. 2024).
    """
    probabilities = ref.exp()
    at_most = torch.stack([probabilities[rewards <= reward].sum() for reward in rewards])
    below = torch.stack([probabilities[rewards < reward].sum() for reward in rewards])
    level = at_most - below
    return (at_most.pow(n) - below.pow(n)).log() + ref - level.log()
