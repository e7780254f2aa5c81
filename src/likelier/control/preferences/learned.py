"""The reward of a run with `gym.preferences`: when people are asked about which clips, and what is learned from it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from likelier.config import Config, GymConfig
from likelier.control.envs import VectorEnv
from likelier.control.evaluate import draws_pictures
from likelier.control.nets import ActorCritic
from likelier.control.preferences.clips import POOL_STEPS, Clip, Pair, Pool
from likelier.control.preferences.judges import (
    Judge,
    OpenClipPage,
    People,
    SimulatedJudge,
    clip_length,
    get_true_return,
    load_taste,
)
from likelier.control.preferences.reward_model import Comparisons, RewardEnsemble, encode_steps, pad_clips
from likelier.control.rollout import EnvState, Experience, take_steps
from likelier.control.spaces import Array
from likelier.control.watchdog import Watchdog
from likelier.errors import ConfigError
from likelier.files import read_jsonl, write_jsonl
from likelier.intervals import clopper_pearson
from likelier.progress import print_note
from likelier.training.setup import seeded_generator

ROUNDS = 16
"""Times at which new clips are asked about, over the first `ASKING_SHARE` of the run."""
ASKING_SHARE = 0.75
FIRST_SHARE = 0.25
"""Share of the comparisons that are of the untrained policy."""
CANDIDATES = 10
"""Pairs that are drawn for each that is asked about."""
MAX_FIRST_ROLLOUTS = 1000
ANSWERS_FILE = "preferences.jsonl"
"""In the run's folder, a line a round: the new comparisons and all answers that were learned from."""


def plan_rounds(total: int, steps: int) -> dict[int, int]:
    """Return how many comparisons there are to be from each step on: a quarter at once, then ever fewer at a time.

    The rate falls as 1 / (1 + 9 x), x from 0 to 1 over the asking, in the paper as 1 / (1 + T / 5e6).
    """
    plan = {}
    for number in range(ROUNDS):
        x = number / (ROUNDS - 1)
        share = FIRST_SHARE + (1 - FIRST_SHARE) * np.log10(1 + 9 * x)
        plan[int(x * ASKING_SHARE * (steps - 1))] = max(1, round(share * total))
    return plan


