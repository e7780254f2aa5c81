"""Worked examples in a prompt: what is asked, and how it stands in the chat."""

import json
import sys

import few_shot
import pytest

from likelier.files import read_jsonl
from likelier.text.models import save_model
from model_families import tiny_model, tiny_tokenizer


def test_sums_and_times_have_right_answers(tmp_path):
    asked = dict(few_shot.sums(tmp_path))
    assert len(asked) == 450
    assert all(
        sum(map(int, words.split("is ")[1].split("?")[0].split(" + "))) == int(answer)
        for words, answer in asked.items()
    )
    times = dict(few_shot.times(tmp_path))
    assert len(times) == 288
    assert times["Translate into German: half past three"] == "halb vier"
    assert times["Translate into French: quarter to two"] == "deux heures moins le quart"


def test_labels_and_passages_of_real_sets(shared):
    reviews = few_shot.sentiment(shared / "data")
    assert len(reviews) == 446
    assert {answer for _, answer in reviews} == {"good", "bad"}
    questions = few_shot.questions(shared / "data")
    assert len(questions) == 363
    assert "Answer from this text: When does bloom by troye sivan come out?" in questions[0][0]


@pytest.mark.slow
def test_examples_stand_before_the_question(tmp_path, monkeypatch, capsys):
    save_model(tmp_path / "model", tiny_model(max_position_embeddings=2048), tiny_tokenizer(chat=True), "")
    words = [
        "few_shot.py",
        str(tmp_path / "model"),
        "nowhere",
        "--tasks",
        "sums",
        "--items",
        "3",
        "--out",
        str(tmp_path / "out"),
    ]
    monkeypatch.setattr(sys, "argv", words)
    few_shot.main()
    found = json.loads((tmp_path / "out" / "few-shot.json").read_text())
    assert set(found["sums"]) == {"0", "1", "4", "8"}
    (_, chat), *_ = read_jsonl(tmp_path / "out" / "sums" / "4" / "prompts.jsonl")
    assert [turn["role"] for turn in chat["prompt"]] == ["user", "assistant"] * 4 + ["user"]
    assert len({turn["content"] for turn in chat["prompt"][::2]}) == 5
    assert "sums, 8 examples: " in capsys.readouterr().out
