"""K-fold cross-validation: what differs between the runs of one trial, the same for every trial."""

import hashlib
from collections import Counter
from pathlib import Path

from likelier.config import Config
from likelier.errors import DataError
from likelier.files import write_jsonl
from likelier.records import Preference, read_preferences
from likelier.reward.check import clusters
from likelier.stages import STAGES

VALID_SHARE = 10
"""One of so many conversations that are not kept out chooses the epoch."""


def make_folds(config: Config, folder: Path) -> None:
    """Write the folds of `config.data` once; a search that goes on keeps the pairs it began with.

    In `fold-k`, `test.jsonl` is the k-th part of all conversations of train and valid, `valid.jsonl` a tenth of the
    others; a stage that selects no epoch, such as DPO, trains on these too. The user's own `test.jsonl` stays unseen:
    it is for the model that is trained with the best settings.
    """
    if (folder / f"fold-{config.search.folds}" / "test.jsonl").exists():
        return
    from likelier.reward.pairs import pairs_folder

    source = pairs_folder(config)
    pairs, valid = read_preferences(source / "train.jsonl"), source / "valid.jsonl"
    if valid.exists() and valid.stat().st_size:
        pairs += read_preferences(valid)
    for number, parts in enumerate(split(pairs, config.search.folds, config.seed, config.data), 1):
        if not STAGES[config.search.stage].selects_epoch:
            parts = {"train": parts["train"] + parts["valid"], "test": parts["test"]}
        for name, part in parts.items():
            write_jsonl(folder / f"fold-{number}" / f"{name}.jsonl", part)


def split(pairs: list[Preference], folds: int, seed: int, source: str) -> list[dict[str, list[Preference]]]:
    """Train, valid and test of each fold; no conversation stands in two of them. DataError: too few conversations."""
    owners = clusters(pairs)
    sizes = Counter(owners)
    if len(sizes) < max(3, folds):
        raise DataError(f"{source}: {len(sizes)} conversations are too few for {folds} folds")
    shuffled = sorted(sizes, key=lambda owner: hashlib.sha256(f"{seed}/{owner}".encode()).digest())
    found = []
    for number in range(folds):
        test = set(shuffled[number::folds]) if folds > 1 else set(shuffled[::5])
        others = [owner for owner in shuffled if owner not in test]
        valid = set(others[::VALID_SHARE]) if len(others) > 1 else set()
        train = set(others) - valid
        parts = {"train": train, "valid": valid, "test": test}
        found.append(
            {name: [p for p, o in zip(pairs, owners, strict=True) if o in part] for name, part in parts.items()}
        )
    return found


def config_of_fold(config: Config, stage: str, number: int, folds: Path) -> Config:
    """A trial's settings for its `number`-th run, from 1: other pairs to learn from, or another seed."""
    if STAGES[stage].folds == "conversation":
        return config.model_copy(update={"data": str(folds / f"fold-{number}")})
    return config.model_copy(update={"seed": config.seed + number - 1})
