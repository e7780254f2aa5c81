"""`mdp --plot`: values and policies as an SVG: a grid with arrows where there is one, else a table beside a graph."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple
from unicodedata import east_asian_width

import numpy as np

from likelier.errors import ConfigError
from likelier.files import write_atomically
from likelier.files.outputs import check_output
from likelier.mdp.exact import Floats
from likelier.mdp.file import NamedMDP
from likelier.mdp.grid import Place, find_layout, find_moves

MARK = "<!-- a picture by likelier mdp -->"
"""How a picture of ours is known, so that a newer one replaces it."""
MAX_CELLS = 60
"""Columns or rows of a grid; wider ones are drawn as a table."""
MAX_STATES, MAX_ACTIONS = 60, 6
"""Of a table; further ones are counted."""
CELL, MARGIN, HEAD = 92, 20, 64
ROW, LETTER, TITLE_LETTER, COLUMN = 38, 7.6, 9.6, 74
"""Pixels: height of a row of the table, width of a letter, of a title's letter, of a column of numbers."""
LEAST, SURE = 0.005, 0.995
"""Transitions that are less likely are not drawn, and those that are likelier need no number."""
STYLE = """
svg { color-scheme: light dark; --ground: #faf8f4; --card: #ffffff; --ink: #1c1e22; --soft: #5b5f67; --line: #cfc9bc;
  --high: #78b4de; --low: #f0a660; --accent: #0a649f; font: 13px ui-sans-serif, system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --ground: #14161a; --card: #1c1f24; --ink: #eceae4; --soft: #a9adb6;
  --line: #434852; --high: #115f98; --low: #9a4a12; --accent: #6fbaee; } }
.ground { fill: var(--ground); } .card { fill: var(--card); stroke: var(--line); }
.high { fill: var(--high); } .low { fill: var(--low); }
text { fill: var(--ink); } .soft { font-size: 11px; } .big { font-size: 16px; font-weight: 600; }
.mid { text-anchor: middle; } .end { text-anchor: end; }
.halo { stroke: var(--ground); stroke-width: 4px; paint-order: stroke; stroke-linejoin: round; }
.best { fill: none; stroke: var(--accent); stroke-width: 2; }
.move { stroke: var(--ink); stroke-linecap: round; fill: none; } .tip { fill: var(--ink); }
.arc { stroke: var(--accent); fill: none; } .arc-tip { fill: var(--accent); }
"""


@dataclass(frozen=True)
class Solution:
    """Values and probabilities of actions of one policy."""

    title: str
    values: Floats
    """[S]."""
    policy: Floats
    """[S, A]; all best actions alike, and none where all are the same."""


def check_plot(path: Path, overwrite: bool, file: Path) -> None:
    """ConfigError: the picture of an MDP file may not be written there, or its name is not that of an SVG."""
    if path.suffix.lower() != ".svg":
        raise ConfigError(f"--plot {path}: the picture is an SVG; give it a name that ends with .svg")
    check_output(path, overwrite, [file], MARK)


def write_plot(named: NamedMDP, path: Path) -> None:
    """Write the picture of an MDP."""
    picture = draw_mdp(named)
    write_atomically(path, lambda file: file.write(picture))


def draw_mdp(named: NamedMDP) -> str:
    """Draw optimal values and policy, and those of the file's policy where it has one."""
    layout = find_layout(named)
    if layout and max(max(place) for place in layout.values()) < MAX_CELLS:
        return draw_grids(named, layout)
    return draw_table(named)


def solve(named: NamedMDP) -> list[Solution]:
    """Return the optimal solution, at the first step of a horizon, and the file's policy with its values if any."""
    mdp, horizon = named.mdp, named.mdp.horizon
    best = find_best(named)
    best[mdp.indifferent_states()] = 0.0
    when = "" if horizon is None else f" at the first of {horizon} steps"
    gamma = f"gamma {mdp.gamma:g}"
    solutions = [Solution(f"Optimal values and actions{when}, {gamma}", drop_rounding(mdp.optimal_values()), best)]
    if named.policy is not None:
        own = drop_rounding(mdp.policy_values(named.policy))
        solutions.append(Solution(f"The file's policy and its values, {gamma}", own, named.policy))
    return solutions


