"""One token for a sentiment: what SST-2's lines become, and all of it once, on invented sentences of plain words."""

import gzip
import json
import random
import sys
from pathlib import Path

import one_token as example
import pytest

GOOD, BAD = ["lovely", "happy", "great", "fun"], ["awful", "sad", "boring", "poor"]


def test_lines_of_sst(shared: Path) -> None:
    train, dev = (example.read_sst(shared / "data/sst2" / name) for name in ("train.tsv.gz", "dev-part-a.tsv.gz"))
    assert (len(train), len(dev)) == (6911, 446)
    assert not set(train) & set(dev)
    assert train["apparently reassembled from the cutting room floor of any given daytime soap ="] == " bad"


def write_sentences(path: Path, number: int, draw: random.Random) -> None:
    """Half of them praise."""
    lines = []
    for at in range(number):
        words = [draw.choice(GOOD if at % 2 else BAD), *draw.choices(["film", "day", "cat", "song", "the", "of"], k=5)]
        lines.append(f"{' '.join(draw.sample(words, 6))}\t{at % 2}")
    path.write_bytes(gzip.compress("\n".join(dict.fromkeys(lines)).encode()))


@pytest.mark.slow
def test_it_learns_from_right_and_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(0)
    write_sentences(tmp_path / "train.tsv.gz", 400, draw)
    write_sentences(tmp_path / "dev-part-a.tsv.gz", 60, draw)
    short = ["ppo.total_episodes=2048", "ppo.batch_size=64", "ppo.learning_rate=3e-3", "ppo.num_eval_prompts=8"]
    short += ["sft.num_epochs=3"]
    monkeypatch.setattr(sys, "argv", ["one_token.py", str(tmp_path), "--out", str(tmp_path / "run"), "--set", *short])
    example.main()
    found = json.loads(capsys.readouterr().out)
    assert found["sentences"] == 60
    assert found["accuracy"]["commoner_label"] == 0.5
    assert found["accuracy"]["bag_of_words"] > 0.95
    assert found["accuracy"]["sft"] < 0.75
    assert found["accuracy"]["ppo"] > 0.9
