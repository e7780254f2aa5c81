"""Learning a score from preferences: one model or several, each with the weights of its best epoch."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from likelier.config import Config, RewardModelConfig
from likelier.distributed import (
    all_reduce_sum,
    broadcast_text,
    check_device,
    gather_parts,
    get_rank,
    split_shard,
)
from likelier.files import read_log, write_json
from likelier.intervals import Floats
from likelier.progress import progress
from likelier.records import Preference, Text
from likelier.reward.careless import learn_flips
from likelier.reward.check import check_baselines, check_calibration, check_scores
from likelier.reward.ensemble import Ensemble, load_ensemble, std_between_models
from likelier.reward.ensemble_kinds import Bootstrap, prepare_ensemble, write_reward_model
from likelier.reward.length import LEARNING_RATE, LengthTerm, add_length, describe_length, read_length_weights
from likelier.reward.loss import AnswerIntervals, preference_loss
from likelier.reward.off_prompt import add_off_prompt_pairs, check_prompt_reading, make_prompt_pairs
from likelier.reward.out_of_distribution import fit_distribution
from likelier.reward.pairs import BatchPlan, Pairs, columns, load_pairs
from likelier.reward.people import check_people
from likelier.reward.start import find_start, load_start
from likelier.reward.verdict import assess_reward_model
from likelier.runs.run import Run
from likelier.text.adapters import FrozenModels
from likelier.text.chat_template import set_template_kwargs
from likelier.text.checkpoint_layers import check_checkpointable, checkpoint_layers
from likelier.text.frozen_weights import choose_base_dtype
from likelier.text.sharding import gather_weights, is_sharding, pick_loading_device
from likelier.training.eight_bit import check_optimizer
from likelier.training.guard import MAX_SKIPPED_UPDATES, Guard
from likelier.training.setup import autocast, make_optimizer, pick_device, schedule, seeded_generator, set_learning_rate
from likelier.training.state import copy_weights
from likelier.training.step import TrainingState, guarded_step

PAIRS_SCORED_AT_ONCE = 1024
PATIENCE = 100
"""Optimizer steps without a lower validation log loss after which training ends, unless `num_epochs` is given."""


def train_reward(config: Config, run: Run) -> dict[str, Any]:
    """Train on the pairs in the folder `config.data`; returns the result that `likelier reward --json` prints.

    The run's folder then holds `model` (with `ensemble_size` above 1 also `model-1`, …): Hugging Face folders that any
    tool loads, with a `card.json`. ConfigError, DataError: a setting, data file or base model that cannot be used.
    NumericError: see `Guard`.
    """
    settings, began = config.reward_model, time.monotonic()
    pairs = load_pairs(config).drop_equal_after_cut(config)
    if settings.use_flip:
        pairs = learn_flips(pairs)
    train = add_off_prompt_pairs(pairs.train, settings.off_prompt_pairs, config.seed)
    plan = BatchPlan.from_pairs(train, settings)
    num_members = 1 if settings.ensemble == "heads" else settings.ensemble_size  # heads learn together
    total, optimizer_steps = plan.steps * num_members, 0

    with progress("reward", total) as job:
        job.advance(run.start)
        for number in range(max(0, run.start - 1) // plan.steps, num_members):
            member, before = Member(config, number, run.folder, optimizer_steps), number * plan.steps
            member.state.load(run.checkpoint if run.start > before else None)
            done = max(0, run.start - before)
            for step, rows in member.batches_left(plan, done, config.seed):
                learning_rate = set_learning_rate(member.state.optimizer, schedule(step, plan.steps, settings))
                member.state.guard.begin_step(before + step + 1)
                metrics = member.update([train[row] for row in rows])
                if plan.ends_epoch(step):
                    metrics |= member.end_epoch(pairs.valid, step + 1)
                metrics |= {"epoch": (step + 1) / plan.batches, "member": number, "learning_rate": learning_rate}
                run.log(before + step + 1, metrics)
                run.end_step(before + step + 1, total, member.state.save)
                job.advance(note=f"loss {metrics['loss']:.3f}")
                done = step + 1
            if done < plan.steps:  # it has ended early
                run.save(before + done, member.state.save)
                job.advance(plan.steps - done)
            member.write_model(run.folder, config, pairs)
            optimizer_steps = member.state.counts["optimizer_steps"]

    counts = {"steps": len(read_log(run.folder / "metrics.jsonl")), "optimizer_steps": optimizer_steps}
    counts |= {"ensemble_size": settings.ensemble_size}
    quality = measure_quality(run.folder, pairs, settings, config.seed)
    verdict = assess_reward_model(quality)
    quality |= {"verdict": verdict.name, "in_words": verdict.sentence}
    return run.finish(counts | {"seconds": round(time.monotonic() - began, 1)} | quality)


class Member:
    """One reward model of an ensemble in training, or one with all heads, and the weights of its best epoch so far."""

    def __init__(self, config: Config, number: int, folder: Path | None = None, optimizer_steps: int = 0) -> None:
        """`optimizer_steps`: taken by the members before this one; the count is the run's."""
        settings, self.number = config.reward_model, number
        self.settings, self.seed = settings, config.seed
        # transformers draws random weights from torch's global generator; the fork leaves that to whoever called.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeded_generator(config.seed, number, "reward weights").initial_seed())
            # Members differ in head and order: where the data leave a score open they disagree (Coste et al. 2024).
            head = seeded_generator(config.seed, number, "reward head")
            device, start = pick_device(settings.device), find_start(config, number)
            check_device("reward_model", device)
            check_optimizer(settings.optimizer, device, "reward_model")
            shards = is_sharding(settings, None if number else "reward_model")
            self.reward = load_start(start, settings, pick_loading_device(shards, device), head)
            set_template_kwargs(self.reward.tokenizer, config.chat_template_kwargs)
            learned, saved = prepare_ensemble(self.reward, settings, config.seed, number, start)
        check_checkpointable(self.reward.model, settings, "reward_model")
        groups = [(self.reward.parameters(), settings.learning_rate)]
        self.length = LengthTerm(start.card).to(device) if settings.length_debias else None
        if self.length is not None:
            groups.append((self.length.parameters(), LEARNING_RATE))
            learned, saved = (nn.ModuleList([module, self.length]) for module in (learned, saved))
        # In the checkpoint too: a run resumed after its best epoch must still write that epoch's weights.
        self.learned, self.best = learned, copy_weights(learned)
        self.bootstrap = Bootstrap(config.seed, self.reward.head.out_features)
        optimizer = make_optimizer(groups, settings, settings.optimizer)
        guard, modules = Guard(MAX_SKIPPED_UPDATES, folder), {"reward": saved, "best": self.best}
        self.state = TrainingState(modules, optimizer, guard, optimizer_steps=optimizer_steps, best_loss=None)
        if settings.num_epochs is None:
            self.state.counts["best_step"] = None

    @property
    def best_loss(self) -> float | None:
        """Validation log loss of `best`; None before the first epoch has ended, or without validation."""
        best_loss: float | None = self.state.counts["best_loss"]
        return best_loss

    def batches_left(self, plan: BatchPlan, start: int, seed: int) -> Iterator[tuple[int, list[int]]]:
        """(step, rows of its pairs) from step `start` to the end, or to the epoch at which patience ends."""
        for step, rows in plan.batches_from(start, seed, self.number):
            best_step = self.state.counts.get("best_step")
            if best_step is not None and step % plan.batches == 0 and step - best_step >= PATIENCE:
                return
            yield step, rows

    def update(self, batch: Sequence[Preference]) -> dict[str, float]:
        """Take one optimizer step; returns its statistics under TRL's names. Micro-batches only change memory."""
        parts = split_shard(len(batch), self.settings.micro_batch_size or len(batch))
        self.state.optimizer.zero_grad()
        losses, scores, num_tokens = [], [], 0
        for part in parts:
            loss, both, tokens_read = self.loss([batch[row] for row in part.rows], part.num_own)
            # Weighted by its pairs, so that the gradient is the batch's, however it is cut into micro-batches.
            share = loss * (part.num_own / len(batch))
            share.backward()
            # Detached: the graph of a part is freed before the next one is built.
            losses.append(share.detach())
            scores.append(both.detach())
            num_tokens += tokens_read
        loss, both = all_reduce_sum(torch.stack(losses).sum()), gather_parts(scores, parts, len(batch)).T.contiguous()
        self.state.counts["num_tokens"] += int(all_reduce_sum(torch.tensor(num_tokens)))
        _, grad_norm = guarded_step(
            self.state,
            loss,
            self.settings.max_grad_norm,
            "the reward model's loss",
            lambda: ({"chosen": both[0], "rejected": both[1]}, {"pairs": [asdict(pair) for pair in batch]}),
        )
        counts = {name: self.state.counts[name] for name in ("num_tokens", "optimizer_steps")}
        return statistics(loss, both, grad_norm) | counts

    def loss(self, pairs: Sequence[Preference], num_own: int | None = None) -> tuple[Tensor, Float[Tensor, "N 2"], int]:
        """Mean loss of the first `num_own` pairs, by default all, their scores, and how many tokens they have.

        One forward pass reads the distinct responses of all pairs. Where none is its own, the loss is the first's.
        """
        num_own = len(pairs) if num_own is None else num_own
        prompts, responses, both_places = distinct_texts(pairs)
        part, places = pairs[: num_own or 1], [side[: num_own or 1] for side in both_places]
        tokens, mask = self.reward.encode(prompts, responses)
        num_tokens = int(mask[sorted({place for side in both_places for place in side[:num_own]})].sum())
        repeat = checkpoint_layers(self.settings.gradient_checkpointing, self.reward)
        with autocast(self.reward.device, self.settings.bf16), repeat:
            scores, _ = self.reward.read_tokens(tokens, mask)
        # A response of a ranking is in several pairs; it costs one forward pass (Ouyang et al. 2022, section 3.5).
        better, worse = scores[torch.tensor(places, device=scores.device)].unbind()
        labels, shares = self.labels(part), self.bootstrap.draw_weights(part).to(scores.device)
        longer = better if self.length is None else better + self.length(part)[:, None]
        intervals = AnswerIntervals.from_rows([pair.interval for pair in part], labels["weight"])
        losses = [
            preference_loss(
                longer[:, head],
                worse[:, head],
                **labels | {"weight": labels["weight"] * shares[head]},
                intervals=intervals,
            )
            for head in range(len(shares))
        ]
        # The likelihood sees differences alone, so a constant is free: this pins it (Eisenstein et al. 2023).
        center = self.settings.center_coef * (better + worse).square().mean()
        return torch.stack(losses).mean() + center, torch.stack([better.mean(1), worse.mean(1)], 1), num_tokens

    def labels(self, part: Sequence[Preference]) -> dict[str, Tensor]:
        """Target, weight, margin, flip and guess of each pair, as the loss takes them."""
        device = self.reward.device
        names = ["weight", "margin", "target"]
        # Without flips everybody is believed alike.
        if self.settings.use_flip:
            names += ["flip"] + ["guess"] * any(pair.guess != 0.5 for pair in part)
        found = {name: [getattr(pair, name) for pair in part] for name in names}
        return {name: torch.tensor(values, dtype=torch.float32, device=device) for name, values in found.items()}

    def end_epoch(self, valid: Sequence[Preference], step: int) -> dict[str, float]:
        """Evaluate on the validation pairs after `step` steps, and keep the weights if they are the best so far."""
        # Nothing to choose by: the last weights stay.
        if not valid:
            return {}
        chosen, rejected = (torch.tensor(scores) for scores in score_pairs(self.score, valid))
        labels = {name: values.cpu() for name, values in self.labels(valid).items()}
        # Log loss and not accuracy: PPO follows the size of the score, and an overfitted model is first too sure.
        intervals = AnswerIntervals.from_rows([pair.interval for pair in valid], labels["weight"])
        longer = chosen if self.length is None else chosen + self.length(valid).detach().cpu()
        loss = float(preference_loss(longer, rejected, **labels, intervals=intervals))
        # NaN compares false to everything: as the first epoch's loss it would stay the best.
        better = math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss)
        if self.settings.early_stopping and better:
            self.best.load_state_dict(self.learned.state_dict())
            self.state.counts["best_loss"] = loss
            if "best_step" in self.state.counts:
                self.state.counts["best_step"] = step
        found = check_scores((chosen - rejected).double().numpy(), valid)
        return {"eval_loss": loss, "eval_accuracy": found["accuracy"]}

    def read_scores(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "H B"]:
        """Return the scores by each head; of several processes each reads a shard, and all return all."""
        parts = split_shard(len(responses), len(responses))
        rows = [row for part in parts for row in part.rows]
        scores = self.reward.read([prompts[row] for row in rows], [responses[row] for row in rows]).scores
        return gather_parts([scores.T], parts, len(responses)).T.contiguous()

    def score(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        """Return the mean score of the heads."""
        scores = self.read_scores(prompts, responses)
        return scores[0] if len(scores) == 1 else scores.mean(0)

    def restore_best(self) -> None:
        """Return to the best epoch's weights, which need not be the last: training goes on past the best."""
        if self.best_loss is not None:
            self.learned.load_state_dict(self.best.state_dict())

    def write_model(self, run: Path, config: Config, pairs: Pairs) -> None:
        """Write the model's folder, from rank 0.

        `card.json` holds data, seed, and mean and spread of scores on training pairs.
        """
        self.restore_best()
        # Every n-th pair: mean and spread only set the score's origin, and need no more.
        some = pairs.train[:: -(-len(pairs.train) // PAIRS_SCORED_AT_ONCE)]
        scores = np.concatenate(read_pairs(self.read_scores, some), axis=1)
        start = find_start(config, self.number)
        base = Path(start.base).name
        about: dict[str, Any] = {
            "base": base,
            **({"from": start.folder} if start.folder else {}),
            "made_from": pairs.made_from,
            "pairs": len(pairs.train),
            "seed": config.seed,
            "member": self.number,
            "validation_log_loss": self.best_loss,
            "score_mean": float(scores.mean()),
            "score_std": float(scores.mean(0).std()),
        }
        if self.settings.lora_rank:
            about["model_dtype"] = choose_base_dtype(self.settings, self.reward.device)
        if len(scores) > 1:
            about["score_means"] = scores.mean(1).tolist()
        if self.length is not None:
            about["length_weights"] = self.length.weights.tolist()
        card = f"A reward model on {base}, from {len(pairs.train)} pairs."
        with gather_weights(self.reward, to_save=True) as whole:
            folders = write_reward_model(run, self.number, config, whole, card) if get_rank() == 0 else []
        for folder in folders:
            write_json(folder / "card.json", {"schema_version": 1} | about)


def distinct_texts(pairs: Sequence[Preference]) -> tuple[list[Text], list[str], list[list[int]]]:
    """Return the distinct (prompt, response) texts, and the indices of chosen and rejected among them, [2, N]."""
    prompts, chosen, rejected = columns(pairs)
    both = list(zip([*prompts, *prompts], [*chosen, *rejected], strict=True))
    # A prompt may be a list of messages, which cannot be hashed: its text stands for it.
    distinct = {(str(prompt), response): (prompt, response) for prompt, response in both}
    numbers = {key: number for number, key in enumerate(distinct)}
    places = [numbers[str(prompt), response] for prompt, response in both]
    texts, responses = zip(*distinct.values(), strict=True)
    return list(texts), list(responses), [places[: len(pairs)], places[len(pairs) :]]


def statistics(loss: Tensor, scores: Tensor, grad_norm: Tensor) -> dict[str, float]:
    """Return the metrics of a step from scores [2, N] of the chosen and the rejected responses."""
    chosen, rejected = scores
    found = {
        "loss": loss,
        "accuracy": (chosen > rejected).float().mean(),
        "min_reward": scores.min(),
        "mean_reward": scores.mean(),
        "max_reward": scores.max(),
        "margin": (chosen - rejected).mean(),
        "grad_norm": grad_norm,
    }
    return {name: float(value) for name, value in found.items()}


def score_pairs(
    score: Callable[[Sequence[Text], Sequence[str]], Tensor], pairs: Sequence[Preference]
) -> tuple[Floats, Floats]:
    """Score the chosen and the rejected responses, batch by batch."""
    chosen, rejected = read_pairs(lambda *texts: score(*texts)[None], pairs)
    return chosen[0], rejected[0]


def read_pairs(
    read: Callable[[Sequence[Text], Sequence[str]], Tensor], pairs: Sequence[Preference]
) -> tuple[Floats, Floats]:
    """Score the chosen and the rejected responses by several heads, batch by batch, [heads, N] each."""
    found = []
    for start in range(0, len(pairs), PAIRS_SCORED_AT_ONCE):
        prompts, chosen, rejected = columns(pairs[start : start + PAIRS_SCORED_AT_ONCE])
        # In parts: all tokens of a large file at once would not fit into memory.
        scores = read([*prompts, *prompts], [*chosen, *rejected]).double().numpy()
        found.append(scores.reshape(len(scores), 2, -1))
    both = np.concatenate(found, axis=2)
    return both[:, 0], both[:, 1]


def measure_quality(run: Path, pairs: Pairs, settings: RewardModelConfig, seed: int) -> dict[str, Any]:
    """Write beside the models where training responses lie, and evaluate them; all processes read rank 0's folder."""
    folder = Path(broadcast_text(str(run)))  # after rank 0 has written the models
    learn_distribution(folder, pairs, settings)
    broadcast_text("")  # and what lies beside them
    return evaluate(folder, pairs, settings, seed)


def load_trained(run: Path, settings: RewardModelConfig) -> Ensemble:
    """Load the models that a run has written."""
    return load_ensemble(str(run), settings.device, frozen=FrozenModels(shard=is_sharding(settings)))


def learn_distribution(run: Path, pairs: Pairs, settings: RewardModelConfig) -> None:
    """Write beside the first model where its training responses lie, with thresholds from held-out ones, if any."""
    held_out = pairs.test or pairs.valid
    if not held_out:
        return
    ensemble = load_trained(run, settings)
    training, _ = read_responses(ensemble, pairs.train)
    distribution = fit_distribution(training, *read_responses(ensemble, held_out))
    if distribution is not None and get_rank() == 0:
        distribution.save(run / "model")


def read_responses(ensemble: Ensemble, pairs: Sequence[Preference]) -> tuple[Floats, Floats | None]:
    """Return hidden states and deviation between models of both responses of every n-th pair; None of one model."""
    prompts, chosen, rejected = columns(pairs[:: -(-len(pairs) // PAIRS_SCORED_AT_ONCE)])
    scores, features = ensemble.read([*prompts, *prompts], [*chosen, *rejected])
    disagreement = std_between_models(scores).double().numpy() if len(scores) > 1 else None
    return features.double().numpy(), disagreement


def evaluate(run: Path, pairs: Pairs, settings: RewardModelConfig, seed: int) -> dict[str, Any]:
    """Evaluate the run's ensemble on the test pairs, else on the validation pairs; None without either."""
    # Validation pairs chose the epoch, so figures on them flatter; they stand in where there are no test pairs.
    held_out = pairs.test or pairs.valid
    if not held_out:
        keys = ("accuracy", "accuracy_interval", "log_loss", "calibration_error", "length_only_accuracy")
        return dict.fromkeys(keys)
    ensemble, length_weights = load_trained(run, settings), read_length_weights(run)
    difference = np.subtract(*score_pairs(ensemble.score, held_out))
    apart = pairs.valid if pairs.test else []
    valid_difference = np.subtract(*score_pairs(ensemble.score, apart)) if apart else np.zeros(0)
    # Judgements are predicted with length, so that is what is held against length alone.
    whole = difference + add_length(held_out, length_weights)
    found = check_scores(whole, held_out)
    found |= check_calibration(whole, held_out, valid_difference + add_length(apart, length_weights), apart)
    found |= check_people(difference, pairs.train, held_out)
    found |= check_baselines(whole, pairs.train, pairs.valid, held_out)
    if made := make_prompt_pairs(held_out, seed):
        found |= check_prompt_reading(np.subtract(*score_pairs(ensemble.score, made)), made)
    if length_weights is None:
        return found
    alone = check_scores(difference, held_out)
    found |= {"accuracy_with_length": found["accuracy"]} | describe_length(length_weights)
    return found | {name: alone[name] for name in ("accuracy", "accuracy_interval")}
