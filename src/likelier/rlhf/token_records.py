"""Records of single tokens: what PPO knew of each token of a few responses, and what an update made of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from likelier.config import PPOConfig
from likelier.ppo.losses import policy_terms
from likelier.ppo.update import MinibatchResult
from likelier.records import to_plain_text
from likelier.rlhf.rollout import Rollout
from likelier.text.tokens import spell_each_token

MAX_TOKENS = 250_000
"""Tokens in the records of a run, if responses have their full length: about 25 MB. Above it steps are left out."""


def is_recorded(step: int, config: PPOConfig) -> bool:
    """True if the tokens of this step (counted from 1) are recorded: of every k-th step from the first, and the last.

    k = ceil(steps * token_records * response_length / MAX_TOKENS) follows from the settings alone, so that a resumed
    run records the same steps.
    """
    if not config.token_records:
        return False
    stride = -(-config.steps * config.token_records * config.response_length // MAX_TOKENS)
    return (step - 1) % stride == 0 or step == config.steps


def make_token_records(
    rollout: Rollout,
    used: Sequence[MinibatchResult],
    step: int,
    config: PPOConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> Iterator[dict[str, Any]]:
    """Yield the first `token_records` responses of a step with a list for each quantity, an entry a token.

    `old_logprobs`: of the policy before the update, which ratios are taken against; `sampler_logprobs`: when the token
    was drawn; `ref_logprobs`: of the reference. All are at the sampling temperature. `values` (null without a critic)
    belong to the state before the token. `rewards` are before whitening, `advantages` as the loss has them. `ratios`
    and `clipped` (the clipped branch of the loss is the active one) are of the last pass over the token, in the last
    epoch that reached it (`used`), before that minibatch's step: null if none did, `clipped` also with a loss of one's
    own. At tokens that a tool wrote all of these are null. Numbers have six digits.
    """
    if not is_recorded(step, config):
        return
    batch, first = rollout.batch, slice(config.token_records)
    old, advantages, mask = batch.old_logprobs[first], batch.advantages[first], batch.mask[first]
    last = find_last_logprobs(used, old)
    terms = policy_terms(last, old, advantages, mask, config.cliprange, config.clip_high, config.dual_clip)
    is_known = last.isfinite() & mask & (config.loss is None)
    columns = {
        "old_logprobs": old,
        "sampler_logprobs": rollout.samples.logprobs[first],
        "ref_logprobs": rollout.ref_logprobs[first],
        "values": None if batch.old_values is None else batch.old_values[first],
        "rewards": rollout.rewards[first],
        "advantages": advantages,
        "ratios": terms.ratio,
    }
    clipped = [
        [is_clipped if known else None for is_clipped, known in zip(*row, strict=True)]
        for row in zip(terms.is_clipped.tolist(), is_known.tolist(), strict=True)
    ]
    # Masked after the table: a tool's tokens have neither a ratio nor a value, and 0 would be one.
    numbers = {
        name: None if values is None else torch.where(mask, values, torch.nan).tolist()
        for name, values in columns.items()
    }
    lengths = rollout.samples.mask[first].sum(1).tolist()
    ids = [row[:length] for row, length in zip(rollout.samples.tokens[first].tolist(), lengths, strict=True)]
    for row, (length, texts) in enumerate(zip(lengths, spell_each_token(tokenizer, ids), strict=True)):
        yield {
            "prompt": to_plain_text(rollout.prompts[row].text),
            "response": rollout.samples.texts[row],
            "score": float(rollout.scored.scores[row]),
            "stop_reason": rollout.samples.stop_reasons[row],
            "token_ids": ids[row],
            "tokens": texts,
            **{
                name: values and [round_number(each) for each in values[row][:length]]
                for name, values in numbers.items()
            },
            "clipped": clipped[row][:length],
        }


def find_last_logprobs(used: Sequence[MinibatchResult], old_logprobs: Float[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    """Return the log-probabilities of the last pass over each of the first N rows of a batch; NaN without any."""
    last = torch.full_like(old_logprobs, torch.nan)
    for result in used:
        is_first = result.rows < len(last)
        last[result.rows[is_first].to(last.device)] = result.outputs.logprobs[is_first.to(last.device)]
    return last


def round_number(value: float) -> float | None:
    """Return the value with six significant digits; None if it is not finite."""
    return float(f"{value:.6g}") if abs(value) < float("inf") else None
