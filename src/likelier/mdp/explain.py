"""For learners: the sweeps of value iteration, and four algorithms that know only samples, beside the exact answer."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from likelier.mdp.exact import Floats, TabularMDP
from likelier.mdp.file import NamedMDP
from likelier.mdp.learners import q_learning, reinforce, td0

SWEEPS = 1000
STEPS = (1_000, 10_000, 100_000, 300_000)
BATCHES = {"REINFORCE": (1, 10, 100, 300), "PPO": (1, 10, 30, 100)}
EPISODES = 64
MOST_STATES = 500
Curve = list[tuple[int, float]]


def explain_mdp(named: NamedMDP) -> dict[str, Any]:
    """Sweeps of value iteration until they settle, and the curve of each learner's distance from the exact answer.

    With a horizon the best action depends on the step: the sweeps count the steps to go, and the learners have an entry
    for each state at each step. They are left out where that makes more than `MOST_STATES`.
    """
    mdp = named.mdp
    settled = 1e-9 * max(1.0, abs(mdp.optimal_values()).max())
    sweeps = mdp.value_iteration(mdp.horizon or SWEEPS, -1.0 if mdp.horizon else settled)
    changes = [None, *(float(abs(new - old).max()) for old, new in pairwise(sweeps))]
    shown = [
        {"sweep": at, "change": changes[at], "values": named.named(sweeps[at])} for at in worth_showing(len(sweeps))
    ]
    return {"sweeps": shown, "learners": shown_learners(mdp, named.policy)}


def shown_learners(mdp: TabularMDP, policy: Floats | None) -> list[dict[str, Any]]:
    steps = mdp.horizon or 1
    if steps * len(mdp.rewards) > MOST_STATES:
        return []
    wide = mdp.unrolled()
    scale = float(abs(wide.rewards).max()) or 1.0
    unit = TabularMDP(wide.transitions, wide.rewards / scale, wide.gamma)  # step sizes are for rewards of about 1
    found = list(learners(unit, None if policy is None else np.tile(policy, (steps, 1))))
    return [each | {"curve": [(at, scale * far) for at, far in each["curve"]]} for each in found]


def worth_showing(count: int) -> list[int]:
    """The first ten, then ever rarer, and the last."""
    return sorted({*range(min(count, 10)), *(at for at in (10, 20, 50, 100, 200, 500) if at < count), count - 1})


def learners(mdp: TabularMDP, policy: Floats | None) -> Iterator[dict[str, Any]]:
    """Each with what its distance means; seeds are 0."""
    from likelier.mdp.ppo import tabular_ppo

    best = mdp.optimal_values()
    followed = mdp.optimal_policy() if policy is None else policy
    whose = "the optimal policy's" if policy is None else "the policy's"
    true = mdp.policy_values(followed)

    def lost(learned: Floats) -> float:
        return float((best - mdp.policy_values(learned)).max())

    yield {
        "name": "TD(0)",
        "measure": f"largest distance from {whose} values",
        "curve": curve(td0(mdp, followed, STEPS[-1]), STEPS, lambda v: float(abs(v[:-1] - true).max())),
    }
    yield {
        "name": "Q-learning",
        "measure": "largest distance of max_a Q from the optimal values, acting at random",
        "curve": curve(q_learning(mdp, STEPS[-1]), STEPS, lambda q: float(abs(q[:-1].max(1) - best).max())),
    }
    for name, learner in (("REINFORCE", reinforce), ("PPO", tabular_ppo)):
        yield {
            "name": name,
            "measure": f"largest loss of value against the optimal policy; a step is a batch of {EPISODES} episodes",
            "curve": curve(learner(mdp, BATCHES[name][-1], count=EPISODES), BATCHES[name], lost),
        }


def curve(learned: Iterable[Any], at: Iterable[int], distance: Any) -> Curve:
    """(step, distance) at the given steps."""
    wanted = set(at)
    return [(step, distance(np.copy(each))) for step, each in enumerate(learned, start=1) if step in wanted]
