"""Reader of YAML files with MDPs: validation, and warnings with remedies."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likelier.config import read_yaml, shorten
from likelier.errors import ConfigError, DataError
from likelier.mdp.exact import (
    MASS_TOLERANCE,
    MAX_CONTINUING_GAMMA,
    Floats,
    TabularMDP,
    find_nonterminating_states,
    find_reachable_states,
)

REQUIRED = ("states", "actions", "gamma", "transitions")
KEYS = (*REQUIRED, "rewards", "policy", "claimed_values", "horizon", "start", "terminal")
MAX_ENTRIES = 20_000_000
"""Size of the transition table (160 MB)."""
MAX_REWARD = 1e100
"""Sums of larger rewards could overflow."""
MAX_HORIZON = 10_000
CLAIM_TOLERANCE = 1e-3
"""Claimed values may be rounded: they are right within this fraction of the largest value."""


@dataclass(frozen=True)
class Problem:
    """A warning that does not stop the solver: its name, its place in the file, and a remedy."""

    name: str
    where: str
    remedy: str


@dataclass(frozen=True)
class NamedMDP:
    """An MDP with named states and actions, and the other contents of its file."""

    states: Sequence[str]
    actions: Sequence[str]
    mdp: TabularMDP
    start: Floats
    """Initial state distribution, [S]."""
    policy: Floats | None
    """Probabilities of actions, [S, A]."""
    problems: Sequence[Problem]

    def values_by_state(self, values: Floats) -> dict[str, float]:
        """Return values keyed by state name, with -0 as 0."""
        return dict(zip(self.states, (values + 0.0).tolist(), strict=True))

    def plan(self) -> list[dict[str, str]]:
        """Return the optimal action by state for each step of the horizon; a single step without a horizon."""
        steps = self.mdp.optimum()[1]
        return [{state: self.actions[a] for state, a in zip(self.states, step, strict=True)} for step in steps]


def read_mdp(path: Path) -> NamedMDP:
    """Read and validate a file; warnings that do not stop the solver are in `problems`.

    DataError, one line: not YAML, a wrong type, an unknown name, an invalid probability or row, gamma out of range, or
    gamma 1 without a horizon if some policy never terminates.
    """
    try:
        return build_mdp(read_yaml(path))
    except (ConfigError, DataError) as error:
        line = str(error)
        raise DataError(line if line.startswith(str(path)) else f"{path}: {line}") from error


def build_mdp(settings: Mapping[Any, Any]) -> NamedMDP:
    """Build the MDP from a file's mapping. DataError: see `read_mdp`, without the file's name."""
    check_keys(settings)
    states, actions = parse_names(settings, "states"), parse_names(settings, "actions")
    if len(states) ** 2 * len(actions) > MAX_ENTRIES:
        raise DataError(f"{len(states)} states and {len(actions)} actions are too many: at most 2,000 and 5, say")
    transitions = np.zeros((len(states), len(actions), len(states)))
    for s, a, where, row in parse_nested(settings["transitions"], "transitions", states, actions):
        transitions[s, a] = parse_distribution(row, where, states)
    rewards = np.zeros((len(states), len(actions)))
    for s, a, where, reward in parse_nested(settings.get("rewards", {}), "rewards", states, actions):
        rewards[s, a] = parse_number(reward, where, -MAX_REWARD, MAX_REWARD)
    terminal = parse_terminal(settings.get("terminal", []), states, transitions, rewards)
    gamma, horizon = parse_number(settings["gamma"], "gamma", 0, 1), parse_integer(settings, "horizon", MAX_HORIZON)
    if gamma > MAX_CONTINUING_GAMMA and horizon is None and (endless := find_nonterminating_states(transitions)):
        raise DataError(
            f"gamma: {gamma:g}, but from state `{states[endless[0]]}` some policy never ends; lower gamma, give a "
            "`horizon`, or let its transitions end the episode"
        )
    mdp = TabularMDP(transitions, rewards, gamma, horizon)
    start = parse_start(settings, states, terminal)
    policy = parse_policy(settings["policy"], states, actions) if "policy" in settings else None
    problems = [
        *find_missing_mass(transitions, states, actions, terminal),
        *find_unreachable(transitions, start, states),
        *find_incomplete_policy(mdp, policy, states),
        *find_false_claims(settings.get("claimed_values", {}), mdp, policy, states),
    ]
    return NamedMDP(states, actions, mdp, start, policy, problems)


def check_keys(settings: Mapping[Any, Any]) -> None:
    """Raise DataError for an unknown or a missing key."""
    for key in settings:
        if key not in KEYS:
            raise DataError(f"unknown key `{key}`{suggest_name(str(key), KEYS)}")
    for key in REQUIRED:
        if key not in settings:
            raise DataError(f"`{key}` is missing; an MDP file has {', '.join(REQUIRED)}")


def parse_names(settings: Mapping[Any, Any], key: str) -> list[str]:
    """Parse a list of distinct names."""
    names = settings[key]
    if not isinstance(names, list) or not names:
        raise DataError(f"{key}: expected a list of names, got {shorten(names)}")
    parsed = [parse_name(name, key) for name in names]
    if duplicate := next((parsed_name for i, parsed_name in enumerate(parsed) if parsed_name in parsed[:i]), None):
        raise DataError(f"{key}: `{duplicate}` is there twice")
    return parsed


def parse_name(value: Any, where: str) -> str:
    """Return a name as text; numbers are allowed, booleans are not, since YAML reads yes, no, on and off as such."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: YAML reads {shorten(value)} here, which is not a name; put names in quotes")
    name = str(value)
    if not name.strip() or not name.isprintable():
        raise DataError(f"{where}: {shorten(name)} cannot be a name; use printable characters")
    return name


