"""The simulated judge by hand; clips that people see are the episode played again."""

import math

import numpy as np
import pytest
from PIL import Image

from likelier.config import build_config
from likelier.control.envs import VectorEnv
from likelier.control.preferences.clips import Clip, Pool
from likelier.control.preferences.judges import People, SimulatedJudge, answer_chances, load_taste
from likelier.control.watchdog import Watchdog
from likelier.errors import ConfigError, DataError


def test_chances_by_hand():
    """Returns 0, 2, 1, 1 have the deviation sqrt(1/2): 4 x (0 - 2) / sqrt(1/2) is -11.3 in log-odds."""
    chances = answer_chances(np.array([[0.0, 2.0], [1.0, 1.0]]), 0.1)
    assert chances == pytest.approx([0.9 / (1 + math.exp(8 * math.sqrt(2))) + 0.05, 0.5])
    assert answer_chances(np.array([[3.0, 3.0]]), 0.0).tolist() == [0.5]


def play(gym, watchdog, steps):
    with VectorEnv(gym, 3, watchdog) as envs:
        envs.reset()
        seen, results, acted = [], [], []
        for t in range(steps):
            seen.append(envs.observations.copy())
            acted.append(np.full((len(envs), 1), t % 2))
            results.append(envs.step(acted[-1]))
        rewards, terminated, truncated = (np.stack(column) for column in list(zip(*results, strict=True))[:3])
        pool = Pool(len(envs))
        pool.add(np.stack(seen), np.stack(acted), rewards, terminated, truncated, [env.episode for env in envs.envs])
        return pool


def test_a_clip_is_the_episode_played_again(tmp_path):
    preferences = {"db": "clips.db", "clip_seconds": 0.4}
    gym = build_config({"gym": {"env_id": "CartPole-v1", "num_envs": 2, "preferences": preferences}}).gym
    with Watchdog(60) as watchdog:
        pool = play(gym, watchdog, 150)
        people = People(None, gym, 3, watchdog, tmp_path)
        people.folder.mkdir()
        recording = next(each for each in pool.ended if each.env == 1 and each.episode > 0)
        path = people.draw(Clip(recording, 2, 12))
        assert people.env.observation().tolist() == recording.observations[12].tolist()
        short = people.draw(Clip(recording, len(recording) - 5, len(recording)))
        assert short != path
        for file in (path, short):  # every second of 21 frames, 40 ms each: what ended early shows its end as long
            with Image.open(file) as gif:
                assert sum(gif.seek(at) or gif.info["duration"] for at in range(gif.n_frames)) == 440
        assert people.draw(Clip(recording, 2, 12)) == path


TASTES = """
def lean_right(observations, actions):
    assert observations.shape == (len(actions), 4) and actions.dtype == int
    return observations[:, 2].sum() + 1000 * actions.sum()

def divide(observations, actions):
    return 1 / 0

def undefined(observations, actions):
    return float("nan")
"""


def test_a_taste_is_a_function_of_what_a_clip_shows(tmp_path):
    """Actions alternate 0, 1, 0, ...: two of five from an even step, three from an odd one."""
    file = tmp_path / "tastes.py"
    file.write_text(TASTES)
    gym = build_config({"gym": {"env_id": "CartPole-v1", "num_envs": 2}}).gym
    with Watchdog(60) as watchdog, VectorEnv(gym, 3, watchdog) as envs:
        decoder = envs.spaces.actions
        recording = play(gym, watchdog, 150).ended[0]
    even, odd = Clip(recording, 0, 5), Clip(recording, 1, 6)
    taste = load_taste(f"{file}:lean_right", decoder)
    assert taste(even) == pytest.approx(recording.observations[:5, 2].sum() + 2000)
    judge = SimulatedJudge(0.0, 0, taste)
    assert judge.compare([(even, odd), (odd, even)] * 8, np.zeros(0), 0).tolist() == [0.0, 1.0] * 8
    assert SimulatedJudge(0.0, 0).utility(even) == 5.0  # CartPole pays 1 a step
    with pytest.raises(DataError, match=r"gym\.preferences\.taste .*tastes\.py:divide` raises ZeroDivisionError"):
        load_taste(f"{file}:divide", decoder)(even)
    with pytest.raises(DataError, match=r"tastes\.py:undefined` returns nan; it must be a number"):
        load_taste(f"{file}:undefined", decoder)(even)
    with pytest.raises(ConfigError, match=r"gym\.preferences\.taste .* has no function `lean_rigt`; did you mean"):
        load_taste(f"{file}:lean_rigt", decoder)
    with pytest.raises(ConfigError, match="taste would have no effect: it belongs to simulated"):
        build_config({"gym": {"preferences": {"db": "clips.db", "taste": f"{file}:lean_right"}}})


def test_the_same_pairs_have_the_same_answers(tmp_path):
    gym = build_config({"gym": {"env_id": "CartPole-v1", "num_envs": 2}}).gym
    with Watchdog(60) as watchdog:
        pool = play(gym, watchdog, 200)
    ended = pool.ended
    pairs = [(Clip(first, 0, len(first)), Clip(second, 0, len(second))) for first in ended for second in ended]
    answers = [SimulatedJudge(0.0, seed).compare(pairs, np.zeros(2), 5) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert answers[0][:2].tolist() == [0, 0]
    assert not np.array_equal(answers[0], answers[2])
    lengths = np.array([[len(clip.recording) for clip in pair] for pair in pairs])
    far = np.abs(lengths[:, 0] - lengths[:, 1]) > lengths.std()  # right with sigmoid(4) = 0.98 at least
    assert far.sum() > 10
    assert (answers[0][2:] == (lengths[:, 0] > lengths[:, 1]))[far].mean() > 0.9
