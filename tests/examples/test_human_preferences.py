"""The measurement on human preferences: votes and folds worked by hand, and all of it on three small invented sets."""

import json
import sys
from pathlib import Path

import human_preferences as example
import pytest

from human_sets import write_sets
from likelier.cli import run_script
from likelier.preferences.make import make_preference
from likelier.records import Choice, Comparison, JudgedComparison, Judgement, Preference, Prompt, Response

QUICK = ["num_epochs=4", "ensemble_size=1", "max_length=48", "batch_size=8", "learning_rate=5e-3"]


def answer(choice: Choice, annotator: str, swapped: bool = False) -> Preference:
    prompt = Prompt("Why?", "c")
    left, right = Response(prompt.id, "Because."), Response(prompt.id, "No idea.")
    if swapped:
        left, right = right, left
    comparison = Comparison(prompt.id, left.id, right.id)
    judgement = Judgement(comparison.id, annotator, left.id, right.id, choice)
    return make_preference(JudgedComparison(judgement, prompt, left, right), "c", 1.0, {})


def test_votes_are_counted_by_text_whatever_the_side() -> None:
    answers = [answer("left", "a"), answer("left", "b", swapped=True), answer("right", "c"), answer("tie", "d")]
    (pair,) = example.votes(answers)
    assert (pair.chosen, pair.rejected) == ("No idea.", "Because.")  # 1.5 answers for the one, 2.5 for the other
    assert (pair.target, pair.weight, pair.conversation) == (0.625, 1.0, "c")


def test_folds_are_whole_conversations_of_like_size() -> None:
    pair = answer("left", "a")
    pairs = [example.replace(pair, conversation=str(number % 7)) for number in range(70)]
    fold = example.fold_of(pairs, 3, 0)
    sizes = [sum(fold[pair.conversation] == number for pair in pairs) for number in range(3)]
    assert sorted(sizes) == [20, 20, 30]
    with pytest.raises(example.DataError, match="7 conversations cannot make 8 folds"):
        example.fold_of(pairs, 8, 0)


def test_figures_worked_by_hand() -> None:
    pair = answer("left", "a")
    texts = [("good", "bad"), ("a long one", "bad"), ("good", "a very long one"), ("x", "y")]
    pairs = [example.replace(pair, chosen=one, rejected=two, conversation=one) for one, two in texts]
    pairs[3] = example.replace(pairs[3], target=0.5)
    array = example.np.array
    found = example.figures(
        pairs,
        {
            "reward model": array([1.0, 1.0, 1.0, 9.0]),
            "length only": array([1.0, 7.0, -11.0, 0.0]),
            "bag of words": array([0.0, 0.0, 0.0, 0.0]),
        },
    )
    assert (found["pairs"], found["undecided"], found["conversations"]) == (3, 1, 2)  # "good" is one conversation
    assert [found[name]["accuracy"] for name in ("reward model", "length only", "bag of words")] == [1.0, 2 / 3, 0.5]
    assert found["over length only"]["difference"] == pytest.approx(1 / 3)
    assert found["reward model"]["equal_length_accuracy"] == 1.0
    assert found["bag of words"]["log_loss"] == pytest.approx(0.6931, abs=1e-4)


def test_what_people_like_is_found_in_conversations_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sets(tmp_path / "data")
    command = ["human_preferences.py", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--folds", "2", "--json"]
    monkeypatch.setattr(sys, "argv", [*command, *(part for setting in QUICK for part in ("--set", setting))])
    assert run_script(example.main) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "results.json").read_text())
    expected = {"hh-rlhf": 40, "ukp-convarg1": 60, "summarize-from-feedback": 20}
    for name, pairs in expected.items():
        assert found[name]["pairs"] == pairs
        assert found[name]["reward model"]["accuracy"] > 0.9
    assert found["ukp-convarg1"]["conversations"] == 6
    assert found["ukp-convarg1, unseen people"]["pairs"] == 60  # one worker of three, on each pair
    assert found["ukp-convarg1, unseen people"]["reward model"]["accuracy"] > 0.9
    text = example.table(found)
    assert text.count("reward model over length only") == 4
    assert max(map(len, text.splitlines())) < 150


def test_a_folder_that_is_there_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["human_preferences.py", str(tmp_path), "-o", str(tmp_path)])
    assert run_script(example.main) == 2
    assert "exists; give a new folder" in capsys.readouterr().err
