"""Consensus of a crowd: true classes and confusion matrices by Dawid and Skene, with a hierarchical prior."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array
from scipy.special import gammaln

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# Pseudo-counts of right labels, of each wrong one, and of each class, for the panel as a whole.
DIAGONAL_COUNT, OFF_DIAGONAL_COUNT, CLASS_COUNT = 2.0, 0.5, 1.0
STRENGTHS = 2.0 ** np.arange(-1, 9.5, 0.5)
"""Candidates for a prior's strength, in pseudo-counts: 0.5 to 512."""
FIRST_STRENGTH = 10
"""Where the choice begins: 16 pseudo-counts."""
STEPS_THAT_CHOOSE = 40
"""EM steps in which strengths may change; afterwards they stay, or two neighbours could alternate for ever."""
MAX_EM_STEPS, EM_TOLERANCE = 1000, 1e-9


@dataclass(frozen=True)
class DawidSkene:
    """Estimates by `dawid_skene`; `items` and `annotators` are unique and sorted."""

    items: NDArray[Any]
    annotators: NDArray[Any]
    probabilities: Floats
    """[items, classes]: posterior probabilities of the true class."""
    confusion: Floats
    """[annotators, true class, given class]; rows sum to 1."""
    class_prior: Floats
    """[classes]"""


@dataclass(frozen=True)
class Labels:
    """The labels of a crowd as sparse counts, either way round."""

    given: csr_array
    """[items, annotators * given class]"""
    by_label: csr_array
    """[annotators * given class, items]"""
    num_annotators: int
    num_classes: int

    def vote_shares(self) -> Floats:
        """Return each item's share of labels of each class, [items, classes]."""
        votes: Floats = self.given @ np.tile(np.eye(self.num_classes), (self.num_annotators, 1))
        shares: Floats = votes / votes.sum(axis=1, keepdims=True)
        return shares

    def count_confusions(self, truth: Floats) -> Floats:
        """Return how often each annotator gave each label to each true class, [annotators, true, given]."""
        counts: Floats = (self.by_label @ truth).reshape(self.num_annotators, self.num_classes, self.num_classes)
        return counts.swapaxes(1, 2)


def dawid_skene(
    items: Sequence[Any],
    annotators: Sequence[Any],
    labels: Sequence[int],
    num_classes: int | None = None,
    prior: bool = True,
    symmetric: bool = False,
) -> DawidSkene:
    """Estimate true classes and annotators' confusion matrices by EM, from three 1-D sequences of equal length.

    Labels are class indices 0..C-1. EM starts from the vote shares. `prior` shrinks each annotator's matrix towards one
    accuracy with the errors of the panel, and that accuracy towards the panel's, the more the fewer labels an
    annotator gave and the more alike annotators are (`HierarchicalPrior`); without it the result is the
    maximum-likelihood estimate. `symmetric`: one accuracy per annotator, with errors spread evenly over the other
    classes; with `prior` the class prior is then that of the fit whose errors may be uneven, because one-sided errors
    read as symmetric ones look like a rare class. Source: Dawid and Skene (1979). ValueError: empty or unequal
    sequences, or a label that is not a class index.
    """
    item_ids, annotator_ids, crowd = arrange_labels(items, annotators, labels, num_classes)
    if not prior:
        truth, confusion, class_prior = run_em(crowd, maximise_symmetric if symmetric else maximise_full, 0.0)
    elif symmetric:
        class_prior = run_em(crowd, HierarchicalPrior(), CLASS_COUNT)[2]
        truth, confusion, _ = run_em(crowd, HierarchicalPrior(symmetric=True), CLASS_COUNT, class_prior)
    else:
        truth, confusion, class_prior = run_em(crowd, HierarchicalPrior(), CLASS_COUNT)
    return DawidSkene(item_ids, annotator_ids, truth, confusion, class_prior)


