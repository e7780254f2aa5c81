"""Small charts as inline SVG: text keeps its size at every width, colours are the page's and follow light and dark.

Places are percentages of the plot, which the page stretches; only curves stand in a stretched picture of their own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

Point = tuple[float, float]
Spacing = Literal["even", "root", "log"]
"""How numbers stand on an x axis: as they are, by their square roots (from 0), by their logarithms (above 0)."""
MOST_POINTS = 240
"""A longer curve is drawn by every k-th of its points and its last."""
LOG_MARGIN = 1.25
"""A logarithmic axis goes on beyond its values by this factor."""
LETTERS = 36
"""So many of an axis's names have room side by side, on a phone too."""
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

    `line`: with a dot at each point if they are few; `way`: a fainter line that ends in a large dot, for what may turn
    back; `dots`: no line; `guide`: thin, not a result.
    """

    name: str
    points: Sequence[Point]
    colour: int = 0
    style: Literal["line", "way", "dots", "guide"] = "line"
    labels: Mapping[Point, str] = field(default_factory=dict)
    """Words beside some of the points."""
    spans: Mapping[Point, Point] = field(default_factory=dict)
    """From where to where an upright line goes through some of the points: intervals."""


class Scale(NamedTuple):
    """From a number to a percentage of the plot; the square root spreads what is near 0."""

    low: float
    high: float
    spacing: Spacing = "even"

    def at(self, value: float) -> float:
        low, high, value = (spaced(each, self.spacing) for each in (self.low, self.high, value))
        return round(100 * (value - low) / (high - low), 2)


def spaced(value: float, spacing: Spacing) -> float:
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
    """One chart with axes, a grid and, for more than one curve, a legend; nothing to draw gives nothing.

    Spacing by the square root is how over-optimisation is drawn (Gao et al. 2022). `names`: what stands at 0, 1, … of
    the x axis instead of numbers.
    """
    shown = [each for each in series if each.points]
    if not shown:
        return Markup("")
    x_values, y_values = ([point[axis] for each in shown for point in each.points] for axis in (0, 1))
    y_values += [end for each in shown for span in each.spans.values() for end in span]
    x, places = named_axis(names) if names else x_axis(x_values, spacing, small)
    ys = ticks(*extent(y_values), count=3 if small else 5)
    y = Scale(ys[0], ys[-1])
    parts = [grid(x, y, places, ys), *(curve(each, x, y) for each in shown), *(words(each, x, y) for each in shown)]
    letters = max(5, *(len(short(value)) for value in ys))
    told = f"{title}: {y_label} over {x_label}; " + "; ".join(in_words(each) for each in shown)
    return Markup(
        '<figure class="chart{}"><figcaption>{} <span>{}</span></figcaption>{}'
        '<div class="plot" style="--letters: {}"><svg role="img" aria-label="{}">{}</svg></div>'
        '<p class="axis">{}</p></figure>'
    ).format(" small" if small else "", title, y_label, legend(shown), letters, told, Markup("").join(parts), x_label)


def x_axis(values: Sequence[float], spacing: Spacing, small: bool) -> tuple[Scale, dict[float, str]]:
    """The scale of an x axis that holds all values, and what stands where below it."""
    if spacing == "root":
        at = root_ticks(max(values), 5 if small else 10)
        scale = Scale(0.0, max(at[-1], *values), spacing)
    elif spacing == "log":
        scale = Scale(min(values) / LOG_MARGIN, max(values) * LOG_MARGIN, spacing)
        at = log_ticks(scale.low, scale.high)
    else:
        whole = all(float(value).is_integer() for value in values)
        at = ticks(*extent(values), count=3 if small else 6, whole=whole)
        scale = Scale(at[0], at[-1])
    return scale, {value: short(value) for value in at}


def named_axis(names: Sequence[str]) -> tuple[Scale, dict[float, str]]:
    """Names side by side, each cut to its share of the width."""
    most = max(LETTERS // len(names), 3)
    labels = [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
    return Scale(-0.5, len(names) - 0.5), {float(at): label for at, label in enumerate(labels)}


def legend(shown: Sequence[Series]) -> Markup:
    if len(shown) < 2:
        return Markup("")
    entry = Markup('<li><svg class="key {} c{}" aria-hidden="true"><path d="M1 6h22"/></svg>{}</li>')
    entries = Markup("").join(entry.format(each.style, each.colour, each.name) for each in shown)
    return Markup('<ul class="legend">{}</ul>').format(entries)


def in_words(series: Series) -> str:
    """What a listener needs of a curve."""
    return f"{series.name} from {short(series.points[0][1])} to {short(series.points[-1][1])}"


def grid(x: Scale, y: Scale, places: Mapping[float, str], ys: Sequence[float]) -> Markup:
    level = Markup('<line class="grid" x2="100%" y1="{0}%" y2="{0}%"/><text y="{0}%" dx="-8" dy="4">{1}</text>')
    place = Markup('<text class="x" x="{}%" y="100%" dy="18">{}</text>')
    levels = [level.format(round(100 - y.at(value), 2), short(value)) for value in ys]
    return Markup("").join(levels + [place.format(x.at(value), label) for value, label in places.items()])


def curve(series: Series, x: Scale, y: Scale) -> Markup:
    """The line, then a dot at each point that shows its numbers under the pointer."""
    points = thinned(series.points)
    places = [(x.at(px), round(100 - y.at(py), 2)) for px, py in points]
    path = "".join(f"{'L' if at else 'M'}{px:g} {py:g}" for at, (px, py) in enumerate(places))
    line = Markup(
        '<svg class="stretch" viewBox="0 0 100 100" preserveAspectRatio="none"><path class="{} c{}" d="{}"/></svg>'
    ).format(series.style, series.colour, path)
    if series.style == "guide":
        return line
    dot = Markup('<circle class="{} c{}" cx="{}%" cy="{}%" r="{}"><title>{}: {} at {}</title></circle>')
    radii = dot_radii(series.style, len(points))
    dots = [
        dot.format(
            "dot" if radius < 7 else "touch", series.colour, px, py, radius, series.name, short(value), short(at)
        )
        for radius, (px, py), (at, value) in zip(radii, places, points, strict=True)
    ]
    return (Markup("") if series.style == "dots" else line) + upright(series, x, y) + Markup("").join(dots)


def upright(series: Series, x: Scale, y: Scale) -> Markup:
    """The intervals of a curve's points."""
    line = Markup('<line class="upright c{}" x1="{}%" x2="{}%" y1="{}%" y2="{}%"/>')
    ends = [(x.at(point[0]), *(round(100 - y.at(end), 2) for end in span)) for point, span in series.spans.items()]
    return Markup("").join(line.format(series.colour, at, at, low, high) for at, low, high in ends)


