"""`likelier preferences` from a file of judgements to pairs, with strengths of preference."""

import json
from pathlib import Path

import numpy as np
import pytest

from likelier.cli import main
from likelier.records import read_preferences

COMMON = (0.0, 1.0, 2.5)


def write_judgements(path: Path) -> None:
    """Ten people, three on each of 150 pairs; the second takes every threshold twice as high."""
    generator, rows = np.random.default_rng(0), []
    for pair in range(150):
        difference = generator.normal(0, 2)
        for person in generator.permutation(10)[:3].tolist():
            perceived = difference + generator.logistic()
            strength = sum(abs(perceived) >= each * (2 if person == 1 else 1) for each in COMMON)
            sides = {"left": f"answer {pair} a", "right": f"answer {pair} b"}
            answer = {"choice": "left" if perceived > 0 else "right", "strength": strength, "annotator": f"p{person}"}
            rows.append(json.dumps({"prompt": f"{pair * 7919} {'word' * (pair % 9)}"} | sides | answer))
    path.write_text("\n".join(rows))


def test_strengths_go_from_a_file_to_the_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_judgements(tmp_path / "strengths.jsonl")
    assert main(["data", "import", "strengths.jsonl", "--db", "s.db"]) == 0
    assert main(["preferences", "--db", "s.db", "-o", "pairs"]) == 0
    assert "pairs say how much better: more than slightly from log-odds of" in capsys.readouterr().err
    card = json.loads(Path("pairs/card.json").read_text())
    thresholds = np.array(list(card["strengths"]["thresholds"].values()))
    assert np.median(thresholds, axis=0) == pytest.approx(COMMON, rel=0.3)
    assert card["strengths"]["thresholds"]["p1"][1] == thresholds[:, 1].max()
    pairs = read_preferences(Path("pairs/train.jsonl"))
    strongest = {pair.annotator: pair.lower for pair in pairs if pair.lower > 0 and pair.upper is None}
    assert all(lower == card["strengths"]["thresholds"][name][2] for name, lower in strongest.items())
    assert len(strongest) > 5
    assert main(["preferences", "--db", "s.db", "-o", "plain", "--no-check"]) == 0
    assert "how much better" not in capsys.readouterr().err
    assert {pair.upper for pair in read_preferences(Path("plain/train.jsonl"))} == {None}
