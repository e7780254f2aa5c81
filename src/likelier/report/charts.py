"""Small charts as inline SVG whose text keeps its size at every width and whose colours follow the page's scheme.

Positions are percentages of the plot, which the page stretches; only lines are drawn in a stretched SVG of their own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from unicodedata import east_asian_width

from markupsafe import Markup

from likelier.report.languages import translate

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, right, top, bottom in percent of the plot."""
ABOVE, BELOW = -11, 20
"""Pixels from a point to the baseline of its label."""
Spacing = Literal["even", "root", "log"]
"""Scale of an x axis: linear, square root (from 0) or logarithmic (above 0)."""
MAX_POINTS = 240
"""Longer curves are drawn with every k-th point and the last one."""
LOG_MARGIN = 1.25
"""A logarithmic axis extends beyond its values by this factor."""
MAX_NAME_LETTERS = 36
"""Total letters of category names that fit side by side below a chart, also on a phone."""
ROOT_TICKS = (
    0,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2,
    4,
    6,
    9,
    12,
    16,
    20,
    25,
    36,
    50,
    75,
    100,
    150,
    200,
    300,
    500,
    1000,
    2000,
    5000,
)


@dataclass(frozen=True)
class Series:
    """A named curve.

    Styles: `line`, with a dot at each point if there are few; `way`, a fainter trajectory that ends in a large dot and
    may turn back; `dots`, without a line; `guide`, a thin reference line; `outline`, a line without dots.
    """

    name: str
    points: Sequence[Point]
    colour: int = 0
    style: Literal["line", "way", "dots", "guide", "outline"] = "line"
    labels: Mapping[Point, str] = field(default_factory=dict)
    """Labels of some of the points."""
    spans: Mapping[Point, Point] = field(default_factory=dict)
    """Intervals (low, high) of some of the points, drawn as vertical lines."""


class Scale(NamedTuple):
    """Maps numbers to percentages of the plot; the square root spreads values near 0."""

    low: float
    high: float
    spacing: Spacing = "even"

    def percent(self, value: float) -> float:
        """Return the position of a value in percent of the plot."""
        low, high, value = (transform(each, self.spacing) for each in (self.low, self.high, value))
        return round(100 * (value - low) / (high - low), 2)


def transform(value: float, spacing: Spacing) -> float:
    """Return the value on the axis's scale."""
    if spacing == "root":
        return math.sqrt(max(value, 0))
    return math.log(value) if spacing == "log" else value


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    small: bool = False,
    spacing: Spacing = "even",
    names: Sequence[str] = (),
) -> Markup:
    """Draw a chart with axes, a grid and, for more than one curve, a legend; empty if no series has points.

    Over-optimisation curves use square-root spacing (Gao et al. 2022). `names` label the x values 0, 1, … instead of
    numbers.
    """
    drawn = [each for each in series if each.points]
    if not drawn:
        return Markup("")
    x_values, y_values = ([point[axis] for each in drawn for point in each.points] for axis in (0, 1))
    y_values += [end for each in drawn for span in each.spans.values() for end in span]
    x, places = make_named_axis(names) if names else make_x_axis(x_values, spacing, small)
    ys = ticks(*extent(y_values), count=3 if small else 5)
    y = Scale(ys[0], ys[-1])
    parts = [
        draw_grid(x, y, places, ys),
        *(draw_curve(each, x, y) for each in drawn),
        draw_labels(drawn, x, y),
    ]
    letters = max(5, *(len(format_short(value)) for value in ys))
    summary = translate("%(title)s: %(y)s over %(x)s", title=title, y=y_label, x=x_label)
    summary = translate("; ").join([summary, *(describe_series(each) for each in drawn)])
    return Markup(
        '<figure class="chart{}"><figcaption>{} <span>{}</span></figcaption>{}'
        '<div class="plot" style="--letters: {}"><svg role="img" aria-label="{}">{}</svg></div>'
        '<p class="axis">{}</p></figure>'
    ).format(
        " small" if small else "", title, y_label, draw_legend(drawn), letters, summary, Markup("").join(parts), x_label
    )


def make_x_axis(values: Sequence[float], spacing: Spacing, small: bool) -> tuple[Scale, dict[float, str]]:
    """Return an x scale that covers all values, and the tick labels by value."""
    if spacing == "root":
        positions = root_ticks(max(values), 5 if small else 10)
        scale = Scale(0.0, max(positions[-1], *values), spacing)
    elif spacing == "log":
        scale = Scale(min(values) / LOG_MARGIN, max(values) * LOG_MARGIN, spacing)
        positions = log_ticks(scale.low, scale.high)
    else:
        integers = all(float(value).is_integer() for value in values)
        positions = ticks(*extent(values), count=3 if small else 6, integers=integers)
        scale = Scale(positions[0], positions[-1])
    return scale, {value: format_short(value) for value in positions}


