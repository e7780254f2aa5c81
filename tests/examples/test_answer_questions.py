"""Answers to real questions by two rewards: the prompts, the columns that the rewards read, and the table."""

import json
import sys

import answer_questions as example
import numpy as np
import pytest
from question_answers import Asked

from likelier.text.models import save_model
from likelier.text.reward_model import new_reward_model
from model_families import tiny_model, tiny_tokenizer

TWO = [
    Asked("who?", "He was  Ann Lee of Leeds.\n\nAnswer from this text: who?", "Ann Lee", [], []),
    Asked("when?", "In May.\n\nAnswer from this text: when?", "May", [], []),
]


def test_a_prompt_has_its_passage_cut_and_the_columns_of_both_rewards(monkeypatch):
    monkeypatch.setattr(example, "WORDS", 3)
    assert example.write_prompt(TWO[0]) == {
        "prompt": [{"role": "user", "content": "He was Ann\n\nAnswer from this text: who?"}],
        "reference": "Ann Lee",
        "question": "who?",
    }


def test_gains_over_the_start_in_f1_and_in_deviations_of_the_reward_model():
    start = {"token F1": np.array([[0.0, 0.4], [0.2, 0.2]]), "reward model": np.array([[3.0, 1.0], [5.0, 7.0]])}
    tuned = {"token F1": np.array([[0.5, 0.7], [0.2, 0.4]]), "reward model": np.array([[2.0, 2.0], [6.0, 6.0]])}
    found = example.compare({"start": start, "f1": tuned})
    assert found["start"]["token F1"]["gain"] == 0
    assert found["f1"]["token F1"]["mean"] == pytest.approx(0.45)
    assert found["f1"]["token F1"]["gain"] == pytest.approx(0.25)
    assert found["f1"]["reward model"]["gain"] == 0
    assert found["best by token F1"]["token F1"]["mean"] == pytest.approx(0.3)
    assert found["best by reward model"]["reward model"]["gain"] == pytest.approx(1)
    assert found["best by reward model"]["token F1"]["mean"] == pytest.approx(0.1)


@pytest.mark.slow
def test_two_policies_and_the_best_of_several_are_measured_by_both_scores(tmp_path, monkeypatch, capsys):
    model, run = tmp_path / "model", tmp_path / "run" / "0" / "reward" / "model"
    tokenizer = tiny_tokenizer(chat=True)
    save_model(model, tiny_model(max_position_embeddings=256), tokenizer, "")
    reward = new_reward_model(model)
    save_model(run, reward.model, reward.tokenizer, "")
    monkeypatch.setattr(example, "read_questions", lambda data: TWO * 12)
    monkeypatch.setattr(example, "GRPO", example.GRPO | {"batch_size": 16, "num_eval_prompts": 2, "response_length": 5})
    words = ["answer_questions.py", str(model), str(tmp_path), "--run", str(tmp_path / "run"), "--best-of", "2"]
    monkeypatch.setattr(sys, "argv", [*words, "--episodes", "16", "--held-out", "4", "--out", str(tmp_path / "out")])
    example.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads((tmp_path / "out" / "0" / "answers.json").read_text())
    assert set(found) == {"f1", "liked", "start", "best by token F1", "best by reward model"}
    assert found["best by reward model"]["reward model"]["gain"] > 0