def find_action_values(named: NamedMDP) -> Floats:
    """Return the optimal action values [S, A], at the first step of a horizon."""
    return drop_rounding(named.mdp.action_values(find_next_values(named)))


def find_next_values(named: NamedMDP) -> Floats:
    """Return the optimal values [S] after a step: with a horizon those with one step less to go."""
    mdp = named.mdp
    return mdp.optimal_values() if mdp.horizon is None else mdp.value_iteration(mdp.horizon - 1, -1.0)[-1]


def drop_rounding(values: Floats) -> Floats:
    """Return the values with 0 for those that are nothing beside the largest."""
    return np.where(abs(values) > 1e-12 * abs(values).max(), values, 0.0)


def find_best(named: NamedMDP) -> Floats:
    """Return equal probabilities of all best actions, [S, A]; values that differ by rounding are equal."""
    values = find_next_values(named)
    q = named.mdp.action_values(values)
    best = (q >= q.max(1, keepdims=True) - named.mdp.tie_tolerance(values)[:, None]).astype(float)
    return np.asarray(best / best.sum(1, keepdims=True))


def draw_grids(named: NamedMDP, layout: dict[int, Place]) -> str:
    """Draw a grid for each solution, side by side."""
    columns, rows = (1 + max(place[axis] for place in layout.values()) for axis in (0, 1))
    beside = [name for state, name in enumerate(named.states) if state not in layout]
    solutions = solve(named)
    width = max(columns * CELL, round(TITLE_LETTER * max(len(each.title) for each in solutions)))
    parts = [
        part
        for number, solution in enumerate(solutions)
        for part in draw_grid(named, solution, layout, MARGIN + number * (width + 2 * MARGIN))
    ]
    bottom = HEAD + rows * CELL + MARGIN
    if beside:
        parts.append(write(MARGIN, bottom + 4, f"Not in the grid: {', '.join(map(shorten, beside[:8]))}", "soft"))
        bottom += MARGIN
    return finish(parts, (width + 2 * MARGIN) * len(solutions), bottom + 6, describe(named, solutions[0]))


def draw_grid(named: NamedMDP, solution: Solution, layout: dict[int, Place], left: int) -> Iterator[str]:
    """Yield the parts of one grid: cells with name, value and an arrow for each action, as long as it is likely."""
    yield write(left, 36, solution.title, "big")
    limit, moves = float(abs(solution.values).max()) or 1.0, find_moves(named)
    for state, (column, row) in layout.items():
        x, y, value = left + column * CELL, HEAD + row * CELL, float(solution.values[state])
        yield shade(x, y, CELL, CELL, value / limit)
        yield write(x + 7, y + 16, shorten(named.states[state], 10), "soft")
        yield write(x + CELL / 2, y + 37, format_number(value), "mid big")
        others = []
        for action, probability in enumerate(solution.policy[state].tolist()):
            if probability > 0 and action in moves:
                yield draw_move(x + CELL / 2, y + 67, moves[action], probability)
            elif probability > 0:
                others.append(shorten(named.actions[action], 10))
        if others:
            yield write(x + CELL / 2, y + CELL - 8, ", ".join(others), "mid soft")


def draw_move(x: float, y: float, move: Place, probability: float) -> str:
    """Draw an arrow from a cell's middle, as long as the action is likely."""
    length, (dx, dy) = 4 + 10 * probability, move
    end_x, end_y = x + dx * length, y + dy * length
    corners = ((6 * dx, 6 * dy), (5 * dy, 5 * dx), (-5 * dy, -5 * dx))
    tip = " ".join(f"{end_x + right:g},{end_y + down:g}" for right, down in corners)
    line = f'<path class="move" stroke-width="{1 + 1.6 * probability:.2g}" d="M{x:g} {y:g}L{end_x:g} {end_y:g}"/>'
    return f'{line}<polygon class="tip" points="{tip}"/>'


