"""What a learner is shown: sweeps with their changes, and curves that come down."""

from pathlib import Path

import pytest

from likelier.mdp.explain import explain_mdp, select_sweeps
from likelier.mdp.file import read_mdp

CONFIGS = Path(__file__).parents[2] / "configs" / "mdp"


def test_which_sweeps_are_shown():
    assert select_sweeps(4) == [0, 1, 2, 3]
    assert select_sweeps(37) == [*range(10), 10, 20, 36]


def test_a_horizon_shows_as_many_sweeps_and_learners_that_know_the_step(monkeypatch):
    monkeypatch.setattr("likelier.mdp.explain.STEPS", (10, 40_000))
    monkeypatch.setattr("likelier.mdp.explain.BATCHES", {"REINFORCE": (1, 60), "PPO": (1, 30)})
    explained = explain_mdp(read_mdp(CONFIGS / "house.yaml"))
    assert [each["values"]["low"] for each in explained["sweeps"]] == pytest.approx([0, 100, 121, 131.5, 137.2])
    assert [each["change"] for each in explained["sweeps"]] == pytest.approx([None, 160, 21, 10.5, 5.7])
    assert [learner["name"] for learner in explained["learners"]] == ["TD(0)", "Q-learning", "REINFORCE", "PPO"]
    for learner in explained["learners"]:
        (_, first), (_, last) = learner["curve"]
        assert last < first / 3, learner  # rewards of up to 160 are as good as rewards of 1
    monkeypatch.setattr("likelier.mdp.explain.MAX_STATES", 1)
    assert explain_mdp(read_mdp(CONFIGS / "house.yaml"))["learners"] == []


@pytest.mark.slow
def test_every_learner_comes_near_the_exact_answer(monkeypatch):
    monkeypatch.setattr("likelier.mdp.explain.STEPS", (100, 30_000))
    monkeypatch.setattr("likelier.mdp.explain.BATCHES", {"REINFORCE": (1, 60), "PPO": (1, 25)})
    explained = explain_mdp(read_mdp(CONFIGS / "three-states.yaml"))
    assert explained["sweeps"][-1]["values"] == {"0": 0.45, "1": 1.0, "2": 0.0}
    curves = {each["name"]: each["curve"] for each in explained["learners"]}
    assert [step for step, _ in curves["Q-learning"]] == [100, 30_000]
    assert curves["TD(0)"][-1][1] == 0  # its policy never meets a reward
    for name, distance in (("Q-learning", 0.06), ("REINFORCE", 0.1), ("PPO", 0.02)):
        assert curves[name][-1][1] < distance < curves[name][0][1] + 0.02
