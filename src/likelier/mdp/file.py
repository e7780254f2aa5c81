"""MDPs as YAML files: read, checked, and what is odd about them named with its remedy."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likelier.config import read_yaml, shorten
from likelier.errors import ConfigError, DataError
from likelier.mdp.exact import MASS_TOLERANCE, MAX_ENDLESS_GAMMA, Floats, TabularMDP, endless_states, reachable_states

REQUIRED = ("states", "actions", "gamma", "transitions")
KEYS = (*REQUIRED, "rewards", "policy", "claimed_values", "horizon", "start", "terminal")
MAX_ENTRIES = 20_000_000
"""Numbers in the table of transitions (160 MB)."""
MAX_REWARD = 1e100
"""Sums of larger ones could overflow."""
MAX_HORIZON = 10_000
CLAIM_TOLERANCE = 1e-3
"""Claimed values may be rounded: they belong to the policy within this share of the largest value."""


@dataclass(frozen=True)
class Problem:
    """Something odd that does not stop the solver: its name, where it stands, what was done or is to be done."""

    name: str
    where: str
    remedy: str


@dataclass(frozen=True)
class NamedMDP:
    """An MDP with the names of its states and actions, and all that its file says."""

    states: Sequence[str]
    actions: Sequence[str]
    mdp: TabularMDP
    start: Floats
    """[S]: where episodes start."""
    policy: Floats | None
    """[S, A]: probabilities of the actions."""
    problems: Sequence[Problem]

    def named(self, values: Floats) -> dict[str, float]:
        """Values by state; 0 has no sign."""
        return dict(zip(self.states, (values + 0.0).tolist(), strict=True))

    def plan(self) -> list[dict[str, str]]:
        """The best action in each state, at each step of the horizon; once where there is none."""
        steps = self.mdp.optimum()[1]
        return [{state: self.actions[a] for state, a in zip(self.states, step, strict=True)} for step in steps]


def read_mdp(path: Path) -> NamedMDP:
    """Read and check a file.

    DataError, one line: not YAML, a wrong type, an unknown name, a probability or a row that cannot be one, gamma out
    of range, or gamma 1 where some policy never ends. What can be lived with stands in `problems`.
    """
    try:
        return build_mdp(read_yaml(path))
    except (ConfigError, DataError) as error:
        line = str(error)
        raise DataError(line if line.startswith(str(path)) else f"{path}: {line}") from error


def build_mdp(settings: Mapping[Any, Any]) -> NamedMDP:
    """The same from the mapping that a file holds."""
    check_keys(settings)
    states, actions = names(settings, "states"), names(settings, "actions")
    if len(states) ** 2 * len(actions) > MAX_ENTRIES:
        raise DataError(f"{len(states)} states and {len(actions)} actions are too many: at most 2,000 and 5, say")
    transitions = np.zeros((len(states), len(actions), len(states)))
    for s, a, where, row in pairs(settings["transitions"], "transitions", states, actions):
        transitions[s, a] = distribution(row, where, states)
    rewards = np.zeros((len(states), len(actions)))
    for s, a, where, reward in pairs(settings.get("rewards", {}), "rewards", states, actions):
        rewards[s, a] = number(reward, where, -MAX_REWARD, MAX_REWARD)
    terminal = terminal_states(settings.get("terminal", []), states, transitions, rewards)
    gamma, horizon = number(settings["gamma"], "gamma", 0, 1), whole(settings, "horizon", MAX_HORIZON)
    if gamma > MAX_ENDLESS_GAMMA and horizon is None and (endless := endless_states(transitions)):
        raise DataError(
            f"gamma: {gamma:g}, but from state `{states[endless[0]]}` some policy never ends; lower gamma, give a "
            "`horizon`, or let its transitions end the episode"
        )
    mdp = TabularMDP(transitions, rewards, gamma, horizon)
    start = start_of(settings, states, terminal)
    policy = policy_of(settings["policy"], states, actions) if "policy" in settings else None
    problems = [
        *missing_mass(transitions, states, actions, terminal),
        *unreachable(transitions, start, states),
        *undecided(mdp, policy, states),
        *false_claims(settings.get("claimed_values", {}), mdp, policy, states),
    ]
    return NamedMDP(states, actions, mdp, start, policy, problems)


def check_keys(settings: Mapping[Any, Any]) -> None:
    for key in settings:
        if key not in KEYS:
            raise DataError(f"unknown key `{key}`{nearest(str(key), KEYS)}")
    for key in REQUIRED:
        if key not in settings:
            raise DataError(f"`{key}` is missing; an MDP file has {', '.join(REQUIRED)}")


def names(settings: Mapping[Any, Any], key: str) -> list[str]:
    """A list of different names."""
    given = settings[key]
    if not isinstance(given, list) or not given:
        raise DataError(f"{key}: expected a list of names, got {shorten(given)}")
    found = [name_of(each, key) for each in given]
    if doubled := next((name for at, name in enumerate(found) if name in found[:at]), None):
        raise DataError(f"{key}: `{doubled}` is there twice")
    return found


def name_of(value: Any, where: str) -> str:
    """A name as text: numbers are names too. YAML makes true and false of yes, no, on and off."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: YAML reads {shorten(value)} here, which is no name; put names in quotes")
    name = str(value)
    if not name.strip() or not name.isprintable():
        raise DataError(f"{where}: {shorten(name)} cannot be a name; use printable characters")
    return name


