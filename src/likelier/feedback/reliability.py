"""Annotator reliability: a Bradley-Terry model with annotator skills; Dawid and Skene's stands in `consensus`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from likelier.feedback.consensus import DawidSkene, dawid_skene, index_ids

__all__ = ["DawidSkene", "SkilledBradleyTerry", "dawid_skene", "skilled_bradley_terry"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# Skilled Bradley-Terry: scales of the priors, and the penalty of a guess rate of 1, in nats.
SCORE_SD, SKILL_SCALE, BIAS_SD, TIE_SD, GUESS_PENALTY = 2.0, 0.5, 1.0, 1.0, 1.0
SCALE_PENALTY, SKILL_SMOOTHING = 100.0, 0.2
MAX_LBFGS_STEPS = 2000
NO_TIES = -40.0
"""Log nu below which exp(log nu) is lost beside 1, and the third answer costs no time."""
LARGE = 100_000
"""Judgements beyond which L-BFGS keeps fewer corrections, and stops at a like loss a judgement, not a like loss: a step
costs as much as the judgements, and 1,000,000 of them end within 0.1 nats."""
CHOICE_SIGNS = {"left": 1.0, "right": -1.0, "tie": 0.0}


@dataclass(frozen=True)
class SkilledBradleyTerry:
    """Estimates by `skilled_bradley_terry`."""

    scores: dict[Any, float]
    """Response id to score, in logits of a typical annotator; the scores of a component sum to 0."""
    component: dict[Any, int]
    """Response id to the number of its connected component: only scores within one can be compared."""
    skill: dict[Any, float]
    """gamma: 1 typical, 0 random, negative reversed."""
    random: dict[Any, float]
    """eps: the probability of answering without looking at the responses."""
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
    """Judgements as arrays, [N] each, with the numbers of responses and annotators."""

    left: Indices
    right: Indices
    annotator: Indices
    sign: Floats
    """1 left, -1 right, 0 tie"""
    num_responses: int
    num_annotators: int
    tie_rate: Floats
    """[annotators]: each annotator's share of ties, smoothed; 0 if there are no ties at all."""
    typical_log_tie: float
    """Logarithm of Davidson's nu that gives equal responses the panel's overall share of ties."""


@dataclass(frozen=True)
class Parameters:
    """Score [responses]; gamma, b, eps and log nu [annotators]. Also used for their gradients."""

    score: Floats
    skill: Floats
    bias: Floats
    random: Floats
    log_tie: Floats


def skilled_bradley_terry(
    left: Sequence[Any], right: Sequence[Any], annotators: Sequence[Any], choices: Sequence[str]
) -> SkilledBradleyTerry:
    """Estimate scores of responses and skills of annotators jointly, at the mode of their posterior.

    P(left | a) = (1 - eps_a) sigmoid(d) + eps_a pi_a with d = gamma_a (s_l - s_r) + b_a and pi_a = sigmoid(b_a); a tie
    has Davidson's weight nu_a, against exp(d / 2) and exp(-d / 2); among random answers it has the annotator's tie
    rate. The prior of gamma_a is centred at 1 - eps_a, which rules out the mirrored solution (all scores and skills
    negated). The prior of the scores applies to gamma_a * s, the scores as annotators see them, so that it does not
    change their scale. Sources: Bradley and Terry (1952), Davidson (1970), Chen et al. (2013, Crowd-BT). ValueError:
    empty or unequal sequences, an unknown choice, a response compared with itself.
    """
    response_ids, annotator_ids, data = encode_choices(left, right, annotators, choices)
    mode = fit_posterior_mode(data)
    component = find_components(data)
    # The likelihood sees only differences: the level of each component is arbitrary, and its mean is set to 0.
    score = mode.score - (np.bincount(component, mode.score) / np.bincount(component))[component]
    return SkilledBradleyTerry(
        scores=dict(zip(response_ids, score.tolist(), strict=True)),
        component=dict(zip(response_ids, component.tolist(), strict=True)),
        skill=dict(zip(annotator_ids, mode.skill.tolist(), strict=True)),
        random=dict(zip(annotator_ids, mode.random.tolist(), strict=True)),
        side_bias=dict(zip(annotator_ids, mode.bias.tolist(), strict=True)),
    )


