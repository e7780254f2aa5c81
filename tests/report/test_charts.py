"""Charts: ticks that cover the data, positions in percent, and escaped names."""

import re

import pytest

from likelier.report.charts import (
    MAX_POINTS,
    Scale,
    Series,
    format_short,
    interval_bar,
    line_chart,
    log_ticks,
    root_ticks,
    share_bar,
    thin_points,
    ticks,
)

PAYLOAD = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0.0, 9.3, 5, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
        (0.31, 0.69, 4, [0.3, 0.4, 0.5, 0.6, 0.7]),
        (-0.02, 0.01, 3, [-0.02, -0.01, 0.0, 0.01]),
        (1.0, 60.0, 3, [0.0, 20.0, 40.0, 60.0]),
        (-1e6, 1e6, 2, [-1e6, 0.0, 1e6]),
    ],
)
def test_ticks_are_round_and_cover(low, high, count, expected):
    assert ticks(low, high, count) == expected


def test_step_axes_have_integer_ticks():
    assert ticks(1.0, 8.0, 3, integers=True) == [0.0, 5.0, 10.0]  # not 2.5
    assert ticks(1.0, 2.0, 3, integers=True) == [1.0, 2.0]
    page = line_chart("A", "step", "y", [Series("a", [(1, 0.5), (2, 1.5)])])
    assert re.findall(r'class="x".*?>(.*?)<', page) == ["1", "2"]


def test_ticks_of_a_square_root_axis_stand_apart():
    assert root_ticks(24.5, 10) == [0.0, 0.25, 1, 4, 9, 16]
    assert root_ticks(0.0, 5) == [0.0, 0.05]


def test_ticks_of_a_logarithmic_axis_are_powers_of_ten_and_more_where_those_are_few():
    assert log_ticks(1e-5, 0.03) == [1e-5, 1e-4, 1e-3, 1e-2]
    assert log_ticks(0.9, 6.0) == [1.0, 2.0, 5.0]


def test_scale_maps_to_percent():
    assert [Scale(10, 30).percent(value) for value in (10, 15, 30)] == [0, 25, 100]
    assert [Scale(0, 16, spacing="root").percent(value) for value in (0, 1, 4, 16)] == [0, 25, 50, 100]
    assert Scale(0, 16, spacing="root").percent(-0.3) == 0  # an estimated KL may come out below 0
    assert [Scale(1e-4, 1e-2, spacing="log").percent(value) for value in (1e-4, 1e-3, 1e-2)] == [0, 50, 100]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.05, "0.05"), (12500.0, "12,500"), (-3e-05, "−3e−05"), (0.0, "0"), (0.30000000000000004, "0.3"), (2e9, "2e+09")],
)
def test_format_short(value, expected):
    assert format_short(value) == expected


def test_a_long_curve_is_thinned_but_keeps_its_ends():
    points = [(step, step) for step in range(1001)]
    thinned = thin_points(points)
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])
    assert MAX_POINTS / 2 < len(thinned) <= MAX_POINTS + 1
    assert thin_points(points[:MAX_POINTS]) == points[:MAX_POINTS]


def test_a_curve_stands_where_its_numbers_are():
    page = line_chart("KL", "step", "nats", [Series("run", [(0, 0.0), (30, 3.0), (60, 1.5)])])
    assert re.search(r'<path class="line c0" d="(.*?)"', page)[1] == "M0 100L50 0L100 50"
    assert "<title>run: 3 at 30</title>" in page
    assert 'aria-label="KL: nats over step; run from 0 to 1.5"' in page


def test_a_chart_of_one_value_is_drawn_and_of_none_is_not():
    assert "<circle" in line_chart("A", "x", "y", [Series("a", [(1.0, 5.0)])])
    assert 'cy="100.0%"' in line_chart("A", "x", "y", [Series("a", [(1.0, 0.0), (2.0, 0.0)])])  # from 0 to 1
    assert line_chart("A", "x", "y", [Series("a", []), Series("b", [])]) == ""


def test_an_interval_goes_through_its_point_and_within_the_axis():
    page = line_chart("A", "x", "y", [Series("a", [(1, 5.0), (2, 4.0)], style="dots", spans={(1, 5.0): (0.0, 10.0)})])
    assert 'class="upright c0" x1="0.0%" x2="0.0%" y1="100.0%" y2="0.0%"' in page
    assert re.findall(r'cy="([\d.]+)%"', page) == ["50.0", "60.0"]


def test_long_labels_of_the_y_axis_have_room():
    """The plot begins so many letters from the card's edge: at least 5."""
    tiny = [Series("a", [(0, -0.0075), (1, 0.0025)])]
    assert 'style="--letters: 6"' in line_chart("A", "x", "y", tiny)  # −0.008
    assert 'style="--letters: 5"' in line_chart("A", "x", "y", [Series("a", [(0, 0), (1, 4)])])


def test_names_stand_side_by_side_each_cut_to_its_share():
    page = line_chart("A", "x", "y", [Series("a", [(0, 1), (1, 2)], style="dots")], names=["constant", "c" * 40])
    assert re.findall(r'class="x" x="(.*?)%" y="100%" dy="18">(.*?)<', page) == [
        ("25.0", "constant"),
        ("75.0", "c" * 17 + "…"),
    ]


def test_a_trajectory_ends_in_its_largest_dot():
    page = line_chart("A", "x", "y", [Series("a", [(0, 0), (2, 1), (1, 2)], style="way")])
    assert re.findall(r' r="([\d.]+)"', page) == ["3.2", "3.2", "6"]
    assert len(re.findall('class="touch', line_chart("A", "x", "y", [Series("a", [(x, x) for x in range(60)])]))) == 60


def test_only_several_curves_need_a_legend():
    one, two = Series("first", [(0, 0), (1, 1)]), Series("second", [(0, 1), (1, 0)], 1)
    assert "legend" not in line_chart("A", "x", "y", [one])
    assert line_chart("A", "x", "y", [one, two]).count("<li>") == 2


def test_names_are_escaped():
    series = [Series(PAYLOAD, [(0, 0), (1, 1)], labels={(0, 0): PAYLOAD}), Series(PAYLOAD, [(0, 1)], style="dots")]
    page = line_chart(PAYLOAD, PAYLOAD, PAYLOAD, series)
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script") >= 8
    assert not re.search(r'aria-label="[^"]*"[^ >]', page)


def test_bars_of_shares():
    assert 'x="0.0%" width="12.0%"' in share_bar(0.12)
    assert 'x="50.0%" width="43.0%"' in share_bar(0.93, middle=0.5)
    assert 'x="20.0%" width="30.0%"' in share_bar(0.2, middle=0.5)
    assert 'x1="79.0%" x2="88.0%"' in interval_bar(0.84, [0.79, 0.88])
    assert 'x1="61.0%" x2="61.0%"' in interval_bar(0.61, None)
    assert ["tick" in interval_bar(0.61, None, 0, middle) for middle in (0.5, None)] == [True, False]
    assert [share_bar(None), share_bar(PAYLOAD), interval_bar(PAYLOAD, [PAYLOAD, 1])] == ["", "", ""]
