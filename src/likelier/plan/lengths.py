"""Lengths of a run's texts in tokens: from its files where they are there, else from the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from likelier.config import Config
from likelier.errors import DataError
from likelier.finetune.examples import read_examples, tokenize_examples
from likelier.records import Prompt, distinct_prompts, read_preferences, read_prompts
from likelier.runs.folder import find_model
from likelier.text.conversation import render
from likelier.text.models import load_tokenizer
from likelier.text.tokens import encode, encode_conversations

MAX_TEXTS = 2000
"""Texts that are tokenized, evenly spaced in their file."""
ASSUMED_PROMPT = 256
"""Tokens of a prompt where neither a file nor a setting says."""


@dataclass(frozen=True)
class Lengths:
    """Lengths of some texts in tokens, shortest first."""

    tokens: Sequence[int]
    total: int | None
    """Texts in the file; None if there is no file."""
    note: str = ""
    """Assumption in words, empty if the data were there."""

    @property
    def longest(self) -> int:
        """Tokens of the longest."""
        return self.tokens[-1]

    def expect_longest(self, rows: int) -> float:
        """Return the mean length of the longest of so many drawn at random, which is as wide as they are padded."""
        count = len(self.tokens)
        chances = pairwise((place / count) ** rows for place in range(count + 1))
        return sum(tokens * (after - before) for tokens, (before, after) in zip(self.tokens, chances, strict=True))


def measure_prompts(config: Config, file: str | None = None) -> Lengths:
    """Return the lengths of the prompts in a file, by default `config.prompts`, or what stands for them."""
    bound, file = config.ppo.max_prompt_tokens, config.prompts if file is None else file
    if not file or not Path(file).exists():
        name = file or "prompts"
        tokens = bound or ASSUMED_PROMPT
        return Lengths([tokens], None, f"{name} is not there: prompts of {tokens} tokens are assumed")
    tokenizer = find_tokenizer(config)
    prompts = distinct_prompts(read_prompts(Path(file)))
    if tokenizer is None:
        tokens = bound or ASSUMED_PROMPT
        return Lengths(
            [tokens], len(prompts), f"{config.model} has no tokenizer: prompts of {tokens} tokens are assumed"
        )
    return Lengths(sorted(count_prompt_tokens(tokenizer, thin_out(prompts))), len(prompts))


def measure_examples(config: Config) -> Lengths:
    """Return the lengths of SFT's sequences, those of plain texts as they are cut."""
    longest = config.sft.max_length
    tokenizer = find_tokenizer(config) if config.model else None
    if not Path(config.data).exists() or not config.data or tokenizer is None:
        return assume_longest(config.data, longest)
    examples = read_examples(Path(config.data))
    some = thin_out(examples)
    tokenized, _ = tokenize_examples(tokenizer, some, longest)
    if not tokenized:
        return assume_longest(config.data, longest)
    lengths = sorted(len(example.tokens) for example in tokenized)
    return Lengths(lengths, round(len(tokenized) * len(examples) / len(some)))


def measure_pairs(config: Config, longest: int) -> Lengths:
    """Return the lengths of the longer text of each training pair, cut at `longest`."""
    file = Path(config.data) / "train.jsonl"
    tokenizer = find_tokenizer(config)
    if not config.data or not file.exists() or tokenizer is None:
        return assume_longest(config.data, longest)
    pairs = read_preferences(file)
    some = thin_out(pairs)
    sides = [
        encode_conversations(tokenizer, [pair.prompt for pair in some], texts)
        for texts in ([pair.chosen for pair in some], [pair.rejected for pair in some])
    ]
    return Lengths(sorted(min(longest, max(len(row) for row in rows)) for rows in zip(*sides, strict=True)), len(pairs))


def assume_longest(file: str, longest: int) -> Lengths:
    """Return lengths of texts that cannot be counted."""
    return Lengths([longest], None, f"{file or 'data'} is not counted: texts of {longest} tokens are assumed")


def count_prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[int]:
    """Return the tokens of each rendered prompt, at least 1."""
    rows = encode(tokenizer, [render(tokenizer, prompt.text) for prompt in prompts])
    return [max(1, len(row)) for row in rows]


def find_tokenizer(config: Config) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of `config.model`; None if its folder has none."""
    try:
        folder = Path(find_model(config.model))
        files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json")]
        if folder.is_dir() and not any(file.is_file() for file in files):
            return None
        return load_tokenizer(config.model, config.chat_template_kwargs, has_weights=False)
    except DataError:
        return None


def thin_out(items: Sequence[Any]) -> Sequence[Any]:
    """Return at most `MAX_TEXTS` items, evenly spaced."""
    return items[:: -(-len(items) // MAX_TEXTS)] if items else items