def make_named_axis(names: Sequence[str]) -> tuple[Scale, dict[float, str]]:
    """Return a scale and labels for category names, each truncated to its share of the width."""
    max_length = max(MAX_NAME_LETTERS // len(names), 3)
    labels = [name if len(name) <= max_length else f"{name[: max_length - 1]}…" for name in names]
    return Scale(-0.5, len(names) - 0.5), {float(i): label for i, label in enumerate(labels)}


def draw_legend(drawn: Sequence[Series]) -> Markup:
    """Draw a legend; empty for a single curve."""
    if len(drawn) < 2:
        return Markup("")
    entry = Markup('<li><svg class="key {} c{}" aria-hidden="true"><path d="M1 6h22"/></svg>{}</li>')
    entries = Markup("").join(entry.format(each.style, each.colour, each.name) for each in drawn)
    return Markup('<ul class="legend">{}</ul>').format(entries)


def describe_series(series: Series) -> str:
    """Summarise a curve for screen readers."""
    first, last = (format_short(series.points[place][1]) for place in (0, -1))
    return translate("%(name)s from %(first)s to %(last)s", name=series.name, first=first, last=last)


def draw_grid(x: Scale, y: Scale, places: Mapping[float, str], ys: Sequence[float]) -> Markup:
    """Draw horizontal grid lines and the labels of both axes."""
    level = Markup('<line class="grid" x2="100%" y1="{0}%" y2="{0}%"/><text y="{0}%" dx="-8" dy="4">{1}</text>')
    place = Markup('<text class="x" x="{}%" y="100%" dy="18">{}</text>')
    levels = [level.format(round(100 - y.percent(value), 2), format_short(value)) for value in ys]
    return Markup("").join(levels + [place.format(x.percent(value), label) for value, label in places.items()])


def draw_curve(series: Series, x: Scale, y: Scale) -> Markup:
    """Draw the line, its intervals, and a dot at each point with its numbers as a tooltip."""
    points = thin_points(series.points)
    places = [(x.percent(px), round(100 - y.percent(py), 2)) for px, py in points]
    path = "".join(f"{'L' if i else 'M'}{px:g} {py:g}" for i, (px, py) in enumerate(places))
    line = Markup(
        '<svg class="stretch" viewBox="0 0 100 100" preserveAspectRatio="none"><path class="{} c{}" d="{}"/></svg>'
    ).format(series.style, series.colour, path)
    if series.style in ("guide", "outline"):
        return line
    dot = Markup('<circle class="{} c{}" cx="{}%" cy="{}%" r="{}"><title>{}</title></circle>')
    radii = choose_dot_radii(series.style, len(points))
    dots = [
        dot.format(
            "dot" if radius < 7 else "touch",
            series.colour,
            px,
            py,
            radius,
            translate(
                "%(name)s: %(value)s at %(position)s",
                name=series.name,
                value=format_short(value),
                position=format_short(position),
            ),
        )
        for radius, (px, py), (position, value) in zip(radii, places, points, strict=True)
    ]
    return (Markup("") if series.style == "dots" else line) + draw_intervals(series, x, y) + Markup("").join(dots)


def draw_intervals(series: Series, x: Scale, y: Scale) -> Markup:
    """Draw the intervals of a curve's points."""
    line = Markup('<line class="upright c{}" x1="{}%" x2="{}%" y1="{}%" y2="{}%"/>')
    ends = [
        (x.percent(point[0]), *(round(100 - y.percent(end), 2) for end in span)) for point, span in series.spans.items()
    ]
    return Markup("").join(line.format(series.colour, px, px, low, high) for px, low, high in ends)


def choose_dot_radii(style: str, count: int) -> list[float]:
    """Return the radii of a curve's dots; those of long lines are invisible and only catch the pointer."""
    if style == "dots":
        return [4.5] * count
    radius = 3.2 if count <= 24 else 7
    return [radius] * (count - 1) + [6 if style == "way" else radius]


def draw_labels(drawn: Sequence[Series], x: Scale, y: Scale) -> Markup:
    """Draw the labels of all curves, each above or below its point and within the plot.

    A label that would lie on another one on a phone is `crowded`: narrow pages leave it to the point's tooltip.
    """
    text = Markup('<text class="mark {}{}" x="{}%" y="{}%" dy="{}">{}</text>')
    taken: list[Box] = []
    parts = []
    labels = [(*point, word) for each in drawn for point, word in each.labels.items()]
    for value_x, value_y, word in labels:
        px, py = x.percent(value_x), round(100 - y.percent(value_y), 2)
        side = "low" if px < 12 else "high" if px > 88 else "middle"
        boxes = {dy: label_box(px, py, dy, word, side) for dy in (ABOVE, BELOW)}
        free = [dy for dy, box in boxes.items() if not any(overlap(box, other) for other in taken)]
        dy = free[0] if free else ABOVE
        if free:
            taken.append(boxes[dy])
        parts.append(text.format(side, "" if free else " crowded", px, py, dy, word))
    return Markup("").join(parts)


def label_box(px: float, py: float, dy: int, word: str, side: str) -> Box:
    """Return left, right, top and bottom of a label in percent of a phone's plot, 290 by 240 pixels."""
    letters = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in word)
    width, middle = 100 * 7.5 * letters / 290, py + 100 * (dy - 4) / 240
    left = px - {"low": 0.0, "middle": width / 2, "high": width}[side]
    return left, left + width, middle - 3.5, middle + 3.5


