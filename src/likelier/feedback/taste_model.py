"""A mixture of tastes: groups of people, each with scores of responses or a reward of features, and people's habits.

P(a prefers left | group k) = sigmoid(gamma_a x v_k + b_a + l_a longer), where x is the left response minus the right
one and v_k are the scores of the responses (a Bradley-Terry model) or the weights of features. gamma_a is the skill,
b_a a habit of choosing the left side, l_a one of choosing the longer response: who has a habit has no taste of their
own for it. v_k is normal around a common taste m, with variance 1 - `CORRELATION`, and m has variance `CORRELATION`:
groups with few judgements are shrunk to what all have in common.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, log_expit

from likelier.text.topics import run_k_means

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

CORRELATION = 0.5
"""Prior correlation of the tastes of two groups."""
HABITS_MEAN, HABITS_SD = np.array([0.0, 1.0, 0.0]), np.array([2.0, 1.0, 2.0])
"""Normal priors of a person's side bias, skill and length bias, as in `audit`."""
SIDE, SKILL, LENGTH = 0, 1, 2
FORMING_STEPS, SEARCH_STEPS, POLISH_STEPS, SINGLE_STEPS = 5, 12, 15, 12
ANNEALING = 0.1
"""The likelihood counts a tenth in the first step of a search, two tenths in the second: certainty comes late."""
MAX_HABIT_STEP, MAX_LOGIT_STEP = 1.0, 3.0
CG_STEPS, CG_TOLERANCE = 15, 1e-2
NUM_DRAWS = 30
"""Of `measure_dissent`."""


@dataclass(frozen=True)
class Panel:
    """Votes that are no ties as arrays, [N] each."""

    design: csr_array
    """[N, D]: left minus right, in units in which a coefficient has prior variance 1."""
    annotator: Indices
    left: NDArray[np.bool_]
    longer: Floats
    """1 where the left response is longer, -1 where the right one is, 0 where equal or unknown."""
    comparison: Indices
    num_annotators: int

    @property
    def is_sparse(self) -> bool:
        """True if there are many coefficients for the votes, so that own votes weigh much in a small group's taste."""
        return bool(self.design.shape[1] * 100 > len(self.left))

    @cached_property
    def transposed(self) -> csr_array:
        """[D, N]"""
        return csr_array(self.design.T)

    @cached_property
    def squares(self) -> csr_array:
        """[N, D]: elementwise squares."""
        return csr_array(self.design.power(2))

    @cached_property
    def transposed_squares(self) -> csr_array:
        """[D, N]"""
        return csr_array(self.squares.T)

    @cached_property
    def own_entries(self) -> tuple[Indices, Indices, Floats, Indices]:
        """Row, column and value of each entry of the design, and a number of its person and column."""
        entries = self.design.tocoo()
        row, column = entries.coords
        own = np.unique(self.annotator[row] * self.design.shape[1] + column, return_inverse=True)[1]
        return np.asarray(row, np.int64), np.asarray(column, np.int64), entries.data, np.asarray(own, np.int64)

    def select(self, rows: NDArray[np.bool_]) -> "Panel":
        """Return the votes where `rows` is True; the people stay the same."""
        return Panel(
            csr_array(self.design[rows]),
            self.annotator[rows],
            self.left[rows],
            self.longer[rows],
            self.comparison[rows],
            self.num_annotators,
        )

    def sum_by_annotator(self, values: Floats) -> Floats:
        """Sum [N] over each person's votes, [annotators]."""
        return np.bincount(self.annotator, values, self.num_annotators).astype(float)


@dataclass(frozen=True)
class Mixture:
    """K tastes with everybody's habits under each of them."""

    tastes: list[Floats]
    """[D] each"""
    habits: list[Floats]
    """[annotators, 3] each"""
    membership: Floats
    """[annotators, K]: probability of each group."""
    shares: Floats
    """[K]"""
    objective: float
    """Log-posterior in nats."""

    @property
    def num_groups(self) -> int:
        """K"""
        return len(self.tastes)

    @property
    def prior_precision(self) -> float:
        """Of a taste around what all have in common; around 0 of a single one."""
        return 1.0 if self.num_groups == 1 else 1 / (1 - CORRELATION)


def split_logits(panel: Panel, habits: Floats) -> tuple[Floats, Floats]:
    """Return each vote's skill, and its logit between equal responses, [N] each."""
    own = habits[panel.annotator]
    return own[:, SKILL], own[:, SIDE] + own[:, LENGTH] * panel.longer