class LearnedReward:
    """Rewards of rollouts, learned from comparisons of their clips."""

    def __init__(self, config: GymConfig, vector_env: VectorEnv, judge: Judge, seed: int, folder: Path) -> None:
        assert config.preferences is not None
        self.config, self.preferences, self.vector_env = config, config.preferences, vector_env
        self.judge, self.seed, self.path = judge, seed, folder / ANSWERS_FILE
        spaces = vector_env.spaces
        fps = float(vector_env.envs[0].env.metadata.get("render_fps") or 30)
        self.length = clip_length(config, fps)
        self.plan = plan_rounds(self.preferences.comparisons, config.steps)
        # Room for the clips of the first round, whatever their number.
        self.pool = Pool(len(vector_env), max(POOL_STEPS, 4 * self.plan[0] * self.length))
        width = spaces.observations.shape[0] + sum(spaces.actions.sizes) + spaces.actions.num_real
        self.model = RewardEnsemble(width, self.preferences.ensemble_size, seed)
        self.steps = np.zeros((0, 2, self.length, width), np.float32)
        self.mask = np.zeros((0, 2, self.length), bool)
        self.targets = np.zeros(0)
        self.steps_before = 0
        """Environment steps of the untrained policy, before the first update."""
        self.metrics: dict[str, float] = {}
        self.step = 0

    def begin_step(self, step: int, stop_if_asked: Callable[[], None]) -> None:
        """Begin a step; `stop_if_asked` is called while people are waited for and raises Stopped after a signal."""
        self.step, self.judge.stop_if_asked = step, stop_if_asked
        if step > max(self.plan):
            self.judge.end()

    def explore(self, step: int) -> float:
        """Return what is added to a step's `entropy_coef`: `preferences.entropy_coef`, and 0 from the last round on.

        PPO whose reward still changes narrows its policy to what an early reward paid, and then no longer finds what a
        better one pays. Christiano et al. (2017, section 2.2.1) raise the bonus against it.
        """
        return self.preferences.entropy_coef * max(0.0, 1 - step / max(*self.plan, 1))

    def play_first(self, policy: ActorCritic, env_state: EnvState) -> None:
        """Let the untrained policy act until there are clips enough to ask about."""
        needed = 2 * self.plan[0]
        for number in range(MAX_FIRST_ROLLOUTS):
            generator = seeded_generator(self.seed, number, "gym-first-clips", policy.device)
            self.record(take_steps(policy, env_state, self.config, generator))
            self.steps_before += self.config.batch_size
            if self.pool.count_clips(self.length) >= needed:
                return
        raise ConfigError(
            f"gym.preferences: {self.steps_before} steps of the untrained policy give "
            f"{self.pool.count_clips(self.length)} clips of {self.length} steps, and {needed} are needed; lower "
            "comparisons or clip_seconds"
        )

    def record(self, experience: Experience) -> None:
        """Add a rollout to the pool."""
        rewards, terminated, truncated = experience.rewards, experience.terminated, experience.truncated
        numbers = [env.episode for env in self.vector_env.envs]
        self.pool.add(experience.seen, experience.actions, rewards, terminated, truncated, numbers)

    def __call__(self, experience: Experience) -> Array:
        """Return the learned rewards of a rollout [T, N], after asking about clips where the plan says so."""
        self.record(experience)
        if self.step in self.plan:
            self.ask(self.plan[self.step])
        inputs = encode_steps(experience.seen, experience.actions, self.vector_env.spaces.actions)
        rewards: Array = self.model.rewards(torch.from_numpy(inputs)).double().numpy()
        self.metrics["preferences/reward"] = float(rewards.mean())
        return rewards

    def ask(self, wanted: int) -> None:
        """Ask about new pairs until there are `wanted` comparisons, and learn from all answers."""
        # A pool of few clips may yield fewer; the next round asks for the rest.
        num_new = max(0, wanted - len(self.targets))
        if not num_new:
            return
        pairs, spread = self.choose(num_new)
        for each, new in zip(("steps", "mask"), self.encode_pairs(pairs), strict=True):
            setattr(self, each, np.concatenate([getattr(self, each), new]))
        self.targets = self.judge_pairs(pairs)
        self.metrics |= {"preferences/asked": float(len(self.targets)), "preferences/disagreement": spread}
        if np.isfinite(self.targets).any():
            self.model.fit(self.known(), self.step)
            self.measure()

    def judge_pairs(self, pairs: list[Pair]) -> Array:
        """Return the answers to all pairs, new ones and those before; after a kill those that were used before it."""
        lines = [line for _, line in read_jsonl(self.path)] if self.path.is_file() else []
        used = next((line for line in lines if line["step"] == self.step), None)
        if used is not None and used["pairs"] == [describe(pair) for pair in pairs]:
            self.judge.ids += used["ids"]
            return np.array([np.nan if answer is None else answer for answer in used["answers"]])
        before = len(self.targets)
        targets = self.judge.compare(pairs, self.targets, self.step)
        line = {
            "step": self.step,
            "pairs": [describe(pair) for pair in pairs],
            "ids": self.judge.ids[before:],
            "answers": [None if np.isnan(answer) else answer for answer in targets.tolist()],
        }
        # Before they are used: a step repeated after a kill has the same answers, and people are not asked twice.
        write_jsonl(self.path, [*(each for each in lines if each["step"] < self.step), line])
        return targets

    def choose(self, num: int) -> tuple[list[Pair], float]:
        """Return pairs to ask about, of many that are drawn those on which the ensemble disagrees most, and the mean
        standard deviation of its members' probabilities there; by chance before the first answers, and if told so.
        """
        generator = seeded_generator(self.seed, self.step, "clips")
        drawn = self.pool.sample_pairs(CANDIDATES * num, self.length, generator)
        if len(drawn) < num:
            drawn += self.pool.sample_pairs(CANDIDATES * num, self.length, generator)
        steps, mask = self.encode_pairs(drawn)
        spread = self.model.probabilities(torch.from_numpy(steps), torch.from_numpy(mask)).std(0, correction=0).numpy()
        by_chance = self.preferences.choose == "random" or not np.isfinite(self.targets).any()
        order = np.arange(num) if by_chance else np.argsort(-spread, kind="stable")[:num]
        return [drawn[at] for at in order], float(spread[order].mean())

    def encode_pairs(self, pairs: list[Pair]) -> tuple[Array, Array]:
        """Pairs as steps `[N, 2, L, F]` and mask."""
        clips = [self.encode(clip) for pair in pairs for clip in pair]
        steps, mask = pad_clips(clips, self.length)
        return steps.reshape(-1, 2, *steps.shape[1:]), mask.reshape(-1, 2, self.length)

    def encode(self, clip: Clip) -> Array:
        """A clip's inputs of the reward, `[T, F]`."""
        at = slice(clip.start, clip.stop)
        return encode_steps(clip.recording.observations[at], clip.recording.actions[at], self.vector_env.spaces.actions)

    def known(self) -> Comparisons:
        """All comparisons."""
        return Comparisons(*(torch.from_numpy(each) for each in (self.steps, self.mask, self.targets)))

    def measure(self) -> None:
        """Measure how well members predict answers that they did not learn from."""
        hits = self.model.hits(self.known())
        answered = float(np.isfinite(self.targets).sum())
        accuracy = float(hits.mean()) if len(hits) else float("nan")
        self.metrics |= {"preferences/answered": answered, "preferences/accuracy": accuracy}

    def summarize(self) -> dict[str, Any]:
        """Return the quality of the learned reward for the result, in numbers and in words."""
        hits = self.model.hits(self.known())
        interval = clopper_pearson(float(hits.mean()), len(hits)) if len(hits) else None
        accuracy = float(hits.mean()) if len(hits) else None
        words = describe_accuracy(accuracy, interval, len(hits))
        if interval is None or interval[0] <= 0.5:
            print_note(f"gym.preferences: {words}")
        return {
            "asked": len(self.targets),
            "answered": int(np.isfinite(self.targets).sum()),
            "measured": len(hits),
            "accuracy": accuracy,
            "accuracy_interval": interval,
            "in_words": words,
            "steps_before": self.steps_before,
        }

    def state(self) -> dict[str, Array]:
        """Named arrays for a checkpoint."""
        own = {name: getattr(self, name) for name in ("steps", "mask", "targets")}
        own["steps_before"] = np.array(self.steps_before)
        own |= {f"model/{name}": value.numpy() for name, value in self.model.state_dict().items()}
        own |= {f"metrics/{name}": np.array(value) for name, value in self.metrics.items()}
        return own | {f"pool/{name}": value for name, value in self.pool.state().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Restore the output of `state`."""
        parts: dict[str, dict[str, Array]] = {"model": {}, "metrics": {}, "pool": {}, "": {}}
        for name, value in state.items():
            part, _, key = name.rpartition("/") if not name.startswith("metrics/") else name.partition("/")
            parts[part][key] = value
        self.steps, self.mask, self.targets = (parts[""][name] for name in ("steps", "mask", "targets"))
        self.steps_before = int(parts[""]["steps_before"])
        self.model.load_state_dict({name: torch.from_numpy(value) for name, value in parts["model"].items()})
        self.metrics = {name: float(value) for name, value in parts["metrics"].items()}
        self.pool.restore(parts["pool"])
        lines = [line for _, line in read_jsonl(self.path)] if self.path.is_file() else []
        self.judge.ids = [each for line in lines for each in line["ids"]][: len(self.targets)]


@contextmanager
def open_learned_reward(
    config: Config, vector_env: VectorEnv, watchdog: Watchdog, folder: Path, open_page: OpenClipPage | None
) -> Iterator[LearnedReward | None]:
    """Open the page of the people whom `gym.preferences` asks, if any; yields None without `gym.preferences`.

    ConfigError: its clips cannot be learned from, drawn or shown here.
    """
    gym, preferences = config.gym, config.gym.preferences
    if preferences is None:
        yield None
        return
    if vector_env.spaces.observations.image:
        raise ConfigError(f"gym.preferences: the reward reads vectors, and {gym.env_id} shows pictures")
    if preferences.simulated is not None:
        taste, actions = preferences.taste, vector_env.spaces.actions
        utility = get_true_return if taste is None else load_taste(taste, actions)
        judge = SimulatedJudge(preferences.simulated, config.seed, utility)
        yield LearnedReward(gym, vector_env, judge, config.seed, folder)
        return
    if not draws_pictures(gym):
        raise ConfigError(
            f"gym.preferences.db: {gym.env_id} has no render mode rgb_array, so that nobody can see clips"
        )
    if open_page is None:
        raise ConfigError("gym.preferences.db: no page can be opened here; run `likelier gym`")
    with open_page(preferences) as page:
        people = People(page, gym, config.seed, watchdog, folder)
        yield LearnedReward(gym, vector_env, people, config.seed, folder)


def raise_gamma(gym: GymConfig) -> GymConfig:
    """Return the settings with a discount of at least `gym.preferences.min_gamma`.

    Tuned settings look only as far ahead as the environment's own reward needs. A learned one has that reward's order
    but not its shape, and where the way to what is liked leads through what is not, a short discount stays below it.
    """
    if gym.preferences is None or gym.gamma >= gym.preferences.min_gamma:
        return gym
    least = gym.preferences.min_gamma
    print_note(f"gym.preferences: gamma {gym.gamma:g} is for the environment's own reward; {least:g} is used")
    return gym.model_copy(update={"gamma": least})


def describe(pair: Pair) -> list[list[int]]:
    """Environment, episode, first and last step of both clips."""
    return [[clip.recording.env, clip.recording.episode, clip.start, clip.stop] for clip in pair]


def describe_accuracy(accuracy: float | None, interval: list[float] | None, num: int) -> str:
    """Return how good the learned reward is as a sentence."""
    if accuracy is None or interval is None:
        return "No answer was kept apart from the learned reward, so that nothing is known of it."
    line = (
        f"The learned reward foretells {accuracy:.0%} ({interval[0]:.0%} to {interval[1]:.0%}) of {num} answers that "
        "it did not learn from"
    )
    if interval[0] > 0.5:
        return f"{line}."
    why = "too few to tell that from chance" if interval[1] >= 0.6 else "no better than chance"
    return f"{line}: {why}; more comparisons, or clips that can be told apart, are needed."
