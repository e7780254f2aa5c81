"""A corridor that needs memory: what is seen and paid by hand; an LSTM reaches the optimum, the frame stack a guess."""

import json
import sys

import pytest
import recall
from gymnasium.utils.env_checker import check_env


def walk(env, turn):
    seen = [env.reset(seed=0)[0].tolist()]
    for _ in range(env.length):
        observation, reward, *_ = env.step(recall.FORWARD)
        assert reward == 0.0
        seen.append(observation.tolist())
    return seen, env.step(turn)[1:3]


@pytest.mark.filterwarnings("ignore:.*spec.*:UserWarning")
def test_what_is_seen_and_paid():
    env = recall.Recall(length=3)
    check_env(env, skip_render_check=True)
    seen, right = walk(env, recall.RIGHT)
    cue = env.cue
    assert seen == [[cue, 0], [0, 0], [0, 0], [0, 1]]  # the cue once, and the end
    assert right == (float(cue), True)
    assert walk(env, recall.LEFT)[1] == (-float(cue), True)
    env.reset()
    assert [env.step(action)[1:3] for action in (recall.LEFT, recall.RIGHT)] == [(-0.1, False)] * 2
    assert env.place == 0


@pytest.mark.battery
def test_an_lstm_remembers_what_the_frame_stack_cannot_see(tmp_path, monkeypatch, capsys):
    found = {}
    for name, more in {"lstm": [], "stack": ["--frame-stack", "4"]}.items():
        given = ["recall.py", "--out", str(tmp_path / name), "--length", "10", "--steps", "60000", *more]
        monkeypatch.setattr(sys, "argv", given)
        recall.main()
        found[name] = json.loads(capsys.readouterr().out)
    assert found["lstm"]["eval_mean"] == found["lstm"]["optimum"]
    assert abs(found["stack"]["eval_mean"]) < 0.15