def log_likelihoods(panel: Panel, logits: Floats, habits: Floats) -> Floats:
    """Return each person's log-likelihood with the log-prior of their habits, [annotators]."""
    votes = panel.sum_by_annotator(log_expit(np.where(panel.left, logits, -logits)))
    penalty: Floats = (((habits - HABITS_MEAN) / HABITS_SD) ** 2).sum(axis=1) / 2
    return votes - penalty


def update_habits(panel: Panel, differences: Floats, habits: Floats) -> Floats:
    """Take one Newton step for everybody's habits given score differences [N]."""
    design = np.stack([np.ones(len(differences)), differences, panel.longer], axis=1)
    logits = (design * habits[panel.annotator]).sum(axis=1)
    p = expit(logits)
    residual, curvature = panel.left - p, p * (1 - p)
    gradient = np.stack([panel.sum_by_annotator(residual * column) for column in design.T], axis=1)
    gradient = gradient - (habits - HABITS_MEAN) / HABITS_SD**2
    hessian = np.zeros((panel.num_annotators, 3, 3))
    for one in range(3):
        for other in range(one, 3):
            entry = panel.sum_by_annotator(curvature * design[:, one] * design[:, other])
            hessian[:, one, other] = hessian[:, other, one] = entry
    step = np.linalg.solve(hessian + np.diag(1 / HABITS_SD**2), gradient[:, :, None])[:, :, 0]
    step *= np.minimum(1, MAX_HABIT_STEP / np.maximum(np.abs(step).max(axis=1), 1e-9))[:, None]
    updated: Floats = habits + step
    return updated


def update_taste(panel: Panel, taste: Floats, mean: Floats, precision: float, habits: Floats, weight: Floats) -> Floats:
    """Take one Newton step for a taste, around `mean` a priori; `weight` [N] scales the likelihood."""
    skill, offset = split_logits(panel, habits)
    p = expit(skill * (panel.design @ taste) + offset)
    curvature = weight * p * (1 - p) * skill**2
    gradient = panel.transposed @ (weight * (panel.left - p) * skill) - precision * (taste - mean)
    diagonal = panel.transposed_squares @ curvature + precision
    step = solve_by_conjugate_gradients(panel, curvature, precision, gradient, diagonal)
    largest = np.abs(panel.design @ step).max()
    updated: Floats = taste + step * min(1, MAX_LOGIT_STEP / max(largest, 1e-9))
    return updated


def solve_by_conjugate_gradients(
    panel: Panel, curvature: Floats, precision: float, target: Floats, diagonal: Floats
) -> Floats:
    """Solve (X' W X + precision) s = target, preconditioned by the diagonal; a Newton step need not be exact."""
    solution, residual = np.zeros_like(target), target.copy()
    direction = residual / diagonal
    product, limit = residual @ direction, CG_TOLERANCE**2 * (target @ target) + 1e-24
    for _ in range(CG_STEPS):
        if residual @ residual <= limit:
            break
        image = panel.transposed @ (curvature * (panel.design @ direction)) + precision * direction
        size = product / (direction @ image)
        solution, residual = solution + size * direction, residual - size * image
        scaled = residual / diagonal
        product, previous = residual @ scaled, product
        direction = scaled + product / previous * direction
    return solution


def leave_own_votes_out(panel: Panel, taste: Floats, precision: float, habits: Floats, weight: Floats) -> Floats:
    """Return each vote's score difference by a taste without its annotator's votes, [N]: one diagonal Newton step.

    Otherwise people would stay in whatever group they start in, since a small group's taste is their own.
    """
    skill, offset = split_logits(panel, habits)
    differences = panel.design @ taste
    p = expit(skill * differences + offset)
    pull, curvature = weight * (panel.left - p) * skill, weight * p * (1 - p) * skill**2
    row, column, value, own = panel.own_entries
    own_pull, own_curvature = np.bincount(own, pull[row] * value), np.bincount(own, curvature[row] * value**2)
    total = panel.transposed_squares @ curvature + precision
    change = own_pull[own] / np.maximum(total[column] - own_curvature[own], precision)
    return np.asarray(differences - np.bincount(row, value * change, len(differences)))


def fit_single(panel: Panel) -> Mixture:
    """Fit one taste for all, by turns with everybody's habits."""
    taste, habits = np.zeros(panel.design.shape[1]), np.tile(HABITS_MEAN, (panel.num_annotators, 1))
    weight = np.ones(len(panel.left))
    for _ in range(SINGLE_STEPS):
        taste = update_taste(panel, taste, np.zeros_like(taste), 1.0, habits, weight)
        habits = update_habits(panel, panel.design @ taste, habits)
    skill, offset = split_logits(panel, habits)
    loglik = log_likelihoods(panel, skill * (panel.design @ taste) + offset, habits)
    everybody = np.ones((panel.num_annotators, 1))
    return Mixture([taste], [habits], everybody, np.ones(1), float(loglik.sum() - taste @ taste / 2))


