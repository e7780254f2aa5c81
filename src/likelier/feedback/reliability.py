"""How far each annotator can be trusted, and the most likely truth behind what they all said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# Dawid-Skene: pseudo-counts of right answers and of each kind of wrong answer, in every row of a confusion matrix.
PRIOR_RIGHT, PRIOR_WRONG, PRIOR_CLASS = 2.0, 0.5, 1.0
MAX_EM_STEPS, EM_TOLERANCE = 1000, 1e-9

# Skilled Bradley-Terry: standard deviations of the normal priors, and the price of a careless share of 1, in nats.
SCORE_SD, SKILL_WIDTH, BIAS_SD, TIE_SD, RANDOM_PRICE = 2.0, 0.5, 1.0, 1.0, 1.0
SCALE_PRICE, SMALL_SKILL = 100.0, 0.2
MAX_DESCENT_STEPS = 2000
SIGNS = {"left": 1.0, "right": -1.0, "tie": 0.0}


@dataclass(frozen=True)
class DawidSkene:
    """What `dawid_skene` found; `items` and `annotators` are unique and sorted."""

    items: NDArray[Any]
    annotators: NDArray[Any]
    probabilities: Floats
    """[items, classes]: how likely each class is the true one."""
    confusion: Floats
    """[annotators, true class, given class]; rows sum to 1."""
    class_prior: Floats
    """[classes]"""


def dawid_skene(
    items: Sequence[Any],
    annotators: Sequence[Any],
    labels: Sequence[int],
    num_classes: int | None = None,
    prior: bool = True,
    symmetric: bool = False,
) -> DawidSkene:
    """True classes and annotators' confusion matrices by EM, from three 1-D sequences of equal length.

    Labels are class indices 0..C-1. Starts from the shares of votes. `prior` adds Dirichlet pseudo-counts that favour
    the diagonal; without it the plain maximum of the likelihood. `symmetric`: one accuracy for each annotator, errors
    spread evenly over the other classes. Source: Dawid and Skene (1979). ValueError: nothing to read, unequal lengths,
    or a label that is no class index.
    """
    item_ids, item = numbered(items, "items")
    annotator_ids, annotator = numbered(annotators, "annotators")
    label = np.asarray(labels)
    if not len(item) == len(annotator) == len(label) > 0:
        raise ValueError(f"need equally many items, annotators, labels, got {(len(item), len(annotator), len(label))}")
    classes = int(label.max()) + 1 if num_classes is None else num_classes
    if label.dtype.kind not in "biu" or label.min() < 0 or label.max() >= classes:
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}, got {label.min()} to {label.max()}")
    votes = coo_array((np.ones(len(item)), (item, label)), shape=(len(item_ids), classes)).toarray()
    truth = votes / votes.sum(axis=1, keepdims=True)
    for _ in range(MAX_EM_STEPS):
        confusion = estimate_confusion(truth[item], annotator, label, len(annotator_ids), prior, symmetric)
        class_prior = truth.sum(axis=0) + PRIOR_CLASS * prior
        class_prior /= class_prior.sum()
        previous, truth = truth, estimate_truth(item, annotator, label, confusion, class_prior, len(item_ids))
        if np.abs(truth - previous).max() < EM_TOLERANCE:
            break
    return DawidSkene(item_ids, annotator_ids, truth, confusion, class_prior)


def numbered(ids: ArrayLike, name: str) -> tuple[NDArray[Any], Indices]:
    """The unique sorted ids, and the place of each given one among them."""
    values = np.asarray(ids)
    if values.ndim != 1:
        raise ValueError(f"{name} must be a flat sequence, got shape {values.shape}")
    unique, index = np.unique(values, return_inverse=True)
    return unique, index


def estimate_confusion(
    truth: Floats, annotator: Indices, label: NDArray[Any], num_annotators: int, prior: bool, symmetric: bool
) -> Floats:
    """M-step: [annotators, true, given] from the probabilities of the true class of each label, [labels, classes]."""
    classes = truth.shape[1]
    cell = annotator * classes + label
    counts = np.stack([np.bincount(cell, truth[:, c], num_annotators * classes) for c in range(classes)])
    counts = counts.reshape(classes, num_annotators, classes).swapaxes(0, 1)
    pseudo = np.where(np.eye(classes, dtype=bool), PRIOR_RIGHT, PRIOR_WRONG) * prior
    confusion: Floats
    if symmetric:
        right = counts.trace(axis1=1, axis2=2) + pseudo[0, 0]
        accuracy = right / (counts.sum(axis=(1, 2)) + pseudo[0].sum())
        wrong = (1 - accuracy) / max(classes - 1, 1)
        confusion = np.where(np.eye(classes, dtype=bool), accuracy[:, None, None], wrong[:, None, None])
    else:
        counts = counts + pseudo
        totals = counts.sum(axis=2, keepdims=True)
        confusion = np.divide(counts, totals, out=np.full_like(counts, 1 / classes), where=totals > 0)
    return confusion


def estimate_truth(
    item: Indices, annotator: Indices, label: NDArray[Any], confusion: Floats, class_prior: Floats, num_items: int
) -> Floats:
    """E-step: [items, classes], proportional to the class prior times the likelihood of each label given."""
    with np.errstate(divide="ignore"):  # without a prior a class or an answer may be impossible: log 0
        said = np.log(confusion)[annotator, :, label]  # [labels, classes]
        start = np.log(class_prior)
    log_truth = np.stack([np.bincount(item, said[:, c], num_items) for c in range(len(class_prior))], axis=1) + start
    truth = np.exp(log_truth - log_truth.max(axis=1, keepdims=True))
    normalised: Floats = truth / truth.sum(axis=1, keepdims=True)
    return normalised


@dataclass(frozen=True)
class SkilledBradleyTerry:
    """What `skilled_bradley_terry` found."""

    scores: dict[Any, float]
    """Response id to score, in logits of a typical annotator; the scores of a component sum to 0."""
    component: dict[Any, int]
    """Response id to the number of its component: only scores within one can be compared."""
    skill: dict[Any, float]
    """gamma: 1 typical, 0 random, negative reversed."""
    random: dict[Any, float]
    """eps: the share of answers given without looking."""
    side_bias: dict[Any, float]
    """b: log-odds of left against right between equal responses."""

    def probability(self, left: Any, right: Any) -> float:
        """P(left wins | no tie, unbiased reader). ValueError: the two are not connected by comparisons."""
        if self.component[left] != self.component[right]:
            raise ValueError(
                f"{left!r} and {right!r} are not connected by comparisons; their scores cannot be compared"
            )
        return float(expit(self.scores[left] - self.scores[right]))


@dataclass(frozen=True)
class Choices:
    """The judgements as arrays, [N] each, and how many responses and annotators they name."""

    left: Indices
    right: Indices
    annotator: Indices
    sign: Floats
    """1 left, -1 right, 0 tie"""
    num_responses: int
    num_annotators: int
    tie_rate: Floats
    """[annotators]: how often each says tie, smoothed; 0 where nobody does."""
    typical_log_tie: float
    """Logarithm of Davidson's nu that gives the share of ties of all between equal responses."""


