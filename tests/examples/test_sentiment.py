"""The sentiment experiment: its small parts by hand, and all of it once, on invented labels and a tiny model."""

import gzip
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import sentiment as example
import sentiment_judges as judges

from likelier.files import read_json, write_jsonl
from tiny import save_tiny_model

GOOD, BAD, THINGS = (
    ["lovely", "happy", "great", "fun"],
    ["awful", "sad", "boring", "bad"],
    ["film", "day", "cat", "song"],
)


def test_a_line_of_sst_becomes_a_sentence() -> None:
    assert example.readable("it 's great fun , is n't it ?") == "It's great fun, isn't it?"
    assert example.readable("a mess -lrb- and dull") == "A mess -lrb- and dull."


def test_every_sentence_stands_in_as_many_pairs() -> None:
    rows = [("A b.", True), ("C d.", True), ("E f.", False), ("G h.", False)]
    found = example.pairs(rows, 3, 0.0, random.Random(0))
    assert sorted(pair.chosen for pair in found) == ["A b."] * 3 + ["C d."] * 3
    assert sorted(pair.rejected for pair in found) == ["E f."] * 3 + ["G h."] * 3


def test_thinning_leaves_out_words_but_never_all() -> None:
    draw = random.Random(0)
    assert example.thinned("one two", 1.0, draw) == "one two"
    lengths = [len(example.thinned("w " * 99 + "w", 0.4, draw).split()) for _ in range(50)]
    assert 57 < np.mean(lengths) < 63


def test_the_word_list_counts_per_hundred_words() -> None:
    assert judges.word_list(["A happy day. "], ["It was sad, so sad."]) == [100 * (1 - 2) / 8]
    assert not judges.PLEASANT & judges.UNPLEASANT


def test_the_curve_reads_between_measurements(tmp_path: Path) -> None:
    before = {"eval_kl": 0.0, "eval/judge": 1.0, "eval_distinct_2": 0.8, "eval_response_length": 40.0}
    line = {"eval_kl": 4.0, "eval/judge": 3.0, "eval_distinct_2": 0.4, "eval_response_length": 40.0}
    write_jsonl(tmp_path / "policy" / "metrics.jsonl", [{"step": 1, **line}, {"step": 2}])
    found = example.curve(tmp_path, before, {"judges": {"judge": {"std_a": 0.5}}})
    assert found["nats"] == (1.0, 3.0, 6.0, 12.0)
    assert found["judge"] == [1.0, 3.0, None, None]
    assert found["distinct_2"] == pytest.approx([0.7, 0.5, None, None])
    assert found["way"]["judge"] == [0.0, 4.0]


def test_a_way_back_towards_the_start_does_not_count() -> None:
    assert example.at_nats([0.0, 4.0, 2.0], [0.0, 4.0, 9.0]) == [1.0, 3.0, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("reward", [pytest.param("model", marks=pytest.mark.battery), "function"])
def test_the_whole_experiment_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: str) -> None:
    draw = random.Random(0)
    lines = [(f"a {draw.choice(GOOD if good else BAD)} {draw.choice(THINGS)} number {n}\t{good:d}") for n in range(120)
             for good in (True, False)]  # fmt: skip
    (tmp_path / "sst2").mkdir()
    for name, part in (("train", lines[:200]), ("dev-part-a", lines[200:])):
        (tmp_path / "sst2" / f"{name}.tsv.gz").write_bytes(gzip.compress("\n".join(part).encode()))
    (tmp_path / "tinystories").mkdir()
    told = "\n".join(f"One day cat {n} saw a {draw.choice(THINGS)}. It was nice." for n in range(60))
    (tmp_path / "tinystories" / "tiny_stories_train.txt.gz").write_bytes(gzip.compress(told.encode()))
    model = save_tiny_model(tmp_path / "model", [*GOOD, *BAD, *THINGS, "One", "day", "saw", "a"])
    monkeypatch.setattr(example, "UNSEEN", 8)
    monkeypatch.setattr(example, "BEST_OF", [2])
    small = ["ppo.total_episodes=16", "ppo.batch_size=8", "ppo.num_eval_prompts=8", "ppo.eval_steps=1"]
    arguments = [str(tmp_path), str(model), "--seeds", "3", "--out", str(tmp_path / "out"), "--length", "4"]
    monkeypatch.setattr(sys, "argv", ["sentiment.py", *arguments, "--reward", reward, "--set", *small])
    example.main()
    found = read_json(tmp_path / "out" / f"model-{reward}.json")
    assert found["judges"]["bag of words"]["accuracy"] > 0.9
    (seed,) = found["seeds"]
    assert (seed["seed"], [one["n"] for one in seed["end"]["best_of"]]) == (3, [2])
    assert set(seed["end"]["rise"]) == {"other model", "bag of words", "word list"}
    assert (tmp_path / "out" / f"model-{reward}-3" / "report.html").exists()
    example.main()  # once more into the same folder: what is trained stands, and gives the same
    assert read_json(tmp_path / "out" / f"model-{reward}.json")["seeds"][0]["end"] == seed["end"]
