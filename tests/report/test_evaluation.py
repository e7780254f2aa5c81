"""The report's view of an evaluation: win rates by length, histograms, the order of samples."""

import re

from likelier.report.evaluation import (
    draw_histogram,
    make_evaluation_view,
    name_model,
    sort_samples,
    win_rates_by_length,
)


def test_win_rates_by_length_by_hand():
    """Four responses: half as long and worse, as long and equal, as long and unscored, twice as long and better."""
    before = {"length": [10, 20, 20, 10], "score": [1.0, 1.0, 1.0, 1.0]}
    after = {"length": [5, 21, 20, 20], "score": [0.0, 1.0, None, 2.0]}
    rates = win_rates_by_length(before, after)
    assert [(each["name"], each["n"], each["rate"]) for each in rates] == [
        ("shorter", 1, 0.0),
        ("about as long", 1, 0.5),
        ("longer", 1, 1.0),
    ]
    assert win_rates_by_length({"length": [1]}, {"length": [1]}) == []  # people give no scores


def test_a_histogram_has_the_share_of_each_bin():
    chart = draw_histogram("Score", "score", {"before": [0.0, 0.0, 0.0, 1.0], "after": [1.0, 1.0]})
    (before, after) = re.findall(r'<path class="outline [^"]*" d="([^"]*)"', chart)
    assert before.startswith("M0 100L0 25L5 25L5 100")  # three of four in the first of 20 bins
    assert after.endswith("L95 0L100 0L100 100")
    assert draw_histogram("Score", "score", {}) == ""
    assert draw_histogram("Length", "tokens", {"after": [3, 3]})  # no spread


def test_samples_are_distinct_and_know_their_places():
    sample = {"prompt": "p", "response_a": "aa", "response_b": "b", "score_a": 1.0, "score_b": 2.0}
    worse = sample | {"response_b": "bbbb", "score_b": 0.0}
    found = sort_samples([sample, worse, worse, sample | {"score_a": None, "response_a": "a"}])
    assert [each["places"] for each in found] == [
        {"worse": 2, "better": 0, "longer": 2},
        {"worse": 0, "better": 2, "longer": 0},
        {"worse": 1, "better": 1, "longer": 1},
    ]


def test_an_older_file_has_a_verdict_and_no_pictures():
    view = make_evaluation_view({"win_rate": 0.8, "interval": [0.7, 0.9], "n": 100})
    assert (view["verdict_word"], view["histograms"], view["by_length"], view["sortable"]) == ("Better", [], [], [])


def test_models_by_name():
    assert [name_model(name) for name in ("runs/ppo-1/model", "Qwen/Qwen2", "model")] == ["ppo-1", "Qwen2", "model"]
