"""A picture of a search: the metric over each field that was varied."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Found = dict[str, Any]
DOT, FAINT, BEST, FAILED = "#2563a8", "#9db8d6", "#c2410c", "#7a7a7a"


def plot(path: Path, trials: Sequence[Found], metric: str) -> None:
    """A panel for each field: means with intervals, single runs fainter, the best in red, failed trials as crosses."""
    from matplotlib.figure import Figure

    fields = list(trials[0]["values"])
    columns = min(3, len(fields))
    rows = -(-len(fields) // columns)
    figure = Figure(figsize=(1.2 + 4.0 * columns, 0.6 + 3.2 * rows), layout="constrained", dpi=120)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axis, field in zip(axes, fields, strict=False):
        panel(axis, field, trials)
    for axis in axes[len(fields) :]:
        axis.remove()
    figure.supylabel(metric)
    figure.savefig(path, metadata={"Software": None})


def panel(axis: Any, field: str, trials: Sequence[Found]) -> None:
    """One field; numbers on a scale of their own, anything else side by side."""
    tried = [trial["values"][field] for trial in trials]
    places, labels = place(tried)
    worst = axis.get_xaxis_transform()
    for at, trial in reversed(list(zip(places, trials, strict=True))):
        if trial["mean"] is None:
            axis.plot([at], [0.02], "x", color=FAILED, transform=worst, clip_on=False)
            continue
        scores = [score for score in trial["scores"] if score is not None]
        axis.plot([at] * len(scores), scores, ".", color=FAINT, markersize=5, zorder=1)
        colour = BEST if trial["rank"] == 1 else DOT
        low, high = trial["interval"] or [trial["mean"]] * 2
        error = [[trial["mean"] - low], [high - trial["mean"]]]
        axis.errorbar([at], [trial["mean"]], error, fmt="o", color=colour, markersize=6, linewidth=1.2, zorder=2)
    if labels:
        axis.set_xticks(range(len(labels)), labels)
    elif by_logarithm(tried):
        axis.set_xscale("log")
    axis.set_xlabel(field)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axis.set_axisbelow(True)


def place(tried: Sequence[Any]) -> tuple[list[float], list[str]]:
    """Where each value stands on the axis; labels where they are no numbers. Equal values stand a little apart."""
    labels: list[str] = []
    numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(tried):
        labels = list(dict.fromkeys(map(str, tried)))
        places = [float(labels.index(str(value))) for value in tried]
        return [at + shift for at, shift in zip(places, shifts(places, 0.12), strict=True)], labels
    places = [float(value) for value in tried]
    if by_logarithm(tried):
        width = 0.012 * math.log(max(places) / min(places))
        return [at * math.exp(shift) for at, shift in zip(places, shifts(places, width), strict=True)], labels
    width = 0.012 * (max(places) - min(places))
    return [at + shift for at, shift in zip(places, shifts(places, width), strict=True)], labels


def shifts(places: Sequence[float], width: float) -> list[float]:
    """For each of several equal places one step of `width` more, around 0."""
    seen: dict[float, int] = {}
    nth = [seen.update({at: seen.get(at, -1) + 1}) or seen[at] for at in places]
    return [width * (which - seen[at] / 2) for which, at in zip(nth, places, strict=True)]


def by_logarithm(tried: Sequence[Any]) -> bool:
    """Whether positive numbers span more than a factor of 5."""
    values = np.array([float(value) for value in tried])
    return bool(values.min() > 0 and values.max() / values.min() > 5)
