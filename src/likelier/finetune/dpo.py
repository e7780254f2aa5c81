"""DPO on a language model; the reference's log-probabilities are computed once, before training.

Rafailov et al. 2023, "Direct Preference Optimization". Differences: a tie has the target 1/2; an annotator's error rate
smooths the target (conservative DPO, Mitchell 2023), a careless share stands in the likelihood (as in robust DPO,
Chowdhury et al. 2024); pairs have weights.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, DPOConfig
from likelier.distributed import all_reduce_sum, check_device, gather_parts, get_rank, split_shard
from likelier.errors import DataError
from likelier.evaluation.heldout import HeldOutEval, make_heldout_eval
from likelier.finetune.dpo_loss import dpo_loss
from likelier.progress import progress
from likelier.records import Preference
from likelier.reward.loss import AnswerIntervals
from likelier.reward.pairs import BatchPlan, load_pairs
from likelier.runs.run import Run
from likelier.text.adapters import apply_lora
from likelier.text.checkpoint_layers import check_checkpointable, checkpoint_layers
from likelier.text.frozen_weights import choose_base_dtype
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.merging import save_trained
from likelier.text.models import context_length, load_tokenizer, vocabulary_size
from likelier.text.padding import pad_left, pad_right
from likelier.text.policy_start import load_start
from likelier.text.sharding import gather_weights, is_sharding, pick_loading_device, shard_causal_lm
from likelier.text.tokens import check_in_vocabulary, encode_with_response
from likelier.training.eight_bit import check_optimizer
from likelier.training.guard import MAX_SKIPPED_UPDATES, Guard
from likelier.training.setup import make_optimizer, pick_device, schedule, set_learning_rate
from likelier.training.state import weights_to_save
from likelier.training.step import TrainingState, guarded_step


def train_dpo(config: Config, run: Run) -> dict[str, Any]:
    """Fine-tune `config.model` on the pairs in the folder `config.data`; returns what `likelier dpo --json` prints.

    ConfigError, DataError: an invalid setting, data file or model folder. NumericError: see `Guard`.
    """
    dpo, start_time = config.dpo, time.monotonic()
    model, tokenizer, data, heldout_eval = prepare(config)
    before = heldout_eval(model) if heldout_eval else None
    # The reference is the model before its first step: its log-probabilities are taken now, and no copy is kept.
    ref, held_out_ref = (all_logprobs(model, pairs, dpo) for pairs in (data.train, data.held_out))
    plan, state = data.plan, new_state(model, dpo, run.folder)
    state.load(run.checkpoint)

    with progress("dpo", plan.steps) as job:
        job.advance(run.start)
        for step, rows in plan.batches_from(run.start, config.seed, 0):
            learning_rate = set_learning_rate(state.optimizer, schedule(step, plan.steps, dpo))
            # Rows and reference by the same index: the reference of a pair never changes, so it is computed once.
            state.guard.begin_step(step + 1)
            metrics = update(model, [data.train[row] for row in rows], ref[rows], state, dpo)
            metrics |= {"learning_rate": learning_rate, "epoch": (step + 1) / plan.batches}
            if heldout_eval and dpo.eval_steps and (step + 1) % dpo.eval_steps == 0:
                metrics |= heldout_eval(model)
            run.log(step + 1, metrics)
            run.end_step(step + 1, plan.steps, state.save)
            job.advance(note=f"loss {metrics['loss']:.3f}")

    with gather_weights(model, to_save=True) as whole:
        if get_rank() == 0:
            save_trained(run.folder, config.model, whole, tokenizer, describe_training(config, len(data.train)))
    result: dict[str, Any] = {
        "steps": plan.steps,
        "optimizer_steps": state.counts["optimizer_steps"],
        "seconds": round(time.monotonic() - start_time, 1),
        **evaluate_pairs(all_logprobs(model, data.held_out, dpo), held_out_ref, data.held_out, dpo.beta),
        "pairs": len(data.train),
        "left_out": data.num_left_out,
    }
    if heldout_eval:
        # The very prompts and random numbers of `before`: the difference is the training, not the draw.
        after = heldout_eval(model)
        result |= {"kl": after["eval_kl"], "response_length": after["eval_response_length"]}
        result |= {"before": before, "after": after}
    return run.finish(result)


@dataclass(frozen=True)
class TokenizedPair:
    """Tokens of a prompt and two responses, each with its end token, and the pair's target and weight."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    target: float
    """Probability that people prefer `chosen`."""
    weight: float
    flip: float = 0.0
    guess: float = 0.5
    """Both as in `Preference`; files that say no kind of flip have theirs in the target."""
    interval: tuple[float, float, float] = (0.0, math.inf, 0.5)
    """As in `Preference`."""

    @property
    def num_tokens(self) -> int:
        """Number of tokens in both sequences; the prompt counts twice."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass(frozen=True)
class DPOData:
    """Training pairs and held-out pairs."""

    train: list[TokenizedPair]
    held_out: list[TokenizedPair]
    """The test pairs, or the validation pairs where there are none."""
    plan: BatchPlan
    num_left_out: int
    """Training pairs that were too long, or on prompts of the held-out evaluation."""


class Setup(NamedTuple):
    """Model, tokenizer, data and evaluation of a run, as returned by `prepare`."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    data: DPOData
    heldout_eval: HeldOutEval | None
    """None without `eval_steps`."""


