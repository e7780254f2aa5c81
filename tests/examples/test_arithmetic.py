"""The example of checked rewards: its problems, and a run of it in small."""

import json
import random
import sys

import compare
import pytest
from problems import TASKS, write_problems

from likelier.files import read_jsonl
from likelier.reward.functions import number_match
from likelier.text.calculator import calc


@pytest.mark.parametrize("task", TASKS)
def test_problems_have_right_answers_and_teachers_their_slips(task):
    draw = random.Random(0)
    drawn = [TASKS[task](draw) for _ in range(500)]
    assert all(calc(problem) == str(right) for problem, _, right in drawn)
    scores = number_match([""] * 500, [said for _, said, _ in drawn], [right for _, _, right in drawn])
    share = sum(scores) / 500
    # Of digits 0 to 9 (the first number's tens are no matter) 45 in 100 pairs carry; of these 3 in 5 are forgotten.
    assert share == 1.0 if task == "large" else 0.67 < share < 0.79


def test_no_problem_is_both_taught_and_asked(tmp_path):
    write_problems("carry", tmp_path, 0, 300, 200)
    taught, asked, told = (
        [record for _, record in read_jsonl(tmp_path / f"{name}.jsonl")] for name in ("taught", "problems", "told")
    )
    prompts = [record["prompt"] for record in taught + asked]
    assert len(set(prompts)) == len(prompts) == 500
    assert [record["completion"] for record in told] == [f"={record['reference']}" for record in asked]


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch, capsys):
    words = ["compare.py", "carry", "--short", "100", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    compare.main()
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"seed", "start", "grpo", "ppo", "sft"}
    assert all(0 <= value <= 1 for name, value in found.items() if name != "seed")
    assert json.loads((tmp_path / "accuracy.json").read_text()) == [found]
    compare.main()  # what is done is not done again
    assert json.loads(capsys.readouterr().out) == found
