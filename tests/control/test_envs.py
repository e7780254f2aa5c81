"""Environments: bad ones are named, episodes can be played again, no step is a dummy."""

import numpy as np
import pytest

from likelier.config import GymConfig
from likelier.control.envs import VectorEnv, episode_seed, make_env
from likelier.control.watchdog import Watchdog
from likelier.errors import ConfigError, DataError, LikelierError

BAD = [
    ("ConstructorRaises", "making the environment raises RuntimeError: no licence"),
    ("NotAnEnv", "what was made is a NotAnEnv, not a gymnasium.Env"),
    ("NoSpaces", "observation_space is not set; __init__ must make it a gymnasium.Space"),
    ("NoActionSpace", "action_space is not set"),
    ("ResetRaises", "environment 0, episode 0, step 0: reset raises ValueError: bad level"),
    ("SecondResetRaises", "environment 0, episode 1, step 0: reset raises ValueError: no second level"),
    ("OldReset", "reset returned an array of shape (2,) and dtype float32; return (observation, info)"),
    ("NoSeed", "reset raises TypeError"),
    ("StepRaises", "environment 0, episode 0, step 3: step raises KeyError: 'wheel'"),
    ("OldStep", "step returned a tuple of 4; return (observation, reward, terminated, truncated, info)"),
    ("StepReturnsNothing", "step returned NoneType None"),
    ("WrongShape", "observation has shape (3,), but the space says (2,)"),
    ("ScalarObservation", "observation is float32"),
    ("WrongType", "observation has dtype float64, but the space says float32"),
    ("ListObservation", "observation is list"),
    ("NoneObservation", "observation is NoneType None"),
    ("NaNObservation", "environment 0, episode 0, step 3: step: observation holds nan at index 1"),
    ("InfiniteObservation", "observation holds inf at index 0"),
    ("NaNFirst", "environment 0, episode 0, step 0: reset: observation holds nan at index 0"),
    ("NaNReward", "reward is float nan, not a finite number"),
    ("InfiniteReward", "reward is float -inf, not a finite number"),
    ("TextReward", "reward is str '1', not a finite number"),
    ("ArrayReward", "reward is an array of shape (2,)"),
    ("NumberForTerminated", "terminated is int 0, not a bool"),
    ("NoneForTruncated", "truncated is NoneType None, not a bool"),
    ("NoInfo", "info is NoneType None, not a dict"),
    ("OutsideDiscrete", "observation is int 4, not in Discrete(4)"),
    ("PartsRunAway", "environment 0, episode 0, step 3: step: observation holds inf or NaN"),
    ("StepSleeps", "environment 0: step: did not come back in 1 seconds"),
    ("StepLoops", "environment 0: step: did not come back in 1 seconds"),
    ("ResetSleeps", "environment 0, episode 0, step 0: reset: did not come back in 1 seconds"),
]


def config(name, broken_envs, **settings):
    return GymConfig(**{"env_id": f"{broken_envs}:{name}", "num_envs": 2, **settings})


@pytest.fixture
def broken_envs(request):
    return str(request.path.parents[1] / "broken_envs.py")


def play(settings, steps=10):
    with Watchdog(settings.step_timeout_seconds) as watchdog, VectorEnv(settings, 0, watchdog) as vector_env:
        vector_env.reset()
        return [vector_env.step(np.array([[1], [0]])) for _ in range(steps)]


