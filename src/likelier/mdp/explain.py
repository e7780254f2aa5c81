"""`mdp --explain`: sweeps of value iteration, and learning curves of four algorithms against the exact solution."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from likelier.mdp.exact import Floats, TabularMDP
from likelier.mdp.file import NamedMDP
from likelier.mdp.learners import q_learning, reinforce, td0

MAX_SWEEPS = 1000
STEPS = (1_000, 10_000, 100_000, 300_000)
BATCHES = {"REINFORCE": (1, 10, 100, 300), "PPO": (1, 10, 30, 100)}
BATCH_SIZE = 64
MAX_STATES = 500
Curve = list[tuple[int, float]]


def explain_mdp(named: NamedMDP) -> dict[str, Any]:
    """Return the sweeps of value iteration, and each learner's distance from the exact solution.

    With a horizon, sweep k has k steps to go, and the learners' tables have an entry for each state at each step;
    learners are left out above `MAX_STATES` entries.
    """
    mdp = named.mdp
    tolerance = 1e-9 * max(1.0, abs(mdp.optimal_values()).max())
    sweeps = mdp.value_iteration(mdp.horizon or MAX_SWEEPS, -1.0 if mdp.horizon else tolerance)
    changes = [None, *(float(abs(new - old).max()) for old, new in pairwise(sweeps))]
    selected = [
        {"sweep": sweep, "change": changes[sweep], "values": named.values_by_state(sweeps[sweep])}
        for sweep in select_sweeps(len(sweeps))
    ]
    return {"sweeps": selected, "learners": run_learners(mdp, named.policy)}


def run_learners(mdp: TabularMDP, policy: Floats | None) -> list[dict[str, Any]]:
    """Run the learners on the MDP, unrolled over its horizon; [] if that has more than `MAX_STATES` states."""
    steps = mdp.horizon or 1
    if steps * len(mdp.rewards) > MAX_STATES:
        return []
    unrolled = mdp.unroll_horizon()
    # The learners' step sizes are tuned for rewards of about 1: train on scaled rewards, scale the distances back.
    scale = float(abs(unrolled.rewards).max()) or 1.0
    scaled = TabularMDP(unrolled.transitions, unrolled.rewards / scale, unrolled.gamma)
    results = list(compare_learners(scaled, None if policy is None else np.tile(policy, (steps, 1))))
    return [result | {"curve": [(step, scale * distance) for step, distance in result["curve"]]} for result in results]


def select_sweeps(count: int) -> list[int]:
    """Select the sweeps to show: the first ten, then increasingly sparse ones, and the last."""
    sparse = (sweep for sweep in (10, 20, 50, 100, 200, 500) if sweep < count)
    return sorted({*range(min(count, 10)), *sparse, count - 1})


def compare_learners(mdp: TabularMDP, policy: Floats | None) -> Iterator[dict[str, Any]]:
    """Yield each learner's name, a description of its distance, and its curve, with seed 0."""
    from likelier.mdp.ppo import tabular_ppo

    optimal = mdp.optimal_values()
    evaluated = mdp.optimal_policy() if policy is None else policy
    whose = "the optimal policy's" if policy is None else "the policy's"
    true = mdp.policy_values(evaluated)

    def value_loss(learned: Floats) -> float:
        return float((optimal - mdp.policy_values(learned)).max())

    yield {
        "name": "TD(0)",
        "measure": f"largest distance from {whose} values",
        "curve": sample_curve(td0(mdp, evaluated, STEPS[-1]), STEPS, lambda v: float(abs(v[:-1] - true).max())),
    }
    yield {
        "name": "Q-learning",
        "measure": "largest distance of max_a Q from the optimal values, acting at random",
        "curve": sample_curve(q_learning(mdp, STEPS[-1]), STEPS, lambda q: float(abs(q[:-1].max(1) - optimal).max())),
    }
    for name, learner in (("REINFORCE", reinforce), ("PPO", tabular_ppo)):
        yield {
            "name": name,
            "measure": f"largest loss of value against the optimal policy; a step is a batch of {BATCH_SIZE} episodes",
            "curve": sample_curve(learner(mdp, BATCHES[name][-1], count=BATCH_SIZE), BATCHES[name], value_loss),
        }


def sample_curve(iterates: Iterable[Any], steps: Iterable[int], distance: Callable[[Any], float]) -> Curve:
    """Return (step, distance of the iterate) at the given steps, counted from 1."""
    shown_steps = set(steps)
    return [(step, distance(np.copy(iterate))) for step, iterate in enumerate(iterates, start=1) if step in shown_steps]
