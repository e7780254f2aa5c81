"""The curve of score over KL, from the log of a run."""

from likelier.runs.curve import CurvePoint, find_peak, read_curve

LOG = [
    {"step": 1, "score": 0.2, "kl": 0.1},
    {"step": 2, "eval_kl": 0.4, "eval_score": 1.5, "eval/words": 0.2, "eval/other": None, "eval_std/words": 0.1},
    {"step": 4, "eval_kl": None, "eval_score": 2, "eval_correlation/words": -0.5, "eval_responses": 64},
]


def test_only_evaluations_are_points_and_missing_numbers_are_absent():
    first, second = read_curve(LOG)
    assert first == CurvePoint(2, 0.4, 1.5, {"words": 0.2}, judge_stds={"words": 0.1})
    assert second == CurvePoint(4, None, 2.0, correlations={"words": -0.5}, num_responses=64)


def test_begins_before_the_first_step_and_ends_after_the_last():
    start, *_, end = read_curve(LOG, {"eval_kl": 0.0, "eval_score": 1.0}, {"eval_kl": 3.0, "eval_score": 4.0})
    assert start == CurvePoint(0, 0.0, 1.0)
    assert end == CurvePoint(4, 3.0, 4.0)
    assert read_curve([], {}, None) == []


def test_the_peak_is_the_first_of_the_best():
    curve = [CurvePoint(step, 0.1, 0.0, {"gold": gold}) for step, gold in ((0, 0.1), (2, 0.5), (4, 0.5), (6, 0.2))]
    assert find_peak([*curve, CurvePoint(8, 0.1, 0.0)], "gold") == (curve[1], curve[3])
    assert find_peak(curve[:1], "gold") is None
    assert find_peak(curve, "another") is None