@dataclass(frozen=True)
class Parameters:
    """Of each response its score; of each annotator gamma, b, eps and log nu."""

    score: Floats
    skill: Floats
    bias: Floats
    random: Floats
    log_tie: Floats


def skilled_bradley_terry(
    left: Sequence[Any], right: Sequence[Any], annotators: Sequence[Any], choices: Sequence[str]
) -> SkilledBradleyTerry:
    """Scores of responses and the skill of annotators, jointly, where their posterior is highest.

    P(left | a) = (1 - eps_a) sigmoid(d) + eps_a pi_a with d = gamma_a (s_l - s_r) + b_a and pi_a = sigmoid(b_a);
    a tie has Davidson's weight nu_a beside exp(d / 2) and exp(-d / 2), and each annotator's own rate among the answers
    given without looking. gamma_a has a normal prior around 1 - eps_a, which rules the mirrored solution out. The prior
    of the scores weighs them as annotators see them, gamma_a * s, so that it does not move their scale.
    Sources: Bradley and Terry (1952), Davidson (1970), Chen et al. (2013, Crowd-BT).
    ValueError: nothing to read, unequal lengths, an unknown choice, a response compared with itself.
    """
    ids, people, data = read_choices(left, right, annotators, choices)
    found = fit(data)
    component = components(data)
    score = found.score - (np.bincount(component, found.score) / np.bincount(component))[component]
    return SkilledBradleyTerry(
        scores=dict(zip(ids, score.tolist(), strict=True)),
        component=dict(zip(ids, component.tolist(), strict=True)),
        skill=dict(zip(people, found.skill.tolist(), strict=True)),
        random=dict(zip(people, found.random.tolist(), strict=True)),
        side_bias=dict(zip(people, found.bias.tolist(), strict=True)),
    )


