"""MDP files: what each line means, which oddities are named with their remedy, what is refused in one line."""

from pathlib import Path

import pytest
import yaml

from likelier.errors import DataError
from likelier.mdp.file import build_mdp, read_mdp

CONFIGS = Path(__file__).parents[2] / "configs" / "mdp"
PLAIN = {
    "states": ["cold", "warm"],
    "actions": ["wait", "heat"],
    "gamma": 0.5,
    "transitions": {
        "cold": {"wait": {"cold": 1}, "heat": {"warm": 0.75, "cold": 0.25}},
        "warm": {"wait": {"warm": 0.5, "cold": 0.5}, "heat": {"warm": 1}},
    },
    "rewards": {"cold": {"heat": -1}, "warm": {"wait": 3, "heat": 2}},
}


def problems(**changes):
    return [(each.name, each.where) for each in build_mdp(PLAIN | changes).problems]


def test_a_plain_file_has_no_problems():
    named = build_mdp(PLAIN)
    assert named.problems == []
    assert named.mdp.transitions.tolist() == [[[1, 0], [0.25, 0.75]], [[0.5, 0.5], [0, 1]]]
    assert named.mdp.rewards.tolist() == [[0, -1], [3, 2]]
    assert named.policy is None
    assert named.start.tolist() == [1, 0]
    assert named.values_by_state(named.mdp.rewards[:, 0] * -0.0) == {"cold": 0.0, "warm": 0.0}
    assert str(named.values_by_state(named.mdp.rewards[:, 0] * -0.0)["warm"]) == "0.0"


def test_the_articles_file():
    named = read_mdp(CONFIGS / "three-states.yaml")
    rows = [f"transitions.{s}.{a}" for s in range(3) for a in range(2)]
    assert [(each.name, each.where) for each in named.problems] == [
        *(("missing_mass", row) for row in rows),
        ("claimed_values", "claimed_values.1"),
    ]
    assert named.problems[0].remedy == (
        "probabilities sum to 0.5; completion taken: the missing 0.5 ends the episode. "
        "If it should not, say where it leads"
    )
    assert "the value of this policy is 0, not 1 (that is the optimal value)" in named.problems[-1].remedy
    assert named.values_by_state(named.mdp.policy_values(named.policy)) == {"0": 0, "1": 0, "2": 0}
    assert named.values_by_state(named.mdp.optimal_values()) == {"0": 0.45, "1": 1, "2": 0}
    assert named.plan() == [{"0": "0", "1": "1", "2": "0"}]


@pytest.mark.parametrize("name", ["grid-world", "chain", "house"])
def test_the_other_files_have_no_problems(name):
    assert read_mdp(CONFIGS / f"{name}.yaml").problems == []


def test_the_grid_world_has_the_textbooks_values():
    """Russell and Norvig print them for gamma 1; 200 steps are as good as endless ones there."""
    settings = yaml.safe_load((CONFIGS / "grid-world.yaml").read_text())
    values = build_mdp(settings | {"gamma": 1, "horizon": 200}).mdp.optimal_values().round(3).tolist()
    assert values[:4] == [0.812, 0.868, 0.918, 1]
    assert values[4:7] == [0.762, 0.660, -1]
    assert values[7:] == [0.705, 0.655, 0.611, 0.388, 0]


def test_the_chain_pays_for_swimming():
    named = read_mdp(CONFIGS / "chain.yaml")
    assert set(named.plan()[0].values()) == {"swim"}
    drifting = named.values_by_state(named.mdp.policy_values(named.policy))
    assert drifting["sea"] == pytest.approx(0.005 / 0.05)
    assert drifting["river 1"] == pytest.approx(0.95 * 0.005 / 0.05)


def test_the_house_is_sold_by_weeks():
    """With w weeks left an offer is taken if it beats E[V_{w-1}]: 0, 121, 131.5, 137.2 (worked by hand)."""
    named = read_mdp(CONFIGS / "house.yaml")
    assert named.values_by_state(named.mdp.optimal_values()) == pytest.approx(
        {"low": 137.2, "fair": 137.2, "high": 160, "sold": 0}
    )
    taken = [[state for state, action in step.items() if action == "accept"] for step in named.plan()]
    assert taken == [["high", "sold"], ["high", "sold"], ["fair", "high", "sold"], ["low", "fair", "high", "sold"]]


