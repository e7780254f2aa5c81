"""A reward model's last layer as a ridge logistic regression on fixed features: its fit, and what it owes to rows.

Numpy only. Rows are pairs: differences of the last layer's inputs, chosen minus rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from likelier.intervals import Floats
from likelier.records import Preference

Rows = NDArray[np.int_]
MAX_STEPS, TOLERANCE = 100, 1e-10
"""Newton steps of a fit, and the largest gradient it ends at, relative to that of the sum of the rows."""
LARGEST = 30.0
"""Score differences are cut here: beyond, the probabilities of a judgement are 0 or 1 to all digits."""


@dataclass(frozen=True)
class Answers:
    """People's answers, as `preference_loss` takes it: arrays [N]. `slope` and `floor`: the probability of the
    answer is slope * (sigmoid(d - margin - lower) - sigmoid(d - margin - upper)) + floor."""

    weight: Floats
    target: Floats
    margin: Floats
    slope: Floats
    floor: Floats
    lower: Floats
    upper: Floats

    @classmethod
    def from_pairs(cls, pairs: Sequence[Preference], use_flip: bool = True, length: Floats | float = 0.0) -> "Answers":
        """Read pairs; without `use_flip` everybody is believed. `length`: log-odds [N] that length adds for `chosen`,
        of ties too."""
        weight, target, margin, flip, guess = np.array(
            [[pair.weight, pair.target, pair.margin, pair.flip * use_flip, pair.guess] for pair in pairs]
        ).T
        careless = np.minimum(2 * flip, 1.0)
        slope = np.where(guess == 0.5, 1 - 2 * flip, 1 - careless)
        floor = np.where(guess == 0.5, flip, careless * guess)
        lower, upper, chance = np.array([pair.interval for pair in pairs]).T
        margin = np.where(target == 0.5, 0.0, margin) - length
        # The log-likelihood of an answer with a strength is that of a target of 1 (`strength_log_likelihood`).
        graded = (lower != 0) | np.isfinite(upper)
        read = np.abs(1 - 2 * flip)
        target, slope = np.where(graded, 1.0, target), np.where(graded, read, slope)
        floor = np.where(graded, (1 - read) * chance, floor)
        turned = graded & (flip > 0.5)
        return cls(
            weight, target, margin, slope, floor, np.where(turned, -upper, lower), np.where(turned, -lower, upper)
        )

    def select(self, rows: Rows) -> "Answers":
        """Return some of the rows."""
        return Answers(**{name: column[rows] for name, column in vars(self).items()})

    def derive(self, difference: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the weighted loss of each row, and its first and second derivative by the score difference, [N] each.

        With s the probability of the answer by somebody who reads, of a plain one sigmoid(d), q = slope s + floor and
        loss = -(t log q + (1 - t) log(1 - q)):
        loss' = -(t / q - (1 - t) / (1 - q)) q', and loss'' as follows; without errors s - t and s (1 - s).
        """
        d = np.clip(difference - self.margin, -LARGEST, LARGEST)
        above, below = expit(d - self.lower), expit(self.lower - d)
        beyond, within = expit(d - self.upper), expit(self.upper - d)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)): differences would round to 0.
        right = above * within * -np.expm1(self.lower - self.upper)
        q = self.slope * right + self.floor
        # Where it has no weight it may be 0.
        not_q = np.where(self.target == 1.0, 1.0, self.slope * below + (1 - self.slope - self.floor))
        first = self.slope * (above * below - beyond * within)
        second = self.slope * (above * below * (below - above) - beyond * within * (within - beyond))
        loss = -(self.target * np.log(q) + (1 - self.target) * np.log(not_q))
        gradient = -(self.target / q - (1 - self.target) / not_q) * first
        curvature = self.target * ((first / q) ** 2 - second / q)
        curvature += (1 - self.target) * ((first / not_q) ** 2 + second / not_q)
        return self.weight * loss, self.weight * gradient, self.weight * curvature


@dataclass(frozen=True)
class Head:
    """The minimum of sum(weight * loss) + ridge |w|^2 / 2 over the rows, in the rows' own directions.

    `basis` [D, R] maps features to these directions, at most as many as there are rows or features; `weights` [R].
    """

    basis: Floats
    weights: Floats
    ridge: float

    def differences(self, features: Floats) -> Floats:
        """Return the scores of differences of features, [N]."""
        scores: Floats = features @ (self.basis @ self.weights)
        return scores


def make_basis(features: Floats) -> Floats:
    """Return directions [D, R] that hold all rows [N, D], scaled so that rows have a mean squared length of 1.

    With fewer rows than features those of the singular value decomposition: a ridge fit has no part outside them.
    """
    scale = np.sqrt((features**2).sum(axis=1).mean()) or 1.0
    if features.shape[0] >= features.shape[1]:
        return np.eye(features.shape[1]) / scale
    right = np.linalg.svd(features, full_matrices=False)[2]
    basis: Floats = right.T / scale
    return basis


