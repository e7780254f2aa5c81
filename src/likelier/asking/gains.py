"""Expected information from one more judgement of a comparison: formulas of the acquisition strategies, in numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, xlogy

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()


def entropy_of(probability: ArrayLike) -> Floats:
    """Return the entropy of a yes or no, in nats."""
    p = np.asarray(probability, float)
    return np.asarray(-xlogy(p, p) - xlogy(1 - p, 1 - p))


def measure_disagreement(differences: Floats) -> Floats:
    """Return what an answer would tell about which model of an ensemble is right, in nats, [N].

    `differences` [K, N] are the models' scores of the left response minus those of the right one. With p_k =
    sigmoid(difference_k): H(mean of p_k) - mean of H(p_k). Source: Houlsby et al. (2011), BALD.
    """
    p = expit(differences)
    gains: Floats = entropy_of(p.mean(axis=0)) - entropy_of(p).mean(axis=0)
    return gains


def measure_gain(mean: ArrayLike, variance: ArrayLike) -> Floats:
    """Return what an answer would tell about a difference of scores d, normal with this mean and variance, in nats.

    H(E sigmoid(d)) - E H(sigmoid(d)): by how much the entropy of the scores is expected to fall (Lindley 1956; Houlsby
    et al. 2011). By Gauss and Hermite at 21 nodes.
    """
    spread = np.sqrt(np.maximum(np.asarray(variance, float), 0.0))
    p = expit(np.asarray(mean, float)[..., None] + spread[..., None] * NODES)
    return np.maximum(entropy_of(p @ NODE_WEIGHTS) - entropy_of(p) @ NODE_WEIGHTS, 0.0)


def choose_by_determinant(
    candidates: Floats, weights: ArrayLike, judged: Floats, judged_weights: ArrayLike, size: int, ridge: float
) -> list[int]:
    """Return the numbers of a batch of candidates [N, D] that makes the determinant of the information large.

    The information of a linear reward about differences of features x is A = ridge I + sum w x x'. Each step takes the
    candidate with the largest w x' A^-1 x, by which log det A grows most, and adds it to A: greedy D-optimal design,
    within 1 - 1/e of the best batch. The weights w are p (1 - p) of the answer.
    """
    roots = np.sqrt(np.asarray(weights, float))
    scaled = candidates * roots[:, None]
    known = judged * np.sqrt(np.asarray(judged_weights, float))[:, None]
    inverse = np.linalg.inv(known.T @ known + ridge * np.eye(candidates.shape[1]))
    reach = scaled @ inverse  # [N, D]: A^-1 x
    gains = (reach * scaled).sum(axis=1)
    chosen: list[int] = []
    for _ in range(min(size, len(candidates))):
        best = int(gains.argmax())
        chosen.append(best)
        # Sherman and Morrison: A^-1 - A^-1 x x' A^-1 / (1 + x' A^-1 x).
        along = reach @ scaled[best]
        reach -= np.outer(along, reach[best]) / (1 + gains[best])
        gains = (reach * scaled).sum(axis=1)
        gains[chosen] = -np.inf
    return chosen


def choose_by_entropy(
    mean: Floats, covariance: Sequence[Floats], place: Indices, left: Indices, right: Indices, size: int
) -> list[int]:
    """Return the numbers of a batch of comparisons, each of which is expected to lower the scores' entropy most.

    Scores are normal: `mean` [R], and the covariance matrix of each component in which responses are compared; `place`
    [R, 2] has each response's component and its place there. A comparison that was taken counts as judged for those
    taken after it: the covariance falls by v v' p (1 - p) / (1 + p (1 - p) s), with v its column difference, s the
    variance of the difference of scores.
    """
    matrices = [matrix.copy() for matrix in covariance]
    component, one, two = place[left, 0], place[left, 1], place[right, 1]
    difference = mean[left] - mean[right]

    rows_of = {number: np.flatnonzero(component == number) for number in np.unique(component).tolist()}
    variance, gains = np.zeros(len(left)), np.zeros(len(left))

    def update(number: int) -> None:
        rows, matrix = rows_of[number], matrices[number]
        i, j = one[rows], two[rows]
        variance[rows] = matrix[i, i] + matrix[j, j] - 2 * matrix[i, j]
        gains[rows] = measure_gain(difference[rows], variance[rows])

    for number in rows_of:
        update(number)
    chosen: list[int] = []
    for _ in range(min(size, len(left))):
        best = int(gains.argmax())
        chosen.append(best)
        number, p = int(component[best]), expit(difference[best])
        matrix = matrices[number]
        along = matrix[:, one[best]] - matrix[:, two[best]]
        curvature = p * (1 - p)
        matrices[number] = matrix - np.outer(along, along) * (curvature / (1 + curvature * variance[best]))
        update(number)
        gains[chosen] = -np.inf
    return chosen