def test_rows_that_lose_mass():
    transitions = PLAIN["transitions"] | {"warm": {"wait": {"warm": 0.25, "cold": 0.5}}}
    assert problems(transitions=transitions) == [
        ("missing_mass", "transitions.warm.wait"),
        ("missing_mass", "transitions.warm.heat"),
    ]
    thirds = {
        "cold": {"wait": {"cold": 1 / 3, "warm": 2 / 3}, "heat": {"warm": 1}},
        "warm": PLAIN["transitions"]["warm"],
    }
    assert problems(transitions=thirds) == []


def test_a_terminal_state_is_meant_to_end():
    transitions = {"cold": {"wait": {"cold": 1}, "heat": {"warm": 1}}}
    changes = {"transitions": transitions, "rewards": {"cold": {"heat": 1}}}
    assert [name for name, _ in problems(**changes)] == ["missing_mass"] * 2
    assert problems(**changes, terminal=["warm"]) == []


def test_states_that_nobody_reaches():
    transitions = PLAIN["transitions"] | {"cold": {"wait": {"cold": 1}, "heat": {"cold": 1, "warm": 0}}}
    assert problems(transitions=transitions) == [("unreachable_state", "states.warm")]
    assert problems(transitions=transitions, start="warm") == []
    assert problems(transitions=transitions, start={"warm": 0.5, "cold": 0.5}) == []


def test_policies():
    mixed = build_mdp(PLAIN | {"policy": {"cold": "heat", "warm": {"wait": 0.25, "heat": 0.75}}})
    assert mixed.policy.tolist() == [[0, 1], [0.25, 0.75]]
    assert problems(policy={"cold": "heat", "warm": {"heat": 0.5}}) == [("policy_missing_mass", "policy.warm")]
    assert problems(policy={"cold": "heat"}) == [("policy_missing_mass", "policy.warm")]
    ending = {"transitions": {"cold": {"wait": {"warm": 1}, "heat": {"warm": 1}}}, "rewards": {}, "terminal": ["warm"]}
    assert problems(policy={"cold": "heat"}, **ending) == []


