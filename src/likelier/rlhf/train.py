"""PPO on a language model: sample, update, log, save. Resumed runs are bitwise identical."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from likelier.config import Config, PPOConfig
from likelier.distributed import get_rank
from likelier.doctor.examine import Watch, find_problems
from likelier.evaluation.heldout import HeldOutEval
from likelier.evaluation.keep_best import PolicySelection
from likelier.evaluation.overoptimisation import measure_overoptimisation
from likelier.ppo.algorithms import ALGORITHMS
from likelier.ppo.batch import Batch
from likelier.ppo.kl import AdaptiveKL, FixedKL
from likelier.ppo.objective import Objective, make_objective
from likelier.ppo.update import MinibatchResult, ppo_update
from likelier.progress import progress
from likelier.records import to_plain_text
from likelier.rlhf.people import OpenPage, PeopleSource, open_people
from likelier.rlhf.responses import ResponseQueue
from likelier.rlhf.rollout import Actors, Rollout, make_rollout
from likelier.rlhf.setup import prepare
from likelier.rlhf.token_records import make_token_records
from likelier.runs.curve import read_curve
from likelier.runs.logs import read_metrics
from likelier.runs.run import Run
from likelier.text.frozen_weights import choose_base_dtype
from likelier.text.merging import save_trained
from likelier.text.policy_start import load_start
from likelier.text.sampler import Sampler
from likelier.text.sharding import gather_weights
from likelier.training.guard import Guard
from likelier.training.setup import Clock, make_optimizer, schedule, set_learning_rate
from likelier.training.state import load_state, save_state, weights_to_save


def train_ppo(
    config: Config, run: Run, sampler: Sampler | None = None, open_page: OpenPage | None = None
) -> dict[str, Any]:
    """Fine-tune `config.model` on `config.prompts` against `config.reward`; returns what `likelier ppo --json` prints.

    `sampler` generates the responses of rollouts and evaluations; default: `ExactSampler`. `open_page` opens the page
    for people in `reward`. ConfigError, DataError: an invalid setting, prompt file, model folder or database.
    NumericError: see `Guard`.
    """
    with open_people(config, run.folder, open_page, run.start) as people:
        return train_against(config, run, sampler, people)


def train_against(config: Config, run: Run, sampler: Sampler | None, people: PeopleSource | None) -> dict[str, Any]:
    """Fine-tune as `train_ppo`; with `people`, start and end are scored by the model of ratings of the end."""
    ppo, start_time = config.ppo, time.monotonic()
    actors, queue, heldout_eval, fresh_eval, user_loss = prepare(config, sampler, people)
    before = evaluate_start(actors, heldout_eval, ppo)
    state = State(actors, ppo, run.folder, queue)
    state.selection.offer(0, before)
    state.load(run.checkpoint)
    with progress("ppo", ppo.steps) as job:
        job.advance(run.start)
        doctor = Watch(config, run.folder, job.say)
        for step in state.selection.remaining_steps(run.start):
            clock = Clock()
            learning_rate = state.set_learning_rate(step)
            actors.scorer.begin_step(step, ppo.steps)
            if people:  # waiting for them may take hours: a signal then saves what the steps before it have reached
                people.begin_step(step, partial(run.stop_if_asked, step, ppo.steps, state.save))
            responses = queue.take(step)  # of the policy as it is; with async_steps of an older one
            clock.lap("sample")
            rollout = make_rollout(actors, responses, ppo, state.kl.coef, clock)
            objective, guard = make_objective(ppo, state.kl.coef, user_loss), state.guard.begin_step(step + 1)
            used: list[MinibatchResult] = []
            update = state.update(rollout.batch, responses.plan.generator, guard, objective, used)
            clock.lap("update")

            metrics = rollout.stats() | update | {"kl_coef": state.kl.coef, "learning_rate": learning_rate}
            metrics |= {"episodes": (step + 1) * ppo.batch_size, "optimizer_steps": state.count_steps(update)}
            metrics |= people.measure() if people else {}
            if ppo.eval_steps and (step + 1) % ppo.eval_steps == 0:
                metrics |= state.selection.offer(step + 1, heldout_eval(actors.policy.model))
            # After the metrics: they show the coefficient that this step was trained with.
            state.kl.update(metrics["kl"], ppo.batch_size)
            tokens = make_token_records(rollout, used, step + 1, ppo, actors.tokenizer)
            run.log(step + 1, metrics, make_sample_records(rollout, ppo), clock.laps, tokens)
            state.selection.stop_early(step + 1, doctor.examine_step(step + 1, "eval_kl" in metrics))
            run.end_step(step + 1, state.selection.num_steps, state.save)
            job.advance(note=f"score {metrics['score']:.3f}  kl {metrics['kl']:.2f}")

    after = heldout_eval(actors.policy.model)
    before = heldout_eval(load_beginning(config, actors.policy.device)) if people else before
    result = summarise(state, start_time, before, after) | select_policy(state, after, fresh_eval)
    save_policy(run.folder, config, actors)
    return run.finish(result | examine_curves(config, run.folder, before, after))


def select_policy(state: "State", after: Mapping[str, float], fresh_eval: HeldOutEval | None) -> dict[str, Any]:
    """Load the policy of `ppo.keep_best`; returns the records of `result.json` about it, if any."""
    if fresh_eval is None:
        return {}
    score_fresh = partial(fresh_eval.score_responses, state.policy.model)
    return state.selection.select(after, score_fresh, len(fresh_eval.prompts))


def load_beginning(config: Config, device: torch.device) -> PreTrainedModel:
    """Load the model that training started from."""
    return load_start(config.model, config.ppo, "ppo", device, choose_base_dtype(config.ppo, device)).model


def save_policy(folder: Path, config: Config, actors: Actors) -> None:
    """Write the trained policy into the folder of its run, from rank 0."""
    with gather_weights(actors.policy.model, to_save=True) as whole:
        if get_rank() == 0:
            save_trained(folder, config.model, whole, actors.tokenizer, describe_training(config))


def examine_curves(
    config: Config, folder: Path, before: Mapping[str, float], after: Mapping[str, float]
) -> dict[str, Any]:
    """Return the judges' scores over KL, with fits, and the doctor's findings, from the logs of a run."""
    curve = read_curve(read_metrics(folder), before, after)
    return {
        "overoptimisation": measure_overoptimisation(curve),
        "findings": find_problems(folder, config, before),
    }


def evaluate_start(actors: Actors, heldout_eval: HeldOutEval, ppo: PPOConfig) -> dict[str, float]:
    """Evaluate the model that training starts from, and let the shaper know the mean score of the reference."""
    # Before a checkpoint is loaded; without a `ppo.reference` start and reference are the same weights, unless it alone
    # is stored in fewer bytes.
    is_other = ppo.reference or (ppo.lora_rank is None and ppo.model_dtype)
    before = heldout_eval(actors.policy.model if is_other else actors.reference)
    if ppo.reward_center:
        of_reference = heldout_eval(actors.reference) if ppo.reference else before
        actors.shaper.set_reference_mean(of_reference["eval_score"])
    return before


def summarise(state: "State", start_time: float, before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """Counts, seconds since `start_time`, evaluations before and after training, and figures for the command line."""
    return {
        "steps": state.selection.num_steps,
        **({"stopped_on": state.selection.stopped_on} if state.selection.stopped_on else {}),
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(time.monotonic() - start_time, 1),
        "score_before": before.get("eval_score"),
        "score_after": after.get("eval_score"),
        "kl": after["eval_kl"],
        "response_length": after["eval_response_length"],
        "before": before,
        "after": after,
    }


class State:
    """Everything in a checkpoint: weights, optimizer, controllers, counters."""

    def __init__(
        self, actors: Actors, ppo: PPOConfig, folder: Path | None = None, queue: ResponseQueue | None = None
    ) -> None:
        self.policy, self.shaper, self.ppo, self.offload = actors.policy, actors.shaper, ppo, actors.offload
        # With an adapter the frozen base stands in its own folder: a checkpoint holds what is trained.
        self.saved_weights = weights_to_save(self.policy, ppo.lora_rank)
        # A group each: the critic may learn at a rate of its own, and alone while it warms up.
        rates = [(self.policy.policy_parameters(), ppo.learning_rate)]
        rates += [(self.policy.critic_parameters(), ppo.critic_learning_rate or ppo.learning_rate)]
        self.optimizer = make_optimizer(rates, ppo, ppo.optimizer)
        # Ziegler et al. 2019, section 2.2: a coefficient that is steered towards a target, or a fixed one.
        self.kl = AdaptiveKL(ppo.kl_coef, ppo.kl_target, ppo.kl_horizon) if ppo.kl_target else FixedKL(ppo.kl_coef)
        self.guard, self.queue = Guard(ppo.max_skipped_updates, folder), queue
        self.optimizer_steps = 0
        self.selection = PolicySelection(ppo, weights_to_save(self.policy.model, ppo.lora_rank))

    def set_learning_rate(self, step: int) -> float:
        """Set and return the scheduled learning rate; the policy's is 0 during the critic's warm-up."""
        rate = set_learning_rate(self.optimizer, schedule(step, self.ppo.steps, self.ppo))
        if step < self.ppo.critic_warmup_steps:
            # A critic that predicts nothing yet makes advantages that are the rewards with noise.
            self.optimizer.param_groups[0]["lr"] = 0.0
        return rate

    def update(
        self,
        batch: Batch,
        generator: torch.Generator,
        guard: Guard,
        objective: Objective,
        used: list[MinibatchResult],
    ) -> dict[str, float]:
        """Train on a batch, see `ppo_update`; the optimizer's state is on the device for so long."""
        with self.offload.bring_state(self.optimizer):
            return ppo_update(self.policy, self.optimizer, batch, self.ppo, generator, guard, objective, used)

    def count_steps(self, update: dict[str, float]) -> int:
        """Add the optimizer steps of an update; returns the total."""
        # Not steps times epochs: `target_kl` ends an update early, and the guard skips some.
        self.optimizer_steps += int(update["optimizer_steps"])
        return self.optimizer_steps

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        # Coefficient and moments follow the data: without them a resumed run would train on other rewards.
        counts = {"kl_coef": self.kl.coef, "optimizer_steps": self.optimizer_steps, "guard": self.guard.counts()}
        counts["shaper"] = self.shaper.state()
        if self.queue:
            self.queue.save(folder)
        save_state(folder, self.modules(), self.optimizer, counts | self.selection.state())

    def modules(self) -> dict[str, nn.Module]:
        """The modules of a checkpoint, by file name."""
        return {"policy": self.saved_weights, **self.selection.modules()}

    def load(self, checkpoint: Path | None) -> None:
        """Restore a checkpoint, if there is one."""
        if checkpoint is None:
            return
        counts = load_state(checkpoint, self.modules(), self.optimizer)
        if self.queue:
            self.queue.load(checkpoint)
        self.offload.put_state_away(self.optimizer)
        self.kl.coef, self.optimizer_steps = counts["kl_coef"], counts["optimizer_steps"]
        self.guard.restore(counts["guard"])
        self.shaper.load(counts["shaper"])
        self.selection.load(counts)


