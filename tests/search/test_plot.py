"""The picture: where values stand on the axis, and that the file is one."""

import pytest

from likelier.search.plot import place, plot
from likelier.search.ranking import Trial, ranked


def test_equal_values_stand_a_little_apart():
    places, labels = place([0.0, 0.0, 1.0])
    assert places == pytest.approx([-0.006, 0.006, 1.0])
    assert labels == []


def test_by_logarithm_where_values_span_much():
    places, _ = place([1e-4, 1e-4, 1e-2])
    assert places[0] * places[1] == pytest.approx(1e-8)  # around 1e-4, evenly by the logarithm
    assert places[0] < 1e-4 < places[1]
    assert places[2] == pytest.approx(1e-2)


def test_what_is_no_number_stands_side_by_side():
    assert place(["a", True, "a"]) == (pytest.approx([-0.06, 1.0, 0.06]), ["a", "True"])


def test_a_picture_is_written(tmp_path):
    trials = [
        Trial(1, {"x": 1e-4, "y": "a", "z": 1, "w": 1}, [1.0, 2.0]),
        Trial(2, {"x": 1e-2, "y": "b", "z": 1, "w": 2}, [2.0, 2.5]),
        Trial(3, {"x": 1e-1, "y": "b", "z": 1, "w": 3}, [None, None], "no score"),
    ]
    plot(tmp_path / "a.png", ranked(trials, "max"), "score")
    plot(tmp_path / "b.png", ranked(trials, "max"), "score")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
