"""Supervised fine-tuning of a language model, pretrained or from scratch."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, SFTConfig
from likelier.distributed import all_reduce_sum, check_device, get_rank, run_in_forward, split_shard
from likelier.errors import ConfigError, DataError
from likelier.evaluation.heldout import HeldOutEval, make_heldout_eval
from likelier.finetune.examples import TokenizedExample, read_examples, tokenize_examples
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.progress import progress
from likelier.runs.run import Run
from likelier.text.adapters import apply_lora
from likelier.text.checkpoint_layers import check_checkpointable, checkpoint_layers
from likelier.text.frozen_weights import choose_base_dtype
from likelier.text.liger import is_fused, sum_losses_fused
from likelier.text.logprobs import exceeds_chunk, sum_losses_in_chunks
from likelier.text.merging import save_trained
from likelier.text.models import context_length, load_tokenizer, vocabulary_size
from likelier.text.padding import pad_right
from likelier.text.policy_start import load_start
from likelier.text.sharding import gather_weights, is_sharding, pick_loading_device, shard_causal_lm
from likelier.text.tokens import check_in_vocabulary
from likelier.training.eight_bit import check_optimizer
from likelier.training.guard import MAX_SKIPPED_UPDATES, Guard
from likelier.training.order import EpochOrder
from likelier.training.setup import autocast, make_optimizer, pick_device, schedule, seeded_generator, set_learning_rate
from likelier.training.state import weights_to_save
from likelier.training.step import TrainingState, guarded_step


def train_sft(config: Config, run: Run) -> dict[str, Any]:
    """Train on `config.data`; returns what `likelier sft --json` prints. Prompt tokens are not in the loss.

    ConfigError, DataError: an invalid setting, data file or model folder. NumericError: see `Guard`.
    """
    sft, start_time = config.sft, time.monotonic()
    model, tokenizer, data, heldout_eval = prepare(config)
    # Before the first step, so that "before" and "after" are one model apart and share their random numbers.
    before = heldout_eval(model) if heldout_eval else None
    state = new_state(model, sft, run.folder)
    state.load(run.checkpoint)

    with progress("sft", data.steps) as job:
        job.advance(run.start)
        for step in range(run.start, data.steps):
            # Rate and batch follow from the step and the seed alone: a resumed run needs no state of a data loader.
            learning_rate = set_learning_rate(state.optimizer, schedule(step, data.steps, sft))
            state.guard.begin_step(step + 1)
            metrics = update(model, data.batch(step), state, sft) | {"learning_rate": learning_rate}
            if heldout_eval and sft.eval_steps and (step + 1) % sft.eval_steps == 0:
                metrics |= heldout_eval(model)
            run.log(step + 1, metrics)
            run.end_step(step + 1, data.steps, state.save)
            job.advance(note=f"loss {metrics['loss']:.3f}")

    with gather_weights(model, to_save=True) as whole:
        if get_rank() == 0:
            save_trained(run.folder, config.model, whole, tokenizer, describe_training(config))
    result: dict[str, Any] = {
        "steps": data.steps,
        "optimizer_steps": state.counts["optimizer_steps"],
        "seconds": round(time.monotonic() - start_time, 1),
        "loss": state.counts["loss"],
        "valid_loss": mean_loss(model, data.held_out, sft),
        "examples": len(data.train) + len(data.held_out),
        "cut": data.num_cut,
    }
    if heldout_eval:
        result |= {"before": before, "after": heldout_eval(model)}
    return run.finish(result)


@dataclass(frozen=True)
class SFTData:
    """Training examples, in an order that depends on the seed alone, and held-out ones for the validation loss."""

    train: list[TokenizedExample]
    held_out: list[TokenizedExample]
    num_cut: int
    """Responses that lost their end, or were left out, because they were too long."""
    sft: SFTConfig
    seed: int

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run."""
        # Rounded up: the last, smaller batch is trained on too.
        return self.sft.max_steps or -(-len(self.train) * self.sft.num_epochs // self.sft.batch_size)

    def batch(self, step: int) -> list[TokenizedExample]:
        """Return the examples of one step. Batches do not stop at the end of an epoch; the last one may be smaller."""
        size, end = self.sft.batch_size, len(self.train) * self.sft.num_epochs
        stop = (step + 1) * size if self.sft.max_steps else min((step + 1) * size, end)
        # Each epoch in an order of its own, known from the seed: resuming needs no state of a data loader.
        order = EpochOrder(len(self.train), self.seed, "lessons")
        return [self.train[row] for row in order.rows(step * size, stop)]


class Setup(NamedTuple):
    """Model, tokenizer, data and evaluation of a run, as returned by `prepare`."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    data: SFTData
    heldout_eval: HeldOutEval | None
    """None without `eval_steps`."""


def prepare(config: Config) -> Setup:
    """Load or create the model and tokenize its data, without the prompts of the held-out evaluation."""
    sft, shards = config.sft, is_sharding(config.sft, "sft")
    if not config.data:
        raise ConfigError("data: give a JSONL or .txt file to learn from")
    if bool(config.model) == bool(sft.architecture):
        raise ConfigError("give either model, to fine-tune it, or sft.architecture, to train from scratch")
    device = pick_device(sft.device)
    check_device("sft", device)
    loading = pick_loading_device(shards, device)
    check_optimizer(sft.optimizer, device, "sft")
    examples = read_examples(Path(config.data))
    if sft.architecture:
        tokenizer = new_tokenizer(sft.tokenizer, [example.full_text for example in examples], sft.vocab_size)
        model = new_causal_lm(sft.architecture, tokenizer, config.seed)
        torch.nn.Module.to(model, loading)
    else:
        dtype = choose_base_dtype(sft, device)
        model, tokenizer = (
            load_start(config.model, sft, "sft", loading, dtype).model,
            load_tokenizer(config.model, config.chat_template_kwargs),
        )
    # Before a new adapter: the evaluation's KL is from the model as it was.
    heldout_eval = make_heldout_eval(config, sft, model, tokenizer) if sft.eval_steps else None
    apply_lora(model, sft, "sft", config.seed)
    check_checkpointable(model, sft, "sft")
    if shards:
        shard_causal_lm(model, device, sft.bf16)
    if heldout_eval:
        # Trained on, these prompts would measure memory.
        held_out_prompts = heldout_eval.texts
        # Compared as texts: a prompt that stands in both files is held out, whatever its columns.
        examples = [example for example in examples if example.prompt not in held_out_prompts]
    tokenized, num_cut = tokenize_examples(tokenizer, examples, min(sft.max_length, context_length(model)))
    check_in_vocabulary(tokenizer, (example.tokens for example in tokenized), vocabulary_size(model), config.model)
    if not tokenized:
        raise DataError(f"{config.data}: no prompt leaves room for a response in {sft.max_length} tokens")
    # Files are often sorted, so what is held out is drawn; a twentieth, at most 256 examples, tells overfitting.
    order = torch.randperm(len(tokenized), generator=seeded_generator(config.seed, 0, "kept out")).tolist()
    shuffled, num_held_out = [tokenized[row] for row in order], min(256, len(tokenized) // 20)
    data = SFTData(shuffled[num_held_out:], shuffled[:num_held_out], num_cut, sft, config.seed)
    return Setup(model, tokenizer, data, heldout_eval)


def new_state(model: PreTrainedModel, sft: SFTConfig, folder: Path) -> TrainingState:
    """Return optimizer, guard and counters at step 0."""
    optimizer = make_optimizer([(model.parameters(), sft.learning_rate)], sft, sft.optimizer)
    # With an adapter the frozen base stands in its own folder: a checkpoint holds what is trained.
    modules = {"model": weights_to_save(model, sft.lora_rank)}
    return TrainingState(modules, optimizer, Guard(MAX_SKIPPED_UPDATES, folder), loss=0.0)


def update(
    model: PreTrainedModel,
    batch: Sequence[TokenizedExample],
    state: TrainingState,
    sft: SFTConfig,
) -> dict[str, float]:
    """Take one optimizer step on a batch; returns its metrics. The micro-batch size only changes memory."""
    loss, accuracy = token_means(model, batch, sft, backward=True)
    stepped, grad_norm = guarded_step(
        state, loss, sft.max_grad_norm, "the loss", lambda: (pad_examples(batch).tensors(), {})
    )
    # After a skipped step too: its NaN would be added to the next gradient.
    state.optimizer.zero_grad()
    state.counts["num_tokens"] += sum(len(example.tokens) for example in batch)
    # The loss in the result is one that was learned from.
    if stepped:
        state.counts["loss"] = float(loss)
    means = {"loss": float(loss), "mean_token_accuracy": float(accuracy), "grad_norm": float(grad_norm)}
    return means | {name: state.counts[name] for name in ("optimizer_steps", "num_tokens")}


def token_means(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    sft: SFTConfig,
    backward: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return mean loss in nats and accuracy over all target tokens; with `backward`, also add the loss's gradients.

    Examples of similar length are batched together, a shard of them in each process. Each micro-batch's sum is divided
    by the target tokens of the whole batch: a mean of means would weigh tokens of short examples more.
    """
    num_targets = sum(len(example.tokens) - example.start for example in examples)
    by_length = sorted(examples, key=lambda example: len(example.tokens))
    size = sft.micro_batch_size or sft.batch_size
    loss = num_right = torch.zeros((), device=model.device)
    for part in split_shard(len(by_length), size):
        micro_batch = pad_examples([by_length[row] for row in part.rows], part.num_own)
        part_loss, part_right = token_sums(model, micro_batch, sft)
        # Part by part, so that the activations of one micro-batch are held at a time.
        if backward:
            (part_loss / num_targets).backward()
        loss, num_right = loss + part_loss.detach(), num_right + part_right
    loss, num_right = all_reduce_sum(torch.stack([loss, num_right]))
    return loss / num_targets, num_right / num_targets


class PaddedExamples(NamedTuple):
    """A batch of examples, padded on the right."""

    tokens: Int[Tensor, "B N"]
    mask: Bool[Tensor, "B N"]
    target_mask: Bool[Tensor, "B N"]
    """True at the tokens to be predicted."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the tensors by their names in the guard's file of a skipped batch."""
        return {"tokens": self.tokens, "mask": self.mask, "learned": self.target_mask}


def pad_examples(examples: Sequence[TokenizedExample], num_learned: int | None = None) -> PaddedExamples:
    """Pad examples on the right, with masks of tokens and of targets, which only the first `num_learned` have."""
    tokens, mask = pad_right([example.tokens for example in examples])
    target_mask = mask_targets(mask, torch.tensor([example.start for example in examples]))
    if num_learned is not None:
        target_mask[num_learned:] = False
    return PaddedExamples(tokens, mask, target_mask)


def mask_targets(mask: Bool[Tensor, "B N"], starts: Int[Tensor, " B"]) -> Bool[Tensor, "B N"]:
    """Return a mask of the tokens to predict: real tokens from each row's `start` on."""
    # The prompt is given, not to be learned: its tokens are read and have no loss.
    return mask & (torch.arange(mask.shape[1]) >= starts[:, None])


def token_sums(
    model: PreTrainedModel, batch: PaddedExamples, sft: SFTConfig
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the sum of -log p over the target tokens, and how many of them equal the argmax."""
    tokens, mask, target_mask = (tensor.to(model.device) for tensor in batch)
    inputs = {"input_ids": tokens, "attention_mask": mask.long(), "use_cache": False}
    # What stands at a place predicts the token behind it.
    places, targets = target_mask[:, 1:], tokens[:, 1:][target_mask[:, 1:]]
    in_parts = exceeds_chunk(model, tokens.numel())
    with autocast(model.device, sft.bf16), checkpoint_layers(sft.gradient_checkpointing, model):
        if in_parts:
            loss, num_right = run_in_forward(model, sum_losses_in_parts, model, inputs, places, targets)
            return loss, num_right
        logits = model(**inputs).logits
    # The loss is taken in fp32, also of bfloat16 logits.
    predicted = logits[:, :-1][places].float()
    loss = torch.nn.functional.cross_entropy(predicted, targets, reduction="sum")
    return loss, (predicted.argmax(1) == targets).sum().float()


def sum_losses_in_parts(
    model: PreTrainedModel, inputs: Mapping[str, Any], places: Bool[Tensor, "B N"], targets: Int[Tensor, " T"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return what `token_sums` does, without the logits of all targets at once."""
    states = model.base_model(**inputs).last_hidden_state
    sum_losses = sum_losses_fused if is_fused(model) else sum_losses_in_chunks
    return sum_losses(model, states[:, :-1][places], targets)


@torch.no_grad()
def mean_loss(model: PreTrainedModel, examples: Sequence[TokenizedExample], sft: SFTConfig) -> float | None:
    """Return the mean loss in nats per token on held-out examples; None if there are none."""
    return float(token_means(model, examples, sft, backward=False)[0]) if examples else None


def describe_training(config: Config) -> str:
    """The sentence on the model's origin in its model card."""
    start = f"Fine-tuned from {Path(config.model).name}" if config.model else "Trained from scratch"
    return f"{start} on {Path(config.data).name}."
