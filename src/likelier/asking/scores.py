"""The posterior of responses' scores: what is known of them, and how well, by the judgements so far."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from likelier.feedback.reliability import SCORE_SD, Choices, fit_posterior_mode, measure_prior_precision, measure_pull

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
MAX_COMPONENT = 1500
"""Responses of a component whose covariance matrix is computed; of a larger one its diagonal alone, which is too small:
to invert it would take minutes."""


class Scores(NamedTuple):
    """Normal approximation of the posterior of scores."""

    mean: Floats
    """[R]"""
    covariance: Sequence[Floats]
    """Of each component of responses that are compared with one another, judged or not."""
    place: Indices
    """[R, 2]: component, and place in its matrix."""


def estimate_scores(judgements: Choices | None, left: Indices, right: Indices, num_responses: int) -> Scores:
    """Return the posterior of the scores of `num_responses` responses, by the model of `skilled_bradley_terry`.

    `left` and `right` are the comparisons that can be asked; `judgements` has the same numbers of responses. By
    Laplace's method, annotators held at their mode: the precision is sum_n c_n (e_l - e_r) (e_l - e_r)' plus the
    prior's, with c_n the curvature of an answer by the difference of scores.
    """
    mean, weights = np.zeros(num_responses), np.zeros(len(left))
    ends = np.stack([left, right])
    precision = 1 / SCORE_SD**2
    if judgements is not None:
        mode = fit_posterior_mode(judgements)
        curvature = measure_pull(judgements, mode)[1]
        mean, precision = mode.score, measure_prior_precision(judgements, mode)
        ends = np.concatenate([ends, np.stack([judgements.left, judgements.right])], axis=1)
        weights = np.concatenate([weights, curvature])
    shape = (num_responses, num_responses)
    component = connected_components(coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape), directed=False)[1]
    order = np.argsort(component, kind="stable")
    sizes = np.bincount(component)
    starts = np.cumsum(sizes) - sizes
    place = np.empty((num_responses, 2), np.int64)
    place[order, 0], place[order, 1] = component[order], np.arange(num_responses) - starts[component[order]]
    of_edge = component[ends[0]]
    edges = np.split(np.argsort(of_edge, kind="stable"), np.cumsum(np.bincount(of_edge, minlength=len(sizes)))[:-1])
    covariance = [
        invert_precision(place[ends[:, rows], 1], weights[rows], int(size), precision)
        for rows, size in zip(edges, sizes, strict=True)
    ]
    return Scores(mean, covariance, place)


def invert_precision(ends: Indices, weights: Floats, size: int, prior: float) -> Floats:
    """Return the covariance of a component's scores, given its edges [2, E] and their weights."""
    diagonal = np.bincount(ends.ravel(), np.tile(weights, 2), size) + prior
    if size > MAX_COMPONENT:
        return np.diag(1 / diagonal)
    matrix = np.diag(diagonal)
    np.add.at(matrix, (ends[0], ends[1]), -weights)
    np.add.at(matrix, (ends[1], ends[0]), -weights)
    return np.asarray(np.linalg.inv(matrix))