def step_mixture(
    panel: Panel, mixture: Mixture, temper: float = 1.0, leave_out: bool = False, fix_habits: bool = False
) -> Mixture:
    """Take one step of expectation and maximisation; `temper` scales the likelihood of memberships."""
    precision, count = mixture.prior_precision, mixture.num_groups
    mean = find_mean(mixture.tastes, precision)
    tastes, habits, logliks = [], [], []
    for group in range(count):
        weight = mixture.membership[panel.annotator, group]
        taste = update_taste(panel, mixture.tastes[group], mean, precision, mixture.habits[group], weight)
        own, differences = mixture.habits[group], panel.design @ taste
        if not fix_habits:
            own = update_habits(panel, differences, own)
        if leave_out:
            differences = leave_own_votes_out(panel, taste, precision, own, weight)
        skill, offset = split_logits(panel, own)
        loglik = log_likelihoods(panel, skill * differences + offset, own)
        tastes.append(taste)
        habits.append(own)
        logliks.append(loglik)
    loglik = np.stack(logliks, axis=1)
    membership = normalise(np.log(mixture.shares) + temper * loglik)
    mean = find_mean(tastes, precision)
    prior = sum(((taste - mean) ** 2).sum() for taste in tastes) * precision / 2 + mean @ mean / (2 * CORRELATION)
    return Mixture(
        tastes,
        habits,
        membership,
        (membership.sum(axis=0) + 1) / (panel.num_annotators + count),
        float(add_logs(np.log(mixture.shares) + loglik).sum() - prior),
    )


def find_mean(tastes: list[Floats], precision: float) -> Floats:
    """Return the likeliest common taste given those of groups."""
    mean: Floats = np.sum(tastes, axis=0) * precision / (len(tastes) * precision + 1 / CORRELATION)
    return mean


def normalise(log_weights: Floats) -> Floats:
    """Return probabilities proportional to exp(log_weights) in each row."""
    return np.asarray(np.exp(log_weights - add_logs(log_weights)[:, None]))


def add_logs(logs: Floats) -> Floats:
    """Return log(sum(exp(logs))) of each row. (Scipy's takes ten times as long for few columns.)"""
    largest = logs.max(axis=1)
    total: Floats = largest + np.log(np.exp(logs - largest[:, None]).sum(axis=1))
    return total


def polish(panel: Panel, mixture: Mixture, steps: int) -> Mixture:
    """Maximise the log-posterior by steps of EM until it changes by less than a twentieth of a nat."""
    objective = -np.inf
    for _ in range(steps):
        mixture = step_mixture(panel, mixture)
        if abs(mixture.objective - objective) < 0.05:
            break
        objective = mixture.objective
    return mixture


def fit_mixture(
    panel: Panel, single: Mixture, count: int, generator: np.random.Generator, num_starts: int = 4
) -> Mixture:
    """Fit `count` tastes from several starts, given the fit of one; returns the one of highest posterior.

    A search leaves everybody's own votes out of the taste that they are assigned by, which finds the groups from nearly
    every start. Its objective is no likelihood, so the two best are then polished with all votes and compared.
    """
    fits = []
    for membership in draw_starts(panel, single, count, generator, num_starts):
        # Who dissents has a skill of nearly 0 by a single taste, and would have no say in the taste of a group: skills
        # are held at 1 or more until there are tastes to have a skill of.
        habits = np.where(np.arange(3) == SKILL, np.maximum(single.habits[0], 1.0), single.habits[0])
        mixture = replace(
            single,
            tastes=single.tastes * count,
            habits=[habits] * count,
            membership=membership,
            shares=np.full(count, 1 / count),
        )
        for step in range(SEARCH_STEPS):
            temper = min(1.0, ANNEALING * (step + 1))
            mixture = step_mixture(panel, mixture, temper, panel.is_sparse, fix_habits=step < FORMING_STEPS)
        fits.append(polish(panel, mixture, 3))
    best = sorted(fits, key=lambda fit: -fit.objective)[:2]
    return max((polish(panel, fit, POLISH_STEPS) for fit in best), key=lambda fit: fit.objective)


