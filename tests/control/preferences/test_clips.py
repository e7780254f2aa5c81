"""Clips are cut from whole episodes, across rollouts, and a checkpoint keeps them."""

import numpy as np
import pytest
import torch

from likelier.control.preferences.clips import Clip, Pool, Recording


def record(length, terminated=False, truncated=False, env=0, episode=0):
    steps = np.arange(length, dtype=np.float32)
    return Recording(env, episode, steps[:, None], steps[:, None], steps.astype(float), terminated, truncated)


def test_whole_clips_but_where_the_episode_terminates():
    assert record(10).count_starts(4) == 7  # 0 to 6
    assert record(3).count_starts(4) == 0
    assert record(10, truncated=True).count_starts(4) == 7  # a time limit is nothing that anybody did
    assert record(10, terminated=True).count_starts(4) == 9  # 0 to 8: two steps at least lead to the end
    assert record(1, terminated=True).count_starts(4) == 1
    assert Clip(record(10), 2, 5).true_return == 2 + 3 + 4


def add(pool, rewards, terminated, truncated, episodes):
    rewards = np.array(rewards, float)
    seen = rewards[..., None].astype(np.float32)
    pool.add(seen, seen, rewards, np.array(terminated, bool), np.array(truncated, bool), episodes)


def test_episodes_go_on_over_rollouts():
    """Two environments; the first terminates after its 4th step, the second is cut after its 2nd and its 5th."""
    pool = Pool(2)
    add(pool, [[1, 10], [2, 20], [3, 30]], [[0, 0]] * 3, [[0, 0], [0, 1], [0, 0]], [0, 1])
    add(pool, [[4, 40], [5, 50], [6, 60]], [[1, 0], [0, 0], [0, 0]], [[0, 0], [0, 1], [0, 0]], [1, 2])
    found = [
        (each.env, each.episode, each.rewards.tolist(), each.terminated, each.truncated)
        for each in pool.list_recordings()
    ]
    assert found == [
        (1, 0, [10, 20], False, True),
        (0, 0, [1, 2, 3, 4], True, False),
        (1, 1, [30, 40, 50], False, True),
        (0, 1, [5, 6], False, False),
        (1, 2, [60], False, False),
    ]
    assert pool.count_clips(2) == 1 + 2 + 1 + 1  # of 2 starts, of 4, of 2, of 1 and of none

    again = Pool(2)
    again.restore(pool.state())
    add(pool, [[7, 70]], [[0, 0]], [[1, 0]], [2, 2])
    add(again, [[7, 70]], [[0, 0]], [[1, 0]], [2, 2])
    assert [vars(each).keys() for each in again.ended] == [vars(each).keys() for each in pool.ended]
    for name, array in pool.state().items():
        np.testing.assert_array_equal(again.state()[name], array)
    assert pool.ended[-1].rewards.tolist() == [5, 6, 7]


def test_old_episodes_make_room():
    """Episodes of 3 steps in a pool of 5: the oldest goes once those after it hold more than 5."""
    pool = Pool(1, most_steps=5)
    kept = []
    for episode in range(4):
        steps = np.ones((3, 1))
        add(pool, steps, steps * 0, [[0], [0], [1]], [episode + 1])
        kept.append([each.episode for each in pool.list_recordings()])
    assert kept == [[0], [0, 1], [1, 2], [2, 3]]


def test_every_start_has_the_same_chance_and_no_clip_meets_itself():
    pool = Pool(2)
    pool.append(record(6, truncated=True))  # starts 0, 1, 2
    pool.append(record(4, terminated=True, env=1))  # starts 0, 1, 2
    pairs = pool.sample_pairs(3000, 4, torch.Generator().manual_seed(0))
    assert len(pairs) == pytest.approx(2500, abs=100)
    drawn = [(clip.recording.env, clip.start, clip.stop) for pair in pairs for clip in pair]
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    assert kinds.tolist() == [[0, 0, 4], [0, 1, 5], [0, 2, 6], [1, 0, 4], [1, 1, 4], [1, 2, 4]]
    assert counts / len(drawn) == pytest.approx(1 / 6, abs=0.02)
    assert all(first[:2] != second[:2] or first.start != second.start for first, second in pairs)