def test_claims_are_held_against_the_policy_and_may_be_rounded():
    policy = {"cold": "wait", "warm": "heat"}  # worth 0 and 2 / (1 - 0.5)
    assert problems(policy=policy, claimed_values={"cold": 0, "warm": 4}) == []
    assert problems(policy=policy, claimed_values={"warm": 4.003}) == []
    assert problems(policy=policy, claimed_values={"cold": 0.01}) == [("claimed_values", "claimed_values.cold")]
    assert problems(policy=policy, claimed_values={"warm": 4.1}) == [("claimed_values", "claimed_values.warm")]
    without = build_mdp(PLAIN | {"claimed_values": {"warm": 5}}).problems[0]
    assert without.remedy.startswith("the optimal value is ")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"gama": 0.9}, "unknown key `gama`; did you mean `gamma`?"),
        ({"states": []}, "states: expected a list of names, got []"),
        ({"states": {"a": 1}}, "states: expected a list of names, got {'a': 1}"),
        ({"states": ["a", "a"]}, "states: `a` is there twice"),
        ({"states": [1, "1"]}, "states: `1` is there twice"),
        ({"actions": [True, False]}, "actions: YAML reads True here, which is not a name; put names in quotes"),
        ({"actions": [None]}, "actions: YAML reads None here, which is not a name; put names in quotes"),
        ({"actions": ["a\nb"]}, "actions: 'a\\nb' cannot be a name; use printable characters"),
        ({"states": list(range(5000))}, "5000 states and 2 actions are too many: at most 2,000 and 5, say"),
        ({"gamma": 1.01}, "gamma: must be from 0 to 1, got 1.01"),
        ({"gamma": -0.1}, "gamma: must be from 0 to 1, got -0.1"),
        ({"gamma": float("nan")}, "gamma: must be from 0 to 1, got nan"),
        ({"gamma": "0.9"}, "gamma: expected a number, got '0.9'"),
        ({"gamma": True}, "gamma: expected a number, got True"),
        ({"gamma": None}, "gamma: expected a number, got None"),
        ({"gamma": 1}, "gamma: 1, but from state `cold` some policy never ends"),
        ({"horizon": 0}, "horizon: expected an integer from 1 to 10000, got 0"),
        ({"horizon": 2.5}, "horizon: expected an integer from 1 to 10000, got 2.5"),
        ({"horizon": 10**9}, "horizon: expected an integer from 1 to 10000, got 1000000000"),
        ({"transitions": []}, "transitions: expected {state: …}, got []"),
        ({"transitions": {"cold": None}}, "transitions.cold: expected {action: …}, got None"),
        ({"transitions": {"cold": {"heat": "warm"}}}, "transitions.cold.heat: expected {state: …}, got 'warm'"),
        ({"transitions": {"clod": {}}}, "transitions: unknown state `clod`; did you mean `cold`?"),
        ({"transitions": {"cold": {"boil": {}}}}, "transitions.cold: unknown action `boil`; allowed: wait, heat"),
        ({"transitions": {"cold": {"heat": {"hot": 1}}}}, "transitions.cold.heat: unknown state `hot`"),
        (
            {"transitions": {"cold": {"heat": {"warm": -0.1}}}},
            "transitions.cold.heat.warm: must be from 0 to 1, got -0.1",
        ),
        ({"transitions": {"cold": {"heat": {"warm": 10**400}}}}, "transitions.cold.heat.warm: must be from 0 to 1"),
        (
            {"transitions": {"cold": {"heat": {"warm": 0.75, "cold": 0.26}}}},
            "transitions.cold.heat: probabilities sum to 1.01, which is above 1; lower them",
        ),
        ({"rewards": {"cold": {"heat": float("inf")}}}, "rewards.cold.heat: must be from -1e+100 to 1e+100, got inf"),
        ({"rewards": {"cold": {"heat": "much"}}}, "rewards.cold.heat: expected a number, got 'much'"),
        ({"rewards": {"cold": 1}}, "rewards.cold: expected {action: …}, got 1"),
        ({"policy": {"cold": "boil"}}, "policy.cold: unknown action `boil`"),
        ({"policy": {"cold": {"wait": 0.6, "heat": 0.6}}}, "policy.cold: probabilities sum to 1.2, which is above 1"),
        ({"policy": ["heat"]}, "policy: expected {state: …}, got ['heat']"),
        ({"claimed_values": {"hot": 1}}, "claimed_values: unknown state `hot`"),
        ({"claimed_values": {"warm": None}}, "claimed_values.warm: expected a number, got None"),
        ({"start": "hot"}, "start: unknown state `hot`"),
        ({"start": {"cold": 0.5}}, "start: probabilities sum to 0.5; they must sum to 1"),
        ({"terminal": ["warm"]}, "terminal: `warm` has transitions or rewards; a terminal state has neither"),
        ({"terminal": "warm"}, "terminal: expected a list of states, got 'warm'"),
    ],
)
def test_what_is_refused(changes, line):
    with pytest.raises(DataError) as caught:
        build_mdp(PLAIN | changes)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "expected `key: value` lines, got an empty file"),
        ("- 1\n", "got list"),
        ("states: [a\n", "not YAML"),
        ("gamma: 0.9\ngamma: 0.8\n", "key `gamma` is given twice"),
        ("states: [a]\nactions: [b]\ngamma: 0.5\n", "`transitions` is missing"),
        ("states: [a]\nactions: [b]\ngamma: 0.5\ntransitions: {a: {b: {a: 0.5, a: 0.5}}}\n", "key `a` is given twice"),
        ('states: [1]\nactions: [b]\ngamma: 0.5\ntransitions: {1: {}, "1": {}}\n', "transitions: `1` is given twice"),
        ("states: [on, off]\nactions: [b]\ngamma: 0.5\ntransitions: {}\n", "YAML reads True here"),
        ("states: &x [a]\nactions: *x\ngamma: 0.5\ntransitions: {}\n", "aliases (*name) are not allowed"),
        (f"gamma: {'9' * 5000}\n", "not YAML"),
        ("gamma: 2026-02-31\n", "not YAML"),
        ("gamma: !!python/object/apply:os.system [ls]\n", "not YAML"),
        ("{" * 2000, "too deep"),
    ],
)
def test_files_that_are_refused(tmp_path, text, part):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_mdp(path)
    assert str(caught.value).startswith(f"{path}:")
    assert part in str(caught.value)


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"states: [caf\xe9]\n")
    for name, part in [("latin.yaml", "not UTF-8"), ("absent.yaml", "no such file"), ("", "a folder, not a file")]:
        with pytest.raises(DataError, match=part):
            read_mdp(tmp_path / name)


def test_episodes_start_in_the_first_state_that_is_not_over():
    over_first = {"states": ["over", *PLAIN["states"]], "terminal": ["over"]}
    named = build_mdp(PLAIN | over_first)
    assert named.start.tolist() == [0, 1, 0]
    assert [each.where for each in named.problems] == ["states.over"]  # only itself is never reached