def draw_starts(
    panel: Panel, single: Mixture, count: int, generator: np.random.Generator, num_starts: int
) -> list[Floats]:
    """Return memberships to start from: by k-means of what people's errors have in common, and at random by turns."""
    places = embed_people(panel, single, count)
    starts = []
    for number in range(num_starts):
        if number == 0 and count == 2:
            group = (places[:, 0] > 0).astype(int)
        elif number % 2 == 0:
            group = run_k_means(places, count, generator)[0]
        else:
            group = generator.integers(count, size=panel.num_annotators)
        membership = np.full((panel.num_annotators, count), 0.1 / count)
        membership[np.arange(len(group)), group] += 0.9
        starts.append(membership)
    return starts


def expect_left(panel: Panel, mixture: Mixture) -> tuple[Floats, Floats]:
    """Return each vote's probability of left by its person's likeliest group, and their skill there, [N] each."""
    group = mixture.membership.argmax(axis=1)[panel.annotator]
    p, skills = np.zeros(len(group)), np.zeros(len(group))
    for number, (taste, habits) in enumerate(zip(mixture.tastes, mixture.habits, strict=True)):
        skill, offset = split_logits(panel, habits)
        p = np.where(group == number, expit(skill * (panel.design @ taste) + offset), p)
        skills = np.where(group == number, skill, skills)
    return p, skills


def relate_people(panel: Panel, p: Floats, left: Floats) -> Floats:
    """Return how alike people depart from probabilities `p` of left with answers `left` of 0 and 1, both [N].

    Products of people's gradients by the taste, each in units of its standard error, [annotators, annotators]; 0 with
    oneself.
    """
    row, column, value, own = panel.own_entries
    gradient = np.bincount(own, (left - p)[row] * value)
    information = np.bincount(own, (p * (1 - p))[row] * value**2)
    first = np.zeros(len(gradient), np.int64)
    first[own] = np.arange(len(own))
    scaled = csr_array(
        (gradient / np.sqrt(information + 1), (panel.annotator[row[first]], column[first])),
        shape=(panel.num_annotators, panel.design.shape[1]),
    )
    products: Floats = (scaled @ scaled.T).toarray()
    np.fill_diagonal(products, 0)
    return products


def measure_dissent(panel: Panel, mixture: Mixture, generator: np.random.Generator) -> float:
    """Return by how many standard deviations people depart together from the tastes of a mixture, more than by chance.

    The largest eigenvalue of `relate_people`, beside those of answers drawn from the mixture.
    """
    p, _ = expect_left(panel, mixture)
    drawn = [(generator.random(len(p)) < p).astype(float) for _ in range(NUM_DRAWS)]
    largest = [np.linalg.eigvalsh(relate_people(panel, p, each))[-1] for each in drawn]
    observed = np.linalg.eigvalsh(relate_people(panel, p, panel.left.astype(float)))[-1]
    return float((observed - np.mean(largest)) / max(np.std(largest, ddof=1), 1e-9))


def embed_people(panel: Panel, single: Mixture, dimensions: int) -> Floats:
    """Return coordinates [annotators, dimensions] in which people who depart alike from a single taste lie together."""
    p, _ = expect_left(panel, single)
    values, vectors = np.linalg.eigh(relate_people(panel, p, panel.left.astype(float)))
    return np.asarray((vectors * np.sqrt(np.maximum(values, 1e-9)))[:, ::-1][:, :dimensions])


def measure_variances(panel: Panel, mixture: Mixture) -> list[Floats]:
    """Return the posterior variance of each taste's coefficients, [D] each, from the diagonal of the curvature."""
    variances = []
    for group in range(mixture.num_groups):
        skill, offset = split_logits(panel, mixture.habits[group])
        p = expit(skill * (panel.design @ mixture.tastes[group]) + offset)
        curvature = mixture.membership[panel.annotator, group] * p * (1 - p) * skill**2
        variances.append(1 / (panel.transposed_squares @ curvature + mixture.prior_precision))
    return variances


def predict_left(fitted: Panel, mixture: Mixture, asked: Panel) -> Floats:
    """Return log-odds of left for votes that were not fitted, [N]; uncertain scores give cautious odds.

    The mean of a sigmoid over a normal is nearly sigmoid(mean / sqrt(1 + pi variance / 8)) (MacKay 1992).
    """
    left, right = [], []
    for group, variance in enumerate(measure_variances(fitted, mixture)):
        skill, offset = split_logits(asked, mixture.habits[group])
        spread = skill**2 * (asked.squares @ variance)
        logits = (skill * (asked.design @ mixture.tastes[group]) + offset) / np.sqrt(1 + np.pi * spread / 8)
        prior = np.log(np.maximum(mixture.membership[asked.annotator, group], 1e-12))
        left.append(prior + log_expit(logits))
        right.append(prior + log_expit(-logits))
    return add_logs(np.stack(left, axis=1)) - add_logs(np.stack(right, axis=1))
