"""Training prompts, and held-out prompts, which are the same for all runs with one seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config
from likelier.errors import ConfigError, DataError
from likelier.files import stable_id
from likelier.progress import print_note
from likelier.records import Prompt, distinct_prompts, list_pictures, read_prompts
from likelier.text.cached_decode import check_decodable_with_pictures
from likelier.text.models import context_length, vocabulary_size
from likelier.text.tokens import check_in_vocabulary, encode_prompts
from likelier.training.order import EpochOrder
from likelier.training.setup import seeded_generator

PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class PromptPlan:
    """Training prompts, in an order that depends on the seed alone, and held-out prompts."""

    train: list[Prompt]
    held_out: list[Prompt]
    fresh: list[Prompt]
    """Prompts for a last measurement, which selected nothing: as many as are held out, with `ppo.keep_best`."""
    per_step: int
    seed: int

    def batch(self, step: int) -> list[Prompt]:
        """Return the prompts of one step; every epoch is reshuffled."""
        order = EpochOrder(len(self.train), self.seed, "prompts")
        return [self.train[row] for row in order.rows(step * self.per_step, (step + 1) * self.per_step)]


def load_prompts(config: Config) -> PromptPlan:
    """Load distinct prompts and hold some of them out, a fifth at most (with fresh ones two fifths).

    ConfigError, DataError: too few.
    """
    if not config.prompts:
        raise ConfigError("prompts: give a JSONL file with `prompt` on each line")
    lines = read_prompts(Path(config.prompts))
    prompts = distinct_prompts(lines)
    if len(prompts) < 2:
        raise DataError(f"{config.prompts}: needs at least 2 different prompts, one of them to measure on, got 1")
    if num_variants := len({stable_id(line.id, line.extra) for line in lines}) - len(prompts):
        print_note(f"{config.prompts}: repeated prompts with other columns: {num_variants}; the last of each counts")
    order = torch.randperm(len(prompts), generator=seeded_generator(config.seed, 0, "kept out")).tolist()
    num_held_out = min(config.ppo.num_eval_prompts, max(1, len(prompts) // 5))
    if 2 * num_held_out < config.ppo.num_eval_prompts:
        print_note(
            f"{config.prompts}: {len(prompts)} different prompts, {num_held_out} of them (a fifth at most) to measure "
            f"on; ppo.num_eval_prompts asks for {config.ppo.num_eval_prompts}: what is measured is rougher"
        )
    shuffled = [prompts[row] for row in order]
    per_step = config.ppo.batch_size // config.ppo.responses_per_prompt
    num_fresh = num_held_out if config.ppo.keep_best else 0
    held_out, rest = shuffled[:num_held_out], shuffled[num_held_out:]
    if num_fresh >= len(rest):
        raise DataError(
            f"{config.prompts}: {len(prompts)} different prompts are too few for ppo.keep_best, which keeps out "
            f"{2 * num_held_out}; give at least {2 * num_held_out + 1}"
        )
    return PromptPlan(rest[num_fresh:], held_out, rest[:num_fresh], per_step, config.seed)


def check_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    response_length: int,
    setting: str,
    max_prompt_tokens: int | None = None,
) -> int:
    """Check before the first step that the model can continue every prompt; returns the longest one's token count.

    DataError: a prompt leaves no room for a response, or has a token outside the model's vocabulary. ConfigError:
    `response_length`, the setting named `setting`, fills the whole context.
    """
    context = context_length(model)
    limit = context - response_length
    if limit < 1:
        raise ConfigError(f"{setting}: {response_length} does not fit the model's {context} tokens")
    longest, limit = 0, min(limit, max_prompt_tokens or limit)
    if seen := [prompt for prompt in prompts if list_pictures(prompt.text)]:
        check_pictures(model, tokenizer, seen[0], limit)
    # A few at a time: pixels are large, and only their tokens are counted here.
    size = PICTURES_AT_ONCE if seen else len(prompts)
    for start in range(0, len(prompts), size):
        part = prompts[start : start + size]
        texts, sources = [prompt.text for prompt in part], [prompt.source for prompt in part]
        encoded = encode_prompts(tokenizer, texts, limit, sources)
        check_in_vocabulary(tokenizer, encoded.tokens.tolist(), vocabulary_size(model), model.name_or_path)
        longest = max(longest, encoded.tokens.shape[1])
    return longest


def check_pictures(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, limit: int) -> None:
    """ConfigError: the model cannot be sampled behind the pictures of a prompt. DataError: see `encode_prompts`."""
    encoded = encode_prompts(tokenizer, [prompt.text], limit, [prompt.source]).to(model.device)
    assert encoded.pictures is not None, prompt
    check_decodable_with_pictures(model, model.name_or_path or "the model", encoded.tokens, encoded.pictures)
