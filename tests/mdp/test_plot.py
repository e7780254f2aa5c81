"""Pictures of values and policies: what is drawn is what was solved."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from likelier.cli import main
from likelier.mdp.file import build_mdp, read_mdp
from likelier.mdp.plot import draw_mdp, find_action_values, find_best, shorten, write_plot

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "mdp"
SVG = "{http://www.w3.org/2000/svg}"


def parse(named):
    return ET.fromstring(draw_mdp(named))


def texts(picture):
    return [text.text for text in picture.iter(f"{SVG}text")]


def test_the_robots_floor_has_a_value_and_an_arrow_in_each_cell():
    picture = parse(read_mdp(CONFIGS / "grid-world.yaml"))
    words = texts(picture)
    assert words[0] == "Optimal values and actions, gamma 0.99"
    assert words[words.index("a1") + 1] == "0.651"
    assert words[words.index("d2") + 1] == "−1"
    assert "Not in the grid: over" in words
    assert len(list(picture.iter(f"{SVG}polygon"))) == 9  # no arrow where every action ends the episode
    low = [rect for rect in picture.iter(f"{SVG}rect") if rect.get("class") == "low"]
    assert [rect.get("fill-opacity") for rect in low] == ["1.000"]  # d2 alone is below 0
    about = picture.find(f"{SVG}desc").text
    assert "a1: 0.651, up;" in about


def test_an_arrow_points_where_its_action_goes():
    right = {"states": ["a", "b"], "actions": ["left", "right"], "gamma": 0.5, "policy": {"a": "right", "b": "right"}}
    right["transitions"] = {"a": {"left": {"a": 1}, "right": {"b": 1}}, "b": {"left": {"a": 1}, "right": {"b": 1}}}
    picture = parse(build_mdp(right | {"rewards": {"b": {"left": 1}}}))
    tips = [polygon.get("points").split()[0].split(",") for polygon in picture.iter(f"{SVG}polygon")]
    starts = [path.get("d").removeprefix("M").split("L")[0].split() for path in picture.iter(f"{SVG}path")]
    ways = [float(tip[0]) - float(start[0]) for tip, start in zip(tips, starts, strict=True)]
    assert [way > 0 for way in ways] == [True, False, True, True]  # to b for the reward of leaving it; then the file's
    assert [tip[1] for tip in tips] == [start[1] for start in starts]


def test_a_table_outlines_the_best_actions_and_says_where_they_lead():
    named = read_mdp(CONFIGS / "three-states.yaml")
    picture = parse(named)
    boxes = [rect for rect in picture.iter(f"{SVG}rect") if rect.get("class") == "best"]
    assert len(boxes) == 2  # the third state's actions are all the same
    assert float(boxes[0].get("x")) < float(boxes[1].get("x"))
    words = texts(picture)
    assert words[1:5] == ["value", "of the policy", "0", "1"]
    assert words[5:10] == ["0", "0.45", "0", "0.45", "0"]
    assert {"ends 0.5", "ends", "0.5"} <= set(words)
    arcs = [path for path in picture.iter(f"{SVG}path") if path.get("class") == "arc"]
    assert len(arcs) == 1


def test_ties_are_shown_together_and_rounding_is_no_difference():
    named = build_mdp({
        "states": ["s"], "actions": ["a", "b", "c"], "gamma": 0.9, "transitions": {"s": {"a": {"s": 1}, "b": {"s": 1}}},
        "rewards": {"s": {"a": 0.1 + 0.2, "b": 0.3}},
    })  # fmt: skip
    assert find_best(named).tolist() == [[0.5, 0.5, 0.0]]


def test_action_values_of_a_horizon_are_those_of_the_first_step():
    """Two steps: to stay pays 1 each, to go pays 3 and ends. Q(stay) = 1 + 3, Q(go) = 3."""
    settings = {"states": ["s"], "actions": ["stay", "go"], "gamma": 1, "horizon": 2}
    settings |= {"transitions": {"s": {"stay": {"s": 1}}}, "rewards": {"s": {"stay": 1, "go": 3}}}
    named = build_mdp(settings)
    assert np.allclose(find_action_values(named), [[4.0, 3.0]])
    assert "Optimal values and actions at the first of 2 steps, gamma 1" in texts(parse(named))


def test_large_mdps_and_hostile_names():
    names = [f'<b>&"{number}' for number in range(100)]
    ring = {name: {"go": {names[(number + 1) % 100]: 0.5}} for number, name in enumerate(names)}
    named = build_mdp({"states": names, "actions": ["go", *"bcdefgh"], "gamma": 0.9, "transitions": ring})
    words = texts(parse(named))
    assert '<b>&"0' in words
    assert words[-1].endswith("Arcs: where these lead. 2 more actions. 40 more states.")


def test_a_value_that_is_rounding_is_drawn_as_0():
    loop = {"states": ["s", "t"], "actions": ["a"], "gamma": 0.9, "rewards": {"s": {"a": 3e-17}, "t": {"a": 1}}}
    named = build_mdp(loop | {"transitions": {"s": {"a": {"s": 1}}, "t": {"a": {"t": 1}}}})
    words = texts(parse(named))
    assert words[words.index("s") + 1 : words.index("s") + 3] == ["0", "0"]


def test_long_names_are_cut():
    assert shorten("a" * 17) == "a" * 15 + "…"
    assert shorten("狐狸" * 5) == "狐狸狐狸狐狸狐…"


def test_the_command(tmp_path, capfd):
    out = tmp_path / "grid.svg"
    command = ["mdp", str(CONFIGS / "grid-world.yaml"), "--plot"]
    assert main([*command, str(out)]) == 0
    assert f"values and policy are drawn in {out}" in capfd.readouterr().out
    assert main([*command, str(out), "--json"]) == 0  # a picture of ours is replaced
    assert f'"plot": "{out}"' in capfd.readouterr().out
    assert main([*command, str(tmp_path / "grid.png")]) == 2
    assert "give it a name that ends with .svg" in capfd.readouterr().err
    out.write_text("mine")
    assert main([*command, str(out)]) == 2
    assert "--overwrite" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["grid-world", "chain"])
def test_the_guides_pictures_are_what_is_drawn(name, tmp_path):
    write_plot(read_mdp(CONFIGS / f"{name}.yaml"), tmp_path / "a.svg")
    drawn = (ROOT / "docs" / "guide" / f"{name}.svg").read_text(encoding="utf-8")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == drawn