def overlap(one: Box, other: Box) -> bool:
    """Return True if two boxes share some area."""
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def thin_points(points: Sequence[Point]) -> Sequence[Point]:
    """Return about `MAX_POINTS` evenly spaced points, including the last."""
    step = -(-len(points) // MAX_POINTS)
    return points if step == 1 else [*points[:-1:step], points[-1]]


def share_bar(value: Any, middle: float = 0.0) -> Markup:
    """Draw a share as a short bar that starts at `middle`; empty if `value` is not a number."""
    if not is_number(value):
        return Markup("")
    low, high = sorted((middle, min(max(value, 0.0), 1.0)))
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="rail" width="100%" height="100%" rx="2"/>'
        '<rect class="fill" x="{:.1f}%" width="{:.1f}%" height="100%" rx="2"/>{}</svg>'
    ).format(100 * low, 100 * (high - low), draw_tick(middle) if middle else "")


def interval_bar(value: Any, interval: Sequence[Any] | None, colour: int = 0, middle: float | None = 0.5) -> Markup:
    """Draw a share with its interval on a rail from 0 to 1, with a tick at `middle` (chance) unless None."""
    if not is_number(value):
        return Markup("")
    low, high = interval if interval and all(map(is_number, interval)) else (value, value)
    return Markup(
        '<svg class="interval c{}" aria-hidden="true"><line class="rail" x2="100%" y1="50%" y2="50%"/>{}'
        '<line class="span" x1="{:.1f}%" x2="{:.1f}%" y1="50%" y2="50%"/><circle cx="{:.1f}%" cy="50%" r="5.5"/></svg>'
    ).format(colour, Markup("") if middle is None else draw_tick(middle), 100 * low, 100 * high, 100 * value)


def draw_tick(position: float) -> Markup:
    """Draw a vertical tick at a share of the width."""
    return Markup('<line class="tick" x1="{0}%" x2="{0}%" y2="100%"/>').format(100 * position)


def is_number(value: Any) -> bool:
    """Return True for a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def extent(values: Sequence[float]) -> tuple[float, float]:
    """Return (min, max), widened if they are equal."""
    low, high = min(values), max(values)
    if low == high == 0:
        return 0.0, 1.0
    if low == high:
        return low - max(abs(low), 1) * 0.5, high + max(abs(high), 1) * 0.5
    return low, high


def ticks(low: float, high: float, count: int, integers: bool = False) -> list[float]:
    """Return round numbers, or integers, that cover [low, high].

    >>> ticks(0.0, 9.3, 5), ticks(1.0, 8.0, 3, integers=True)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.0, 5.0, 10.0])
    """
    raw = max((high - low) / count, 1.0) if integers else (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    step = next(step for step in steps if step >= raw * 0.999 and not (integers and step % 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def root_ticks(high: float, count: int) -> list[float]:
    """Return round numbers from 0 to `high` with enough distance on a square-root axis.

    >>> root_ticks(30.0, 6)
    [0.0, 1, 4, 9, 16, 25]
    """
    end = max(high, ROOT_TICKS[1])
    positions = [0.0]
    for value in ROOT_TICKS[1:]:
        if value <= end and math.sqrt(value) - math.sqrt(positions[-1]) >= 0.99 * math.sqrt(end) / count:
            positions.append(value)
    return positions


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers within [low, high] for a logarithmic axis: powers of 10, or 1-2-5 over short ranges.

    >>> log_ticks(1e-05, 0.03), log_ticks(0.9, 6.0)
    ([1e-05, 0.0001, 0.001, 0.01], [1.0, 2.0, 5.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 2 else (1, 2, 5)
    candidates = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [value for value in candidates if low <= value <= high]


def format_short(value: float) -> str:
    """Format a number with about four digits.

    >>> format_short(0.05), format_short(12500.0), format_short(-3e-05)
    ('0.05', '12,500', '−3e−05')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    else:
        text = f"{value:.2g}"
    return text.replace("-", "−")
