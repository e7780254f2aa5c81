"""Supervised fine-tuning: teach a model how to answer, or a small new one the language of a text."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, SFTConfig
from likelier.errors import ConfigError, DataError
from likelier.evaluation.heldout import HeldOutEval, make_heldout_eval
from likelier.finetune.examples import Lesson, make_lessons, read_examples
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.ppo.update import largest_state
from likelier.progress import progress
from likelier.runs.run import Run
from likelier.text.adapters import adapt, save_trained
from likelier.text.models import context_length, load_causal_lm, load_tokenizer
from likelier.text.tokens import pad_id, pad_right
from likelier.training.guard import Guard
from likelier.training.setup import autocast, make_optimizer, pick_device, schedule, seeded_generator, set_learning_rate
from likelier.training.state import load_state, save_state, trained_weights

MAX_SKIPPED_UPDATES = 5


def train_sft(config: Config, run: Run) -> dict[str, Any]:
    """Train on `config.data`; returns what `likelier sft --json` prints. The loss is on responses only where there are
    prompts.

    ConfigError, DataError: a setting, data file or model folder that cannot be used. NumericError: see `Guard`.
    """
    sft, began = config.sft, time.monotonic()
    pupil, plan, measure = prepare(config)
    before = measure(pupil.model) if measure else None
    state = State(pupil, sft, run.folder)
    state.load(run.checkpoint)

    with progress("sft", plan.steps) as job:
        job.advance(run.start)
        for step in range(run.start, plan.steps):
            rate = set_learning_rate(state.optimizer, schedule(step, plan.steps, sft))
            lessons = plan.of_step(step)
            state.guard.at(step + 1)
            metrics = state.update(lessons) | {"learning_rate": rate, "num_tokens": state.count(lessons)}
            if measure and sft.eval_steps and (step + 1) % sft.eval_steps == 0:
                metrics |= measure(pupil.model)
            run.log(step + 1, metrics)
            run.end_step(step + 1, plan.steps, state.save)
            job.advance(note=f"loss {metrics['loss']:.3f}")

    save_trained(run.folder, config.model, pupil.model, pupil.tokenizer, card(config))
    found: dict[str, Any] = {
        "steps": plan.steps,
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(time.monotonic() - began, 1),
        "loss": state.loss,
        "valid_loss": valid_loss(pupil, plan.kept_out, sft),
        "examples": len(plan.train) + len(plan.kept_out),
        "cut": plan.cut,
    }
    if measure:
        found |= {"before": before, "after": measure(pupil.model)}
    return run.finish(found)


class Pupil(NamedTuple):
    """Who learns."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class Plan:
    """Lessons to train on, in an order that depends on the seed alone, and some kept out to measure on."""

    train: list[Lesson]
    kept_out: list[Lesson]
    cut: int
    """Responses that lost their end, or were left out, because they were too long."""
    sft: SFTConfig
    seed: int

    @property
    def steps(self) -> int:
        return self.sft.max_steps or -(-len(self.train) * self.sft.num_epochs // self.sft.batch_size)

    def of_step(self, step: int) -> list[Lesson]:
        """One batch. Passes follow each other without a gap; the last batch of the last pass may be smaller."""
        size, end = self.sft.batch_size, len(self.train) * self.sft.num_epochs
        last = (step + 1) * size if self.sft.max_steps else min((step + 1) * size, end)
        return [self.at(place) for place in range(step * size, last)]

    def at(self, place: int) -> Lesson:
        epoch, within = divmod(place, len(self.train))
        return self.train[order_of(self.seed, epoch, len(self.train))[within]]


@lru_cache(maxsize=2)
def order_of(seed: int, epoch: int, count: int) -> list[int]:
    """The order in which one pass takes the lessons."""
    return torch.randperm(count, generator=seeded_generator(seed, epoch, "lessons")).tolist()


def prepare(config: Config) -> tuple[Pupil, Plan, HeldOutEval | None]:
    """The model to train, loaded or made from nothing, what it is to learn, and what measures it on its way."""
    sft = config.sft
    if not config.data:
        raise ConfigError("data: give a JSONL or .txt file to learn from")
    if bool(config.model) == bool(sft.architecture):
        raise ConfigError("give either model, to fine-tune it, or sft.architecture, to train from scratch")
    device = pick_device(sft.device)
    examples = read_examples(Path(config.data))
    if sft.architecture:
        tokenizer = new_tokenizer(sft.tokenizer, [example.whole for example in examples], sft.vocab_size)
        model = new_causal_lm(sft.architecture, tokenizer, config.seed)
        torch.nn.Module.to(model, device)
    else:
        model, tokenizer = load_causal_lm(config.model, device), load_tokenizer(config.model)
    measure = make_heldout_eval(config, sft, model, tokenizer) if sft.eval_steps else None
    adapt(model, sft, "sft", config.seed)
    if measure:
        examples = [example for example in examples if example.prompt not in measure.prompts]
    lessons, cut = make_lessons(tokenizer, examples, min(sft.max_length, context_length(model)))
    if not lessons:
        raise DataError(f"{config.data}: no prompt leaves room for a response in {sft.max_length} tokens")
    order = torch.randperm(len(lessons), generator=seeded_generator(config.seed, 0, "kept out")).tolist()
    shuffled, num_kept = [lessons[at] for at in order], min(256, len(lessons) // 20)
    return Pupil(model, tokenizer), Plan(shuffled[num_kept:], shuffled[:num_kept], cut, sft, config.seed), measure


class State:
    """What decides the future of a run and is not in the config: weights, optimizer, counts."""

    def __init__(self, pupil: Pupil, sft: SFTConfig, folder: Path) -> None:
        self.pupil, self.sft = pupil, sft
        self.learned = pupil.model if sft.lora_rank is None else trained_weights(pupil.model)
        self.optimizer = make_optimizer([(pupil.model.parameters(), sft.learning_rate)], sft)
        self.guard = Guard(MAX_SKIPPED_UPDATES, folder)
        self.num_tokens, self.optimizer_steps, self.loss = 0, 0, 0.0

    def count(self, lessons: Sequence[Lesson]) -> int:
        """Tokens read so far."""
        self.num_tokens += sum(len(lesson.tokens) for lesson in lessons)
        return self.num_tokens

    def update(self, lessons: Sequence[Lesson]) -> dict[str, float]:
        """One optimizer step on a batch. How it is cut into micro-batches changes nothing but memory."""
        loss, accuracy = total(self.pupil, lessons, self.sft, learn=True)
        norm = torch.nn.utils.clip_grad_norm_(self.pupil.model.parameters(), self.sft.max_grad_norm)
        if bool(torch.isfinite(norm + loss + largest_state(self.optimizer))):
            self.optimizer.step()
            self.optimizer_steps += 1
            self.guard.ok()
            self.loss = float(loss)
        else:
            batch, numbers = padded(self.pupil, lessons)._asdict(), {"loss": loss, "grad_norm": norm}
            self.guard.skip("the loss, its gradient or the optimizer was not finite in", batch, numbers)
        self.optimizer.zero_grad()
        found = {"loss": float(loss), "mean_token_accuracy": float(accuracy), "grad_norm": float(norm)}
        return found | {"optimizer_steps": self.optimizer_steps}

    def save(self, folder: Path) -> None:
        counts = {"num_tokens": self.num_tokens, "optimizer_steps": self.optimizer_steps}
        extra = counts | {"loss": self.loss, "guard": self.guard.counts()}
        save_state(folder, {"model": self.learned}, self.optimizer, extra)

    def load(self, checkpoint: Path | None) -> None:
        if checkpoint is None:
            return
        counts = load_state(checkpoint, {"model": self.learned}, self.optimizer)
        self.num_tokens, self.optimizer_steps = counts["num_tokens"], counts["optimizer_steps"]
        self.loss = counts["loss"]
        self.guard.restore(counts["guard"])


def total(
    pupil: Pupil, lessons: Sequence[Lesson], sft: SFTConfig, learn: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean loss in nats and share of right guesses over the tokens to be predicted; with gradients if `learn`.

    Lessons of like length go through the model together.
    """
    normalizer = sum(len(lesson.tokens) - lesson.start for lesson in lessons)
    ordered = sorted(lessons, key=lambda lesson: len(lesson.tokens))
    size = sft.micro_batch_size or sft.batch_size
    loss = right = torch.zeros((), device=pupil.model.device)
    for first in range(0, len(ordered), size):
        part_loss, part_right = losses(pupil, ordered[first : first + size], sft.bf16)
        if learn:
            (part_loss / normalizer).backward()
        loss, right = loss + part_loss.detach(), right + part_right
    return loss / normalizer, right / normalizer


def losses(pupil: Pupil, lessons: Sequence[Lesson], bf16: bool) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Sum of -log p over the tokens to be predicted, and how many of them were the likeliest."""
    device = pupil.model.device
    tokens, mask, learned = (each.to(device) for each in padded(pupil, lessons))
    with autocast(device, bf16):
        logits = pupil.model(input_ids=tokens, attention_mask=mask.long(), use_cache=False).logits
    predicted, targets = logits[:, :-1][learned[:, 1:]].float(), tokens[:, 1:][learned[:, 1:]]
    loss = torch.nn.functional.cross_entropy(predicted, targets, reduction="sum")
    return loss, (predicted.argmax(1) == targets).sum().float()


class Padded(NamedTuple):
    """Lessons side by side."""

    tokens: Int[Tensor, "B N"]
    mask: Bool[Tensor, "B N"]
    learned: Bool[Tensor, "B N"]
    """The tokens to be predicted."""


def padded(pupil: Pupil, lessons: Sequence[Lesson]) -> Padded:
    tokens, mask = pad_right([lesson.tokens for lesson in lessons], pad_id(pupil.tokenizer))
    return Padded(tokens, mask, learned_mask(mask, torch.tensor([lesson.start for lesson in lessons])))


def learned_mask(mask: Bool[Tensor, "B N"], starts: Int[Tensor, " B"]) -> Bool[Tensor, "B N"]:
    """True at the tokens to be predicted: real ones from each row's start on."""
    return mask & (torch.arange(mask.shape[1]) >= starts[:, None])


@torch.no_grad()
def valid_loss(pupil: Pupil, kept_out: Sequence[Lesson], sft: SFTConfig) -> float | None:
    """Mean loss on the lessons kept out; None where the data was too small to keep any."""
    return float(total(pupil, kept_out, sft, learn=False)[0]) if kept_out else None


def card(config: Config) -> str:
    """The model card's sentence on where this model comes from."""
    start = f"Fine-tuned from {Path(config.model).name}" if config.model else "Trained from scratch"
    return f"{start} on {Path(config.data).name}."
