"""Prompts to train on, and prompts that no training sees: on these every policy of one seed is measured."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from likelier.config import Config
from likelier.errors import ConfigError, DataError
from likelier.progress import note
from likelier.records import Text, read_prompts
from likelier.text.tokens import encode_prompts
from likelier.training.setup import seeded_generator


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
    if 2 * num_kept < config.ppo.num_eval_prompts:
        note(
            f"{config.prompts}: {len(texts)} different prompts, {num_kept} of them (a fifth at most) to measure on; "
            f"ppo.num_eval_prompts asks for {config.ppo.num_eval_prompts}: what is measured is rougher"
        )
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
