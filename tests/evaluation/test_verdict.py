"""The verdict on an evaluation: better, worse, cannot tell, judge unproven, and what limits it."""

import pytest

from likelier.evaluation.verdict import assess_evaluation, read_training_errors
from likelier.files import write_json

RECORD = {"win_rate": 0.62, "interval": [0.55, 0.69], "n": 288, "judges": {"kind": {}}, "kl": 2.0, "num_prompts": 144}
CORRECTED = {
    "win_rate": 0.56,
    "interval": [0.51, 0.61],
    "judged": 100,
    "others": 188,
    "agreement": {"rate": 0.75, "interval": [0.65, 0.83], "n": 96},
    "gain": 0.1,
}
FORGOTTEN = {"n": 300, "difference": -0.8, "difference_interval": [-1.0, -0.6]}
PROVEN = {"accuracy": 0.71, "accuracy_interval": [0.62, 0.8], "pairs": 130}


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({}, "better", "Better: kind prefers the new answers in 62 % (55 to 69 %) of 288 comparisons."),
        (
            {"win_rate": 0.3, "interval": [0.2, 0.4]},
            "worse",
            "Worse: kind prefers the new answers in 30 % (20 to 40 %)",
        ),
        (
            {"a": {"response_length": 55.0, "distinct_2": 0.64}, "b": {"response_length": 18.0, "distinct_2": 0.34}},
            "better",
            "The new answers are more alike: 34 % of their pairs of words are distinct, of the old ones' 64 %.",
        ),
        ({"interval": [0.49, 0.7]}, "cannot_tell", "Cannot tell: "),
        ({"interval": None}, "cannot_tell", "Cannot tell: "),
        ({"judge_accuracy": {"kind": PROVEN}}, "better", "kind itself ranks 71 % (62 to 80 %) of 130 pairs it has not"),
        (
            {"judge_accuracy": {"kind": PROVEN | {"accuracy_interval": [0.45, 0.8]}}},
            "judge_unproven",
            "Judge unproven: kind prefers the new answers in 62 %",
        ),
        ({"judge_accuracy": {"kind": PROVEN | {"accuracy": 0.4}}}, "judge_unproven", "which proves nothing"),
        (
            {"judge_accuracy": {"kind": {"accuracy": None}}},
            "better",
            "How often kind itself is right was never measured",
        ),
        ({"judge_accuracy": {"another": {"accuracy": 0.4}}}, "better", "288 comparisons."),
        (
            {"corrected": {"kind": CORRECTED}},
            "better",
            (
                "With people's judgements of 100 of 288 pairs, kind comes to 56 % (51 to 61 %). People and kind agree "
                "on 75 % (65 to 83 %) of 96 pairs. The interval is 10 % shorter than by people alone."
            ),
        ),
        (
            {"corrected": {"kind": CORRECTED | {"interval": [0.45, 0.67], "agreement": None, "gain": 0.0}}},
            "cannot_tell",
            "288 comparisons, which people do not confirm. With people's judgements of 100 of 288 pairs, kind comes to",
        ),
        ({"corrected": {"kind": CORRECTED | {"interval": None, "gain": None}}}, "cannot_tell", "do not confirm"),
        (
            {"length_controlled": 0.53, "length_controlled_interval": [0.44, 0.62]},
            "better",
            "At equal length it would be 53 % (44 to 62 %): it may be the length that is preferred.",
        ),
        (
            {"length_controlled": 0.6, "length_controlled_interval": [0.52, 0.68]},
            "better",
            "Better: kind prefers the new answers in 62 % (55 to 69 %) of 288 comparisons.",
        ),
        ({"num_prompts": 12}, "better", "Only 12 prompts: others may say otherwise."),
        ({"kl": -0.25}, "better", "The KL is measured as -0.25 nats, and none is below 0"),
        (
            {"knowledge": FORGOTTEN},
            "better",
            "The 300 known answers are less likely than before: -0.80 nats each (-1.00 to",
        ),
        (
            {"knowledge": FORGOTTEN | {"difference_interval": [-1.7, 0.1]}},
            "better",
            "are about as likely as before: -0.80",
        ),
        (
            {"knowledge": FORGOTTEN | {"difference": 0.5, "difference_interval": [0.25, 0.75]}},
            "better",
            "The 300 known answers are more likely than before: +0.50 nats each (+0.25 to +0.75).",
        ),
        (
            {"knowledge": FORGOTTEN | {"difference": 0.0, "difference_interval": None}},
            "better",
            "The 300 known answers are about as likely as before: +0.00 nats each.",
        ),
        ({"training_errors": ["kl_explodes"]}, "better", "errors in the training of the new model: kl_explodes."),
    ],
)
def test_the_verdict_by_hand(changes, name, text):
    verdict = assess_evaluation(RECORD | changes)
    assert verdict.name == name
    assert text in verdict.text
    assert len(verdict.caveats) == (
        1 if set(changes) & {"num_prompts", "kl", "training_errors"} else len(verdict.caveats)
    )


@pytest.mark.parametrize(
    "new",
    [
        {"response_length": 18.0, "distinct_2": 0.5},
        {"response_length": 60.0, "distinct_2": 0.34},
        {"response_length": None, "distinct_2": 0.34},
    ],
    ids=["hardly", "longer", "unknown"],
)
def test_answers_that_are_not_known_to_be_more_alike(new):
    record = RECORD | {"a": {"response_length": 55.0, "distinct_2": 0.64}, "b": new}
    assert "more alike" not in assess_evaluation(record).text


def test_the_errors_of_the_run_that_made_a_model(tmp_path):
    findings = [{"name": "kl_explodes", "severity": "error"}, {"name": "clipfrac_high", "severity": "warning"}]
    write_json(tmp_path / "ppo" / "result.json", {"findings": findings})
    assert read_training_errors(str(tmp_path / "ppo" / "model")) == ("kl_explodes",)
    assert read_training_errors(str(tmp_path / "other" / "model")) == ()
    write_json(tmp_path / "sft" / "result.json", {"findings": None})
    assert read_training_errors(str(tmp_path / "sft" / "model")) == ()
