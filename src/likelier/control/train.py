"""PPO on a Gymnasium environment: sample, update, log, save. Resumed runs are bitwise identical."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from likelier.config import Config, GymConfig
from likelier.control.agent import restore_agent, save_agent
from likelier.control.envs import VectorEnv
from likelier.control.evaluate import draw_gif, draws_pictures, evaluate
from likelier.control.fast.adam import FusedAdamW
from likelier.control.fast.losses import ClosedFormLoss
from likelier.control.nets import ActorCritic
from likelier.control.normalise import RewardScale, make_observation_moments
from likelier.control.preferences.judges import OpenClipPage
from likelier.control.preferences.learned import LearnedReward, open_learned_reward, raise_gamma
from likelier.control.rollout import EnvState, Episodes, Memories, sample_rollout
from likelier.control.watchdog import Watchdog
from likelier.ppo.update import ppo_update
from likelier.progress import progress
from likelier.runs.run import Run
from likelier.training.guard import Guard
from likelier.training.setup import Clock, make_optimizer, pick_device, schedule, seeded_generator, set_learning_rate
from likelier.training.state import load_arrays, load_state, save_arrays, save_state


def train_gym(config: Config, run: Run, open_page: OpenClipPage | None = None) -> dict[str, Any]:
    """Train on `config.gym.env_id`; returns what `likelier gym --json` prints.

    `open_page` opens the page on which people compare clips (`gym.preferences.db`). ConfigError: the environment cannot
    be created, or its clips not be compared. EnvError: it fails. NumericError: see `Guard`.
    """
    gym, device = raise_gamma(config.gym), pick_device(config.gym.device)
    with (
        Watchdog(gym.step_timeout_seconds) as watchdog,
        VectorEnv(gym, config.seed, watchdog) as vector_env,
        open_learned_reward(config, vector_env, watchdog, run.folder, open_page) as learned,
    ):
        state = State(vector_env, gym, config.seed, device, run.folder, learned)
        state.load(run.checkpoint)

        start_time, policy, env_state = time.monotonic(), state.policy, state.env_state
        with progress("gym", gym.steps) as job:
            job.advance(run.start)
            for step in range(run.start, gym.steps):
                # Annealed by the step alone, so that a resumed run has the same rate and clip range.
                clock = Clock()
                learning_rate, update_config = state.anneal(step)
                generator = seeded_generator(config.seed, step, "gym", device)

                # A generator of its own for each update: a resumed run draws the same numbers without saving any state.
                if learned is not None:
                    learned.begin_step(step, partial(run.stop_if_asked, step, gym.steps, state.save))
                batch = sample_rollout(policy, env_state, gym, generator, clock, learned)
                # Closed form and fused Adam: at 64 rows a minibatch autograd's bookkeeping costs more than the numbers.
                guard = state.guard.begin_step(step + 1)
                update = ppo_update(policy, state.steps, batch, update_config, generator, guard, ClosedFormLoss())
                clock.lap("update")

                metrics = env_state.episodes.stats() | update | {"learning_rate": learning_rate}
                metrics |= learned.metrics if learned is not None else {}
                metrics |= {"cliprange": update_config.cliprange, "optimizer_steps": state.count(update)}
                run.log(step + 1, metrics | {"env_steps": (step + 1) * gym.batch_size}, timing=clock.laps)
                # After the log: a checkpoint records how long the logs are, and a resume cuts them back to that.
                run.end_step(step + 1, gym.steps, state.save)
                job.advance(note=f"return {metrics['mean_return']:.1f}")

        seconds = time.monotonic() - start_time
        save_agent(run.folder / "model", policy, env_state.observation_moments, gym)
        result = summarize(state, config, seconds, run) | evaluate_agent(state, config, watchdog, run.folder)
        return run.finish(result | ({"preferences": learned.summarize()} if learned is not None else {}))


def summarize(state: "State", config: Config, seconds: float, run: Run) -> dict[str, Any]:
    """Counts and speed of the training; `steps_per_second` is null if this process took no step."""
    # Speed counts the steps of this process: those before a resume took time that nobody measured here.
    gym, num_steps = config.gym, (config.gym.steps - run.start) * config.gym.batch_size
    return {
        "env_id": gym.env_id,
        "steps": gym.steps * gym.batch_size,
        "seed": config.seed,
        "mean_return": state.env_state.episodes.stats()["mean_return"],
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(seconds, 1),
        "steps_per_second": round(num_steps / seconds, 1) if num_steps else None,
    }


def evaluate_agent(state: "State", config: Config, watchdog: Watchdog, folder: Path) -> dict[str, Any]:
    """Returns on fresh episodes, and a GIF of one if the environment renders."""
    gym, policy, normalize = config.gym, state.policy, state.env_state.normalize
    result: dict[str, Any] = evaluate(policy, normalize, gym, config.seed, watchdog)
    if gym.gif:
        path = folder / "agent.gif"
        can_draw = draws_pictures(gym)
        problem = draw_gif(policy, normalize, gym, config.seed, watchdog, path) if can_draw else None
        result |= {"gif": str(path) if can_draw and not problem else None, "gif_problem": problem}
    return result


class State:
    """Everything in a checkpoint: weights, optimizer, environments, counts."""

    def __init__(
        self,
        vector_env: VectorEnv,
        gym: GymConfig,
        seed: int,
        device: torch.device,
        folder: Path,
        learned: LearnedReward | None = None,
    ) -> None:
        self.gym, self.learned = gym, learned
        # Drawn on the CPU and moved, so that every device starts from the same weights.
        self.policy = ActorCritic(vector_env.spaces, gym, seeded_generator(seed, 0, "weights")).to(device)
        self.optimizer = make_optimizer([(self.policy.parameters(), gym.learning_rate)], gym)
        self.steps = FusedAdamW(self.optimizer)
        self.env_state = EnvState(
            vector_env,
            Episodes(gym.num_envs),
            make_observation_moments(vector_env.spaces.observations, gym),
            # Rewards are divided by the spread of their discounted sum, without a shift (Engstrom et al. 2020).
            RewardScale(gym.num_envs, gym.gamma) if gym.normalize_rewards else None,
            Memories(self.policy.initial_state(gym.num_envs)),
        )
        self.guard = Guard(gym.max_skipped_updates, folder)
        self.optimizer_steps = 0

    def anneal(self, step: int) -> tuple[float, GymConfig]:
        """Set the learning rate of this update; returns it and the settings with this step's clip range and entropy."""
        rate, changed = set_learning_rate(self.optimizer, schedule(step, self.gym.steps, self.gym)), {}
        if self.gym.cliprange_schedule == "linear":
            # From the whole clip range to nothing, as Stable-Baselines3's schedules count.
            changed["cliprange"] = (1.0 - step / self.gym.steps) * self.gym.cliprange
        if self.learned is not None:
            changed["entropy_coef"] = self.gym.entropy_coef + self.learned.explore(step)
        return rate, self.gym.model_copy(update=changed) if changed else self.gym

    def count(self, update: dict[str, float]) -> int:
        """Add the optimizer steps of an update; returns the total."""
        self.optimizer_steps += int(update["optimizer_steps"])
        return self.optimizer_steps

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        counts = {"optimizer_steps": self.optimizer_steps, "guard": self.guard.counts()}
        save_state(folder, {"policy": self.policy}, self.optimizer, counts)
        # Environments cannot be written: their seeds and actions are, and are replayed.
        save_arrays(folder / "world.safetensors", self.env_state.state())
        if self.learned is not None:
            save_arrays(folder / "preferences.safetensors", self.learned.state())

    def load(self, checkpoint: Path | None) -> None:
        """Restore a checkpoint; without one all environments are reset, and the policy is `gym.agent` if given."""
        if checkpoint is None:
            if self.gym.agent is not None:
                restore_agent(Path(self.gym.agent), self.policy, self.env_state.observation_moments)
            self.env_state.vector_env.reset()
            if self.learned is not None:
                self.learned.play_first(self.policy, self.env_state)
            return
        counts = load_state(checkpoint, {"policy": self.policy}, self.optimizer)
        self.optimizer_steps = counts["optimizer_steps"]
        self.guard.restore(counts["guard"])
        self.env_state.restore(load_arrays(checkpoint / "world.safetensors"))
        if self.learned is not None:
            self.learned.restore(load_arrays(checkpoint / "preferences.safetensors"))