def read_choices(
    left: Sequence[Any], right: Sequence[Any], annotators: Sequence[Any], choices: Sequence[str]
) -> tuple[list[Any], list[Any], Choices]:
    """(response ids, annotator ids, arrays). ValueError as `skilled_bradley_terry` says."""
    lengths = (len(left), len(right), len(annotators), len(choices))
    if len(set(lengths)) > 1 or not len(left):
        raise ValueError(f"left, right, annotators and choices must be equally long and not empty, got {lengths}")
    if unknown := set(choices) - set(SIGNS):
        raise ValueError(f"a choice is left, right or tie, got {sorted(map(str, unknown))[0]!r}")
    ids, place = numbered(np.concatenate([left, right]), "responses")
    people, annotator = numbered(annotators, "annotators")
    first, second = np.split(place, 2)
    if (first == second).any():
        raise ValueError(f"response {ids[first[first == second][0]]!s} is compared with itself")
    sign = np.array([SIGNS[choice] for choice in choices])
    ties = int((sign == 0).sum())
    tie_rate = (np.bincount(annotator, sign == 0) + 0.5) / (np.bincount(annotator) + 1.0)
    log_tie = float(np.log(2 * ties / (len(sign) - ties + 1))) if ties else -50.0  # exp(-50): as good as never
    data = Choices(first, second, annotator, sign, len(ids), len(people), tie_rate * bool(ties), log_tie)
    return ids.tolist(), people.tolist(), data


def components(data: Choices) -> Indices:
    """[responses]: the number of the connected component of each, in the order of first appearance."""
    edges = (np.ones(len(data.left)), (data.left, data.right))
    graph = coo_array(edges, shape=(data.num_responses, data.num_responses))
    labels: Indices = connected_components(graph, directed=False)[1]
    return labels


def fit(data: Choices) -> Parameters:
    """First the scores as if all were typical, the busiest annotators held to the median's weight; then everything."""
    everyone = np.ones(data.num_annotators)
    start = Parameters(
        np.zeros(data.num_responses), everyone, 0 * everyone, 0.05 * everyone, data.typical_log_tie * everyone
    )
    judged = np.bincount(data.annotator)
    held = np.minimum(1.0, np.median(judged) / judged)[data.annotator]
    scores_alone = descend(start, data, held, annotators_too=False)
    return descend(scores_alone, data, np.ones(len(data.sign)), annotators_too=True)


