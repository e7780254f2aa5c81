"""Sentiment in one word: how answers are graded, and all of it once with a tiny model."""

import gzip
import json
import random
import sys

import one_word
import pytest

from likelier.files import read_jsonl
from likelier.text.models import save_model
from model_families import tiny_model, tiny_tokenizer


def test_one_word_and_no_other_is_right():
    tested = [("a", "good"), ("b", "bad"), ("c", "good"), ("d", "bad")]
    found = one_word.grade(["good", "Bad.", "a good film", "good"], tested)
    assert found["accuracy"] == 0.5
    assert found["says good"] == 0.5
    low, high = found["interval"]
    assert 0 < low < 0.5 < high < 1
    said = ["It is good.", "Good or bad?", "a good film", "good"]
    assert one_word.grade(said, tested, one_word.WORDS)["accuracy"] == 0.5


def write_sentences(path, number, draw):
    """Half of them praise."""
    lines = []
    for at in range(number):
        words = [draw.choice(("lovely", "great") if at % 2 else ("awful", "sad")), *draw.choices("abcdefgh", k=4)]
        lines.append(f"{' '.join(words)}\t{at % 2}")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.mark.slow
def test_every_way_has_the_same_labels(tmp_path, monkeypatch, capsys):
    draw = random.Random(0)
    write_sentences(tmp_path / "train.tsv.gz", 300, draw)
    write_sentences(tmp_path / "dev-part-a.tsv.gz", 60, draw)
    model = tiny_model(max_position_embeddings=256)
    save_model(tmp_path / "model", model, tiny_tokenizer(chat=True), "")
    monkeypatch.setattr(one_word, "PPO", one_word.PPO | {"response_length": 5, "batch_size": 32})
    words = ["one_word.py", str(tmp_path / "model"), str(tmp_path), "--out", str(tmp_path / "out")]
    short = ["--labels", "64", "--passes", "1", "--form", "16", "--tested", "20"]
    monkeypatch.setattr(sys, "argv", [*words, *short])
    one_word.main()
    (found,) = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert set(found) == {"seed", "start", "form", "ppo", "sft", "bag of words", "good"}
    assert found["bag of words"]["accuracy"] > 0.8
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    asked = [line for _, line in read_jsonl(tmp_path / "out" / "0" / "asked.jsonl")]
    told = [line for _, line in read_jsonl(tmp_path / "out" / "0" / "told.jsonl")]
    answers = [(line["prompt"], line["completion"][0]["content"]) for line in told]
    assert answers == [(line["prompt"], line["label"]) for line in asked[one_word.SPARE :]]