def draw_table(named: NamedMDP) -> str:
    """Draw a row for each state, with values and action values, and as arcs where the optimal actions lead: downwards
    on the right, upwards on the left."""
    solutions, q = solve(named), find_action_values(named)
    shown, actions = named.states[:MAX_STATES], [*map(shorten, named.actions[:MAX_ACTIONS])]
    arcs = list_arcs(named, solutions[0].policy, len(shown))
    names = MARGIN + max([reach(arc) for arc in arcs if arc.target < arc.state], default=0)
    first = names + max(COLUMN, round(LETTER * max(width_in_letters(shorten(name)) for name in shown)) + 24)
    heads = ["value", *([] if len(solutions) == 1 else ["of the policy"]), *actions]
    steps = [max(COLUMN, round(LETTER * width_in_letters(head)) + 20) for head in heads]
    edges = [first + sum(steps[:place]) for place in range(len(steps) + 1)]
    parts = [write(MARGIN, 28, solutions[0].title, "big")]
    parts += [write(edges[place] + steps[place] - 12, HEAD - 8, head, "end soft") for place, head in enumerate(heads)]
    limit = max(float(abs(q).max()), *(float(abs(each.values).max()) for each in solutions)) or 1.0
    for state, name in enumerate(shown):
        y = HEAD + state * ROW
        numbers = [*(float(each.values[state]) for each in solutions), *q[state, :MAX_ACTIONS].tolist()]
        parts.append(write(names + 6, y + ROW / 2 + 5, shorten(name)))
        for place, number in enumerate(numbers):
            parts.append(shade(edges[place], y + 2, steps[place] - 4, ROW - 4, number / limit))
            parts.append(write(edges[place] + steps[place] - 12, y + ROW / 2 + 5, format_number(number), "end"))
            action = place - len(solutions)
            if action >= 0 and solutions[0].policy[state, action] > 0:
                box = f'x="{edges[place] + 1}" y="{y + 3}" width="{steps[place] - 6}" height="{ROW - 6}"'
                parts.append(f'<rect class="best" rx="6" {box}/>')
    right = edges[-1] + max([reach(arc) for arc in arcs if arc.target >= arc.state], default=0)
    parts += [draw_arc(arc, names if arc.target < arc.state else edges[-1]) for arc in arcs]
    parts += [*draw_ends(named, solutions[0].policy, len(shown), right)]
    bottom, below = HEAD + len(shown) * ROW + 24, caption(named, len(shown))
    width = max(right + 70, MARGIN + 6.2 * len(below), MARGIN + TITLE_LETTER * len(solutions[0].title))
    parts.append(write(MARGIN, bottom, below, "soft"))
    return finish(parts, round(width) + MARGIN, bottom + 14, describe(named, solutions[0]))


def caption(named: NamedMDP, shown: int) -> str:
    """Return what the columns and arcs are, and what is left out."""
    text = "Columns: values of actions, the best outlined. Arcs: where these lead."
    if len(named.actions) > MAX_ACTIONS:
        text += f" {len(named.actions) - MAX_ACTIONS} more actions."
    return text + (f" {len(named.states) - shown} more states." if len(named.states) > shown else "")


class Arc(NamedTuple):
    """A transition under a policy."""

    state: int
    target: int
    probability: float


def list_arcs(named: NamedMDP, policy: Floats, shown: int) -> list[Arc]:
    """Return the transitions between the first states under a policy."""
    leads = np.einsum("sa,sat->st", policy, named.mdp.transitions)[:shown, :shown]
    return [Arc(int(state), int(target), float(leads[state, target])) for state, target in np.argwhere(leads > LEAST)]


def bulge(arc: Arc) -> float:
    """Return how far the control points of an arc lie beside the table; arcs of longer ways lie around shorter ones."""
    return 26 + 34 * math.log2(max(abs(arc.target - arc.state), 1)) if arc.target != arc.state else 20


def reach(arc: Arc) -> float:
    """Return how far an arc reaches beside the table, its label included."""
    return 0.75 * bulge(arc) + 40