def prepare(config: Config) -> Setup:
    """Load the model and tokenize the pairs that fit its context, without held-out prompts. DataError: none is left."""
    dpo, pairs, shards = config.dpo, load_pairs(config), is_sharding(config.dpo, "dpo")
    device = pick_device(dpo.device)
    check_device("dpo", device)
    check_optimizer(dpo.optimizer, device, "dpo")
    loading = pick_loading_device(shards, device)
    model = load_start(config.model, dpo, "dpo", loading, choose_base_dtype(dpo, device)).model
    tokenizer = load_tokenizer(config.model, config.chat_template_kwargs)
    # Before a new adapter: the evaluation's KL is from the model as it was.
    heldout_eval = make_heldout_eval(config, dpo, model, tokenizer) if dpo.eval_steps else None
    apply_lora(model, dpo, "dpo", config.seed)
    check_checkpointable(model, dpo, "dpo")
    if shards:
        shard_causal_lm(model, device, dpo.bf16)
    # A pair on a held-out prompt would make the evaluation measure memory.
    held_out_prompts = heldout_eval.texts if heldout_eval else []
    longest = min(dpo.max_length, context_length(model))
    train, held_out = (
        [
            tokenized
            for pair in pairs_part
            if pair.prompt not in held_out_prompts and (tokenized := tokenize_pair(tokenizer, pair, dpo, longest))
        ]
        for pairs_part in (pairs.train, pairs.test or pairs.valid)
    )
    rows = (row for pair in train + held_out for row in (pair.prompt, pair.chosen, pair.rejected))
    check_in_vocabulary(tokenizer, rows, vocabulary_size(model), config.model)
    if not train:
        raise DataError(f"{config.data}: no pair is left to learn from; the longest may have {longest} tokens")
    # Pairs of a prompt need not share a batch, as they do for a reward model: no response is scored twice here.
    each_alone = list(range(len(train)))
    plan = BatchPlan([pair.num_tokens for pair in train], each_alone, dpo.batch_size, dpo.num_epochs)
    return Setup(model, tokenizer, DPOData(train, held_out, plan, len(pairs.train) - len(train)), heldout_eval)


