"""PPO on a language model: sample, update, log, save; killed anywhere, it goes on to the very same bits."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from likelier.config import Config, PPOConfig
from likelier.errors import ConfigError, DataError
from likelier.ppo.kl import AdaptiveKL, FixedKL, estimator_misplaced, kl_term_of
from likelier.ppo.update import ppo_update
from likelier.progress import progress
from likelier.records import Text, plain, read_prompts
from likelier.reward.sources import Scorer, make_scorer
from likelier.rlhf.measures import correlation
from likelier.rlhf.rollout import Actors, Rollout, judge, reference_logprobs, sample_rollouts, sampling_of
from likelier.rlhf.scores import Shaper
from likelier.runs import Run
from likelier.text.logprobs import TextPolicy
from likelier.text.models import context_length, frozen_copy, load_causal_lm, load_tokenizer, save_model
from likelier.text.sample import sample
from likelier.text.tokens import encode_prompts
from likelier.text.variety import distinct_n
from likelier.training import (
    Clock,
    Guard,
    load_state,
    make_optimizer,
    pick_device,
    save_state,
    schedule,
    seeded_generator,
    set_learning_rate,
)


def train_ppo(config: Config, run: Run) -> dict[str, Any]:
    """Fine-tune `config.model` on `config.prompts` against `config.reward`; returns what `likelier ppo --json` prints.

    ConfigError, DataError: a setting, prompt file or model folder that cannot be used. NumericError: see `Guard`.
    """
    ppo, began = config.ppo, time.monotonic()
    if misplaced := estimator_misplaced(ppo):
        print(misplaced, file=sys.stderr, flush=True)
    actors, prompts = load_actors(config), load_prompts(config)
    check_prompts(actors.tokenizer, prompts.train + prompts.kept_out, config, context_length(actors.reference))
    judges = make_scorer(config.eval.scorer, ppo.device) if config.eval.scorer else None
    before = evaluate(actors, prompts.kept_out, config, judges, start=True)
    actors.shaper.measured(before["eval_score"])
    state = State(actors, ppo)
    state.load(run.checkpoint)

    with progress("ppo", ppo.steps) as job:
        job.advance(run.start)
        for step in range(run.start, ppo.steps):
            clock = Clock()
            learning_rate = state.set_learning_rate(step)
            draw = seeded_generator(config.seed, step, "ppo", actors.policy.device)

            rollout = sample_rollouts(actors, prompts.of_step(step), ppo, state.kl.coef, draw, clock)
            kl_term = kl_term_of(ppo, state.kl.coef)
            update = ppo_update(actors.policy, state.optimizer, rollout.batch, ppo, draw, state.guard, kl_term)
            clock.lap("update")

            metrics = rollout.stats() | update | {"kl_coef": state.kl.coef, "learning_rate": learning_rate}
            metrics |= {"episodes": (step + 1) * ppo.batch_size, "optimizer_steps": state.count(update)}
            if ppo.eval_steps and (step + 1) % ppo.eval_steps == 0:
                metrics |= evaluate(actors, prompts.kept_out, config, judges)
            state.kl.update(metrics["kl"], ppo.batch_size)
            run.log(step + 1, metrics, sample_lines(rollout, ppo), clock.laps)
            run.end_step(step + 1, ppo.steps, state.save)
            job.advance(note=f"score {metrics['score']:.3f}  kl {metrics['kl']:.2f}")

    after = evaluate(actors, prompts.kept_out, config, judges)
    save_model(run.folder / "model", actors.policy.model, actors.tokenizer, card(config))
    return run.finish(
        {
            "steps": ppo.steps,
            "optimizer_steps": state.optimizer_steps,
            "seconds": round(time.monotonic() - began, 1),
            "score_before": before["eval_score"],
            "score_after": after["eval_score"],
            "kl": after["eval_kl"],
            "response_length": after["eval_response_length"],
            "before": before,
            "after": after,
            "findings": None,
        }
    )


class State:
    """What decides the future of a run and is not in the config: weights, optimizer, controllers, counts."""

    def __init__(self, actors: Actors, ppo: PPOConfig) -> None:
        self.policy, self.shaper, self.ppo = actors.policy, actors.shaper, ppo
        rates = [(self.policy.policy_parameters(), ppo.learning_rate)]
        rates += [(self.policy.critic_parameters(), ppo.critic_learning_rate or ppo.learning_rate)]
        self.optimizer = make_optimizer(rates, ppo)
        self.kl = AdaptiveKL(ppo.kl_coef, ppo.kl_target, ppo.kl_horizon) if ppo.kl_target else FixedKL(ppo.kl_coef)
        self.guard = Guard(ppo.max_skipped_updates)
        self.optimizer_steps = 0

    def set_learning_rate(self, step: int) -> float:
        """The schedule; while the critic warms up the policy stands still."""
        rate = set_learning_rate(self.optimizer, schedule(step, self.ppo.steps, self.ppo))
        if step < self.ppo.critic_warmup_steps:
            self.optimizer.param_groups[0]["lr"] = 0.0
        return rate

    def count(self, update: dict[str, float]) -> int:
        self.optimizer_steps += int(update["optimizer_steps"])
        return self.optimizer_steps

    def save(self, folder: Path) -> None:
        counts = {"kl_coef": self.kl.coef, "optimizer_steps": self.optimizer_steps, "guard": vars(self.guard)}
        counts["shaper"] = self.shaper.state()
        save_state(folder, {"policy": self.policy}, self.optimizer, counts)

    def load(self, checkpoint: Path | None) -> None:
        if checkpoint is None:
            return
        counts = load_state(checkpoint, {"policy": self.policy}, self.optimizer)
        self.kl.coef, self.optimizer_steps = counts["kl_coef"], counts["optimizer_steps"]
        vars(self.guard).update(counts["guard"])
        self.shaper.load(counts["shaper"])


@dataclass(frozen=True)
class PromptPlan:
    """Prompts to train on, in an order that depends on the seed alone, and prompts kept out."""

    train: list[Text]
    kept_out: list[Text]
    per_step: int
    seed: int

    def of_step(self, step: int) -> list[Text]:
        """The prompts of one step: each pass over the file is shuffled anew."""
        return [self.at(place) for place in range(step * self.per_step, (step + 1) * self.per_step)]

    def at(self, place: int) -> Text:
        epoch, within = divmod(place, len(self.train))
        return self.train[order_of(self.seed, epoch, len(self.train))[within]]


@lru_cache(maxsize=2)
def order_of(seed: int, epoch: int, count: int) -> list[int]:
    """The order in which one pass takes the prompts."""
    return torch.randperm(count, generator=seeded_generator(seed, epoch, "prompts")).tolist()


def load_prompts(config: Config) -> PromptPlan:
    """Distinct prompts, some of them kept out (a fifth at most). ConfigError, DataError: too few."""
    if not config.prompts:
        raise ConfigError("prompts: give a JSONL file with `prompt` on each line")
    texts = list({prompt.id: prompt.text for prompt in read_prompts(Path(config.prompts))}.values())
    if len(texts) < 2:
        raise DataError(f"{config.prompts}: needs at least 2 different prompts, one of them to measure on, got 1")
    order = torch.randperm(len(texts), generator=seeded_generator(config.seed, 0, "kept out")).tolist()
    num_kept = min(config.ppo.num_eval_prompts, max(1, len(texts) // 5))
    shuffled = [texts[at] for at in order]
    per_step = config.ppo.batch_size // config.ppo.responses_per_prompt
    return PromptPlan(shuffled[num_kept:], shuffled[:num_kept], per_step, config.seed)


def check_prompts(tokenizer: PreTrainedTokenizerBase, prompts: list[Text], config: Config, context: int) -> None:
    """See before the first step that every prompt leaves room for a response. DataError: one does not."""
    limit = context - config.ppo.response_length
    if limit < 1:
        raise ConfigError(
            f"ppo.response_length: {config.ppo.response_length} does not fit the model's {context} tokens"
        )
    encode_prompts(tokenizer, prompts, min(limit, config.ppo.max_prompt_tokens or limit))


def load_actors(config: Config) -> Actors:
    """Policy with critic, frozen reference, tokenizer and scorer, on the device of the config."""
    if not config.model:
        raise ConfigError("model: give the folder or hub name of a language model")
    if not config.reward:
        raise ConfigError("reward: give at least one of model, function, http")
    ppo, device = config.ppo, pick_device(config.ppo.device)
    model = load_causal_lm(config.model, device)
    critic = None if ppo.algorithm != "ppo" else ppo.critic
    policy = TextPolicy.build(model, critic, ppo.critic_model, ppo.temperature, ppo.bf16)
    tokenizer, scorer = load_tokenizer(config.model), make_scorer(config.reward, ppo.device)
    return Actors(policy, frozen_copy(model), tokenizer, scorer, Shaper(ppo))


@torch.no_grad()
def evaluate(
    actors: Actors, prompts: list[Text], config: Config, judges: Scorer | None, start: bool = False
) -> dict[str, float]:
    """Score, KL (nats per response, temperature 1), length, variety and what the judges say on prompts kept out.

    The same random numbers each time, so that two measurements differ by the policy alone. `start`: the reference's.
    """
    draw = seeded_generator(config.seed, 0, "evaluate", actors.policy.device)
    model = actors.reference if start else actors.policy.model
    plain_ppo = config.ppo.model_copy(update={"temperature": 1.0})
    samples = sample(model, actors.tokenizer, prompts, sampling_of(plain_ppo), draw, config.ppo.batch_size)
    logprobs, ref_logprobs = (reference_logprobs(each, samples, plain_ppo) for each in (model, actors.reference))
    scores = actors.scorer.combine(judge(actors.scorer, actors.tokenizer, prompts, samples).each)
    found = {"eval_score": scores.mean(), "eval_score_std": scores.std(unbiased=False)}
    found["eval_kl"] = ((logprobs - ref_logprobs) * samples.mask).sum(1).mean()
    found["eval_response_length"] = samples.mask.sum(1).float().mean()
    for name, judged in (judges.each(prompts, samples.texts) if judges else {}).items():
        found[f"eval/{name}"], found[f"eval_std/{name}"] = judged.mean(), judged.std(unbiased=False)
        found[f"eval_correlation/{name}"] = correlation(scores, judged)
    return {name: float(value) for name, value in found.items()} | {
        "eval_distinct_2": distinct_n(samples.texts, 2),
        "eval_responses": len(prompts),
    }


def sample_lines(rollout: Rollout, ppo: PPOConfig) -> Iterator[dict[str, Any]]:
    """The first few responses of a step, for `samples.jsonl`."""
    for row in range(min(ppo.samples_per_step, len(rollout.scores))):
        yield {
            "prompt": plain(rollout.samples.prompts[row]),
            "response": rollout.samples.texts[row],
            "score": float(rollout.scores[row]),
            "kl": float(rollout.kl[row]),
            "stop_reason": rollout.samples.stop_reasons[row],
        }


def card(config: Config) -> str:
    """The model card's sentence on where this model comes from."""
    rewards = ", ".join(source.label for source in config.reward)
    return (
        f"Fine-tuned from {Path(config.model).name} with PPO against {rewards} ({config.ppo.total_episodes} responses)."
    )