def fit_one_coin(items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[int]) -> DawidSkene:
    """Estimate as `dawid_skene` with `symmetric`, of two classes that are names only and so equally likely."""
    item_ids, annotator_ids, crowd = arrange_labels(items, annotators, labels, 2)
    truth, confusion, class_prior = run_em(crowd, HierarchicalPrior(symmetric=True), CLASS_COUNT, np.full(2, 0.5))
    return DawidSkene(item_ids, annotator_ids, truth, confusion, class_prior)


def arrange_labels(
    items: Sequence[Any], annotators: Sequence[Any], labels: Sequence[int], num_classes: int | None
) -> tuple[NDArray[Any], NDArray[Any], Labels]:
    """Return the unique sorted items and annotators, and the labels by their numbers. ValueError: see `dawid_skene`."""
    item_ids, item = index_ids(items, "items")
    annotator_ids, annotator = index_ids(annotators, "annotators")
    label = np.asarray(labels)
    if not len(item) == len(annotator) == len(label) > 0:
        raise ValueError(f"need equally many items, annotators, labels, got {(len(item), len(annotator), len(label))}")
    classes = int(label.max()) + 1 if num_classes is None else num_classes
    if label.dtype.kind not in "biu" or label.min() < 0 or label.max() >= classes:
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}, got {label.min()} to {label.max()}")
    shape = (len(item_ids), len(annotator_ids) * classes)
    given = coo_array((np.ones(len(item)), (item, annotator * classes + label)), shape=shape).tocsr()
    return item_ids, annotator_ids, Labels(given, given.T.tocsr(), len(annotator_ids), classes)


def index_ids(ids: ArrayLike, name: str) -> tuple[NDArray[Any], Indices]:
    """Return the unique sorted ids, and the index of each element of `ids` among them."""
    values = np.asarray(ids)
    if values.ndim != 1:
        raise ValueError(f"{name} must be a flat sequence, got shape {values.shape}")
    unique, index = np.unique(values, return_inverse=True)
    return unique, index