def encode_choices(
    left: Sequence[Any], right: Sequence[Any], annotators: Sequence[Any], choices: Sequence[str]
) -> tuple[list[Any], list[Any], Choices]:
    """Return (response ids, annotator ids, arrays). ValueError: see `skilled_bradley_terry`."""
    lengths = (len(left), len(right), len(annotators), len(choices))
    if len(set(lengths)) > 1 or not len(left):
        raise ValueError(f"left, right, annotators and choices must be equally long and not empty, got {lengths}")
    if unknown := set(choices) - set(CHOICE_SIGNS):
        raise ValueError(f"a choice is left, right or tie, got {min(map(str, unknown))!r}")
    response_ids, response = index_ids(np.concatenate([left, right]), "responses")
    annotator_ids, annotator = index_ids(annotators, "annotators")
    first, second = np.split(response, 2)
    if (first == second).any():
        raise ValueError(f"response {response_ids[first[first == second][0]]!s} is compared with itself")
    sign = np.array([CHOICE_SIGNS[choice] for choice in choices])
    num_ties = int((sign == 0).sum())
    tie_rate = (np.bincount(annotator, sign == 0) + 0.5) / (np.bincount(annotator) + 1.0)
    # Equal responses tie with probability nu / (nu + 2). Without ties log nu is -50: exp(-50) is 0 in effect, and the
    # loss stays finite.
    log_tie = float(np.log(2 * num_ties / (len(sign) - num_ties + 1))) if num_ties else -50.0
    data = Choices(
        left=first,
        right=second,
        annotator=annotator,
        sign=sign,
        num_responses=len(response_ids),
        num_annotators=len(annotator_ids),
        tie_rate=tie_rate * bool(num_ties),
        typical_log_tie=log_tie,
    )
    return response_ids.tolist(), annotator_ids.tolist(), data


def find_components(data: Choices) -> Indices:
    """Return the number of each response's connected component [responses], in the order of first appearance."""
    edges = (np.ones(len(data.left)), (data.left, data.right))
    graph = coo_array(edges, shape=(data.num_responses, data.num_responses))
    labels: Indices = connected_components(graph, directed=False)[1]
    return labels


def fit_posterior_mode(data: Choices) -> Parameters:
    """Maximise the posterior: first over the scores alone with typical annotators, then over all parameters.

    In the first phase no annotator weighs more than the median one.
    """
    # The loss is not convex: where a few reversed annotators give most answers, descent can end in the mirrored
    # optimum. Of 24 simulated panels of 12, with 3 or 4 reversed who judge two or three times as much as the others,
    # 13 come out the right way round in one phase over all parameters, 14 in two without the cap and 19 with it.
    ones = np.ones(data.num_annotators)
    start = Parameters(np.zeros(data.num_responses), ones, 0 * ones, 0.05 * ones, data.typical_log_tie * ones)
    num_judged = np.bincount(data.annotator)
    capped_weight = np.minimum(1.0, np.median(num_judged) / num_judged)[data.annotator]
    score = fit_scores(start, data, capped_weight)
    return minimise_loss(replace(start, score=score), data, np.ones(len(data.sign)), fix_annotators=False)


def fit_scores(start: Parameters, data: Choices, weight: Floats) -> Floats:
    """Return the scores where all annotators are typical; `weight` [N] scales the likelihood.

    Of many judgements, those with the same sides and answer are one row by one annotator, who has the panel's tie rate:
    a step then costs as much as there are different pairs.
    """
    if len(data.sign) <= LARGE:
        return minimise_loss(start, data, weight, fix_annotators=True).score
    keys = (data.left * data.num_responses + data.right) * 3 + data.sign.astype(int) + 1
    _, first, row = np.unique(keys, return_index=True, return_inverse=True)
    merged = Choices(
        left=data.left[first],
        right=data.right[first],
        annotator=np.zeros(len(first), int),
        sign=data.sign[first],
        num_responses=data.num_responses,
        num_annotators=1,
        tie_rate=np.array([np.average(data.tie_rate[data.annotator], weights=weight)]),
        typical_log_tie=data.typical_log_tie,
    )
    one = Parameters(start.score, *(each[:1] for each in (start.skill, start.bias, start.random, start.log_tie)))
    weights = np.bincount(row, weight).astype(float)
    return minimise_loss(one, merged, weights, fix_annotators=True).score