def index_of(value: Any, where: str, known: Sequence[str], kind: str) -> int:
    name = name_of(value, where)
    if name not in known:
        raise DataError(f"{where}: unknown {kind} `{name}`{nearest(name, known)}")
    return known.index(name)


def nearest(name: str, known: Sequence[str]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return f"; did you mean `{match[0]}`?" if match else f"; allowed: {listed}"


def by_name(given: Any, where: str, known: Sequence[str], kind: str) -> list[tuple[int, str, Any]]:
    """(index, place in the file, value) of a mapping whose keys are names."""
    if not isinstance(given, dict):
        raise DataError(f"{where}: expected {{{kind}: …}}, got {shorten(given)}")
    found = {}
    for key, value in given.items():
        at = index_of(key, where, known, kind)
        if at in found:
            raise DataError(f"{where}: `{known[at]}` is given twice")
        found[at] = (at, f"{where}.{known[at]}", value)
    return list(found.values())


def pairs(given: Any, where: str, states: Sequence[str], actions: Sequence[str]) -> list[tuple[int, int, str, Any]]:
    """(state, action, place in the file, value) of `{state: {action: value}}`."""
    return [
        (s, a, place, value)
        for s, inner, below in by_name(given, where, states, "state")
        for a, place, value in by_name(below, inner, actions, "action")
    ]


def number(value: Any, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: expected a number, got {shorten(value)}")
    if not low <= value <= high:  # neither is not-a-number; an integer of any size can be compared
        raise DataError(f"{where}: must be from {low:g} to {high:g}, got {shorten(value)}")
    return float(value)


def whole(settings: Mapping[Any, Any], key: str, high: int) -> int | None:
    if key not in settings:
        return None
    value = settings[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise DataError(f"{key}: expected an integer from 1 to {high}, got {shorten(value)}")
    return value


def distribution(given: Any, where: str, known: Sequence[str], kind: str = "state") -> Floats:
    """`{name: p}` as a vector. DataError: a p that is no probability, a sum above 1."""
    found = np.zeros(len(known))
    for at, place, value in by_name(given, where, known, kind):
        found[at] = number(value, place, 0, 1)
    if (mass := math.fsum(found)) > 1 + MASS_TOLERANCE:
        raise DataError(f"{where}: probabilities sum to {mass:.10g}, which is above 1; lower them")
    return found


def terminal_states(given: Any, states: Sequence[str], transitions: Floats, rewards: Floats) -> set[int]:
    """States in which an episode is over. DataError: something goes on there all the same."""
    if not isinstance(given, list):
        raise DataError(f"terminal: expected a list of states, got {shorten(given)}")
    found = {index_of(each, "terminal", states, "state") for each in given}
    for s in sorted(found):
        if transitions[s].any() or rewards[s].any():
            raise DataError(f"terminal: `{states[s]}` has transitions or rewards; a terminal state has neither")
    return found


def start_of(settings: Mapping[Any, Any], states: Sequence[str], terminal: set[int]) -> Floats:
    """`start: state` or `start: {state: p}`; where nothing is said, the first state that is not terminal."""
    given = settings.get("start", next((state for s, state in enumerate(states) if s not in terminal), states[0]))
    if not isinstance(given, dict):
        return np.asarray(np.eye(len(states))[index_of(given, "start", states, "state")])
    start = distribution(given, "start", states)
    if abs(start.sum() - 1) > MASS_TOLERANCE:
        raise DataError(f"start: probabilities sum to {start.sum():.10g}; they must sum to 1")
    return start


def policy_of(given: Any, states: Sequence[str], actions: Sequence[str]) -> Floats:
    """`{state: action}` or `{state: {action: p}}`."""
    policy = np.zeros((len(states), len(actions)))
    for s, where, choice in by_name(given, "policy", states, "state"):
        if isinstance(choice, dict):
            policy[s] = distribution(choice, where, actions, "action")
        else:
            policy[s, index_of(choice, where, actions, "action")] = 1
    return policy


def missing_mass(
    transitions: Floats, states: Sequence[str], actions: Sequence[str], terminal: set[int]
) -> list[Problem]:
    """Rows that do not sum to 1. Episodes end there with the rest, which is meant in a terminal state."""
    missing = 1 - transitions.sum(-1)
    return [
        Problem("missing_mass", f"transitions.{states[s]}.{actions[a]}", ends_with(missing[s, a]))
        for s, a in np.argwhere(missing > MASS_TOLERANCE)
        if s not in terminal
    ]


def ends_with(missing: float) -> str:
    if missing >= 1:
        return "no next state is given; completion taken: the action ends the episode. If it should not, say where to"
    return (
        f"probabilities sum to {1 - missing:.10g}; completion taken: the missing {missing:.10g} ends the episode. "
        "If it should not, say where it leads"
    )


def unreachable(transitions: Floats, start: Floats, states: Sequence[str]) -> list[Problem]:
    begin = ", ".join(state for state, p in zip(states, start, strict=True) if p > 0)
    remedy = (
        f"no policy gets here from the start ({begin}); its values stand, but no episode sees them. "
        "Add a transition, or name another `start`"
    )
    reached = reachable_states(transitions, start)
    return [Problem("unreachable_state", f"states.{state}", remedy) for state in np.array(states)[~reached].tolist()]


def undecided(mdp: TabularMDP, policy: Floats | None, states: Sequence[str]) -> list[Problem]:
    """States where it matters what the policy does, and it does not say."""
    if policy is None:
        return []
    idle = ~(mdp.transitions.any((1, 2)) | mdp.rewards.any(1))
    missing = 1 - policy.sum(1)
    return [
        Problem(
            "policy_missing_mass",
            f"policy.{states[s]}",
            f"probabilities of actions sum to {policy[s].sum():.10g}; completion taken: the missing {missing[s]:.10g} "
            "ends the episode. Say which action is taken",
        )
        for s in np.flatnonzero((missing > MASS_TOLERANCE) & ~idle).tolist()
    ]


def false_claims(given: Any, mdp: TabularMDP, policy: Floats | None, states: Sequence[str]) -> list[Problem]:
    """Claimed values that are not the policy's; without a policy, not the optimal ones."""
    claimed = {
        s: number(value, where, -MAX_REWARD, MAX_REWARD)
        for s, where, value in by_name(given, "claimed_values", states, "state")
    }
    best = mdp.optimal_values()
    true = best if policy is None else mdp.policy_values(policy)
    whose = "the optimal value" if policy is None else "the value of this policy"
    tolerance = CLAIM_TOLERANCE * max([abs(true).max(), *map(abs, claimed.values())])
    found = []
    for s, value in claimed.items():
        if not abs(value - true[s]) <= tolerance:
            optimal = " (that is the optimal value)" if abs(value - best[s]) <= tolerance else ""
            remedy = f"{whose} is {true[s] + 0.0:.10g}, not {value:.10g}{optimal}; correct the claim or the policy"
            found.append(Problem("claimed_values", f"claimed_values.{states[s]}", remedy))
    return found
