"""PPO on a chain of denoising steps: draw pictures, score, update, log, save. Resumed runs are bitwise equal."""

import copy
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likelier.config import Config, PPOConfig, refuse_idle
from likelier.doctor.examine import Watch, find_problems
from likelier.errors import ConfigError, LikelierError
from likelier.evaluation.keep_best import PolicySelection
from likelier.evaluation.overoptimisation import measure_overoptimisation
from likelier.images.chain import Chain, ChainPolicy, Trajectories, path_kl, sample_trajectories
from likelier.images.discriminator import Discriminator
from likelier.intervals import correlation
from likelier.ppo.advantages import AdvantageInputs, compute_advantages
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.batch import Batch
from likelier.ppo.objective import make_objective
from likelier.ppo.policy import evaluate_old_policy
from likelier.ppo.update import ppo_update
from likelier.progress import progress
from likelier.runs.curve import read_curve
from likelier.runs.logs import read_metrics
from likelier.runs.run import Run
from likelier.training.guard import Guard
from likelier.training.setup import Clock, make_optimizer, schedule, seeded_generator, set_learning_rate
from likelier.training.state import save_module
from likelier.training.step import TrainingState

SETTINGS: dict[str, Any] = {
    "algorithm": "reinforce_pp",
    "total_episodes": 256 * 40,
    "batch_size": 256,
    "num_mini_batches": 4,
    "num_ppo_epochs": 1,
    "learning_rate": 1e-4,
    "warmup_ratio": 0.1,
    "max_grad_norm": 20.0,
    "num_eval_prompts": 500,
    "eval_steps": 4,
    "save_steps": 10,
}
"""Of `ppo`, good for pictures of 64 pixels. Advantages are scores above the batch's mean, in standard deviations."""
READ = frozenset({
    "algorithm", "total_episodes", "batch_size", "responses_per_prompt", "num_ppo_epochs", "num_mini_batches",
    "micro_batch_size", "cliprange", "clip_high", "dual_clip", "loss", "loss_aggregation", "target_kl", "gamma",
    "kl_coef", "kl_estimator", "kl_place", "kl_level", "whiten_rewards", "whiten_advantages", "learning_rate",
    "lr_schedule", "warmup_ratio", "weight_decay", "adam_eps", "max_grad_norm", "max_skipped_updates",
    "num_eval_prompts", "eval_steps", "keep_best", "stop_on", "save_steps", "save_total_limit", "report_to", "run_name",
})  # fmt: skip
"""Settings of `ppo` that pictures have too; all others are about text, critics or devices."""
Score = Callable[[Float[Tensor, "B P"]], Float[Tensor, " B"]]
"""Scores pictures, from -1 (paper) to 1."""


@dataclass(frozen=True)
class Task:
    """A start to fine-tune from, a score to train against, and judges that only measure."""

    start: Chain
    """The sampler that training starts from, and from which KL is measured."""
    score: Score
    judges: Mapping[str, Score] = field(default_factory=dict)
    """By name: measured every `ppo.eval_steps`, never trained against."""
    discriminator: Discriminator | None = None
    """Learns along; its estimate of log p_real / p_policy is added to the score, times `discriminator_coef`."""
    discriminator_coef: float = 0.0


