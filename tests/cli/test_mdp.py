"""`likelier mdp`: the keys of INTERFACE, a page for people, one line for what is wrong."""

import json
from pathlib import Path

import pytest

from likelier.cli import main

CONFIGS = Path(__file__).parents[2] / "configs" / "mdp"


@pytest.fixture
def run(capfd):
    def call(*words):
        code = main(["mdp", *map(str, words)])
        return code, *capfd.readouterr()

    return call


def test_json_of_the_articles_states(run):
    code, out, err = run(CONFIGS / "three-states.yaml", "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert found["states"] == ["0", "1", "2"]
    assert found["policy_values"] == {"0": 0, "1": 0, "2": 0}
    assert found["optimal_values"] == {"0": 0.45, "1": 1, "2": 0}
    assert found["optimal_policy"] == {"0": "0", "1": "1", "2": "0"}
    assert found["indifferent"] == ["2"]  # both actions end the episode and pay nothing
    assert {each["name"] for each in found["problems"]} == {"missing_mass", "claimed_values"}
    assert all(set(each) == {"name", "where", "remedy"} for each in found["problems"])
    assert "optimal_policy_by_step" not in found


def test_the_page_for_people_says_both_problems_and_the_completion(run):
    code, out, err = run(CONFIGS / "three-states.yaml")
    assert (code, err) == (0, "")
    assert "3 states, 2 actions, gamma 0.9\n" in out
    assert "0      0             0.45           0\n1      0             1              1\n" in out
    assert "\n2      0             0              –\n" in out
    assert "missing_mass: transitions.0.0, transitions.0.1\n  probabilities sum to 0.5; completion taken:" in out
    assert "claimed_values: claimed_values.1\n  the value of this policy is 0, not 1" in out


def test_a_horizon_has_a_plan_and_no_policy_is_null(run):
    found = json.loads(run(CONFIGS / "house.yaml", "--json")[1])
    assert found["horizon"] == 4
    assert [step["fair"] for step in found["optimal_policy_by_step"]] == ["decline", "decline", "accept", "accept"]
    assert found["optimal_policy"] == found["optimal_policy_by_step"][0]
    page = run(CONFIGS / "house.yaml")[1]
    assert "horizon 4" in page
    assert "\nsold   0             0              –\n" in page
    assert json.loads(run(CONFIGS / "grid-world.yaml", "--json")[1])["policy_values"] is None


def test_explain(run, monkeypatch):
    monkeypatch.setattr("likelier.mdp.explain.STEPS", (10, 100))
    monkeypatch.setattr("likelier.mdp.explain.BATCHES", {"REINFORCE": (1, 2), "PPO": (1, 2)})
    out = run(CONFIGS / "grid-world.yaml", "--explain")[1]
    assert "\nvalue iteration: V(s) <- max over a" in out
    assert "(4 more states: --json shows all)" in out
    for name in ("TD(0)", "Q-learning", "REINFORCE", "PPO"):
        assert f"\n{name}: largest " in out


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "an empty file"),
        ("states: [a]\nactions: [b]\ngamma: 2\ntransitions: {}\n", "gamma: must be from 0 to 1, got 2"),
        ("states: [a]\nactions: [b]\ngamma: 1\ntransitions: {a: {b: {a: 1}}}\n", "some policy never ends"),
        ("states: [a]\nactions: [b]\ngamma: 0.5\ntransitions: {a: {b: {a: 1.5}}}\n", "a.b.a: must be from 0 to 1"),
    ],
)
def test_bad_files_are_one_line_and_exit_3(run, tmp_path, text, part):
    (tmp_path / "m.yaml").write_text(text)
    code, out, err = run(tmp_path / "m.yaml", "--json")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith(f"likelier: {tmp_path / 'm.yaml'}: ")
    assert part in err


def test_an_absent_file_is_exit_3_and_no_file_exit_2(run, tmp_path):
    assert run(tmp_path / "absent.yaml")[0] == 3
    assert run()[0] == 2