def minimise_loss(start: Parameters, data: Choices, weight: Floats, fix_annotators: bool) -> Parameters:
    """Minimise the negative log-posterior by L-BFGS-B with eps in [0, 1]; `weight` [N] scales the likelihood."""
    annotators = (start.skill, start.bias, start.random, start.log_tie)
    vector = start.score if fix_annotators else np.concatenate([start.score, *annotators])
    num_judged = np.bincount(data.annotator)
    num_shown = np.bincount(np.concatenate([data.left, data.right]), minlength=data.num_responses)
    if weight.max() > 1:  # a row stands for several judgements
        num_shown = np.bincount(np.concatenate([data.left, data.right]), np.tile(weight, 2), data.num_responses)
    # Diagonal preconditioning: curvature grows with the number of judgements that a parameter appears in. Without it
    # L-BFGS needs three times as many steps on a panel of 12 whose members differ threefold in how much they judge.
    counts = num_shown if fix_annotators else np.concatenate([num_shown, *[num_judged] * 4])
    scale = 1 / np.sqrt(1 + counts)
    boundaries = data.num_responses + data.num_annotators * np.arange(4)

    def split(values: Floats) -> Parameters:
        return Parameters(values, *annotators) if fix_annotators else Parameters(*np.split(values, boundaries))

    def objective(scaled: Floats) -> tuple[float, Floats]:
        loss, gradient = negative_log_posterior(split(scaled * scale), data, weight)
        parts = (gradient.score, gradient.skill, gradient.bias, gradient.random, gradient.log_tie)
        return loss, (gradient.score if fix_annotators else np.concatenate(parts)) * scale

    bounds = None  # without any, each step is cheaper
    if not fix_annotators:
        low, high = np.full(len(vector), -np.inf), np.full(len(vector), np.inf)
        eps = slice(data.num_responses + 2 * data.num_annotators, data.num_responses + 3 * data.num_annotators)
        low[eps], high[eps] = 0.0, 1.0
        bounds = np.stack([low, high], axis=1) / scale[:, None]
    size = max(len(data.sign), weight.sum()) / LARGE
    tolerance = {"ftol": 1e-8 * max(1.0, size), "maxcor": 5 if size > 1 else 20}
    options = {"maxiter": MAX_LBFGS_STEPS, "maxfun": 2 * MAX_LBFGS_STEPS, **tolerance}
    optimum = minimize(objective, vector / scale, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return split(optimum.x * scale)


def negative_log_posterior(parameters: Parameters, data: Choices, weight: Floats) -> tuple[float, Parameters]:
    """Return the loss in nats and its gradient; `weight` [N] scales the likelihood. Model: `skilled_bradley_terry`.

    Each answer is a mixture: considered with probability 1 - eps (Davidson), else random, by side bias and tie rate.
    """
    annotator, sign, is_tie = data.annotator, data.sign, data.sign == 0
    has_ties = bool(is_tie.any()) or float(parameters.log_tie.max()) > NO_TIES
    skill, eps = parameters.skill[annotator], parameters.random[annotator]
    difference = parameters.score[data.left] - parameters.score[data.right]
    half_logit = (skill * difference + parameters.bias[annotator]) / 2
    # Davidson's three weights exp(d/2), exp(-d/2), nu, all divided by exp(|d|/2), so that none overflows: 1 for the
    # likelier side, then the less likely one and the tie. Clamped at 300, as exp(-600) is still above 0.
    magnitude = np.minimum(np.abs(half_logit), 300.0)
    unlikely = np.exp(-2 * magnitude)
    tie = np.exp(parameters.log_tie[annotator] - magnitude) if has_ties else np.zeros(1)
    total = 1 + unlikely + tie
    expected_sign = np.copysign((1 - unlikely) / total, half_logit)  # P(left) - P(right) of an attentive answer
    p_attentive = np.where(sign * half_logit >= 0, 1.0, unlikely)
    to_left = expit(parameters.bias)
    guesses = np.concatenate([(1 - data.tie_rate) * (1 - to_left), (1 - data.tie_rate) * to_left])
    p_guess = guesses[annotator + data.num_annotators * (sign > 0)]
    if has_ties:
        p_attentive = np.where(is_tie, tie, p_attentive)
        p_guess = np.where(is_tie, data.tie_rate[annotator], p_guess)
    p_attentive /= total
    likelihood = (1 - eps) * p_attentive + eps * p_guess
    # As in EM, the posterior probability that the answer was attentive scales the gradient of the Davidson part.
    attention = weight * (1 - eps) * p_attentive / likelihood
    dlogit = attention * (sign - expected_sign) / 2  # derivative by d = gamma (s_l - s_r) + b
    dguess_bias = weight * eps * sign * ((1 - data.tie_rate) * to_left * (1 - to_left))[annotator] / likelihood

    def sum_by_annotator(values: Floats) -> Floats:
        return np.bincount(annotator, values, data.num_annotators).astype(float)

    def sum_by_response(response: Indices) -> Floats:
        return np.bincount(response, dlogit * skill, data.num_responses).astype(float)

    loss, prior = negative_log_prior(parameters, data)
    return loss - float(weight @ np.log(likelihood)), Parameters(
        prior.score - sum_by_response(data.left) + sum_by_response(data.right),
        prior.skill - sum_by_annotator(dlogit * difference),
        prior.bias - sum_by_annotator(dlogit + dguess_bias),
        prior.random - sum_by_annotator(weight * (p_guess - p_attentive) / likelihood),
        prior.log_tie - sum_by_annotator(attention * (is_tie - tie / total)),
    )


def leave_annotators_out(data: Choices, mode: Parameters) -> Floats:
    """Return each judgement's difference of scores, left minus right, without its annotator's judgements, [N].

    One Newton step by the diagonal of the curvature: s_i - g_ai / (H_i - H_ai), with g_ai and H_ai the annotator's part
    of the gradient and the curvature at response i. Exact refits, one an annotator, would cost as many fits.
    """
    pull, curvature = measure_pull(data, mode)
    response = np.concatenate([data.left, data.right])
    own = np.unique(response * data.num_annotators + np.tile(data.annotator, 2), return_inverse=True)[1]
    own_pull, own_curvature = np.bincount(own, np.concatenate([pull, -pull])), np.bincount(own, np.tile(curvature, 2))
    prior = measure_prior_precision(data, mode)
    others = np.bincount(response, np.tile(curvature, 2), data.num_responses)[response] - own_curvature[own] + prior
    left, right = np.split(mode.score[response] - own_pull[own] / others, 2)
    differences: Floats = left - right
    return differences


def measure_pull(data: Choices, mode: Parameters) -> tuple[Floats, Floats]:
    """Return gradient and curvature of each judgement's log-likelihood by s_left - s_right, [N] each.

    The curvature is that of an attentive answer, times the probability that it was one.
    """
    annotator, is_tie = data.annotator, data.sign == 0
    skill, eps = mode.skill[annotator], mode.random[annotator]
    half_logit = (skill * (mode.score[data.left] - mode.score[data.right]) + mode.bias[annotator]) / 2
    magnitude = np.minimum(np.abs(half_logit), 300.0)
    unlikely, tie = np.exp(-2 * magnitude), np.exp(mode.log_tie[annotator] - magnitude)
    total = 1 + unlikely + tie
    expected_sign = np.copysign((1 - unlikely) / total, half_logit)
    p_attentive = np.where(is_tie, tie, np.where(data.sign * half_logit >= 0, 1.0, unlikely)) / total
    attention = (1 - eps) * p_attentive / ((1 - eps) * p_attentive + eps / 2)
    pull = attention * skill * (data.sign - expected_sign) / 2
    curvature = attention * skill**2 * ((1 + unlikely) / total - expected_sign**2) / 4
    return pull, curvature


def measure_prior_precision(data: Choices, mode: Parameters) -> float:
    """Return the precision of the prior of each score, which is of the scores as annotators see them."""
    share = np.bincount(data.annotator, minlength=data.num_annotators) / len(data.annotator)
    return float(share @ mode.skill**2) / SCORE_SD**2


def negative_log_prior(parameters: Parameters, data: Choices) -> tuple[float, Parameters]:
    """Return the priors' contribution to the loss, and its gradient.

    With w_a an annotator's share of the judgements: the scores as annotators see them are normal, sum_a w_a (gamma_a
    s)^2; gamma_a - (1 - eps_a) is Cauchy; sum w size^2 / sum w size with size = sqrt(gamma^2 + small^2), the typical
    size of gamma among annotators who are not random, is penalised for departing from its value at gamma = 1.
    """
    share = np.bincount(data.annotator, minlength=data.num_annotators) / len(data.annotator)
    mean_square_skill = share @ parameters.skill**2
    score_spread = parameters.score @ parameters.score / SCORE_SD**2
    # Cauchy, not normal: gamma = -1 costs log(17) = 2.8 nats instead of 8, so that reversed annotators can be told.
    skill_off = (parameters.skill - 1 + parameters.random) / SKILL_SCALE
    tie_off = (parameters.log_tie - data.typical_log_tie) / TIE_SD
    # Only gamma * s enters the likelihood, so scores and gammas share one scale; this penalty fixes it. Weighing by
    # size leaves out random annotators: a plain mean of gamma would inflate the others' skills to make up for them.
    size = np.sqrt(parameters.skill**2 + SKILL_SMOOTHING**2)
    squares, sizes = share @ size**2, share @ size
    scale_off = np.log(squares / sizes) - np.log1p(SKILL_SMOOTHING**2) / 2
    loss = (
        mean_square_skill * score_spread / 2
        + np.log1p(skill_off**2).sum()
        + parameters.bias @ parameters.bias / (2 * BIAS_SD**2)
        + tie_off @ tie_off / 2
        + GUESS_PENALTY * parameters.random.sum()
        + SCALE_PENALTY * scale_off**2
    )
    dskill = 2 * skill_off / (1 + skill_off**2) / SKILL_SCALE
    dscale = 2 * SCALE_PENALTY * scale_off * share * parameters.skill * (2 / squares - 1 / (size * sizes))
    return float(loss), Parameters(
        mean_square_skill * parameters.score / SCORE_SD**2,
        score_spread * share * parameters.skill + dskill + dscale,
        parameters.bias / BIAS_SD**2,
        dskill + GUESS_PENALTY,
        tie_off / TIE_SD,
    )
