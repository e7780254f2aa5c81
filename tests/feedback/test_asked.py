"""What a strategy chose to ask, in the check, in preferences and in win rates: weighted, or left out."""

from dataclasses import replace

import numpy as np
import pytest

from likelier.evaluation.people import ResponsePair, compute_people_result
from likelier.feedback.check import check
from likelier.feedback.draws import ASKED, Draw
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store
from likelier.preferences.make import to_line
from likelier.records import Comparison, JudgedComparison, Judgement, Preference, Prompt, Response
from likelier.reward.check import check_scores
from likelier.web.figures import compare_models

HARD, EASY = Draw(0.1, 101, False), Draw(0.002, 101, True)
"""Of 101 of which 100 are left: weights 1 / (101 q), 0.099 and 4.95."""


def judge(number: int, person: str, left_wins: bool, draw: Draw | None) -> JudgedComparison:
    prompt = Prompt(f"p{number}")
    left, right = Response(prompt.id, "x" * (5 + number), "new"), Response(prompt.id, "y", "old")
    extra = {} if draw is None else {ASKED: draw._asdict()}
    choice = "left" if left_wins else "right"
    comparison = Comparison(prompt.id, left.id, right.id)
    judgement = Judgement(comparison.id, person, left.id, right.id, choice, extra=extra, key=f"{person}{number}")
    return JudgedComparison(judgement, prompt, left, right)


def make_panel(with_draws: bool) -> list[JudgedComparison]:
    """Twelve comparisons that a strategy chose, on which two people differ, and four by chance, on which they agree."""
    judged = []
    for number in range(16):
        draw = (HARD if number < 12 else EASY) if with_draws else None
        judged += [judge(number, "ann", True, draw), judge(number, "bob", number >= 12, draw)]
    return judged


def test_agreement_and_biases_stand_for_all_that_could_be_asked():
    plain, weighted = check(make_panel(False)), check(make_panel(True))
    assert plain.agreement == 0.25
    # 12 of weight 0.099 disagree, 4 of weight 4.95 agree.
    assert weighted.agreement == pytest.approx(4 * 4.950495 / (4 * 4.950495 + 12 * 0.0990099), abs=1e-4)
    assert weighted.position_bias == pytest.approx(1 - 0.5 * (1 - weighted.agreement) - 0.5)
    assert weighted.agreement_interval[1] - weighted.agreement_interval[0] > 0.4  # as of about four comparisons
    assert not any(audit.name == "asked" for audit in plain.audits)
    (asked,) = [audit for audit in weighted.audits if audit.name == "asked"]
    assert asked.value == 0.75
    assert "75% of answers" in asked.sentence
    assert asked.sentence.endswith("as much as 9 asked at random.")  # (42 x 2)^2 / (2 x 98.1)


def test_the_win_rate_over_time_takes_what_chance_drew_and_that_of_people_weighs_each_pair():
    panel = make_panel(True)
    assert compare_models(panel)["points"][-1]["prompts"] == 4
    pairs = [ResponsePair(entry.prompt, entry.right, entry.left) for entry in panel[::2]]
    judgements = [entry.judgement for entry in panel]
    shares = [0.5] * 12 + [1.0] * 4
    result = compute_people_result(pairs, shares, judgements)
    assert result.win_rate == pytest.approx(
        (12 * 0.0990099 * 0.5 + 4 * 4.950495) / (12 * 0.0990099 + 4 * 4.950495), abs=1e-4
    )
    assert result.length_controlled is None  # of sixteen prompts
    undrawn = [replace(each, extra={}) for each in judgements]
    assert compute_people_result(pairs, shares, undrawn).win_rate == pytest.approx(10 / 16)


def test_the_rate_at_equal_length_has_the_weights_of_draws():
    """Of 40 pairs that a strategy chose none is won, of 40 by chance all are: 4.95 to 0.099, whatever the length."""
    judged = [judge(number, "ann", number % 2 == 0, EASY if number % 2 == 0 else HARD) for number in range(80)]
    pairs = [ResponsePair(entry.prompt, entry.right, entry.left) for entry in judged]
    result = compute_people_result(pairs, [1.0 - number % 2 for number in range(80)], [e.judgement for e in judged])
    assert result.length_controlled == pytest.approx(result.win_rate, abs=0.01)
    assert result.win_rate == pytest.approx(4.950495 / (4.950495 + 0.0990099))
    assert result.length_controlled_interval[0] < 0.91  # as of 40 pairs, not of 198


def test_accuracy_and_calibration_of_a_reward_model_weigh_pairs_by_how_they_were_asked():
    pairs = [
        Preference("p", "a", "b", conversation=str(number), asked_weight=weight)
        for number, weight in enumerate([3.0, 1.0])
    ]
    result = check_scores(np.array([1.0, -1.0]), pairs)
    assert result["accuracy"] == 0.75
    assert result["log_loss"] == pytest.approx(0.75 * 0.313262 + 0.25 * 1.313262, abs=1e-6)
    assert result["calibration"] == [{"expected": pytest.approx(0.731059), "observed": 0.75, "pairs": 2}]
    assert result["calibration_error"] == pytest.approx(0.75 - 0.731059, abs=1e-6)


def test_a_pair_says_how_it_was_asked_only_where_a_strategy_chose():
    assert "asked_weight" not in to_line(Preference("p", "a", "b"))
    assert to_line(Preference("p", "a", "b", asked_weight=0.5))["asked_weight"] == 0.5


def test_an_export_keeps_how_each_comparison_was_drawn(tmp_path):
    panel = make_panel(True)
    with Store.open(tmp_path / "one.db", create=True) as store, store.transaction() as writer:
        writer.add_prompts(entry.prompt for entry in panel)
        writer.add_responses(response for entry in panel for response in (entry.left, entry.right))
        writer.add_comparisons(Comparison(each.prompt.id, each.left.id, each.right.id) for each in panel)
        writer.add_judgements(entry.judgement for entry in panel)
    with Store.open(tmp_path / "one.db") as store:
        weights = {entry.judgement.key: entry.asked_weight for entry in store.judged()}
        export_file(store, "likelier", tmp_path / "out.jsonl")
    assert weights["ann0"] == pytest.approx(0.0990099)
    assert weights["bob15"] == pytest.approx(4.950495)
    with Store.open(tmp_path / "two.db", create=True) as store:
        import_file(tmp_path / "out.jsonl", "likelier", store)
        assert {entry.judgement.key: entry.asked_weight for entry in store.judged()} == weights
        export_file(store, "likelier", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
