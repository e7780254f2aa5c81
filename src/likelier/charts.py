"""Line charts as inline SVG: colours come from the page's CSS, so that they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]
WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 14, 44


@dataclass(frozen=True)
class Series:
    """A named curve; `dots` draws its points without a line."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    dots: bool = False


def line_chart(title: str, x_label: str, y_label: str, series: Sequence[Series], small: bool = False) -> Markup:
    """One chart with axes, a grid and, for more than one curve, a legend below; nothing to draw gives nothing."""
    shown = [each for each in series if each.points]
    if not shown:
        return Markup("")
    xs = ticks(*extent([x for each in shown for x, _ in each.points]), count=4 if small else 6)
    ys = ticks(*extent([y for each in shown for _, y in each.points]), count=4 if small else 5)
    frame = Frame(xs[0], xs[-1], ys[0], ys[-1])
    parts = [frame.grid(xs, ys), frame.labels(x_label, y_label), *(frame.curve(each) for each in shown)]
    told = f"{title}: {y_label} over {x_label}; " + "; ".join(in_words(each) for each in shown)
    picture = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, told, Markup("").join(parts)
    )
    legend = Markup("").join(
        Markup('<li><span class="key c{}"></span>{}</li>').format(each.colour, each.name) for each in shown
    )
    below = Markup('<ul class="legend">{}</ul>').format(legend) if len(shown) > 1 else Markup("")
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}{}</figure>').format(title, picture, below)


def in_words(series: Series) -> str:
    """What a listener needs of a curve."""
    return f"{series.name} from {short(series.points[0][1])} to {short(series.points[-1][1])}"


def extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        return low - max(abs(low), 1) * 0.5, high + max(abs(high), 1) * 0.5
    return low, high


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers that cover [low, high].

    >>> ticks(0.0, 9.3, 5)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(float(at * step), 12) for at in range(first, last + 1)]


def short(value: float) -> str:
    """A number in at most four digits or so.

    >>> short(0.05), short(12500.0), short(3e-05)
    ('0.05', '12,500', '3e-05')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2g}"


@dataclass(frozen=True)
class Frame:
    """From data to the picture's coordinates."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def grid(self, xs: Sequence[float], ys: Sequence[float]) -> Markup:
        lines = [
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, self.y(y), self.y(y)
            )
            for y in ys
        ]
        lines += [
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT - 8, self.y(y) + 4, short(y)
            )
            for y in ys
        ]
        lines += [
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                self.x(x), HEIGHT - BOTTOM + 18, short(x)
            )
            for x in xs
        ]
        return Markup("").join(lines)

    def labels(self, x_label: str, y_label: str) -> Markup:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        return Markup(
            '<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>'
            '<text class="label" transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, middle, y_label)

    def curve(self, series: Series) -> Markup:
        places = [(self.x(x), self.y(y), x, y) for x, y in series.points]
        path = " ".join(f"{'L' if at else 'M'}{px:.1f} {py:.1f}" for at, (px, py, _, _) in enumerate(places))
        line = Markup("") if series.dots else Markup('<path class="line c{}" d="{}"/>').format(series.colour, path)
        marked = places if series.dots or len(places) <= 40 else places[-1:]
        dots = Markup("").join(
            Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {}, {}</title></circle>').format(
                series.colour, px, py, 6 if series.dots else 3, escape(series.name), short(x), short(y)
            )
            for px, py, x, y in marked
        )
        return line + dots
