"""Responses unlike those that a reward model was trained on, by thresholds from pairs held out of its training.

Two signs, with a threshold each that one in twenty held-out responses exceeds: the Mahalanobis distance of the hidden
state that the head reads from those of the training responses (Lee et al. 2018, "A simple unified framework for
detecting out-of-distribution samples and adversarial attacks"), and the disagreement of an ensemble's models.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from likelier.errors import DataError
from likelier.files import read_json, write_json
from likelier.intervals import Floats
from likelier.training.state import load_arrays, save_arrays

LEVEL = 0.05
"""Share of the held-out responses beyond each threshold."""
JSON, ARRAYS = "distribution.json", "distribution.safetensors"


@dataclass(frozen=True)
class Distribution:
    """Where the hidden states of the training responses lie, and how far out held-out ones are."""

    mean: Float[Tensor, " D"]
    whitener: Float[Tensor, "D D"]
    """W with W W' = inverse covariance."""
    distance: float | None
    """Threshold of the distance; None with too few held-out responses."""
    disagreement: float | None = None
    """Threshold of the standard deviation between models; None for a single one too."""

    def measure(self, features: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the Mahalanobis distance of each response, sqrt((h - mean)' C^-1 (h - mean))."""
        whitened = (features.double() - self.mean) @ self.whitener
        return whitened.square().sum(1).sqrt().float()

    def find_signs(
        self, features: Float[Tensor, "B D"], disagreement: Float[Tensor, " B"] | None
    ) -> dict[str, Float[Tensor, " B"]]:
        """Return the distance of each response, and by sign 1 where a response is beyond the threshold, else 0."""
        signs = {"distance": self.measure(features)}
        if self.distance is not None:
            signs["high_distance"] = (signs["distance"] > self.distance).float()
        if self.disagreement is not None and disagreement is not None:
            signs["high_disagreement"] = (disagreement > self.disagreement).float()
        return signs

    def save(self, folder: Path) -> None:
        """Write it beside a model's weights."""
        save_arrays(folder / ARRAYS, {"mean": self.mean.numpy(), "whitener": self.whitener.numpy()})
        about = {"level": LEVEL, "distance": self.distance, "disagreement": self.disagreement}
        write_json(folder / JSON, {"schema_version": 1} | about)


def load_distribution(folder: Path) -> Distribution | None:
    """Load what `save` wrote; None where it wrote nothing. DataError: it is damaged."""
    if not (folder / JSON).is_file() or not (folder / ARRAYS).is_file():
        return None
    about, arrays = read_json(folder / JSON), load_arrays(folder / ARRAYS)
    mean, whitener = arrays.get("mean"), arrays.get("whitener")
    thresholds = [about.get(name) for name in ("distance", "disagreement")]
    if any(each is not None and not (isinstance(each, int | float) and math.isfinite(each)) for each in thresholds):
        raise DataError(f"{folder / JSON}: distance and disagreement are {thresholds}; train the reward model again")
    if mean is None or whitener is None or mean.ndim != 1 or whitener.shape != 2 * mean.shape:
        raise DataError(f"{folder / ARRAYS}: no mean with its covariance; train the reward model again")
    return Distribution(torch.from_numpy(mean), torch.from_numpy(whitener), *thresholds)


def fit_distribution(training: Floats, held_out: Floats, disagreement: Floats | None = None) -> Distribution | None:
    """Fit to the hidden states of training responses, [N, D], with thresholds from held-out ones, [M, D].

    `disagreement`: the deviation between models on the held-out responses, [M]. None: a hidden state is not finite.
    """
    if not (np.isfinite(training).all() and np.isfinite(held_out).all()):
        return None
    mean = training.mean(axis=0)
    whitener = whiten(shrink_covariance(training))
    fitted = Distribution(torch.from_numpy(mean), torch.from_numpy(whitener), None)
    distance = find_threshold(fitted.measure(torch.from_numpy(held_out)).numpy())
    return Distribution(
        fitted.mean, fitted.whitener, distance, None if disagreement is None else find_threshold(disagreement)
    )


def whiten(covariance: Floats) -> Floats:
    """Return W [D, D] with W W' = inverse covariance; directions without any spread count as if with the least."""
    # By eigenvalues: of hidden states in a few dimensions out of many a Cholesky factor does not exist in doubles.
    spread, directions = np.linalg.eigh(covariance)
    least = spread.max() * len(spread) * np.finfo(np.float64).eps
    return np.asarray(directions / np.sqrt(np.maximum(spread, least)))


def find_threshold(values: ArrayLike, level: float = LEVEL) -> float | None:
    """Return the ceil((n + 1)(1 - level))-th smallest of n values; None if n is too small for one.

    Of a further value from the same distribution the probability to lie above is at most `level` (conformal
    prediction; Vovk et al. 2005).
    """
    ordered = np.sort(np.asarray(values, float))
    place = math.ceil((len(ordered) + 1) * (1 - level))
    return float(ordered[place - 1]) if place <= len(ordered) else None


def shrink_covariance(rows: Floats) -> Floats:
    """Return the covariance of rows [N, D], shrunk towards a multiple of the identity so that it can be inverted.

    (1 - r) S + r m I with m = tr S / D and r = min(b^2, d^2) / d^2, where d^2 = |S - m I|^2 / D and b^2 = sum over rows
    of |x x' - S|^2 / (N^2 D). Source: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional
    covariance matrices". A spread of 0 gives the identity.
    """
    centred = rows - rows.mean(axis=0)
    count, size = centred.shape
    covariance = centred.T @ centred / count
    scale = float(np.trace(covariance)) / size
    if scale == 0:
        return np.eye(size)
    identity = scale * np.eye(size)
    apart = float(((covariance - identity) ** 2).sum()) / size
    fourth = float(((centred**2).sum(axis=1) ** 2).sum())
    noise = (fourth / count - float((covariance**2).sum())) / (count * size)
    shrinkage = min(noise, apart) / apart if apart > 0 else 1.0
    # A layer may hold exact combinations of others; what never varied in training then counts as hardly varying.
    shrunk: Floats = (1 - shrinkage) * covariance + (shrinkage + 1e-9) * identity
    return shrunk
