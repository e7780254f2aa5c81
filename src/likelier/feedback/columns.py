"""Arrays of results, one number an annotator, as lists with None where nothing is known."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def list_known(values: Floats, known: NDArray[np.bool_] | None = None) -> list[float | None]:
    """Return numbers, None where they are NaN or not `known`."""
    is_known = (~np.isnan(values) if known is None else known).tolist()
    return [value if there else None for value, there in zip(values.tolist(), is_known, strict=True)]


def list_intervals(bounds: Floats) -> list[Interval | None]:
    """Return [annotators, 2] as pairs, None where they are NaN."""
    known: list[bool] = np.asarray(np.isfinite(bounds).all(axis=1)).tolist()
    return [(low, high) if there else None for (low, high), there in zip(bounds.tolist(), known, strict=True)]


def list_rates(
    annotator: NDArray[np.int64], events: NDArray[np.bool_], trials: NDArray[np.bool_], count: int
) -> list[float | None]:
    """Return each annotator's share of events among trials, None without trials."""
    num_events, num_trials = (np.bincount(annotator, rows, count) for rows in (events, trials))
    return list_known(num_events / np.maximum(num_trials, 1), num_trials > 0)
