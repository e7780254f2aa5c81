"""Runs that an older version was killed in go on. tests/data/old/README.md says how they were made."""

import json
import shutil
from pathlib import Path

import pytest

from likelier.cli import main

OLD = Path(__file__).parents[1] / "data/old"


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("verb", ["ppo", "reward", "gym"])
def test_a_run_of_an_older_version_resumes_to_the_same_metrics(tmp_path, monkeypatch, verb):
    shutil.copytree(OLD / verb, tmp_path / verb)
    monkeypatch.chdir(tmp_path / verb)
    assert main([verb, "config.yaml", "--out", "run", "--resume", "auto"]) == 0
    rows, expected = read_lines(Path("run/metrics.jsonl")), read_lines(Path("expected_metrics.jsonl"))
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, uninterrupted in zip(rows, expected, strict=True):
        # Another processor or torch differs in the last digits, the loss in autograd in its last bit.
        assert {key: row[key] for key in uninterrupted} == pytest.approx(uninterrupted, rel=1e-3, abs=1e-5)
