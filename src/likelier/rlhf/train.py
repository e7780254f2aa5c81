"""PPO on a language model: sample, update, log, save; killed anywhere, it goes on to the very same bits."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from likelier.config import Config, PPOConfig
from likelier.distributed import get_rank, get_world_size
from likelier.doctor.examine import Watch, find_problems
from likelier.doctor.findings.settings import explain_misplaced_penalty
from likelier.errors import ConfigError
from likelier.evaluation.heldout import HeldOutEval
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.kl import AdaptiveKL, FixedKL
from likelier.ppo.objective import make_objective
from likelier.ppo.update import ppo_update
from likelier.ppo.user_loss import LossFunction, UserLoss, load_loss
from likelier.progress import note, progress
from likelier.records import plain
from likelier.reward.sources import check_columns, make_scorer
from likelier.rlhf.rollout import Actors, Rollout, sample_rollouts
from likelier.rlhf.scores import Shaper
from likelier.runs.run import Run
from likelier.text.adapters import apply_lora, make_reference, save_trained
from likelier.text.exact_sampler import load_policy, make_sampler
from likelier.text.models import context_length, load_tokenizer
from likelier.text.policy import TextPolicy
from likelier.text.prompts import PromptPlan, check_prompts, load_prompts
from likelier.text.sampler import Sampler
from likelier.training.guard import Guard
from likelier.training.setup import Clock, make_optimizer, pick_device, schedule, seeded_generator, set_learning_rate
from likelier.training.state import load_state, save_state, weights_to_save


def train_ppo(config: Config, run: Run, sampler: Sampler | None = None) -> dict[str, Any]:
    """Fine-tune `config.model` on `config.prompts` against `config.reward`; returns what `likelier ppo --json` prints.

    `sampler` writes the responses, of rollouts and of evaluations; None: our own (`ExactSampler`).
    ConfigError, DataError: a setting, prompt file or model folder that cannot be used. NumericError: see `Guard`.
    """
    ppo, began = config.ppo, time.monotonic()
    actors, prompts, heldout_eval, user_loss = prepare(config, sampler)
    before = heldout_eval(actors.reference)
    actors.shaper.set_reference_mean(before["eval_score"])
    state = State(actors, ppo, run.folder)
    state.load(run.checkpoint)

    with progress("ppo", ppo.steps) as job:
        job.advance(run.start)
        doctor = Watch(config, run.folder, job.say)
        for step in range(run.start, ppo.steps):
            clock = Clock()
            learning_rate = state.set_learning_rate(step)
            # One generator for sampling and for shuffling minibatches: a resumed run needs no other random state.
            generator = seeded_generator(config.seed, step, "ppo", actors.policy.device)
            actors.scorer.begin_step(step, ppo.steps)

            actors.sampler.load_weights(actors.policy.model)  # on-policy: those of the last update
            rollout = sample_rollouts(actors, prompts.of_step(step), ppo, state.kl.coef, generator, clock)
            objective, guard = make_objective(ppo, state.kl.coef, user_loss), state.guard.at(step + 1)
            update = ppo_update(actors.policy, state.optimizer, rollout.batch, ppo, generator, guard, objective)
            clock.lap("update")

            metrics = rollout.stats() | update | {"kl_coef": state.kl.coef, "learning_rate": learning_rate}
            metrics |= {"episodes": (step + 1) * ppo.batch_size, "optimizer_steps": state.count(update)}
            if ppo.eval_steps and (step + 1) % ppo.eval_steps == 0:
                metrics |= heldout_eval(actors.policy.model)
            # After the metrics: they show the coefficient that this step was trained with.
            state.kl.update(metrics["kl"], ppo.batch_size)
            run.log(step + 1, metrics, sample_lines(rollout, ppo), clock.laps)
            doctor.look(step + 1)
            run.end_step(step + 1, ppo.steps, state.save)
            job.advance(note=f"score {metrics['score']:.3f}  kl {metrics['kl']:.2f}")

    after = heldout_eval(actors.policy.model)
    if get_rank() == 0:
        save_trained(run.folder, config.model, actors.policy.model, actors.tokenizer, describe_training(config))
    result = summarise(state, began, before, after)
    return run.finish(result | {"findings": find_problems(run.folder, config, before)})


class Setup(NamedTuple):
    """What `prepare` loads."""

    actors: Actors
    prompts: PromptPlan
    heldout_eval: HeldOutEval
    user_loss: LossFunction | None
    """The function of `ppo.loss`."""


def prepare(config: Config, sampler: Sampler | None = None) -> Setup:
    """Load models, prompts, scorer and judges, and refuse before the first step what could not be trained with."""
    ppo = config.ppo
    check_processes(ppo, pick_device(ppo.device))
    user_loss = load_user_loss(ppo)
    if misplaced := explain_misplaced_penalty(ppo):
        note(misplaced)
    actors, prompts = load_actors(config, sampler), load_prompts(config)
    check_prompts(actors.tokenizer, prompts.train + prompts.held_out, config, context_length(actors.reference))
    return Setup(actors, prompts, make_evaluation(config, prompts, actors), user_loss)


def summarise(state: "State", began: float, before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """Counts, seconds since `began`, the evaluations before and after, and of these what the command line prints."""
    return {
        "steps": state.ppo.steps,
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(time.monotonic() - began, 1),
        "score_before": before["eval_score"],
        "score_after": after["eval_score"],
        "kl": after["eval_kl"],
        "response_length": after["eval_response_length"],
        "before": before,
        "after": after,
    }


class State:
    """All that decides the rest of a run and is not in its settings: weights, optimizer, controllers, counts."""

    def __init__(self, actors: Actors, ppo: PPOConfig, folder: Path | None = None) -> None:
        self.policy, self.shaper, self.ppo = actors.policy, actors.shaper, ppo
        self.learned = weights_to_save(self.policy, ppo.lora_rank)
        rates = [(self.policy.policy_parameters(), ppo.learning_rate)]
        rates += [(self.policy.critic_parameters(), ppo.critic_learning_rate or ppo.learning_rate)]
        self.optimizer = make_optimizer(rates, ppo)
        self.kl = AdaptiveKL(ppo.kl_coef, ppo.kl_target, ppo.kl_horizon) if ppo.kl_target else FixedKL(ppo.kl_coef)
        self.guard = Guard(ppo.max_skipped_updates, folder)
        self.optimizer_steps = 0

    def set_learning_rate(self, step: int) -> float:
        """The schedule; while the critic warms up the policy stands still."""
        rate = set_learning_rate(self.optimizer, schedule(step, self.ppo.steps, self.ppo))
        if step < self.ppo.critic_warmup_steps:
            self.optimizer.param_groups[0]["lr"] = 0.0
        return rate

    def count(self, update: dict[str, float]) -> int:
        """Add the optimizer steps of an update; returns the total."""
        self.optimizer_steps += int(update["optimizer_steps"])
        return self.optimizer_steps

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        counts = {"kl_coef": self.kl.coef, "optimizer_steps": self.optimizer_steps, "guard": self.guard.counts()}
        counts["shaper"] = self.shaper.state()
        save_state(folder, {"policy": self.learned}, self.optimizer, counts)

    def load(self, checkpoint: Path | None) -> None:
        """Restore a checkpoint, if there is one."""
        if checkpoint is None:
            return
        counts = load_state(checkpoint, {"policy": self.learned}, self.optimizer)
        self.kl.coef, self.optimizer_steps = counts["kl_coef"], counts["optimizer_steps"]
        self.guard.restore(counts["guard"])
        self.shaper.load(counts["shaper"])


def load_actors(config: Config, sampler: Sampler | None = None) -> Actors:
    """Policy with critic, frozen reference, tokenizer, sampler and scorer, on the device of the config."""
    if not config.model:
        raise ConfigError("model: give the folder or hub name of a language model")
    if not config.reward:
        raise ConfigError("reward: give at least one of model, function, http")
    ppo, device = config.ppo, pick_device(config.ppo.device)
    model = load_policy(config.model, device)
    critic = ppo.critic if ALGORITHMS[ppo.algorithm].has_critic else None
    policy = TextPolicy.build(model, critic, ppo.critic_model, ppo.temperature, ppo.bf16)
    reference = make_reference(model, ppo)
    apply_lora(model, ppo, "ppo", config.seed)
    tokenizer, scorer = load_tokenizer(config.model), make_scorer(config.reward, ppo.device)
    sampler = sampler or make_sampler(model, tokenizer, ppo)
    return Actors(policy, reference, tokenizer, sampler, scorer, Shaper(ppo))


def make_evaluation(config: Config, prompts: PromptPlan, actors: Actors) -> HeldOutEval:
    """Evaluation of a policy on held-out prompts, by the score of training and by the judges of `eval.scorer`.

    ConfigError: a reward function or judge that requires a column which the prompts do not have.
    """
    judges = make_scorer(config.eval.scoring, config.ppo.device) if config.eval.scoring else None
    check_columns(prompts.train, actors.scorer, judges)
    return HeldOutEval(
        prompts.held_out, actors.tokenizer, actors.sampler, actors.reference, actors.scorer, judges, config
    )


def check_processes(ppo: PPOConfig, device: torch.device) -> None:
    """ConfigError: a minibatch is smaller than the number of processes that share it, or they cannot meet there."""
    smallest, size = ppo.batch_size // ppo.num_mini_batches, get_world_size()
    if size > 1 and device.type not in ("cpu", "cuda"):
        raise ConfigError(f"ppo.device: {device.type} does not serve several processes; set cpu, or use one process")
    if smallest < size:
        raise ConfigError(
            f"ppo.num_mini_batches: {ppo.num_mini_batches} leaves minibatches of {smallest} rows to {size} processes; "
            f"give each at least one"
        )


def load_user_loss(ppo: PPOConfig) -> LossFunction | None:
    """The function of `ppo.loss`, tried out. ConfigError: there is none, or it does not return what it must."""
    function = load_loss(ppo.loss)
    if ppo.loss is not None and function is not None:
        num_rows = ppo.batch_size // ppo.num_mini_batches
        is_whole = get_world_size() == 1 and (ppo.micro_batch_size or num_rows) >= num_rows
        device = pick_device(ppo.device)
        UserLoss(ppo.loss, function, ppo.kl_coef).try_out(num_rows, ppo.response_length, is_whole, device)
    return function


def sample_lines(rollout: Rollout, ppo: PPOConfig) -> Iterator[dict[str, Any]]:
    """The first few responses of a step, for `samples.jsonl`."""
    for row in range(min(ppo.samples_per_step, len(rollout.scores))):
        yield {
            "prompt": plain(rollout.prompts[row].text),
            "response": rollout.samples.texts[row],
            "score": float(rollout.scores[row]),
            "kl": float(rollout.kl[row]),
            "stop_reason": rollout.samples.stop_reasons[row],
            **extra_fields(rollout, row),
        }


def extra_fields(rollout: Rollout, row: int) -> dict[str, Any]:
    """The prompt's columns and what reward functions logged of a response, where there is any."""
    logged = {name: values[row] for name, values in rollout.judged.logged.columns.items()}
    fields = {"extra": rollout.prompts[row].extra, "logged": logged}
    return {name: value for name, value in fields.items() if value}


def describe_training(config: Config) -> str:
    """The model card's sentence on where this model comes from."""
    rewards = ", ".join(source.label for source in config.reward)
    return (
        f"Fine-tuned from {Path(config.model).name} with PPO against {rewards} ({config.ppo.total_episodes} responses)."
    )
