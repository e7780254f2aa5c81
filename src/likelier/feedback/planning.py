"""How many judgements are needed to see that one model's answers are preferred."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from likelier.errors import ConfigError
from likelier.intervals import ALPHA, count_values, log_capital

CLOSEST = 0.005
"""Least difference of a win rate from one half that is planned for."""
SIMULATIONS = 400


@dataclass(frozen=True)
class Plan:
    """Judgements of `prompts`, of each by `overlap` people."""

    overlap: int
    prompts: int
    judgements: int


def plan_judgements(win_rate: float, agreement: float, overlap: int, power: float = 0.8, ties: float = 0.0) -> Plan:
    """Return how many prompts, judged by `overlap` people each, have an interval of the win rate without one half.

    `agreement` is how often two people give the same answer to a comparison, `power` the probability that the interval
    (95%, over prompts) excludes 1/2. Of a prompt whose answer is preferred with probability q, of mean w and variance
    v over prompts, two people agree with q^2 + (1 - q)^2, on average 1 - 2 w (1 - w) + 2 v; the mean of k votes on it
    has the variance v + (w (1 - w) - v) / k. Win rate and agreement are of answers that are no tie; where `ties` of all
    are, 1 / (1 - ties) times as many prompts are planned. ConfigError: values that exclude each other.
    """
    check_plan(win_rate, agreement, overlap, power)
    correlation = correlate_votes(win_rate, agreement)
    spread = correlation + (1 - correlation) / overlap
    errors = ndtri(1 - ALPHA / 2) * math.sqrt(spread / 4) + ndtri(power) * math.sqrt(win_rate * (1 - win_rate) * spread)
    prompts = math.ceil((errors / (win_rate - 0.5)) ** 2 / (1 - ties))
    return Plan(overlap, prompts, prompts * overlap)


def agree_by_chance(win_rate: float) -> float:
    """Return how often two independent answers with this probability are the same."""
    return 1 - 2 * win_rate * (1 - win_rate)


def correlate_votes(win_rate: float, agreement: float) -> float:
    """Return the correlation of two people's votes on one comparison."""
    chance = agree_by_chance(win_rate)
    return (agreement - chance) / (1 - chance)


def check_plan(win_rate: float, agreement: float, overlap: int, power: float) -> None:
    """ConfigError: a value that cannot be."""
    if not (CLOSEST <= abs(win_rate - 0.5) < 0.5):  # NaN too
        raise ConfigError(f"--win-rate {win_rate}: give a number between 0 and 1, at least {CLOSEST} from 0.5")
    chance = agree_by_chance(win_rate)
    if not chance <= agreement <= 1:
        raise ConfigError(
            f"--agreement {agreement}: two people agree in {chance:.3f} by chance where the win rate is {win_rate}; "
            "give a number from there to 1"
        )
    if overlap < 1:
        raise ConfigError(f"--overlap {overlap}: must be 1 or more")
    if not 0.5 <= power < 1:
        raise ConfigError(f"--power {power}: give a number from 0.5 to below 1")


def plan_watching(win_rate: float, power: float = 0.8, seed: int = 0) -> int:
    """Return after how many prompts a confidence sequence, looked at all the time, has excluded one half.

    With the probability `power`; by simulation. One vote on each prompt counts, so that agreement does not matter.
    """
    draw, length = np.random.default_rng(seed), 256
    while True:
        times = [first_exclusion(draw.random(length) < win_rate) for _ in range(SIMULATIONS)]
        if sum(time is not None for time in times) > power * SIMULATIONS:
            ordered = sorted(length + 1 if time is None else time for time in times)
            return ordered[math.ceil(power * SIMULATIONS) - 1]
        length *= 2


def first_exclusion(wins: NDArray[np.bool_]) -> int | None:
    """Return after how many wins and losses a confidence sequence excludes one half; None: after none."""
    capital = log_capital(*count_values(wins.astype(float), np.arange(1, len(wins) + 1)), 0.5)
    out = np.flatnonzero(capital >= math.log(1 / ALPHA))
    return int(out[0]) + 1 if len(out) else None