def run_em(
    crowd: Labels, estimate_confusion: Callable[[Floats], Floats], class_count: float, fixed_prior: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """Alternate between confusions and truth; returns (truth [items, classes], confusions, class prior [classes])."""
    # Vote shares rather than random truths: EM finds a local optimum only, and the majority is near the right one.
    truth = crowd.vote_shares()
    for _ in range(MAX_EM_STEPS):
        confusion = estimate_confusion(crowd.count_confusions(truth))
        class_prior = truth.sum(axis=0) + class_count if fixed_prior is None else fixed_prior
        class_prior = class_prior / class_prior.sum()
        previous, truth = truth, estimate_truth(crowd.given, confusion, class_prior)
        if np.abs(truth - previous).max() < EM_TOLERANCE:
            break
    return truth, confusion, class_prior


def estimate_truth(given: csr_array, confusion: Floats, class_prior: Floats) -> Floats:
    """E-step: posteriors [items, classes], proportional to the class prior times the likelihood of each label.

    `given`: [items, annotators * given], see `Labels`.
    """
    classes = len(class_prior)
    with np.errstate(divide="ignore"):  # without a prior a class or an answer may be impossible: log 0
        log_likelihood = np.log(confusion).swapaxes(1, 2).reshape(-1, classes)  # [annotators * given, classes]
        log_prior = np.log(class_prior)
    log_truth = given @ log_likelihood + log_prior
    # Log-sum-exp: an item with a few hundred labels would underflow as a product of probabilities.
    truth = np.exp(log_truth - log_truth.max(axis=1, keepdims=True))
    normalised: Floats = truth / truth.sum(axis=1, keepdims=True)
    return normalised


def maximise_full(counts: Floats) -> Floats:
    """M-step without a prior: the shares in which each annotator gave the labels to a class."""
    totals = counts.sum(axis=2, keepdims=True)
    # An annotator may have no label of a class at all: that row is uniform, not 0 / 0.
    shares: Floats = np.divide(counts, totals, out=np.full_like(counts, 1 / counts.shape[2]), where=totals > 0)
    return shares


def maximise_symmetric(counts: Floats) -> Floats:
    """M-step without a prior of one accuracy per annotator."""
    return spread_errors(counts.trace(axis1=1, axis2=2) / counts.sum(axis=(1, 2)), counts.shape[1])


def spread_errors(accuracy: Floats, classes: int) -> Floats:
    """Return confusion matrices [..., true, given] of accuracies [...] whose errors are spread evenly."""
    error = (1 - accuracy) / max(classes - 1, 1)
    return np.where(np.eye(classes, dtype=bool), accuracy[..., None, None], error[..., None, None])


@dataclass
class HierarchicalPrior:
    """M-step under a hierarchy of Dirichlet priors, whose strengths it chooses as EM goes on.

    The panel has one confusion matrix, shrunk towards one accuracy with even errors. Each annotator a has an accuracy,
    shrunk towards the panel's; a's expected matrix is the panel's with the odds of a right label multiplied by a's
    odds over the panel's. a's own matrix is shrunk towards that one. Each strength, in pseudo-counts, is the one under
    which the labels are most probable (empirical Bayes): annotators who err alike end near one coin each, those who
    differ and say enough near Dawid and Skene's full matrices. Kim and Ghahramani (2012) have the full matrices alone.
    """

    symmetric: bool = False
    """All errors are spread evenly: an annotator's matrix follows from the accuracy."""
    strengths: dict[str, int] = field(default_factory=dict)
    """Indices into `STRENGTHS`."""
    num_steps: int = 0

    def __call__(self, counts: Floats) -> Floats:
        """Return confusion matrices, [annotators, true, given], given expected counts of the same shape."""
        classes = counts.shape[1]
        if classes == 1:
            return np.ones_like(counts)
        right, total = counts.trace(axis1=1, axis2=2), counts.sum(axis=(1, 2))
        pseudo = DIAGONAL_COUNT, OFF_DIAGONAL_COUNT * (classes - 1)
        typical = (right.sum() + pseudo[0]) / (total.sum() + sum(pseudo))
        both = np.stack([right, total - right], axis=1)
        accuracy = self.shrink("accuracy", both, np.array([[typical, 1 - typical]]))[:, 0]
        if self.symmetric:
            self.num_steps += 1
            return spread_errors(accuracy, classes)
        panel = self.shrink("panel", counts.sum(axis=0), spread_errors(typical, classes))
        odds = accuracy / (1 - accuracy) / (typical / (1 - typical))
        expected = np.where(np.eye(classes, dtype=bool), panel * odds[:, None, None], panel)
        expected /= expected.sum(axis=2, keepdims=True)
        confusion = self.shrink("rows", counts, expected)
        self.num_steps += 1
        return confusion

    def shrink(self, name: str, counts: Floats, mean: Floats) -> Floats:
        """Return shares of counts [..., L] shrunk towards the mean; moves the strength by at most one candidate."""
        strength = self.strengths.get(name, FIRST_STRENGTH)
        if self.num_steps < STEPS_THAT_CHOOSE:
            near = range(max(strength - 1, 0), min(strength + 2, len(STRENGTHS)))
            strength = max(near, key=lambda place: compute_evidence(counts, STRENGTHS[place] * mean))
            self.strengths[name] = strength
        pseudo = STRENGTHS[strength] * mean
        shares: Floats = (counts + pseudo) / (counts + pseudo).sum(axis=-1, keepdims=True)
        return shares


def compute_evidence(counts: Floats, pseudo: Floats) -> float:
    """Return the log-probability of labels in order, counts [..., L], with Dirichlet(pseudo) shares in each row.

    Dirichlet-multinomial: log G(s) - log G(s + n) + sum_l log G(pseudo_l + n_l) - log G(pseudo_l), s = sum pseudo_l.
    """
    totals, given = pseudo.sum(axis=-1), counts.sum(axis=-1)
    rows = gammaln(totals) - gammaln(totals + given)
    labels = gammaln(pseudo + counts) - gammaln(pseudo)
    return float(np.broadcast_to(rows, given.shape).sum() + np.broadcast_to(labels, counts.shape).sum())
