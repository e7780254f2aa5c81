"""Which MDPs are grids, and where their states lie."""

from pathlib import Path

from likelier.mdp.file import build_mdp, read_mdp
from likelier.mdp.grid import find_layout

CONFIGS = Path(__file__).parents[2] / "configs" / "mdp"
MOVES = {"north": (0, -1), "east": (1, 0), "south": (0, 1), "west": (-1, 0)}


def make_grid(name, width=3, height=2, slip=0.0, wrap=False, actions=MOVES):
    """A grid whose moves slip to the next action's place; against a wall one stays, or comes out on the other side."""

    def move(x, y, way):
        x, y = x + MOVES[way][0], y + MOVES[way][1]
        if wrap:
            return x % width, y % height
        return min(max(x, 0), width - 1), min(max(y, 0), height - 1)

    ways, transitions = list(actions), {}
    for x in range(width):
        for y in range(height):
            table = transitions[name(x, y)] = {}
            for at, way in enumerate(ways):
                table[way] = {}
                for where, share in ((move(x, y, way), 1 - slip), (move(x, y, ways[(at + 1) % len(ways)]), slip)):
                    table[way][name(*where)] = table[way].get(name(*where), 0.0) + share
    return build_mdp({"states": list(transitions), "actions": ways, "gamma": 0.9, "transitions": transitions})


def places(named):
    layout = find_layout(named)
    return layout and {named.states[state]: place for state, place in layout.items()}


def test_the_robots_floor_is_found_by_its_moves():
    found = places(read_mdp(CONFIGS / "grid-world.yaml"))
    rows = ["a3 b3 c3 d3", "a2 . c2 d2", "a1 b1 c1 d1"]
    wanted = {name: (x, y) for y, row in enumerate(rows) for x, name in enumerate(row.split()) if name != "."}
    assert found == wanted  # and `over`, where both ends lead, lies beside it


def test_moves_place_states_of_any_name():
    found = places(make_grid(lambda x, y: f"room {7 * x + y}", slip=0.3))
    assert found == {f"room {7 * x + y}": (x, y) for x in range(3) for y in range(2)}


def test_names_place_states_where_moves_cannot():
    even = make_grid(lambda x, y: f"({y}, {x})", slip=0.5)
    assert places(even) == {f"({y}, {x})": (x, y) for x in range(3) for y in range(2)}
    torus = make_grid(lambda x, y: f"r{y}c{x}", width=3, height=3, wrap=True)
    assert places(torus) == {f"r{y}c{x}": (x, y) for x in range(3) for y in range(3)}
    chess = make_grid(lambda x, y: f"{'abc'[x]}{9 - y}", slip=0.5)
    assert places(chess)["a9"] == (0, 0)
    assert places(chess)["c8"] == (2, 1)


def test_a_corridor_is_a_grid_of_one_row():
    corridor = make_grid(lambda x, y: "uvwxyz"[x], width=6, height=1, actions={"west": (), "east": ()})
    assert places(corridor) == {name: (x, 0) for x, name in enumerate("uvwxyz")}


def test_others_are_no_grids():
    for name in ("chain", "house", "three-states"):
        assert find_layout(read_mdp(CONFIGS / f"{name}.yaml")) is None
    assert places(make_grid(lambda x, y: f"room {7 * x + y}", width=3, height=3, wrap=True)) is None
    assert places(make_grid(lambda x, y: f"room {7 * x + y}", slip=0.5)) is None