def fit_head(features: Floats, answers: Answers, ridge: float, basis: Floats | None = None) -> Head:
    """Fit the head to feature differences [N, D] by Newton's method with step halving."""
    basis = make_basis(features) if basis is None else basis
    rows = features @ basis
    return Head(basis, minimise(rows, answers, ridge, np.zeros(rows.shape[1])), ridge)


def minimise(rows: Floats, answers: Answers, ridge: float, start: Floats) -> Floats:
    """Return the weights [R] at the minimum for rows [N, R], from `start` on."""

    def objective(w: Floats) -> float:
        return float(answers.derive(rows @ w)[0].sum() + ridge * (w @ w) / 2)

    weights, value = start, objective(start)
    size = np.abs(rows * answers.weight[:, None]).sum(axis=0).max()
    for _ in range(MAX_STEPS):
        _, first, second = answers.derive(rows @ weights)
        gradient = rows.T @ first + ridge * weights
        if np.abs(gradient).max() <= TOLERANCE * size:
            break
        # Where people err the loss is not convex everywhere; without the negative curvatures a step still goes down.
        step = cho_solve(cho_factor(make_hessian(rows, np.maximum(second, 0), ridge)), gradient)
        scale = 1.0
        while (lower := objective(weights - scale * step)) > value - 1e-4 * scale * float(step @ gradient):
            scale /= 2
            if scale < 1e-8:
                return weights
        weights, value = weights - scale * step, lower
    return weights


def make_hessian(rows: Floats, curvature: Floats, ridge: float) -> Floats:
    """Return sum_i curvature_i x_i x_i' + ridge I, [R, R]."""
    hessian: Floats = rows.T @ (rows * curvature[:, None])
    hessian[np.diag_indices_from(hessian)] += ridge
    return hessian


@dataclass(frozen=True)
class Influence:
    """Effect of removing rows on a fitted head: one Newton step of the rows that stay, from the minimum of all.

    Δw = H_S^-1 g_S, with g_S the gradient of the removed rows and H_S the Hessian of the others (Pregibon 1981;
    Koh, Ang, Teo and Liang 2019, section 5, on groups, where the plain influence H^-1 g_S falls short).
    """

    head: Head
    rows: Floats
    """[N, R]"""
    gradient: Floats
    curvature: Floats
    inverse: Floats
    """H^-1, [R, R]."""

    @classmethod
    def from_fit(cls, head: Head, features: Floats, answers: Answers) -> "Influence":
        """Compute gradients and curvatures of the rows that the head was fitted to."""
        rows = features @ head.basis
        _, gradient, curvature = answers.derive(rows @ head.weights)
        hessian = make_hessian(rows, np.maximum(curvature, 0), head.ridge)
        inverse = cho_solve(cho_factor(hessian), np.eye(len(hessian)))
        return cls(head, rows, gradient, np.maximum(curvature, 0), inverse)

    def remove(self, removed: Rows) -> Floats:
        """Return the change [D] of the weights on features without these rows."""
        change = self.inverse @ (self.rows[removed].T @ self.gradient[removed])
        if len(removed) < len(self.inverse):  # Woodbury's identity: a system of the removed rows is smaller
            rows, curvature = self.rows[removed], self.curvature[removed]
            spread = self.inverse @ rows.T
            system = np.eye(len(removed)) - curvature[:, None] * (rows @ spread)
            change += spread @ np.linalg.solve(system, curvature * (rows @ change))
        else:
            kept = np.delete(np.arange(len(self.rows)), removed)
            hessian = make_hessian(self.rows[kept], self.curvature[kept], self.head.ridge)
            change = cho_solve(cho_factor(hessian), self.rows[removed].T @ self.gradient[removed])
        changes: Floats = self.head.basis @ change
        return changes

    def remove_each(self, groups: Rows, features: Floats) -> Floats:
        """Return the change [groups] of one score, of features [D], without each group of rows in turn.

        `groups` [N]: from 0 on; the rows of a group are judgements of one comparison, the same up to their sign.
        """
        count = int(groups.max()) + 1
        first = np.unique(groups, return_index=True)[1]
        direction = self.rows[first]
        signs = np.sign((self.rows * direction[groups]).sum(axis=1))
        gradient = np.bincount(groups, self.gradient * signs, count)
        curvature = np.bincount(groups, self.curvature, count)
        towards = self.inverse @ (features @ self.head.basis)
        leverage = curvature * ((direction @ self.inverse) * direction).sum(axis=1)
        changes: Floats = (direction @ towards) * gradient / (1 - leverage)
        return changes