def finetune(config: Config, run: Run, task: Task) -> dict[str, Any]:
    """Fine-tune `task.start` by the settings of `config.ppo`; writes `model/policy.safetensors`, returns the result.

    With `ppo.keep_best` the weights are those that the named judge liked best, and `kept` in the result holds them
    against the last ones on pictures of fresh noise. ConfigError: see `check_settings`. LikelierError: a score that is
    no number. NumericError: see `Guard`.
    """
    ppo, start_time = config.ppo, time.monotonic()
    check_settings(ppo, task.judges)
    tuner = Tuner(config, run.folder, task)
    before, selection = tuner.evaluate(task.start), tuner.selection
    selection.offer(0, before)
    tuner.load(run.checkpoint)
    with progress("ppo on pictures", ppo.steps) as job:
        job.advance(run.start)
        doctor = Watch(config, run.folder, job.say)
        for step in selection.remaining_steps(run.start):
            clock = Clock()
            rate = set_learning_rate(tuner.state.optimizer, schedule(step, ppo.steps, ppo))
            generator = seeded_generator(config.seed, step, "pictures")
            batch, metrics = tuner.sample(step, generator)
            clock.lap("sample")
            guard, objective = tuner.state.guard.begin_step(step + 1), make_objective(ppo, ppo.kl_coef, None)
            update = ppo_update(tuner.policy, tuner.state.optimizer, batch, ppo, generator, guard, objective)
            clock.lap("update")
            tuner.state.counts["optimizer_steps"] += int(update["optimizer_steps"])
            metrics |= update | {"learning_rate": rate, "kl_coef": ppo.kl_coef}
            metrics |= tuner.state.counts | {"episodes": (step + 1) * ppo.batch_size}
            if ppo.eval_steps and (step + 1) % ppo.eval_steps == 0:
                metrics |= selection.offer(step + 1, tuner.evaluate(tuner.chain))
            run.log(step + 1, metrics, timing=clock.laps)
            selection.stop_early(step + 1, doctor.examine_step(step + 1, "eval_kl" in metrics))
            run.end_step(step + 1, selection.num_steps, tuner.save)
            job.advance(note=f"score {metrics['score']:.3f}  kl {metrics['kl']:.2f}")
    after = tuner.evaluate(tuner.chain)
    kept = selection.select(after, tuner.judge_fresh, ppo.num_eval_prompts, "pictures")
    (run.folder / "model").mkdir(exist_ok=True)
    save_module(run.folder / "model" / "policy.safetensors", tuner.module)
    result = summarise(config, run.folder, before, after) | kept | {"steps": selection.num_steps}
    result |= {"stopped_on": selection.stopped_on} if selection.stopped_on else {}
    return run.finish(result | {"seconds": round(time.monotonic() - start_time, 1)})


def check_settings(ppo: PPOConfig, judges: Collection[str]) -> None:
    """ConfigError: an algorithm with a critic, a setting that pictures do not read, or a judge that is not there."""
    if ALGORITHMS[ppo.algorithm].has_critic:
        raise ConfigError(f"ppo.algorithm: {ppo.algorithm} has a critic, and pictures have none; choose reinforce_pp")
    idle = [name for name in type(ppo).model_fields if name not in READ]
    try:
        refuse_idle(ppo, [(True, idle, "pictures are drawn and updated without it")], "ppo.")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if ppo.keep_best is not None and ppo.keep_best not in judges:
        raise ConfigError(
            f"ppo.keep_best: no judge is called {ppo.keep_best!r}; there is {', '.join(judges) or 'none'}"
        )
    if ppo.stop_on and not judges:
        raise ConfigError(f"ppo.stop_on: {ppo.stop_on} is seen by judges, and there is none; remove it")


