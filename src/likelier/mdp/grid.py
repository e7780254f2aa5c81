"""Grids among MDPs: found by where the moves of actions named like directions lead, else by names of states."""

import re
from collections import deque
from collections.abc import Mapping

import numpy as np

from likelier.mdp.exact import MASS_TOLERANCE, Floats
from likelier.mdp.file import NamedMDP

Place = tuple[int, int]
"""Column and row, from the upper left."""

WORDS = {
    (0, -1): ("up", "north", "n", "u", "↑", "^", "上"),
    (1, 0): ("right", "east", "e", "r", "→", ">", "右"),
    (0, 1): ("down", "south", "s", "d", "↓", "v", "下"),
    (-1, 0): ("left", "west", "w", "l", "←", "<", "左"),
}
MOVES = {word: move for move, words in WORDS.items() for word in words}
CHESS = re.compile("([a-z])([0-9]+)")
"""A column and a row counted from below, as `b3`."""
PAIR = re.compile(r"[(\[r]?\s*([0-9]+)\s*[,;:x_cC -]\s*([0-9]+)\s*[)\]]?")
"""A row counted from above and a column, as `2,3` or `(2, 3)` or `r2c3`."""


def find_moves(named: NamedMDP) -> dict[int, Place]:
    """Return (columns, rows) that the actions named like directions go, by action."""
    return {a: MOVES[name.lower()] for a, name in enumerate(named.actions) if name.lower() in MOVES}


def find_layout(named: NamedMDP) -> dict[int, Place] | None:
    """Return the place of each state in a grid, by state; None if it is no grid.

    Two actions or more must be named like directions. States that lead nowhere else may have no place: ends such as
    `over` lie beside the grid.
    """
    moves = find_moves(named)
    if len(moves) < 2:
        return None
    others = named.mdp.transitions.sum(1)
    np.fill_diagonal(others, 0.0)
    is_inside = others.sum(1) > MASS_TOLERANCE
    for places in (place_by_moves(named, moves), place_by_names(named)):
        if places and all(state in places for state in np.flatnonzero(is_inside).tolist()):
            left, top = (min(place[axis] for place in places.values()) for axis in (0, 1))
            return {state: (x - left, y - top) for state, (x, y) in places.items()}
    return None


def place_by_moves(named: NamedMDP, moves: Mapping[int, Place]) -> dict[int, Place] | None:
    """Return places at which every move that is likelier than any other outcome leads to the neighbour that it names.

    None if there are none, as on a torus, or two states share a place.
    """
    links: dict[int, list[tuple[int, Place]]] = {}
    for state, table in enumerate(named.mdp.transitions):
        targets = {action: find_likeliest(table[action]) for action in moves}
        if len(set(targets.values())) == 1:
            continue  # wherever one wants to go: an end, or a jump
        for action, target in targets.items():
            if target is None or target == state:
                continue
            x, y = moves[action]
            links.setdefault(state, []).append((target, (x, y)))
            links.setdefault(target, []).append((state, (-x, -y)))
    if not links:
        return None
    first = next(iter(links))
    places, waiting = {first: (0, 0)}, deque([first])
    while waiting:
        state = waiting.popleft()
        for target, (x, y) in links[state]:
            place = (places[state][0] + x, places[state][1] + y)
            if target not in places:
                places[target] = place
                waiting.append(target)
            elif places[target] != place:
                return None
    return places if len(set(places.values())) == len(places) else None


def find_likeliest(probabilities: Floats) -> int | None:
    """Return the likeliest next state; None if two are equally likely, or the episode rather ends."""
    order = np.argsort(-probabilities)
    best = float(probabilities[order[0]])
    second = float(probabilities[order[1]]) if len(order) > 1 else 0.0
    is_clear = best > max(second, 1 - float(probabilities.sum())) + MASS_TOLERANCE
    return int(order[0]) if is_clear else None


def place_by_names(named: NamedMDP) -> dict[int, Place] | None:
    """Return places of the states whose names are coordinates; None if none are, or two share a place."""
    places = {}
    for state, name in enumerate(named.states):
        if match := CHESS.fullmatch(name.lower()):
            places[state] = (ord(match[1]) - ord("a"), -int(match[2]))
        elif match := PAIR.fullmatch(name):
            places[state] = (int(match[2]), int(match[1]))
    return places if places and len(set(places.values())) == len(places) else None
