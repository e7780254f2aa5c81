"""Preference pairs of a reward model: loading, and batches of similar length."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from likelier.config import Config, RewardModelConfig
from likelier.errors import ConfigError
from likelier.records import Preference, Text, read_preferences, to_plain_text
from likelier.training.setup import seeded_generator

BATCHES_PER_BUCKET = 16
MIN_STEPS = 300
"""Optimizer steps that the data is passed over for, as often as needed, unless `num_epochs` says otherwise."""


@dataclass(frozen=True)
class Pairs:
    """Training, validation and test pairs."""

    train: list[Preference]
    valid: list[Preference]
    test: list[Preference]
    made_from: str
    """SHA-256 of the files."""


def load_pairs(config: Config) -> Pairs:
    """Load the parts in the folder `config.data`; `valid` and `test` may be absent or empty. ConfigError, DataError."""
    if not config.model:
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
