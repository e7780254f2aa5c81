"""DPO on a language model: pairs, the reference's log-probabilities once, and a loop like the others.

Rafailov et al. 2023, "Direct Preference Optimization". Differences: a tie has the target 1/2; an annotator's error rate
smooths the target (conservative DPO, Mitchell 2023); pairs have weights.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, DPOConfig
from likelier.errors import DataError
from likelier.evaluation.heldout import HeldOutEval, make_heldout_eval
from likelier.finetune.dpo_loss import dpo_loss
from likelier.ppo.update import largest_state
from likelier.progress import progress
from likelier.records import Preference, Text
from likelier.reward.pairs import Plan, load_pairs
from likelier.runs.run import Run
from likelier.text.adapters import adapt, save_trained
from likelier.text.logprobs import response_logprobs
from likelier.text.models import context_length, load_causal_lm, load_tokenizer
from likelier.text.tokens import encode_full, pad_id, pad_left, pad_right
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer, pick_device, schedule, set_learning_rate
from likelier.training.state import load_state, save_state, trained_weights

MAX_SKIPPED_UPDATES = 5


def train_dpo(config: Config, run: Run) -> dict[str, Any]:
    """Fine-tune `config.model` on the pairs in the folder `config.data`; returns what `likelier dpo --json` prints.

    ConfigError, DataError: a setting, data file or model folder that cannot be used. NumericError: see `Guard`.
    """
    dpo, began = config.dpo, time.monotonic()
    pupil, lessons = prepare(config)
    measure = lessons.yardstick
    before = measure(pupil.model) if measure else None
    ref, held_out_ref = (pupil.whole_logprobs(pairs) for pairs in (lessons.train, lessons.held_out))
    plan, state = lessons.plan, State(pupil, dpo, run.folder)
    state.load(run.checkpoint)

    with progress("dpo", plan.steps) as job:
        job.advance(run.start)
        for step, rows in plan.batches_from(run.start, config.seed, 0):
            rate = set_learning_rate(state.optimizer, schedule(step, plan.steps, dpo))
            state.guard.at(step + 1)
            metrics = state.update([lessons.train[row] for row in rows], ref[rows]) | {"learning_rate": rate}
            if measure and dpo.eval_steps and (step + 1) % dpo.eval_steps == 0:
                metrics |= measure(pupil.model)
            run.log(step + 1, metrics | {"epoch": (step + 1) / plan.batches})
            run.end_step(step + 1, plan.steps, state.save)
            job.advance(note=f"loss {metrics['loss']:.3f}")

    save_trained(run.folder, config.model, pupil.model, pupil.tokenizer, card(config, len(lessons.train)))
    found: dict[str, Any] = {
        "steps": plan.steps,
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(time.monotonic() - began, 1),
        **unseen_pairs(pupil.whole_logprobs(lessons.held_out), held_out_ref, lessons.held_out, dpo.beta),
        "pairs": len(lessons.train),
        "left_out": lessons.left_out,
    }
    if measure and before:
        after = measure(pupil.model)
        found |= {"kl": after["eval_kl"], "response_length": after["eval_response_length"]}
        found |= {"before": before, "after": after}
    return run.finish(found)


@dataclass(frozen=True)
class Pair:
    """Tokens of a prompt and of two responses, each with its end token, and what people said of them."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    target: float
    """The chance that people prefer `chosen`."""
    weight: float

    @property
    def num_tokens(self) -> int:
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass(frozen=True)
class Pupil:
    """Who learns."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dpo: DPOConfig

    def logprobs(self, pairs: Sequence[Pair]) -> tuple[Float[Tensor, "N 2"], Float[Tensor, ""]]:
        """Log-probability of chosen and rejected responses, from one forward pass, and the sum of token entropies."""
        pad, device = pad_id(self.tokenizer), self.model.device
        prompts, prompt_mask = pad_left([pair.prompt for pair in pairs] * 2, pad)
        tokens, mask = pad_right([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs], pad)
        prompts, prompt_mask, tokens, mask = (part.to(device) for part in (prompts, prompt_mask, tokens, mask))
        logprobs, entropy = response_logprobs(self.model, prompts, prompt_mask, tokens, mask, 1.0, self.dpo.bf16)
        return logprobs.sum(1).view(2, -1).T, entropy.detach().sum()

    @torch.no_grad()
    def whole_logprobs(self, pairs: Sequence[Pair]) -> Float[Tensor, "N 2"]:
        """Of all pairs, those of like length together."""
        order = sorted(range(len(pairs)), key=lambda row: pairs[row].num_tokens)
        size = self.dpo.micro_batch_size or self.dpo.batch_size
        found = torch.zeros(len(pairs), 2, device=self.model.device)
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            found[rows] = self.logprobs([pairs[row] for row in rows])[0]
        return found


@dataclass(frozen=True)
class Lessons:
    """Pairs to learn from and to measure on, and what measures the policy on its way."""

    train: list[Pair]
    held_out: list[Pair]
    """The test pairs, or the validation pairs where there are none."""
    plan: Plan
    left_out: int
    """Training pairs that were too long, or on prompts which the yardstick needs unseen."""
    yardstick: HeldOutEval | None


def prepare(config: Config) -> tuple[Pupil, Lessons]:
    """The model at its start, and what it is to learn. DataError: no pair fits."""
    dpo, pairs = config.dpo, load_pairs(config)
    pupil = Pupil(load_causal_lm(config.model, pick_device(dpo.device)), load_tokenizer(config.model), dpo)
    yardstick = make_heldout_eval(config, dpo, pupil.model, pupil.tokenizer) if dpo.eval_steps else None
    adapt(pupil.model, dpo, "dpo", config.seed)
    unseen = yardstick.prompts if yardstick else []
    longest = min(dpo.max_length, context_length(pupil.model))
    train, held_out = (
        [encoded for pair in part if (encoded := encode(pupil, pair, unseen, longest))]
        for part in (pairs.train, pairs.test or pairs.valid)
    )
    if not train:
        raise DataError(f"{config.data}: no pair is left to learn from; the longest may have {longest} tokens")
    each_alone = list(range(len(train)))
    plan = Plan([pair.num_tokens for pair in train], each_alone, dpo.batch_size, dpo.num_epochs)
    return pupil, Lessons(train, held_out, plan, len(pairs.train) - len(train), yardstick)


def encode(pupil: Pupil, pair: Preference, unseen: Sequence[Text], longest: int) -> Pair | None:
    """A preference as tokens; None where it does not fit, or its prompt must stay unseen."""
    if pair.prompt in unseen:
        return None
    prompt, chosen = encode_full(pupil.tokenizer, pair.prompt, pair.chosen, end=True)
    _, rejected = encode_full(pupil.tokenizer, pair.prompt, pair.rejected, end=True)
    if not prompt or len(prompt) + max(len(chosen), len(rejected)) > longest:
        return None
    flip = pair.flip if pupil.dpo.use_flip else 0.0
    return Pair(prompt, chosen, rejected, pair.target + flip * (1 - 2 * pair.target), pair.weight)


class State:
    """What decides the future of a run and is not in the config: weights, optimizer, counts."""

    def __init__(self, pupil: Pupil, dpo: DPOConfig, folder: Path) -> None:
        self.pupil, self.dpo = pupil, dpo
        self.learned = pupil.model if dpo.lora_rank is None else trained_weights(pupil.model)
        self.optimizer = make_optimizer([(pupil.model.parameters(), dpo.learning_rate)], dpo)
        self.guard = Guard(MAX_SKIPPED_UPDATES, folder)
        self.num_tokens, self.optimizer_steps = 0, 0

    def update(self, pairs: Sequence[Pair], ref: Float[Tensor, "N 2"]) -> dict[str, float]:
        """One optimizer step on a batch. How it is cut into micro-batches changes nothing but memory."""
        self.optimizer.zero_grad()
        size, parts = self.dpo.micro_batch_size or len(pairs), []
        for first in range(0, len(pairs), size):
            loss, stats = self.loss(pairs[first : first + size], ref[first : first + size])
            share = len(pairs[first : first + size]) / len(pairs)
            (loss * share).backward()
            parts.append({name: value * share for name, value in (stats | {"loss": loss.detach()}).items()})
        found = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
        found["grad_norm"] = torch.nn.utils.clip_grad_norm_(self.pupil.model.parameters(), self.dpo.max_grad_norm)
        if bool(torch.isfinite(found["loss"] + found["grad_norm"] + largest_state(self.optimizer))):
            self.optimizer.step()
            self.optimizer_steps += 1
            self.guard.ok()
        else:
            told = found | {"pairs": [asdict(pair) for pair in pairs]}
            self.guard.skip("the loss of DPO, its gradient or the optimizer was not finite in", {"ref": ref}, told)
        self.num_tokens += sum(pair.num_tokens for pair in pairs)
        counts = {"num_tokens": self.num_tokens, "optimizer_steps": self.optimizer_steps}
        return {name: float(value) for name, value in found.items()} | counts

    def loss(self, pairs: Sequence[Pair], ref: Float[Tensor, "N 2"]) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean loss of some pairs, and means of what TRL shows of them."""
        logprobs, entropy = self.pupil.logprobs(pairs)
        target, weight = (ref.new_tensor([getattr(pair, name) for pair in pairs]) for name in ("target", "weight"))
        loss, stats = dpo_loss(logprobs[:, 0], logprobs[:, 1], ref[:, 0], ref[:, 1], self.dpo.beta, target, weight)
        chosen, rejected = logprobs.detach().mean(0)
        tokens = sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)
        return loss, stats | {"logps/chosen": chosen, "logps/rejected": rejected, "entropy": entropy / tokens}

    def save(self, folder: Path) -> None:
        counts = {"num_tokens": self.num_tokens, "optimizer_steps": self.optimizer_steps, "guard": self.guard.counts()}
        save_state(folder, {"model": self.learned}, self.optimizer, counts)

    def load(self, checkpoint: Path | None) -> None:
        if checkpoint is None:
            return
        counts = load_state(checkpoint, {"model": self.learned}, self.optimizer)
        self.num_tokens, self.optimizer_steps = counts["num_tokens"], counts["optimizer_steps"]
        self.guard.restore(counts["guard"])


def unseen_pairs(
    logprobs: Float[Tensor, "N 2"], ref: Float[Tensor, "N 2"], pairs: Sequence[Pair], beta: float
) -> dict[str, float | None]:
    """How well the policy foretells what people prefer among held-out pairs; None without pairs.

    `accuracy`: share of pairs whose chosen response gained more log-probability than the rejected one. `log_loss`: the
    loss of DPO without weights, in nats a pair; log 2 for a policy that has not moved.
    """
    if not pairs:
        return {"accuracy": None, "log_loss": None}
    now, before = logprobs.double(), ref.double()
    target = now.new_tensor([pair.target for pair in pairs])
    loss, stats = dpo_loss(now[:, 0], now[:, 1], before[:, 0], before[:, 1], beta, target)
    return {"accuracy": float(stats["rewards/accuracies"]), "log_loss": float(loss)}


def card(config: Config, pairs: int) -> str:
    """The model card's sentence on where this model comes from."""
    return f"Fine-tuned from {Path(config.model).name} with DPO (beta {config.dpo.beta:g}) on {pairs} pairs."
