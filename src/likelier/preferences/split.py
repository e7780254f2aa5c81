"""Which conversations and people stand in which split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from likelier.errors import ConfigError, DataError
from likelier.files import stable_id
from likelier.records import Preference

PARTS = ("train", "valid", "test")
JUDGE = "judge"
"""Folder, within that of the preferences, of the pairs for a judge that shares none with the reward model."""


@dataclass(frozen=True)
class Split:
    """How judgements are divided. `held_out_annotators`: share of people whose judgements stand in `test` only, and
    who alone stand there (0: people are not divided). `judge_share`: of conversations, for a judge to learn from."""

    seed: int = 0
    valid_share: float = 0.1
    test_share: float = 0.2
    held_out_annotators: float = 0.0
    judge_share: float = 0.0


def check_shares(split: Split) -> None:
    """ConfigError: a share is negative, or nothing is left to train on."""
    kept_out = (split.valid_share, split.test_share, split.judge_share)
    if not (all(share >= 0 for share in (*kept_out, split.held_out_annotators)) and sum(kept_out) < 1):  # NaN too
        judge = f", judge {split.judge_share}" if split.judge_share else ""
        raise ConfigError(
            f"shares of valid {split.valid_share} and test {split.test_share}{judge}: 0 or more, together below 1"
        )
    if not split.held_out_annotators < 1:
        raise ConfigError(f"share of held-out annotators {split.held_out_annotators}: must be below 1")


def split_pairs(pairs: Sequence[Preference], split: Split) -> dict[str, list[Preference]]:
    """Split pairs by conversation into the parts of `split`: in an order drawn from the seed, each to the part that is
    furthest below its share. DataError: a part stays empty."""
    part_of = assign_parts(Counter(pair.conversation for pair in pairs), split)
    strangers = draw_held_out_annotators(pairs, split)
    parts: dict[str, list[Preference]] = {part: [] for part in (*PARTS, *[JUDGE] * bool(split.judge_share))}
    for pair in sorted(pairs, key=lambda pair: (pair.conversation, pair.comparison, pair.annotator, pair.chosen)):
        part = part_of[pair.conversation]
        if not strangers or (pair.annotator in strangers) == (part == "test"):
            parts[part].append(pair)
    if empty := [part for part in wanted_shares(split) if not parts[part]]:
        raise DataError(f"no judgement left for {empty[0]}; import more, or ask for other shares")
    return parts


def assign_parts(sizes: Counter[str], split: Split) -> dict[str, str]:
    """Assign each group, given its number of judgements, to a split. DataError: fewer groups than splits."""
    shares = wanted_shares(split)
    if len(sizes) < len(shares):
        raise DataError(
            f"{len(sizes)} conversation(s) cannot be split into {', '.join(shares)}; import more, or set a share to 0"
        )
    total, part_of = sum(sizes.values()), {}
    filled = dict.fromkeys(shares, 0)
    order = sorted(sizes, key=lambda group: stable_id("split", split.seed, group))
    for place, group in enumerate(order):
        empty = [part for part in shares if not filled[part]]
        open_parts = empty if len(order) - place <= len(empty) else list(shares)
        part = max(open_parts, key=lambda part: shares[part] * total - filled[part])
        part_of[group] = part
        filled[part] += sizes[group]
    return part_of


def wanted_shares(split: Split) -> dict[str, float]:
    """Share of each split, without empty ones."""
    kept_out = {"valid": split.valid_share, "test": split.test_share, JUDGE: split.judge_share}
    shares = {"train": 1 - split.valid_share - split.test_share - split.judge_share} | kept_out
    return {part: share for part, share in shares.items() if share > 0}


def draw_held_out_annotators(pairs: Sequence[Preference], split: Split) -> set[str]:
    """Draw, from the seed, the annotators who appear in `test` only."""
    people = sorted({pair.annotator for pair in pairs} - {""})
    count = round(split.held_out_annotators * len(people))
    return set(sorted(people, key=lambda name: stable_id("held out", split.seed, name))[:count])
