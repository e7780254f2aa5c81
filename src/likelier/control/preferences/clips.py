"""Recent episodes, and short clips of them for comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from likelier.control.spaces import Array

POOL_STEPS = 20_000
"""Steps of ended episodes that are kept at least: clips are cut from these and from the running ones."""


@dataclass(frozen=True)
class Recording:
    """An episode so far: what was seen `[T, D]`, done `[T, A]`, and paid by the environment `[T]`."""

    env: int
    """Index of the environment; with `episode` it gives the seed from which the episode can be played again."""
    episode: int
    observations: Array
    actions: Array
    rewards: Array
    terminated: bool = False
    truncated: bool = False

    @property
    def ended(self) -> bool:
        """True once nothing is added any more."""
        return self.terminated or self.truncated

    def __len__(self) -> int:
        return len(self.rewards)

    def count_starts(self, length: int) -> int:
        """How many clips of at most `length` steps begin in the episode.

        Clips are whole but where the episode terminates: what ends it belongs to what is judged. There at least half a
        clip leads to it, or all there is.
        """
        if self.terminated:
            return max(len(self) - length // 2, 0) + 1
        return max(len(self) - length + 1, 0)


class Clip(NamedTuple):
    """Steps `start` to `stop` of an episode."""

    recording: Recording
    start: int
    stop: int

    @property
    def true_return(self) -> float:
        """Sum of the environment's rewards, which only a simulated judge may look at."""
        return float(self.recording.rewards[self.start : self.stop].sum())


Pair = tuple[Clip, Clip]


class Pool:
    """The episodes of recent rollouts."""

    def __init__(self, num_envs: int, most_steps: int = POOL_STEPS) -> None:
        self.most_steps = most_steps
        self.running: list[Recording | None] = [None] * num_envs
        self.ended: list[Recording] = []

    def add(
        self, seen: Array, actions: Array, rewards: Array, terminated: Array, truncated: Array, episodes: Sequence[int]
    ) -> None:
        """Add a rollout `[T, N, ...]`; `episodes` are the numbers of the episodes in which it ended."""
        ended = terminated | truncated
        for env, last in enumerate(episodes):
            number, start = last - int(ended[:, env].sum()), 0
            for stop in [*(np.flatnonzero(ended[:, env]) + 1).tolist(), len(ended)]:
                if start == stop:
                    continue
                steps = slice(start, stop)
                piece = Recording(
                    env,
                    number,
                    seen[steps, env],
                    actions[steps, env],
                    rewards[steps, env],
                    bool(terminated[stop - 1, env]),
                    bool(truncated[stop - 1, env]),
                )
                self.append(piece)
                number, start = number + 1, stop
        while sum(map(len, self.ended[1:])) > self.most_steps:
            del self.ended[0]

    def append(self, piece: Recording) -> None:
        """Add steps to the running episode of an environment."""
        before = self.running[piece.env]
        whole = piece if before is None else join(before, piece)
        self.running[piece.env] = None if whole.ended else whole
        if whole.ended:
            self.ended.append(whole)

    def list_recordings(self) -> list[Recording]:
        """Return all episodes, the running ones last."""
        return self.ended + [each for each in self.running if each is not None]

    def count_clips(self, length: int) -> int:
        """How many clips without a common step the pool has at least."""
        return sum(-(-each.count_starts(length) // length) for each in self.list_recordings())

    def sample_pairs(self, num: int, length: int, generator: torch.Generator) -> list[Pair]:
        """Draw pairs of different clips, each start with the same chance; fewer than `num` if two were the same."""
        recordings = self.list_recordings()
        ends = np.cumsum([each.count_starts(length) for each in recordings])
        drawn = torch.randint(int(ends[-1]), (num, 2), generator=generator).numpy()
        pairs = []
        for numbers in drawn[drawn[:, 0] != drawn[:, 1]]:
            clips = []
            for number, at in zip(numbers, np.searchsorted(ends, numbers, "right"), strict=True):
                start = int(number - (ends[at - 1] if at else 0))
                clips.append(Clip(recordings[at], start, min(start + length, len(recordings[at]))))
            pairs.append((clips[0], clips[1]))
        return pairs

    def state(self) -> dict[str, Array]:
        """Named arrays for a checkpoint."""
        all_of = self.list_recordings()
        about = [(each.env, each.episode, len(each), each.terminated, each.truncated) for each in all_of]
        columns = {name: np.concatenate([getattr(each, name) for each in all_of]) for name in COLUMNS}
        return {"about": np.array(about, np.int64), **columns}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""
        stop = 0
        for env, episode, length, terminated, truncated in state["about"].tolist():
            start, stop = stop, stop + length
            seen, actions, rewards = (state[name][start:stop] for name in COLUMNS)
            self.append(Recording(env, episode, seen, actions, rewards, bool(terminated), bool(truncated)))


COLUMNS = ("observations", "actions", "rewards")


def join(before: Recording, after: Recording) -> Recording:
    """Return an episode with what followed."""
    seen, actions, rewards = (np.concatenate([getattr(before, name), getattr(after, name)]) for name in COLUMNS)
    return Recording(before.env, before.episode, seen, actions, rewards, after.terminated, after.truncated)
