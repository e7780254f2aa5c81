"""The learning curve of a reward run: its model trained again on fewer comparisons, and a forecast for more."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from likelier.config import Config
from likelier.errors import DataError
from likelier.explain.forecast import LEVEL, CurvePoint, choose_sizes, forecast_accuracy
from likelier.explain.run import RewardRun
from likelier.progress import progress
from likelier.records import Preference
from likelier.reward.check import compute_hits
from likelier.reward.ensemble import Reader
from likelier.reward.judged import clusters
from likelier.reward.off_prompt import add_off_prompt_pairs
from likelier.reward.pairs import BatchPlan
from likelier.reward.train import Member, score_pairs
from likelier.text.reward_model import RewardModel
from likelier.training.setup import schedule, seeded_generator, set_learning_rate

ORDERS = 2
"""Random orders of the prompts, each with its nested sets."""


def measure_curve(run: RewardRun, more: Sequence[int]) -> dict[str, Any]:
    """Train the run's first model again on an eighth, a quarter and a half of its pairs, in two orders, and forecast
    the gain of `more` pairs. DataError: no held-out pairs, or too few to train on.

    Returns the points, the accuracy now, and for each number of further pairs the gain with its 80 % interval: what
    would be measured on the same held-out pairs.
    """
    train, held_out = run.pairs.train, run.pairs.test or run.pairs.valid
    sizes = choose_sizes(len(train))
    if not held_out or len(sizes) < 2:
        raise DataError(
            f"{run.config.data}: {len(train)} pairs to train on and {len(held_out)} held-out ones are too few for a "
            "learning curve; collect more comparisons"
        )
    points = [CurvePoint(len(train), -1, measure_accuracy(run.ensemble.members[0], held_out))]
    with progress("learning curve", ORDERS * len(sizes)) as job:
        for order in range(ORDERS):
            rows = draw_order(train, run.config.seed, order)
            for size in sizes:
                some = [train[row] for row in rows[:size]]
                reward = train_again(run.config, some, run.pairs.valid, run.config.seed + order)
                points.append(CurvePoint(size, order, measure_accuracy(reward, held_out)))
                job.advance(note=f"{size} pairs: accuracy {points[-1].accuracy:.3f}")
    now = points[0].accuracy
    forecasts = []
    for number in more:
        forecast = forecast_accuracy(points, len(train) + number)
        low, high = forecast.interval
        forecasts.append({"more": number, "gain": forecast.mean - now, "gain_interval": [low - now, high - now]})
    curve = {"pairs": len(train), "held_out": len(held_out), "accuracy": now, "level": LEVEL}
    return curve | {"points": [vars(point) for point in points], "forecasts": forecasts}


def draw_order(pairs: Sequence[Preference], seed: int, order: int) -> list[int]:
    """Return the rows of the pairs in a random order of their conversations."""
    generator = np.random.default_rng(seeded_generator(seed, order, "learning curve").initial_seed())
    names = clusters(pairs)
    place = {name: number for number, name in enumerate(generator.permutation(sorted(set(names))))}
    return sorted(range(len(pairs)), key=lambda row: place[names[row]])


def train_again(config: Config, train: Sequence[Preference], valid: Sequence[Preference], seed: int) -> RewardModel:
    """Train a reward model on some pairs, as `likelier reward --seed` does; nothing is written."""
    settings = config.reward_model
    member = Member(config.model_copy(update={"seed": seed}), 0)
    train = add_off_prompt_pairs(train, settings.off_prompt_pairs, seed)
    plan = BatchPlan.from_pairs(train, settings)
    for step, rows in member.batches_left(plan, 0, seed):
        set_learning_rate(member.state.optimizer, schedule(step, plan.steps, settings))
        member.update([train[row] for row in rows])
        if plan.ends_epoch(step):
            member.end_epoch(valid, step + 1)
    member.restore_best()
    return member.reward


def measure_accuracy(reward: Reader, held_out: Sequence[Preference]) -> float:
    """Return the accuracy on held-out pairs."""
    return float(compute_hits(np.subtract(*score_pairs(reward.score, held_out)), held_out).mean())