def tokenize_pair(
    tokenizer: PreTrainedTokenizerBase, pair: Preference, dpo: DPOConfig, longest: int
) -> TokenizedPair | None:
    """Tokenize a pair; None if prompt plus response exceed `longest` tokens, or the prompt has none."""
    prompt, chosen = encode_with_response(tokenizer, pair.prompt, pair.chosen, end=True)
    _, rejected = encode_with_response(tokenizer, pair.prompt, pair.rejected, end=True)
    # Left out, not cut: a response without its end, or on half a prompt, is not the one that people judged.
    if not prompt or len(prompt) + max(len(chosen), len(rejected)) > longest:
        return None
    flip = pair.flip if dpo.use_flip else 0.0
    if pair.flip_kind:
        noise = flip, pair.guess
        return TokenizedPair(prompt, chosen, rejected, pair.target, pair.weight, *noise, pair.interval)
    # An annotator who errs with probability `flip` prefers `chosen` with (1 - flip) target + flip (1 - target).
    target = pair.target + flip * (1 - 2 * pair.target)
    return TokenizedPair(prompt, chosen, rejected, target, pair.weight, interval=pair.interval)


def pair_logprobs(
    model: PreTrainedModel, pairs: Sequence[TokenizedPair], dpo: DPOConfig
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "2 N T"]]:
    """Log-probabilities of chosen and rejected responses from one forward pass, and the entropy at each token."""
    # Both sides in one batch, so that rounding is alike in chosen and rejected: the loss takes their difference.
    prompts, prompt_mask = pad_left([pair.prompt for pair in pairs] * 2)
    tokens, mask = pad_right([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    prompts, prompt_mask, tokens, mask = (tensor.to(model.device) for tensor in (prompts, prompt_mask, tokens, mask))
    with checkpoint_layers(dpo.gradient_checkpointing, model):
        logprobs, entropy = compute_response_logprobs(model, prompts, prompt_mask, tokens, mask, 1.0, bool(dpo.bf16))
    # Summed, not averaged over tokens: the loss is about whole responses (Rafailov et al. 2023, eq. 7).
    return logprobs.sum(1).view(2, -1).T, entropy.detach().view(2, len(pairs), -1)


@torch.no_grad()
def all_logprobs(model: PreTrainedModel, pairs: Sequence[TokenizedPair], dpo: DPOConfig) -> Float[Tensor, "N 2"]:
    """Compute log-probabilities of chosen and rejected responses for all pairs, batched by length.

    Of several processes each computes a shard; all return all pairs.
    """
    # A forward pass costs its longest row: sorted, little of it is padding.
    by_length = sorted(range(len(pairs)), key=lambda row: pairs[row].num_tokens)
    logprobs = torch.zeros(len(pairs), 2, device=model.device)
    if pairs:
        parts = split_shard(len(pairs), dpo.micro_batch_size or dpo.batch_size)
        found = [pair_logprobs(model, [pairs[by_length[row]] for row in part.rows], dpo)[0] for part in parts]
        logprobs[by_length] = gather_parts(found, parts, len(pairs))
    return logprobs


def new_state(model: PreTrainedModel, dpo: DPOConfig, folder: Path) -> TrainingState:
    """Return optimizer, guard and counters at step 0."""
    optimizer = make_optimizer([(model.parameters(), dpo.learning_rate)], dpo, dpo.optimizer)
    # With an adapter the frozen base stands in its own folder: a checkpoint holds what is trained.
    modules = {"model": weights_to_save(model, dpo.lora_rank)}
    return TrainingState(modules, optimizer, Guard(MAX_SKIPPED_UPDATES, folder))


def update(
    model: PreTrainedModel,
    pairs: Sequence[TokenizedPair],
    ref: Float[Tensor, "N 2"],
    state: TrainingState,
    dpo: DPOConfig,
) -> dict[str, float]:
    """Take one optimizer step on a batch; returns its metrics. The micro-batch size only changes memory."""
    state.optimizer.zero_grad()
    size, num_tokens, weighted = dpo.micro_batch_size or len(pairs), count_response_tokens(pairs), []
    for part in split_shard(len(pairs), size):
        # A part without a row of its own counts with a share of 0.
        loss, stats = mean_loss(model, [pairs[row] for row in part.rows], ref[part.rows], dpo, part.num_own or 1)
        # Weighted by its pairs, so that the gradient is the batch's, however it is cut into micro-batches.
        share = part.num_own / len(pairs)
        (loss * share).backward()
        means = {name: value * share for name, value in (stats | {"loss": loss.detach()}).items()}
        # A mean over tokens, of which each part has another number.
        token_share = count_response_tokens([pairs[row] for row in part.rows[: part.num_own]]) / num_tokens
        weighted.append(means | {"entropy": stats["entropy"] * token_share})
    sums = all_reduce_sum(torch.stack([torch.stack([each[name] for each in weighted]).sum() for name in weighted[0]]))
    means = dict(zip(weighted[0], sums, strict=True))
    _, means["grad_norm"] = guarded_step(
        state,
        means["loss"],
        dpo.max_grad_norm,
        "the loss of DPO",
        lambda: ({"ref": ref}, means | {"pairs": [asdict(pair) for pair in pairs]}),
    )
    state.counts["num_tokens"] += sum(pair.num_tokens for pair in pairs)
    return {name: float(value) for name, value in means.items()} | state.counts


def mean_loss(
    model: PreTrainedModel,
    pairs: Sequence[TokenizedPair],
    ref: Float[Tensor, "N 2"],
    dpo: DPOConfig,
    num_pairs: int | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Mean loss over the first `num_pairs` pairs, by default all, and means of TRL's DPO metrics."""
    logprobs, entropies = pair_logprobs(model, pairs, dpo)
    logprobs, entropy = logprobs[:num_pairs], entropies[:, :num_pairs].sum()
    pairs, ref = pairs[:num_pairs], ref[:num_pairs]
    target, weight = (ref.new_tensor([getattr(pair, name) for pair in pairs]) for name in ("target", "weight"))
    # Where nobody is careless nothing is mixed, so that such runs keep their bits.
    noise = None
    if any(pair.flip for pair in pairs):
        noise = ref.new_tensor([pair.flip for pair in pairs]), ref.new_tensor([pair.guess for pair in pairs])
    intervals = AnswerIntervals.from_rows([pair.interval for pair in pairs], ref)
    sides = logprobs[:, 0], logprobs[:, 1], ref[:, 0], ref[:, 1]
    loss, stats = dpo_loss(*sides, dpo.beta, target, weight, noise, intervals)
    # Watch these two: the loss only fixes their difference, and both may fall together (Pal et al. 2024).
    chosen, rejected = logprobs.detach().mean(0)
    entropy = entropy / count_response_tokens(pairs)
    return loss, stats | {"logps/chosen": chosen, "logps/rejected": rejected, "entropy": entropy}


def count_response_tokens(pairs: Sequence[TokenizedPair]) -> int:
    """Return the number of tokens in both responses of all pairs."""
    return sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)


def evaluate_pairs(
    logprobs: Float[Tensor, "N 2"], ref: Float[Tensor, "N 2"], pairs: Sequence[TokenizedPair], beta: float
) -> dict[str, float | None]:
    """Measure how well the policy predicts people's preferences on held-out pairs; None if there are none.

    `accuracy`: share of pairs whose chosen response gained more log-probability than the rejected one; ties and equal
    gains count one half. `log_loss`: the unweighted DPO loss, in nats per pair; log 2 for the initial policy.
    """
    if not pairs:
        return {"accuracy": None, "log_loss": None}
    # In float64, and without weights: what is measured are people's judgements, one by one.
    now, before = logprobs.double(), ref.double()
    target = now.new_tensor([pair.target for pair in pairs])
    loss, _ = dpo_loss(now[:, 0], now[:, 1], before[:, 0], before[:, 1], beta, target)
    gains = now - before
    right = torch.where(target == 0.5, 0.5, ((gains[:, 0] - gains[:, 1]).sign() + 1) / 2)
    return {"accuracy": float(right.mean()), "log_loss": float(loss)}


def describe_training(config: Config, num_pairs: int) -> str:
    """The sentence on the model's origin in its model card."""
    return f"Fine-tuned from {Path(config.model).name} with DPO (beta {config.dpo.beta:g}) on {num_pairs} pairs."
