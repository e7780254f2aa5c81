"""Folds: every conversation is held out once, and never stands on two sides."""

from pathlib import Path

import pytest

from likelier.config import build_config
from likelier.errors import ConfigError, DataError
from likelier.files import write_jsonl
from likelier.records import Preference, read_preferences
from likelier.search.folds import fold_config, make_folds, split_by_conversation

PAIRS = [Preference(f"p{at}", "good", "bad", conversation=f"c{at // 2}") for at in range(40)]


def conversations(pairs):
    return {pair.conversation for pair in pairs}


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_conversation_is_held_out_once(folds):
    found = split_by_conversation(PAIRS, folds, 0, "here")
    assert sorted(pair.prompt for fold in found for pair in fold["test"]) == sorted(pair.prompt for pair in PAIRS)
    for fold in found:
        sides = [conversations(fold[part]) for part in ("train", "valid", "test")]
        assert set.union(*sides) == conversations(PAIRS)
        assert sum(map(len, sides)) == 20
        assert all(sides)
        assert abs(len(sides[2]) - 20 / folds) <= 1


def test_one_fold_keeps_a_fifth_out():
    (fold,) = split_by_conversation(PAIRS, 1, 0, "here")
    assert len(conversations(fold["test"])) == 4


def test_another_seed_divides_otherwise():
    assert split_by_conversation(PAIRS, 2, 0, "here") == split_by_conversation(PAIRS, 2, 0, "here")
    assert split_by_conversation(PAIRS, 2, 0, "here") != split_by_conversation(PAIRS, 2, 1, "here")


def test_too_few_conversations_are_named():
    with pytest.raises(DataError, match="here: 2 conversations are too few for 3 folds"):
        split_by_conversation(PAIRS[:4], 3, 0, "here")


def test_folds_are_copies_of_train_and_valid_and_are_made_once(tmp_path):
    write_jsonl(tmp_path / "data" / "train.jsonl", PAIRS[:30])
    write_jsonl(tmp_path / "data" / "valid.jsonl", PAIRS[30:])
    write_jsonl(tmp_path / "data" / "test.jsonl", [Preference("unseen", "good", "bad", conversation="unseen")])
    config = build_config({"data": str(tmp_path / "data"), "search": {"stage": "reward", "folds": 2}})
    make_folds(config, tmp_path / "folds")
    fold = fold_config(config, "reward", 2, tmp_path / "folds")
    parts = [read_preferences(tmp_path / "folds" / "fold-2" / f"{part}.jsonl") for part in ("train", "valid", "test")]
    assert fold.data == str(tmp_path / "folds" / "fold-2")
    assert set.union(*map(conversations, parts)) == conversations(PAIRS)
    write_jsonl(tmp_path / "data" / "train.jsonl", PAIRS[:2])
    make_folds(config, tmp_path / "folds")
    assert read_preferences(tmp_path / "folds" / "fold-2" / "test.jsonl") == parts[2]


def test_dpo_trains_on_what_would_choose_the_epoch(tmp_path):
    write_jsonl(tmp_path / "data" / "train.jsonl", PAIRS)
    found = {}
    for stage in ("reward", "dpo"):
        config = build_config({"data": str(tmp_path / "data"), "search": {"stage": stage, "folds": 2}})
        make_folds(config, tmp_path / stage)
        fold = Path(fold_config(config, stage, 1, tmp_path / stage).data)
        found[stage] = {path.stem: conversations(read_preferences(path)) for path in fold.glob("*.jsonl")}
    assert sorted(found["dpo"]) == ["test", "train"]
    assert found["dpo"]["test"] == found["reward"]["test"]
    assert found["dpo"]["train"] == found["reward"]["train"] | found["reward"]["valid"]


def test_other_stages_take_another_seed():
    config = build_config({"seed": 7, "data": "text"})
    found = [fold_config(config, "ppo", number, None) for number in (1, 2, 3)]
    assert [(each.seed, each.data) for each in found] == [(7, "text"), (8, "text"), (9, "text")]


def test_pairs_must_be_named(tmp_path):
    with pytest.raises(ConfigError, match="^data: give a folder"):
        make_folds(build_config({"search": {"stage": "reward"}}), tmp_path)