def make_sample_records(rollout: Rollout, ppo: PPOConfig) -> Iterator[dict[str, Any]]:
    """The first few responses of a step, as records of `samples.jsonl`."""
    for row in range(min(ppo.samples_per_step, len(rollout.scored.scores))):
        yield {
            "prompt": to_plain_text(rollout.prompts[row].text),
            "response": rollout.samples.texts[row],
            "score": float(rollout.scored.scores[row]),
            "kl": float(rollout.kl[row]),
            "stop_reason": rollout.samples.stop_reasons[row],
            **make_extra_fields(rollout, row),
        }


def make_extra_fields(rollout: Rollout, row: int) -> dict[str, Any]:
    """Return the prompt's columns, the values logged by reward functions for a response, and whose score it has where
    people rate, if any."""
    logged = {name: values[row] for name, values in rollout.scored.judged.logged.columns.items()}
    fields: dict[str, Any] = {"extra": rollout.prompts[row].extra, "logged": logged}
    for source in rollout.scored.judged.by_source.values():
        if source.rated is not None and source.scored[row]:
            fields["scored_by"] = "people" if source.rated[row] else "model of their ratings"
    return {name: value for name, value in fields.items() if value}


def describe_training(config: Config) -> str:
    """The sentence on the model's origin in its model card."""
    rewards = ", ".join(source.label for source in config.reward)
    algorithm, responses = ALGORITHMS[config.ppo.algorithm].title, config.ppo.total_episodes
    return f"Fine-tuned from {Path(config.model).name} with {algorithm} against {rewards} ({responses} responses)."