def dot_radii(style: str, count: int) -> list[float]:
    """Of the dots of a curve; many dots on a line are only for the pointer to touch."""
    if style == "dots":
        return [4.5] * count
    radius = 3.2 if count <= 24 else 7
    return [radius] * (count - 1) + [6 if style == "way" else radius]


def words(series: Series, x: Scale, y: Scale) -> Markup:
    """The labels of a curve, each above its point and within the plot."""
    text = Markup('<text class="mark {}" x="{}%" y="{}%" dy="-11">{}</text>')
    places = [(x.at(px), round(100 - y.at(py), 2), word) for (px, py), word in series.labels.items()]
    sides = ["low" if px < 12 else "high" if px > 88 else "middle" for px, _, _ in places]
    return Markup("").join(text.format(side, *place) for side, place in zip(sides, places, strict=True))


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most about `MOST_POINTS` of the points, evenly, with the last."""
    step = -(-len(points) // MOST_POINTS)
    return points if step == 1 else [*points[:-1:step], points[-1]]


def share_bar(value: Any, middle: float = 0.0) -> Markup:
    """A share as a short bar that grows from `middle`; nothing for what is no number."""
    if not is_number(value):
        return Markup("")
    low, high = sorted((middle, min(max(value, 0.0), 1.0)))
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="rail" width="100%" height="100%" rx="2"/>'
        '<rect class="fill" x="{:.1f}%" width="{:.1f}%" height="100%" rx="2"/>{}</svg>'
    ).format(100 * low, 100 * (high - low), tick(middle) if middle else "")


def interval_bar(value: Any, interval: Sequence[Any] | None, colour: int = 0, middle: float | None = 0.5) -> Markup:
    """A share with its 95 % interval on a rail from 0 to 1, and a tick where chance is, if that is somewhere."""
    if not is_number(value):
        return Markup("")
    known = interval if interval and all(map(is_number, interval)) else (value, value)
    return Markup(
        '<svg class="interval c{}" aria-hidden="true"><line class="rail" x2="100%" y1="50%" y2="50%"/>{}'
        '<line class="span" x1="{:.1f}%" x2="{:.1f}%" y1="50%" y2="50%"/><circle cx="{:.1f}%" cy="50%" r="5.5"/></svg>'
    ).format(colour, Markup("") if middle is None else tick(middle), 100 * known[0], 100 * known[1], 100 * value)


def tick(at: float) -> Markup:
    return Markup('<line class="tick" x1="{0}%" x2="{0}%" y2="100%"/>').format(100 * at)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high == 0:
        return 0.0, 1.0
    if low == high:
        return low - max(abs(low), 1) * 0.5, high + max(abs(high), 1) * 0.5
    return low, high


def ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """Round numbers, or whole ones, that cover [low, high].

    >>> ticks(0.0, 9.3, 5), ticks(1.0, 8.0, 3, whole=True)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.0, 5.0, 10.0])
    """
    raw = max((high - low) / count, 1.0) if whole else (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    step = next(step for step in steps if step >= raw * 0.999 and not (whole and step % 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{at * step:.12g}") for at in range(first, last + 1)]


def root_ticks(high: float, count: int) -> list[float]:
    """Round numbers from 0 up to `high` that stand apart on a square-root axis.

    >>> root_ticks(30.0, 6)
    [0.0, 1, 4, 9, 16, 25]
    """
    most, found = max(high, ROOT_TICKS[1]), [0.0]
    for value in ROOT_TICKS[1:]:
        if value <= most and math.sqrt(value) - math.sqrt(found[-1]) >= 0.99 * math.sqrt(most) / count:
            found.append(value)
    return found


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within [low, high] on a logarithmic axis: powers of 10, more of them where they are few.

    >>> log_ticks(1e-05, 0.03), log_ticks(0.9, 6.0)
    ([1e-05, 0.0001, 0.001, 0.01], [1.0, 2.0, 5.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 2 else (1, 2, 5)
    return [at for power in powers for factor in factors if low <= (at := float(f"{factor}e{power}")) <= high]


def short(value: float) -> str:
    """A number in at most four digits or so.

    >>> short(0.05), short(12500.0), short(-3e-05)
    ('0.05', '12,500', '−3e−05')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        found = f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    else:
        found = f"{value:.2g}"
    return found.replace("-", "−")
