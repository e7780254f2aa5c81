"""Which pairs a reward model learns from."""

from pathlib import Path

import pytest

from likelier.config import build_config
from likelier.errors import DataError
from likelier.files import write_jsonl
from likelier.records import Preference
from likelier.reward.pairs import load_pairs
from tiny import save_tiny_model

END = " dog" * 6
SAME_END = Preference("the ", f"kind{END}", f"cruel{END}")
OTHER_END = Preference("the ", f"{END} kind", f"{END} cruel")
SHORT = Preference("the ", "kind", "cruel")


def load(folder: Path, *pairs: Preference, max_length: int):
    save_tiny_model(folder / "base", ["kind", "cruel", "dog", "the"])
    write_jsonl(folder / "pairs" / "train.jsonl", pairs)
    write_jsonl(folder / "pairs" / "test.jsonl", [SAME_END, SHORT])
    block = {"max_length": max_length, "device": "cpu"}
    config = build_config({"model": str(folder / "base"), "data": str(folder / "pairs"), "reward_model": block})
    return load_pairs(config).drop_equal_after_cut(config)


def test_pairs_that_are_the_same_after_the_cut_are_left_out_in_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("likelier.progress.plain_lines", True)  # a command with --json in this process turns them off
    # six tokens and the end token are read: both sides of SAME_END end in the same seven
    pairs = load(tmp_path, SAME_END, OTHER_END, SHORT, max_length=7)
    assert (pairs.train, pairs.test) == ([OTHER_END, SHORT], [SHORT])
    note = capfd.readouterr().err
    assert "2 pairs are the same in their last 7 tokens" in note
    assert "raise reward_model.max_length" in note
    whole = load(tmp_path, SAME_END, OTHER_END, SHORT, max_length=32)
    assert (whole.train, whole.test) == ([SAME_END, OTHER_END, SHORT], [SAME_END, SHORT])
    assert "the same" not in capfd.readouterr().err


def test_no_pair_left_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"the last 7 tokens of both sides are the same in every pair; raise"):
        load(tmp_path, SAME_END, max_length=7)
    with pytest.raises(DataError, match=r"pairs: both responses are the same in every pair"):
        load(tmp_path, Preference("the ", "kind", "kind"), max_length=7)