def parse_index(value: Any, where: str, names: Sequence[str], kind: str) -> int:
    """Return the index of a name in `names`. DataError: it is not there."""
    name = parse_name(value, where)
    if name not in names:
        raise DataError(f"{where}: unknown {kind} `{name}`{suggest_name(name, names)}")
    return names.index(name)


def suggest_name(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message: the closest known name, or the allowed names."""
    match = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return f"; did you mean `{match[0]}`?" if match else f"; allowed: {listed}"


def parse_mapping(mapping: Any, where: str, names: Sequence[str], kind: str) -> list[tuple[int, str, Any]]:
    """Return (index, place in the file, value) for each entry of a mapping whose keys are names."""
    if not isinstance(mapping, dict):
        raise DataError(f"{where}: expected {{{kind}: …}}, got {shorten(mapping)}")
    entries = {}
    for key, value in mapping.items():
        index = parse_index(key, where, names, kind)
        if index in entries:
            raise DataError(f"{where}: `{names[index]}` is given twice")
        entries[index] = (index, f"{where}.{names[index]}", value)
    return list(entries.values())


def parse_nested(
    mapping: Any, where: str, states: Sequence[str], actions: Sequence[str]
) -> list[tuple[int, int, str, Any]]:
    """Return (state, action, place in the file, value) for each entry of `{state: {action: value}}`."""
    return [
        (s, a, position, value)
        for s, state_place, row in parse_mapping(mapping, where, states, "state")
        for a, position, value in parse_mapping(row, state_place, actions, "action")
    ]


def parse_number(value: Any, where: str, low: float, high: float) -> float:
    """Parse a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: expected a number, got {shorten(value)}")
    if not low <= value <= high:  # neither is not-a-number; an integer of any size can be compared
        raise DataError(f"{where}: must be from {low:g} to {high:g}, got {shorten(value)}")
    return float(value)


def parse_integer(settings: Mapping[Any, Any], key: str, high: int) -> int | None:
    """Parse an optional integer from 1 to `high`."""
    if key not in settings:
        return None
    value = settings[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise DataError(f"{key}: expected an integer from 1 to {high}, got {shorten(value)}")
    return value


def parse_distribution(mapping: Any, where: str, names: Sequence[str], kind: str = "state") -> Floats:
    """Parse `{name: p}` as a vector. DataError: an invalid probability, or a sum above 1."""
    probabilities = np.zeros(len(names))
    for index, position, value in parse_mapping(mapping, where, names, kind):
        probabilities[index] = parse_number(value, position, 0, 1)
    if (mass := math.fsum(probabilities)) > 1 + MASS_TOLERANCE:
        raise DataError(f"{where}: probabilities sum to {mass:.10g}, which is above 1; lower them")
    return probabilities


def parse_terminal(names: Any, states: Sequence[str], transitions: Floats, rewards: Floats) -> set[int]:
    """Parse the terminal states. DataError: one has transitions or rewards."""
    if not isinstance(names, list):
        raise DataError(f"terminal: expected a list of states, got {shorten(names)}")
    terminal = {parse_index(name, "terminal", states, "state") for name in names}
    for s in sorted(terminal):
        if transitions[s].any() or rewards[s].any():
            raise DataError(f"terminal: `{states[s]}` has transitions or rewards; a terminal state has neither")
    return terminal


def parse_start(settings: Mapping[Any, Any], states: Sequence[str], terminal: set[int]) -> Floats:
    """Parse `start: state` or `start: {state: p}`; the first state that is not terminal by default."""
    initial = settings.get("start", next((state for s, state in enumerate(states) if s not in terminal), states[0]))
    if not isinstance(initial, dict):
        return np.asarray(np.eye(len(states))[parse_index(initial, "start", states, "state")])
    start = parse_distribution(initial, "start", states)
    if abs(start.sum() - 1) > MASS_TOLERANCE:
        raise DataError(f"start: probabilities sum to {start.sum():.10g}; they must sum to 1")
    return start


def parse_policy(mapping: Any, states: Sequence[str], actions: Sequence[str]) -> Floats:
    """Parse `{state: action}` or `{state: {action: p}}`."""
    policy = np.zeros((len(states), len(actions)))
    for s, where, choice in parse_mapping(mapping, "policy", states, "state"):
        if isinstance(choice, dict):
            policy[s] = parse_distribution(choice, where, actions, "action")
        else:
            policy[s, parse_index(choice, where, actions, "action")] = 1
    return policy


def find_missing_mass(
    transitions: Floats, states: Sequence[str], actions: Sequence[str], terminal: set[int]
) -> list[Problem]:
    """Find transition rows that sum to less than 1, except in terminal states."""
    missing = 1 - transitions.sum(-1)
    return [
        Problem("missing_mass", f"transitions.{states[s]}.{actions[a]}", missing_mass_remedy(missing[s, a]))
        for s, a in np.argwhere(missing > MASS_TOLERANCE)
        if s not in terminal
    ]


def missing_mass_remedy(missing: float) -> str:
    """Return the remedy for a transition row that sums to 1 - `missing`."""
    if missing >= 1:
        return "no next state is given; completion taken: the action ends the episode. If it should not, say where to"
    return (
        f"probabilities sum to {1 - missing:.10g}; completion taken: the missing {missing:.10g} ends the episode. "
        "If it should not, say where it leads"
    )


def find_unreachable(transitions: Floats, start: Floats, states: Sequence[str]) -> list[Problem]:
    """Find states that no policy reaches from the start states."""
    begin = ", ".join(state for state, p in zip(states, start, strict=True) if p > 0)
    remedy = (
        f"no policy gets here from the start ({begin}); its values stand, but no episode sees them. "
        "Add a transition, or name another `start`"
    )
    reached = find_reachable_states(transitions, start)
    return [Problem("unreachable_state", f"states.{state}", remedy) for state in np.array(states)[~reached].tolist()]


def find_incomplete_policy(mdp: TabularMDP, policy: Floats | None, states: Sequence[str]) -> list[Problem]:
    """Find states where the policy's probabilities sum to less than 1, unless actions have no effect there."""
    if policy is None:
        return []
    no_effect = ~(mdp.transitions.any((1, 2)) | mdp.rewards.any(1))
    missing = 1 - policy.sum(1)
    return [
        Problem(
            "policy_missing_mass",
            f"policy.{states[s]}",
            f"probabilities of actions sum to {policy[s].sum():.10g}; completion taken: the missing {missing[s]:.10g} "
            "ends the episode. Say which action is taken",
        )
        for s in np.flatnonzero((missing > MASS_TOLERANCE) & ~no_effect).tolist()
    ]


def find_false_claims(
    claimed_values: Any, mdp: TabularMDP, policy: Floats | None, states: Sequence[str]
) -> list[Problem]:
    """Find claimed values that differ from the policy's, or from the optimal ones if there is no policy."""
    claimed = {
        s: parse_number(value, where, -MAX_REWARD, MAX_REWARD)
        for s, where, value in parse_mapping(claimed_values, "claimed_values", states, "state")
    }
    best = mdp.optimal_values()
    true = best if policy is None else mdp.policy_values(policy)
    whose = "the optimal value" if policy is None else "the value of this policy"
    tolerance = CLAIM_TOLERANCE * max([abs(true).max(), *map(abs, claimed.values())])
    problems = []
    for s, value in claimed.items():
        if not abs(value - true[s]) <= tolerance:
            optimal = " (that is the optimal value)" if abs(value - best[s]) <= tolerance else ""
            remedy = f"{whose} is {true[s] + 0.0:.10g}, not {value:.10g}{optimal}; correct the claim or the policy"
            problems.append(Problem("claimed_values", f"claimed_values.{states[s]}", remedy))
    return problems
