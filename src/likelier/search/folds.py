"""K-fold cross-validation with the same folds and seeds for every trial."""

import hashlib
from collections import Counter
from pathlib import Path

from likelier.config import Config
from likelier.errors import DataError
from likelier.files import write_jsonl
from likelier.records import Preference, read_preferences
from likelier.reward.judged import clusters
from likelier.stages import STAGES

VALID_EVERY = 10
"""Every so many of the training conversations, one goes to `valid.jsonl`."""
TEST_EVERY = 5
"""The same for `test.jsonl` where there is a single fold."""


def make_folds(config: Config, folder: Path) -> None:
    """Write the folds of `config.data`; a resumed search keeps those it started with.

    In `fold-k`, `test.jsonl` is the k-th part of all conversations of train and valid, `valid.jsonl` a tenth of the
    others; stages without epoch selection, such as DPO, train on these too. The user's `test.jsonl` is not used: it is
    reserved for the model trained with the best settings.
    """
    from likelier.reward.pairs import pairs_folder

    if (folder / f"fold-{config.search.folds}" / "test.jsonl").exists():
        return
    source = pairs_folder(config)
    pairs, valid = read_preferences(source / "train.jsonl"), source / "valid.jsonl"
    if valid.exists() and valid.stat().st_size:
        pairs += read_preferences(valid)
    for number, parts in enumerate(split_by_conversation(pairs, config.search.folds, config.seed, config.data), 1):
        if not STAGES[config.search.stage].selects_epoch:
            parts = {"train": parts["train"] + parts["valid"], "test": parts["test"]}
        for name, part in parts.items():
            write_jsonl(folder / f"fold-{number}" / f"{name}.jsonl", part, private=True)


def split_by_conversation(
    pairs: list[Preference], folds: int, seed: int, source: str
) -> list[dict[str, list[Preference]]]:
    """Return train, valid and test of each fold; conversations are never split. DataError: too few conversations."""
    conversations = clusters(pairs)
    sizes = Counter(conversations)
    if len(sizes) < max(3, folds):
        raise DataError(f"{source}: {len(sizes)} conversations are too few for {folds} folds")
    shuffled = sorted(sizes, key=lambda conversation: hashlib.sha256(f"{seed}/{conversation}".encode()).digest())
    splits = []
    for number in range(folds):
        test = set(shuffled[number :: folds if folds > 1 else TEST_EVERY])
        others = [conversation for conversation in shuffled if conversation not in test]
        valid = set(others[::VALID_EVERY]) if len(others) > 1 else set()
        parts = {"train": set(others) - valid, "valid": valid, "test": test}
        splits.append(
            {
                name: [pair for pair, conversation in zip(pairs, conversations, strict=True) if conversation in part]
                for name, part in parts.items()
            }
        )
    return splits


def fold_config(config: Config, stage: str, number: int, folds: Path) -> Config:
    """A trial's settings for run `number` (from 1): on the pairs of that fold, or with another seed."""
    if STAGES[stage].folds == "conversation":
        return config.model_copy(update={"data": str(folds / f"fold-{number}")})
    return config.model_copy(update={"seed": config.seed + number - 1})