def draw_arc(arc: Arc, edge: float) -> str:
    """Draw an arc at an edge of the table, as wide as it is likely, with its probability unless that is 1."""
    way = 1 if arc.target > arc.state else -1
    start, end = (HEAD + (state + 0.5) * ROW for state in (arc.state, arc.target))
    # What leaves a row and what enters it have places of their own, so that arcs do not cross there.
    start, end = (start + 9 * way, end - 9 * way) if arc.target != arc.state else (start - 4, end + 4)
    side = 1 if arc.target >= arc.state else -1
    near, far = edge + 4 * side, edge + bulge(arc) * side
    curve = f"M{near:g} {start:g}C{far:g} {start:g} {far:g} {end:g} {near + 7 * side:g} {end:g}"
    tip = f"{near:g},{end:g} {near + 9 * side:g},{end - 4:g} {near + 9 * side:g},{end + 4:g}"
    parts = [f'<path class="arc" stroke-width="{1 + 2 * arc.probability:.2g}" d="{curve}"/>']
    parts.append(f'<polygon class="arc-tip" points="{tip}"/>')
    if arc.probability < SURE:
        x, kind = edge + (0.75 * bulge(arc) + 4) * side, "soft halo" if side > 0 else "soft halo end"
        parts.append(write(x, (start + end) / 2 + 4, f"{arc.probability:.2g}", kind))
    return "".join(parts)


def draw_ends(named: NamedMDP, policy: Floats, shown: int, left: float) -> Iterator[str]:
    """Yield how likely the episode ends in each state under a policy."""
    ends = policy.sum(1) - np.einsum("sa,sat->s", policy, named.mdp.transitions)
    for state, probability in enumerate(ends[:shown].tolist()):
        if probability > LEAST:
            share = "" if probability > SURE else f" {probability:.2g}"
            yield write(left, HEAD + (state + 0.5) * ROW + 4, f"ends{share}", "soft")


def shade(x: float, y: float, width: float, height: float, part: float) -> str:
    """Draw a cell, coloured by its value as a part of the largest, from -1 to 1."""
    box = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    colour = "high" if part > 0 else "low"
    return f'<rect class="card" {box}/><rect class="{colour}" fill-opacity="{min(abs(part), 1):.3f}" {box}/>'


def write(x: float, y: float, text: str, kind: str = "") -> str:
    """Write a line of text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def finish(parts: Sequence[str], width: float, height: float, description: str) -> str:
    """Return the SVG of its parts; it follows the reader's light or dark scheme."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    title = '<title id="title">Values and policy of a Markov decision process</title>'
    lines = (
        MARK,
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title about">',
        f'{title}<desc id="about">{escape(description)}</desc><style>{STYLE}</style>',
        '<rect class="ground" width="100%" height="100%"/>',
        *parts,
        "</svg>",
    )
    return "\n".join(lines) + "\n"


def describe(named: NamedMDP, solution: Solution) -> str:
    """Return each state's value and best actions as text, for readers of screens."""
    lines = []
    for state, name in enumerate(named.states[:MAX_STATES]):
        best = [named.actions[action] for action in np.flatnonzero(solution.policy[state]).tolist()]
        lines.append(
            f"{name}: {format_number(float(solution.values[state]))}" + (f", {' or '.join(best)}" if best else "")
        )
    return f"{solution.title}. {'; '.join(lines)}."


def shorten(text: str, letters: int = 16) -> str:
    """Return a text of at most so many letters' width."""
    if width_in_letters(text) <= letters:
        return text
    while width_in_letters(text) > letters - 1:
        text = text[:-1]
    return f"{text}…"


def width_in_letters(text: str) -> int:
    """Return the width of a text in Latin letters; Chinese ones count twice."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def format_number(value: float) -> str:
    """Format with three digits.

    >>> format_number(-0.66), format_number(12345.6), format_number(-0.0)
    ('−0.66', '12346', '0')
    """
    text = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−") if float(text) else "0"
