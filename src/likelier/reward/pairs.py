"""Preference pairs of a reward model: loading, and batches of similar length."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from likelier.config import Config, RewardModelConfig
from likelier.errors import ConfigError, DataError
from likelier.progress import print_note
from likelier.records import Preference, Text, read_preferences, to_plain_text
from likelier.reward.start import find_start
from likelier.runs.folder import find_model
from likelier.text.chat_template import set_template_kwargs
from likelier.text.reward_model import RewardModel, new_reward_model
from likelier.training.setup import seeded_generator

BATCHES_PER_BUCKET = 16
MIN_STEPS = 300
"""Optimizer steps that the data is passed over for, as often as needed, unless `num_epochs` says otherwise."""

TEMPLATE_TOKENS = 256
"""Room for what a chat template adds to a text."""


@dataclass(frozen=True)
class Pairs:
    """Training, validation and test pairs."""

    train: list[Preference]
    valid: list[Preference]
    test: list[Preference]
    made_from: str
    """SHA-256 of the files."""

    def drop_equal_after_cut(self, config: Config) -> "Pairs":
        """Leave out pairs of which only the same end is read, with a note. DataError: none is left to train on."""
        settings = config.reward_model
        with torch.random.fork_rng(devices=[]):  # the weights do not matter: only tokenizer and context do
            start, sizes = find_start(config), ("cpu", settings.max_length, None, settings.from_scratch)
            reward = new_reward_model(find_model(start.base), *sizes, tokenizer_folder=start.folder)
            set_template_kwargs(reward.tokenizer, config.chat_template_kwargs)
        parts = {part: drop_equal_after_cut(getattr(self, part), reward) for part in ("train", "valid", "test")}
        num_equal = sum(len(getattr(self, part)) - len(kept) for part, kept in parts.items())
        if self.train and all(pair.chosen == pair.rejected for pair in self.train):
            raise DataError(f"{config.data}: both responses are the same in every pair: nothing says what is better")
        if self.train and not parts["train"]:
            raise DataError(
                f"{config.data}: the last {reward.max_length} tokens of both sides are the same in every pair; raise "
                "reward_model.max_length, or shorten the responses"
            )
        if num_equal:
            print_note(
                f"{config.data}: {num_equal} pairs are the same in their last {reward.max_length} tokens, which is all "
                "that is read of them, and are left out; raise reward_model.max_length, or shorten the responses"
            )
        return Pairs(**parts, made_from=self.made_from)


def load_pairs(config: Config) -> Pairs:
    """Load the parts in the folder `config.data`; `valid` and `test` may be absent or empty. ConfigError, DataError."""
    if not config.model and config.reward_model.from_ is None:
        raise ConfigError("model: give the folder or hub name of the model to start from")
    folder, digest = pairs_folder(config), hashlib.sha256()
    parts = {}
    for name in ("train", "valid", "test"):
        path = folder / f"{name}.jsonl"
        absent = name != "train" and (not path.exists() or path.stat().st_size == 0)
        parts[name] = [] if absent else read_preferences(path)
        digest.update(b"" if absent else path.read_bytes())
    return Pairs(**parts, made_from=digest.hexdigest())


def pairs_folder(config: Config) -> Path:
    """The folder of the pairs. ConfigError: not a folder."""
    if not config.data:
        raise ConfigError("data: give a folder with train.jsonl, as `likelier preferences` writes it")
    if Path(config.data).is_file():
        how = "`likelier data import` and `likelier preferences` make one of it"
        raise ConfigError(f"data: {config.data} is a file; give a folder with train.jsonl: {how}")
    return Path(config.data)


def drop_equal_after_cut(pairs: list[Preference], reward: RewardModel) -> list[Preference]:
    """Return the pairs without those whose two sides the model reads as the same tokens: they have nothing to teach.

    Only texts that may be longer than `max_length` tokens are looked at; a byte is at least as much as a token.
    """

    def is_long(pair: Preference) -> bool:
        longer = max(pair.chosen, pair.rejected, key=len)
        return len((to_plain_text(pair.prompt) + longer).encode()) + TEMPLATE_TOKENS > reward.max_length

    def is_equal(pair: Preference) -> bool:
        tokens, mask = reward.encode([pair.prompt] * 2, [pair.chosen, pair.rejected])
        return bool(mask[0].equal(mask[1]) and tokens[0].equal(tokens[1]))

    return [pair for pair in pairs if not (is_long(pair) and is_equal(pair))]


def columns(pairs: Sequence[Preference]) -> tuple[list[Text], list[str], list[str]]:
    """Return prompts, chosen responses and rejected responses."""
    return [pair.prompt for pair in pairs], [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]


@dataclass(frozen=True)
class BatchPlan:
    """The pairs of each step, in an order determined by seed, ensemble member and epoch.

    All pairs of a prompt are in one batch if they fit: a response in several pairs is scored once, and updates the
    weights once per epoch (Ouyang et al. 2022, section 3.5). Similar lengths are batched together.
    """

    lengths: list[int]
    """Characters of each pair with its prompt."""
    groups: list[int]
    """Pairs of one number stay together."""
    batch_size: int
    num_epochs: int

    @classmethod
    def from_pairs(cls, pairs: Sequence[Preference], settings: RewardModelConfig) -> "BatchPlan":
        """Plan by length in characters; the pairs of a prompt form a group if they fit into a batch."""
        prompts = [to_plain_text(pair.prompt) for pair in pairs]
        longer = [max(len(pair.chosen), len(pair.rejected)) for pair in pairs]
        lengths = [len(prompt) + length for prompt, length in zip(prompts, longer, strict=True)]
        first: dict[str, int] = {}
        kept = {prompt for prompt, count in Counter(prompts).items() if count <= settings.batch_size}
        groups = [first.setdefault(prompt, row) if prompt in kept else row for row, prompt in enumerate(prompts)]
        num_batches = -(-len(pairs) // settings.batch_size)
        return cls(lengths, groups, settings.batch_size, settings.num_epochs or -(-MIN_STEPS // num_batches))

    @property
    def batches(self) -> int:
        """Return the number of batches in one epoch."""
        return -(-len(self.lengths) // self.batch_size)

    @property
    def steps(self) -> int:
        """Return the number of optimizer steps per model."""
        return self.num_epochs * self.batches

    def ends_epoch(self, step: int) -> bool:
        """True for the last batch of an epoch."""
        return (step + 1) % self.batches == 0

    def batches_from(self, start: int, seed: int, member: int) -> Iterator[tuple[int, list[int]]]:
        """Yield (step, rows of its pairs) of one model, from step `start` (counted from 0) to the end."""
        for epoch in range(start // self.batches, self.num_epochs):
            for step, rows in enumerate(self.epoch(seed, member, epoch), epoch * self.batches):
                if step >= start:
                    yield step, rows

    def epoch(self, seed: int, member: int, epoch: int) -> list[list[int]]:
        """Return an epoch's batches: groups are shuffled, sorted by length within buckets, batched, shuffled again."""
        generator = seeded_generator(seed, epoch, f"reward pairs {member}")
        groups: dict[int, list[int]] = {}
        for row in torch.randperm(len(self.lengths), generator=generator).tolist():
            groups.setdefault(self.groups[row], []).append(row)
        rows = [row for group in self.sort_within_buckets([*groups.values()]) for row in group]
        batches = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]

    def sort_within_buckets(self, groups: Sequence[list[int]]) -> Iterator[list[int]]:
        """Sort groups by length within buckets of about `BATCHES_PER_BUCKET` batches."""
        bucket = -(-BATCHES_PER_BUCKET * self.batch_size * len(groups) // len(self.lengths))
        for start in range(0, len(groups), bucket):
            yield from sorted(groups[start : start + bucket], key=lambda group: max(self.lengths[row] for row in group))