@pytest.mark.parametrize(("name", "line"), BAD, ids=[name for name, _ in BAD])
def test_a_bad_environment_is_named_with_the_field(broken_envs, name, line):
    with pytest.raises(LikelierError) as caught:
        play(config(name, broken_envs, step_timeout_seconds=1.0 if "did not come back" in line else 60.0))
    assert line in str(caught.value)
    assert f"broken_envs.py:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("SequenceObservation", "observation space Dict is not supported"),
        ("EmptyObservation", r"observation space Box.* shows nothing"),
        ("TextAction", "action space Text is not supported"),
        ("IntegerBoxAction", "action space Box of int32 is not supported"),
        ("NoSuchName", "has no function `NoSuchName`"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_first_step(broken_envs, name, line):
    with pytest.raises(ConfigError, match=line):
        play(config(name, broken_envs))


def test_parts_are_seen_side_by_side(broken_envs):
    with Watchdog(60) as watchdog, VectorEnv(config("Parts", broken_envs), 0, watchdog) as vector_env:
        vector_env.reset()
        assert vector_env.observations.tolist() == [[0.5, 1, 0, 0, 7]] * 2
        vector_env.step(np.array([[1], [0]]))
        assert vector_env.observations.tolist() == [[0.5, 0, 1, 0, 7]] * 2


@pytest.mark.filterwarnings("default::DeprecationWarning")  # Gymnasium's own
@pytest.mark.parametrize("env_id", ["NoSuch-v0", "CartPole-v7", "LunarLander-v2", "nowhere/NoSuch-v0"])
def test_an_unknown_id_is_the_users_mistake(env_id, recwarn):
    with pytest.raises(ConfigError, match=r"^gym\.env_id: "):
        make_env(GymConfig(env_id=env_id))
    assert not recwarn.list  # the one line says it


@pytest.mark.filterwarnings("default")
def test_what_gymnasium_warns_of_is_passed_on():
    with pytest.warns(DeprecationWarning, match="out of date"):
        make_env(GymConfig(env_id="CartPole-v0")).close()


def test_an_episode_that_ends_makes_place_for_the_next_in_the_same_step(broken_envs):
    settings = config("Sound", broken_envs)
    with Watchdog(60) as watchdog, VectorEnv(settings, 0, watchdog) as vector_env:
        vector_env.reset()
        steps = [vector_env.step(np.array([[1], [0]])) for _ in range(5)]
        assert [step.rewards.tolist() for step in steps] == [[1.0, 0.0]] * 5
        assert [step.terminated.tolist() for step in steps] == [[False, False]] * 4 + [[True, True]]
        assert set(steps[4].final) == {0, 1}
        assert [(copy.episode, copy.length) for copy in vector_env.envs] == [(1, 0), (1, 0)]
        fresh = make_env(settings)
        for index in (0, 1):
            first, _ = fresh.reset(seed=episode_seed(0, "train", index, 1))
            assert vector_env.observations[index].tolist() == first.tolist()
            assert steps[4].final[index].tolist() != first.tolist()


def test_episodes_have_seeds_of_their_own():
    seeds = {episode_seed(s, p, i, e) for s in (0, 1) for p in ("train", "evaluate") for i in (0, 1) for e in (0, 1)}
    assert len(seeds) == 16
    assert episode_seed(0, "train", 0, 0) == episode_seed(0, "train", 0, 0)


@pytest.mark.parametrize("frame_stack", [1, 3])
def test_a_restored_vector_env_continues_bit_by_bit(broken_envs, frame_stack):
    settings = config("Sound", broken_envs, frame_stack=frame_stack)
    actions = np.random.default_rng(0).integers(2, size=(14, 2, 1))
    with (
        Watchdog(60) as watchdog,
        VectorEnv(settings, 0, watchdog) as vector_env,
        VectorEnv(settings, 0, watchdog) as again,
    ):
        vector_env.reset()
        for each in actions[:7]:
            vector_env.step(each)
        again.restore(vector_env.state())
        assert again.observations.tobytes() == vector_env.observations.tobytes()
        for each in actions[7:]:
            a, b = vector_env.step(each), again.step(each)
            assert a.rewards.tolist() == b.rewards.tolist()
            assert again.observations.tobytes() == vector_env.observations.tobytes()
        assert [x.tobytes() for x in again.state().values()] == [x.tobytes() for x in vector_env.state().values()]


def test_an_environment_that_cannot_be_played_again_is_named(broken_envs):
    settings = config("UnseededNoise", broken_envs)
    with (
        Watchdog(60) as watchdog,
        VectorEnv(settings, 0, watchdog) as vector_env,
        VectorEnv(settings, 0, watchdog) as again,
    ):
        vector_env.reset()
        vector_env.step(np.array([[1], [0]]))
        with pytest.raises(DataError, match="UnseededNoise: environment 0: episode 0 played again does not show"):
            again.restore(vector_env.state())


def test_history_is_no_longer_than_the_longest_episode(broken_envs, monkeypatch):
    monkeypatch.setattr("likelier.control.envs.MAX_HISTORY", 20)
    settings = config("Sound", broken_envs)
    with Watchdog(60) as watchdog, VectorEnv(settings, 0, watchdog) as vector_env:
        vector_env.reset()
        for _ in range(103):
            vector_env.step(np.array([[1], [0]]))
        assert len(vector_env.history) < 30
        assert vector_env.state()["lengths"].tolist() == [3, 3]


def test_frames_are_stacked_oldest_first(broken_envs):
    settings = config("Sound", broken_envs, frame_stack=2)
    with Watchdog(60) as watchdog, VectorEnv(settings, 0, watchdog) as vector_env:
        vector_env.reset()
        first = vector_env.observations.copy()
        assert first[:, :2].tolist() == first[:, 2:].tolist()
        vector_env.step(np.array([[1], [0]]))
        assert vector_env.observations[:, :2].tolist() == first[:, 2:].tolist()
        assert vector_env.observations[:, 2:].tolist() != first[:, 2:].tolist()


def test_a_file_without_a_name_in_it_is_not_looked_for_among_the_ids():
    with pytest.raises(ConfigError, match=r"'mine\.py' is a file; name what makes the environment in it"):
        make_env(GymConfig(env_id="mine.py"))
