"""Environments that fail or break Gymnasium's rules, one way each, and small sound ones."""

import time

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Sound(gym.Env):
    """Two numbers to see, two actions, 5 steps, reward 1 for action 1. The others change one thing."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.see(), {}

    def see(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def step(self, action):
        self.t += 1
        return self.see(), float(action == 1), self.t >= 5, False, {}


class Later(Sound):
    """Sound for two steps."""

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return self.spoilt(observation, reward, terminated, truncated, info) if self.t > 2 else (
            observation, reward, terminated, truncated, info
        )  # fmt: skip


class ConstructorRaises(Sound):
    def __init__(self):
        raise RuntimeError("no licence")


class NotAnEnv:
    pass


class Aim(gym.Env):
    """One step: how far from 17 an action between 10 and 30 is, taken off."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(10.0, 30.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), -abs(float(action[0]) - 17), True, False, {}


class MixedAction(gym.Env):
    """One step: shows -1 or 1, wants that category and twice that number at once."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Dict({"kind": spaces.Discrete(2), "number": spaces.Box(-4.0, 4.0, (), np.float32)})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.sign = float(self.np_random.choice([-1, 1]))
        return np.full(1, self.sign, np.float32), {}

    def step(self, action):
        right = action["kind"] == (self.sign > 0)
        reward = float(right) * max(0.0, 1 - (float(action["number"]) / 2 - self.sign) ** 2)
        return np.full(1, self.sign, np.float32), reward, True, False, {}


class NoSpaces(gym.Env):
    pass


class NoActionSpace(Sound):
    action_space = None


class ResetRaises(Sound):
    def reset(self, *, seed=None, options=None):
        raise ValueError("bad level")


class SecondResetRaises(Sound):
    def reset(self, *, seed=None, options=None):
        if self.np_random_seed != -1 and "t" in vars(self):
            raise ValueError("no second level")
        return super().reset(seed=seed)


class OldReset(Sound):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class NoSeed(Sound):
    def reset(self):
        return self.see(), {}


class StepRaises(Later):
    def spoilt(self, *found):
        raise KeyError("wheel")


class OldStep(Later):
    def spoilt(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, info


class StepReturnsNothing(Later):
    def spoilt(self, *found):
        return None


class WrongShape(Later):
    def spoilt(self, observation, *rest):
        return np.zeros(3, np.float32), *rest


class ScalarObservation(Later):
    def spoilt(self, observation, *rest):
        return np.float32(0.0), *rest


class WrongType(Later):
    def spoilt(self, observation, *rest):
        return observation.astype(np.float64), *rest


class ListObservation(Later):
    def spoilt(self, observation, *rest):
        return list(observation), *rest


class NoneObservation(Later):
    def spoilt(self, observation, *rest):
        return None, *rest


class NaNObservation(Later):
    def spoilt(self, observation, *rest):
        return np.array([0.0, np.nan], np.float32), *rest


class InfiniteObservation(Later):
    def spoilt(self, observation, *rest):
        return np.array([np.inf, 0.0], np.float32), *rest


class NaNFirst(Sound):
    def see(self):
        return np.array([np.nan, 0.0], np.float32)


class NaNReward(Later):
    def spoilt(self, observation, reward, *rest):
        return observation, float("nan"), *rest


class InfiniteReward(Later):
    def spoilt(self, observation, reward, *rest):
        return observation, float("-inf"), *rest


class TextReward(Later):
    def spoilt(self, observation, reward, *rest):
        return observation, "1", *rest


class ArrayReward(Later):
    def spoilt(self, observation, reward, *rest):
        return observation, np.ones(2), *rest


class NumberForTerminated(Later):
    def spoilt(self, observation, reward, terminated, *rest):
        return observation, reward, 0, *rest


class NoneForTruncated(Later):
    def spoilt(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, None, info


class NoInfo(Later):
    def spoilt(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, None


class OutsideDiscrete(Later):
    observation_space = spaces.Discrete(4)

    def see(self):
        return 1

    def spoilt(self, observation, *rest):
        return 4, *rest


class StepSleeps(Later):
    def spoilt(self, *found):
        time.sleep(60)
        return found


class StepLoops(Later):
    def spoilt(self, *found):
        while True:
            pass


class ResetSleeps(Sound):
    def reset(self, *, seed=None, options=None):
        time.sleep(60)


class SequenceObservation(Sound):
    observation_space = spaces.Dict({"a": spaces.Sequence(spaces.Discrete(2))})


class EmptyObservation(Sound):
    observation_space = spaces.Box(-1, 1, (0,))


class Parts(Sound):
    """A number, one of three, and a picture of one pixel; the number runs away when it is asked to."""

    observation_space = spaces.Dict(
        {
            "number": spaces.Box(-np.inf, np.inf, (1,), np.float32),
            "pair": spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 255, (1, 1), np.uint8))),
        }
    )
    far = 0.5

    def see(self):
        number = self.far if self.t > 2 else 0.5
        return {"number": np.array([number], np.float32), "pair": (np.int64(self.t % 3), np.full((1, 1), 7, np.uint8))}


class PartsRunAway(Parts):
    far = np.inf


class TextAction(Sound):
    action_space = spaces.Tuple((spaces.Discrete(2), spaces.Text(5)))


class IntegerBoxAction(Sound):
    action_space = spaces.Box(0, 5, (1,), np.int32)


class UnseededNoise(Sound):
    """Draws from the global stream: an episode cannot be played again."""

    def see(self):
        return np.random.uniform(-1, 1, 2).astype(np.float32)


class Endless(Sound):
    def step(self, action):
        return self.see(), 0.0, False, False, {}


class OneForever(gym.Env):
    """Reward 1 at every step, nothing to see; ends only when a time limit cuts it."""

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


class Identity(gym.Env):
    """Reward 1 for the action that is shown."""

    def __init__(self, actions=None):
        self.action_space = {
            "discrete": spaces.Discrete(3),
            "multi": spaces.MultiDiscrete([2, 3]),
            "binary": spaces.MultiBinary(2),
            "box": spaces.Box(-2.0, 2.0, (2,), np.float32),
            None: spaces.Discrete(3),
        }[actions]
        self.observation_space = {
            "box": spaces.Box(-2.0, 2.0, (2,), np.float32),
        }.get(actions, self.action_space)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.see(), {}

    def see(self):
        if isinstance(self.action_space, spaces.Box):
            self.shown = self.np_random.uniform(-2, 2, 2).astype(np.float32)
        elif isinstance(self.action_space, spaces.Discrete):
            self.shown = self.np_random.integers(3)
        else:
            self.shown = self.np_random.integers(getattr(self.action_space, "nvec", 2), size=2).astype(
                self.action_space.dtype
            )
        return self.shown

    def step(self, action):
        self.t += 1
        assert self.action_space.contains(action), action
        if isinstance(self.action_space, spaces.Box):
            reward = 1.0 - float(np.abs(self.shown - action).mean())
        else:
            reward = float(np.all(self.shown == action))
        return self.see(), reward, self.t >= 10, False, {}


class PixelGrid(gym.Env):
    """A walker and a goal on a 4x4 grid, drawn as 16x16 pixels; reward 1 at the goal if no step was wasted, else 0."""

    observation_space = spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = spaces.Discrete(4)
    limit = 12
    moves = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        walker, goal = self.np_random.choice(16, 2, replace=False)
        self.walker, self.goal = np.array(divmod(int(walker), 4)), np.array(divmod(int(goal), 4))
        self.shortest, self.t = int(np.abs(self.walker - self.goal).sum()), 0
        return self.see(), {}

    def see(self):
        picture = np.zeros((4, 4, 3), np.uint8)
        picture[tuple(self.walker)] = (255, 0, 0)
        picture[tuple(self.goal)] = (0, 255, 0)
        return picture.repeat(4, 0).repeat(4, 1)

    def step(self, action):
        self.t += 1
        self.walker = np.clip(self.walker + self.moves[action], 0, 3)
        there = bool((self.walker == self.goal).all())
        return self.see(), float(there and self.t == self.shortest), there, self.t >= self.limit, {}