def summarise(config: Config, folder: Path, before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """Evaluations before and after, the judges' scores over KL, and the doctor's findings."""
    return {
        "score_before": before["eval_score"],
        "score_after": after["eval_score"],
        "kl": after["eval_kl"],
        "before": before,
        "after": after,
        "overoptimisation": measure_overoptimisation(read_curve(read_metrics(folder), before, after)),
        "findings": find_problems(folder, config, before),
    }


class Tuner:
    """The policy, its start, and everything in a checkpoint."""

    def __init__(self, config: Config, folder: Path, task: Task) -> None:
        self.config, self.ppo, self.task = config, config.ppo, task
        assert isinstance(task.start, nn.Module)
        self.module = copy.deepcopy(task.start)
        self.chain: Chain = self.module
        self.policy = ChainPolicy(self.chain)
        self.reference = ChainPolicy(task.start)
        optimizer = make_optimizer([(self.module.parameters(), self.ppo.learning_rate)], self.ppo, self.ppo.optimizer)
        modules: dict[str, nn.Module] = {"policy": self.module}
        if task.discriminator:
            modules["discriminator"] = task.discriminator
        self.selection = PolicySelection(self.ppo, self.module)
        modules |= self.selection.modules()
        self.state = TrainingState(modules, optimizer, Guard(self.ppo.max_skipped_updates, folder))

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        self.state.save(folder, **self.selection.state())

    def load(self, checkpoint: Path | None) -> None:
        """Restore a checkpoint, if there is one."""
        if checkpoint is not None:
            self.selection.load(self.state.load(checkpoint))

    def sample(self, step: int, generator: torch.Generator) -> tuple[Batch, dict[str, float]]:
        """Draw a batch of pictures and score them; returns the batch of the update, and the metrics of the step."""
        ppo, task = self.ppo, self.task
        drawn = sample_trajectories(self.chain, task.start, ppo.batch_size, generator)
        inputs, mask = {"states": drawn.states}, torch.ones(drawn.states.shape[:2], dtype=torch.bool)
        # By the very forward passes of the first epoch: the first ratio is exactly 1.
        old = evaluate_old_policy(self.policy, inputs, drawn.actions, mask, ppo)
        reference = evaluate_old_policy(self.reference, inputs, drawn.actions, mask, ppo)
        scores, extra = score_pictures(task.score, drawn), {}
        rewards = torch.zeros_like(old.logprobs)
        if ppo.penalty_in_reward:  # k1, whose sum over the steps is unbiased
            rewards -= ppo.kl_coef * (old.logprobs - reference.logprobs)
        rewards[:, -1] += scores
        if task.discriminator:
            extra = task.discriminator.learn(drawn.pictures, seeded_generator(self.config.seed, step, "discriminator"))
            rewards[:, -1] += task.discriminator_coef * task.discriminator(drawn.pictures)
        groups = torch.arange(ppo.batch_size) // ppo.responses_per_prompt
        advantages, returns = compute_advantages(AdvantageInputs(rewards, mask, groups, None, ppo))
        in_loss = None if ppo.penalty_in_reward else reference.logprobs
        batch = Batch(inputs, drawn.actions, mask, old.logprobs, None, advantages, returns, in_loss)
        kl = path_kl(self.chain, task.start, drawn.states).sum(1)
        metrics = {
            "score": scores.mean(),
            "score_std": scores.std(unbiased=False),
            "reward": rewards.sum(1).mean(),
            "kl": kl.mean(),
            "kl_std": kl.std(unbiased=False),
            "advantage_std": advantages.std(unbiased=False),
        }
        return batch, {name: float(value) for name, value in metrics.items()} | extra

    @torch.no_grad()
    def evaluate(self, chain: Chain) -> dict[str, float]:
        """Measure score, KL and judges on `num_eval_prompts` pictures, always drawn with the same noise."""
        generator = seeded_generator(self.config.seed, 0, "evaluate-pictures")
        drawn = sample_trajectories(chain, self.task.start, self.ppo.num_eval_prompts, generator)
        scores, kl = score_pictures(self.task.score, drawn), path_kl(chain, self.task.start, drawn.states).sum(1)
        metrics = {"eval_score": scores.mean(), "eval_score_std": scores.std(unbiased=False), "eval_kl": kl.mean()}
        for name, judge in self.task.judges.items():
            judged = judge(drawn.pictures)
            metrics |= {f"eval/{name}": judged.mean(), f"eval_std/{name}": judged.std(unbiased=False)}
            metrics[f"eval_correlation/{name}"] = torch.tensor(correlation(scores, judged))
        return {name: float(value) for name, value in metrics.items()} | {"eval_responses": float(len(scores))}

    @torch.no_grad()
    def judge_fresh(self) -> dict[str, Float[Tensor, " B"]]:
        """Return each judge's scores of pictures that the policy draws, always with the same noise of no evaluation."""
        generator = seeded_generator(self.config.seed, 0, "fresh-pictures")
        drawn = sample_trajectories(self.chain, self.task.start, self.ppo.num_eval_prompts, generator)
        return {name: judge(drawn.pictures) for name, judge in self.task.judges.items()}


@torch.no_grad()
def score_pictures(score: Score, drawn: Trajectories) -> Float[Tensor, " B"]:
    """Return the scores. LikelierError: one is not finite, or there is not one for each picture."""
    scores = score(drawn.pictures)
    if scores.shape != (len(drawn.pictures),):
        raise LikelierError(f"score of pictures: shape {list(scores.shape)}, not [{len(drawn.pictures)}]")
    if not bool(scores.isfinite().all()):
        bad = scores[~scores.isfinite()][0].item()
        raise LikelierError(f"score of pictures: {bad}, which is no finite number")
    return scores.float()