def descend(start: Parameters, data: Choices, weight: Floats, annotators_too: bool) -> Parameters:
    """Minimise the loss by L-BFGS-B; eps stays in [0, 1]. Steps are longer where there are fewer judgements."""
    vector = np.concatenate([start.score, start.skill, start.bias, start.random, start.log_tie])
    judged = np.bincount(data.annotator)
    shown = np.bincount(np.concatenate([data.left, data.right]))
    unit = 1 / np.sqrt(1 + np.concatenate([shown, judged, judged, judged, judged]))
    low, high = np.full(len(vector), -np.inf), np.full(len(vector), np.inf)
    if annotators_too:
        eps = slice(data.num_responses + 2 * data.num_annotators, data.num_responses + 3 * data.num_annotators)
        low[eps], high[eps] = 0.0, 1.0
    else:
        low[data.num_responses :] = high[data.num_responses :] = vector[data.num_responses :]
    ends = data.num_responses + data.num_annotators * np.arange(4)

    def objective(at: Floats) -> tuple[float, Floats]:
        loss, gradient = negative_log_posterior(Parameters(*np.split(at * unit, ends)), data, weight)
        parts = (gradient.score, gradient.skill, gradient.bias, gradient.random, gradient.log_tie)
        return loss, np.concatenate(parts) * unit

    bounds = np.stack([low, high], axis=1) / unit[:, None]
    options = {"maxiter": MAX_DESCENT_STEPS, "maxfun": 2 * MAX_DESCENT_STEPS, "maxcor": 20, "ftol": 1e-8}
    found = minimize(objective, vector / unit, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Parameters(*np.split(found.x * unit, ends))


def negative_log_posterior(at: Parameters, data: Choices, weight: Floats) -> tuple[float, Parameters]:
    """The loss in nats and its gradient; formulas in `skilled_bradley_terry`; `weight` [N] scales the likelihood."""
    annotator, sign, is_tie = data.annotator, data.sign, data.sign == 0
    skill, random = at.skill[annotator], at.random[annotator]
    difference = at.score[data.left] - at.score[data.right]
    half = (skill * difference + at.bias[annotator]) / 2
    # All three weights divided by exp(|d| / 2): 1 for the likelier side, small for the other, tied for a tie.
    far = np.minimum(np.abs(half), 300.0)  # exp(-600) is still above 0
    small, tied = np.exp(-2 * far), np.exp(at.log_tie[annotator] - far)
    total = 1 + small + tied
    lean = np.copysign((1 - small) / total, half)  # P(left) - P(right) of one who looks
    looked = np.where(is_tie, tied, np.where(sign * half >= 0, 1.0, small)) / total
    to_left = expit(at.bias)
    guessed = np.where(is_tie, data.tie_rate[annotator], ((1 - data.tie_rate) * to_left)[annotator])
    guessed = np.where(sign < 0, ((1 - data.tie_rate) * (1 - to_left))[annotator], guessed)
    chosen = (1 - random) * looked + random * guessed
    by_looking = weight * (1 - random) * looked / chosen  # how much of each answer came from looking
    slope = by_looking * (sign - lean) / 2  # derivative by d = gamma (s_l - s_r) + b
    guess_slope = weight * random * sign * ((1 - data.tie_rate) * to_left * (1 - to_left))[annotator] / chosen

    def per_annotator(values: Floats) -> Floats:
        return np.bincount(annotator, values, data.num_annotators).astype(float)

    def per_response(place: Indices) -> Floats:
        return np.bincount(place, slope * skill, data.num_responses).astype(float)

    loss, prior = negative_log_prior(at, data)
    return loss - float(weight @ np.log(chosen)), Parameters(
        prior.score - per_response(data.left) + per_response(data.right),
        prior.skill - per_annotator(slope * difference),
        prior.bias - per_annotator(slope + guess_slope),
        prior.random - per_annotator(weight * (guessed - looked) / chosen),
        prior.log_tie - per_annotator(by_looking * (is_tie - tied / total)),
    )


def negative_log_prior(at: Parameters, data: Choices) -> tuple[float, Parameters]:
    """The priors' part of the loss, and its gradient.

    With w_a an annotator's share of the judgements: scores are normal as annotators see them, sum_a w_a (gamma_a s)^2;
    gamma_a - (1 - eps_a) is Cauchy; the size of gamma among those who are not random, sum w size^2 / sum w size with
    size = sqrt(gamma^2 + small^2), is held to that of gamma = 1, since scores and gammas share one scale.
    """
    share = np.bincount(data.annotator, minlength=data.num_annotators) / len(data.annotator)
    seen, spread = share @ at.skill**2, at.score @ at.score / SCORE_SD**2
    off, tie_off = (at.skill - 1 + at.random) / SKILL_WIDTH, (at.log_tie - data.typical_log_tie) / TIE_SD
    size = np.sqrt(at.skill**2 + SMALL_SKILL**2)
    squares, sizes = share @ size**2, share @ size
    scale_off = np.log(squares / sizes) - np.log1p(SMALL_SKILL**2) / 2
    loss = (
        seen * spread / 2
        + np.log1p(off**2).sum()
        + at.bias @ at.bias / (2 * BIAS_SD**2)
        + tie_off @ tie_off / 2
        + RANDOM_PRICE * at.random.sum()
        + SCALE_PRICE * scale_off**2
    )
    pull = 2 * off / (1 + off**2) / SKILL_WIDTH
    scale_pull = 2 * SCALE_PRICE * scale_off * share * at.skill * (2 / squares - 1 / (size * sizes))
    return float(loss), Parameters(
        seen * at.score / SCORE_SD**2,
        spread * share * at.skill + pull + scale_pull,
        at.bias / BIAS_SD**2,
        pull + RANDOM_PRICE,
        tie_off / TIE_SD,
    )
