"""Every formula of INTERFACE against itself written out slowly: plain Python numbers, one loop for each sum.

In float64 to 1e-12, in float32 to 1e-6 (both of the largest number in the result, or of 1 where that is smaller).
"""

import math

import numpy as np
import pytest
import torch

from likelier.feedback import consensus, reliability
from likelier.feedback.consensus import dawid_skene
from likelier.ppo.advantages import gae, group_normalised, leave_one_out, reinforce_pp
from likelier.ppo.kl import AdaptiveKL, kl_estimate
from likelier.ppo.losses import entropy_from_logits, policy_loss, value_loss
from likelier.ppo.masks import masked_mean, masked_var, masked_whiten
from likelier.reward.loss import preference_loss

SEEDS = range(8)
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-6)]


class Draw:
    """Random numbers as lists, rounded to what float32 holds, so that both precisions read the same ones."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.rows, self.width = self.whole(1, 5), self.whole(1, 7)

    def whole(self, low, high):
        return int(torch.randint(low, high + 1, (1,), generator=self.generator))

    def matrix(self, scale=1.0, rows=None, width=None):
        size = (rows or self.rows, width or self.width)
        return (scale * torch.randn(size, generator=self.generator)).tolist()

    def mask(self):
        lengths = [self.whole(0, self.width) for _ in range(self.rows)]
        lengths[0] = max(1, lengths[0])
        return [[t < length for t in range(self.width)] for length in lengths]


def same(found, expected, dtype, tolerance):
    """Both equal up to `tolerance` of the largest number."""
    expected = torch.tensor(expected, dtype=torch.float64)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()) if expected.numel() else 0.0)
    assert float((found.double() - expected).abs().max()) <= tolerance * scale


def tensors(dtype, *lists):
    return [torch.tensor(numbers, dtype=torch.bool if type(numbers[0][0]) is bool else dtype) for numbers in lists]


def counted(x, mask):
    return [x[b][t] for b in range(len(x)) for t in range(len(x[b])) if mask[b][t]]


def mean(numbers):
    return math.fsum(numbers) / max(1, len(numbers))


def variance(numbers, unbiased=False):
    middle = mean(numbers)
    return math.fsum((x - middle) ** 2 for x in numbers) / max(1, len(numbers) - int(unbiased))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_masks(seed, dtype, tolerance):
    draw = Draw(seed)
    x, mask = draw.matrix(3.0), draw.mask()
    kept, real = counted(x, mask), mask
    tx, tmask = tensors(dtype, x, mask)
    same(masked_mean(tx, tmask), mean(kept), dtype, tolerance)
    same(
        masked_mean(tx, tmask, dim=1), [mean(counted([r], [m])) for r, m in zip(x, mask, strict=True)], dtype, tolerance
    )
    for unbiased in (False, True):
        same(masked_var(tx, tmask, unbiased), variance(kept, unbiased), dtype, tolerance)
    for shift in (True, False):
        scale, back = 1 / math.sqrt(variance(kept) + 1e-8), 0.0 if shift else mean(kept)
        whitened = [
            [(x[b][t] - mean(kept)) * scale + back if real[b][t] else 0.0 for t in range(draw.width)]
            for b in range(draw.rows)
        ]
        if variance(kept) > 1e-3:  # the last digits of nearly equal numbers are no signal
            same(masked_whiten(tx, tmask, shift_mean=shift), whitened, dtype, 100 * tolerance)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_gae(seed, dtype, tolerance):
    draw = Draw(seed)
    rewards, values, next_values = draw.matrix(), draw.matrix(), draw.matrix()
    continues = [[float(draw.whole(0, 3) > 0) for _ in range(draw.width)] for _ in range(draw.rows)]
    gamma, lam = 0.5 + 0.1 * draw.whole(0, 5), 0.1 * draw.whole(0, 10)
    advantages = [[0.0] * draw.width for _ in range(draw.rows)]
    for b in range(draw.rows):
        for t in range(draw.width):  # the sum of later errors, each discounted, until an episode ends
            weight, total = 1.0, 0.0
            for k in range(t, draw.width):
                total += weight * (rewards[b][k] + gamma * next_values[b][k] - values[b][k])
                weight *= gamma * lam * continues[b][k]
            advantages[b][t] = total
    returns = [[a + v for a, v in zip(*pair, strict=True)] for pair in zip(advantages, values, strict=True)]
    found = gae(*tensors(dtype, rewards, values, next_values, continues), gamma, lam)
    same(found[0], advantages, dtype, tolerance)
    same(found[1], returns, dtype, tolerance)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_group_baselines(seed, dtype, tolerance):
    draw = Draw(seed)
    scores = draw.matrix(2.0, width=draw.whole(2, 6))
    others = [[x - mean(row[:k] + row[k + 1 :]) for k, x in enumerate(row)] for row in scores]
    (given,) = tensors(dtype, scores)
    same(leave_one_out(given), others, dtype, tolerance)
    centred = [[x - mean(row) for x in row] for row in scores]
    same(group_normalised(given, std=False), centred, dtype, tolerance)
    scaled = [[x / (math.sqrt(variance(row, True)) + 1e-4) for x in c] for row, c in zip(scores, centred, strict=True)]
    same(group_normalised(given), scaled, dtype, 10 * tolerance)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_reinforce_pp(seed, dtype, tolerance):
    draw = Draw(seed)
    rewards, mask, gamma = draw.matrix(), draw.mask(), 0.5 + 0.1 * draw.whole(0, 5)
    to_go = [
        [math.fsum(gamma ** (k - t) * r[k] for k in range(t, draw.width) if m[k]) for t in range(draw.width)]
        for r, m in zip(rewards, mask, strict=True)
    ]
    kept = counted(to_go, mask)
    if variance(kept) < 1e-3:
        return
    scale = 1 / math.sqrt(variance(kept) + 1e-8)
    expected = [
        [(x - mean(kept)) * scale if real else 0.0 for x, real in zip(*pair, strict=True)]
        for pair in zip(to_go, mask, strict=True)
    ]
    same(reinforce_pp(*tensors(dtype, rewards, mask), gamma), expected, dtype, 100 * tolerance)


def aggregate_slowly(terms, mask, how, width):
    rows = [counted([t], [m]) for t, m in zip(terms, mask, strict=True)]
    if how == "token":
        return mean([x for row in rows for x in row])
    if how == "sequence":
        return mean([mean(row) for row in rows if row])
    return math.fsum(x for row in rows for x in row) / (len(rows) * width)


def term_slowly(logprob, old, advantage, low, high, dual):
    ratio = math.exp(logprob - old)
    kept = min(max(ratio, 1 - low), 1 + high)
    objective = min(ratio * advantage, kept * advantage)
    if dual is not None and advantage < 0:
        objective = max(objective, dual * advantage)
    return -objective


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("how", ["token", "sequence", "fixed"])
@pytest.mark.parametrize(("high", "dual"), [(None, None), (0.4, None), (None, 1.5)])
def test_policy_loss(seed, dtype, tolerance, how, high, dual):
    draw = Draw(seed)
    logprobs, old, advantages, mask = draw.matrix(), draw.matrix(), draw.matrix(), draw.mask()
    places = [(b, t) for b in range(draw.rows) for t in range(draw.width)]
    terms = [[0.0] * draw.width for _ in range(draw.rows)]
    for b, t in places:
        terms[b][t] = term_slowly(logprobs[b][t], old[b][t], advantages[b][t], 0.2, high or 0.2, dual)
    given = tensors(dtype, logprobs, old, advantages, mask)
    loss, stats = policy_loss(*given, clip=0.2, clip_high=high, dual_clip=dual, aggregate=how)
    same(loss, aggregate_slowly(terms, mask, how, draw.width), dtype, tolerance)
    gaps = [logprobs[b][t] - old[b][t] for b, t in places if mask[b][t]]
    ratios = [math.exp(gap) for gap in gaps]
    same(stats["ratio"], mean(ratios), dtype, tolerance)
    same(stats["ratio_var"], variance(ratios), dtype, 10 * tolerance)
    same(stats["approx_kl"], mean([r - 1 - g for r, g in zip(ratios, gaps, strict=True)]), dtype, tolerance)
    active = [
        float(r > 1 + (high or 0.2) if advantages[b][t] > 0 else r < 0.8)
        for r, (b, t) in zip(ratios, [place for place in places if mask[place[0]][place[1]]], strict=True)
    ]
    same(stats["clipfrac"], mean(active), dtype, tolerance)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("clip", [None, 0.2])
def test_value_loss(seed, dtype, tolerance, clip):
    draw = Draw(seed)
    values, old, returns, mask = draw.matrix(), draw.matrix(), draw.matrix(), draw.mask()
    errors, active = [], []
    for v, o, r in zip(counted(values, mask), counted(old, mask), counted(returns, mask), strict=True):
        plain = (v - r) ** 2
        kept = v if clip is None or abs(v - o) <= clip else o + math.copysign(clip, v - o)
        errors.append(0.5 * max(plain, (kept - r) ** 2))
        active.append(float((kept - r) ** 2 > plain))
    loss, stats = value_loss(*tensors(dtype, values, old, returns, mask), clip=clip)
    same(loss, mean(errors), dtype, tolerance)
    same(stats["clipfrac"], mean(active), dtype, tolerance)
    spread = variance(counted(returns, mask))
    left = variance([r - o for r, o in zip(counted(returns, mask), counted(old, mask), strict=True)])
    if spread == 0.0 or spread > 1e-2:
        same(stats["explained_variance"], 1 - left / spread if spread else 0.0, dtype, 100 * tolerance)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_entropy(seed, dtype, tolerance):
    draw = Draw(seed)
    logits = draw.matrix(3.0, width=draw.whole(1, 9))
    expected = []
    for row in logits:
        total = math.fsum(math.exp(x) for x in row)
        expected.append(-math.fsum(math.exp(x) / total * math.log(math.exp(x) / total) for x in row))
    same(entropy_from_logits(*tensors(dtype, logits)), expected, dtype, tolerance)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_kl_estimators(seed, dtype, tolerance):
    draw = Draw(seed)
    logprobs, ref = draw.matrix(), draw.matrix()
    formulas = {"k1": lambda gap: gap, "k2": lambda gap: gap**2 / 2, "k3": lambda gap: math.exp(-gap) - 1 + gap}
    for kind, formula in formulas.items():
        expected = [[formula(p - q) for p, q in zip(*pair, strict=True)] for pair in zip(logprobs, ref, strict=True)]
        same(kl_estimate(*tensors(dtype, logprobs, ref), kind), expected, dtype, tolerance)


@pytest.mark.parametrize("seed", SEEDS)
def test_k1_and_k3_hit_the_exact_kl_on_average_and_k2_does_not(seed):
    """Every token of a vocabulary of 5 with its probability: no sampling, so equality to the last digits."""
    draw = Draw(seed)
    p, q = (torch.tensor(draw.matrix(1.0, 1, 5)[0], dtype=torch.float64).softmax(0) for _ in range(2))
    exact = math.fsum(float(a) * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    means = {kind: float((p * kl_estimate(p.log(), q.log(), kind)).sum()) for kind in ("k1", "k2", "k3")}
    assert means["k1"] == pytest.approx(exact, abs=1e-12)
    assert means["k3"] == pytest.approx(exact, abs=1e-12)
    assert abs(means["k2"] - exact) > 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_adaptive_kl(seed):
    draw = Draw(seed)
    found, coef = AdaptiveKL(0.1, 2.0, 1000.0), 0.1
    for kl in [abs(x) * 3 for x in draw.matrix(1.0, 1, 20)[0]]:
        found.update(kl, 64)
        coef = coef * (1 + min(max(kl / 2.0 - 1, -0.2), 0.2) * 64 / 1000.0)
        assert found.coef == pytest.approx(coef, rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_preference_loss(seed, dtype, tolerance):
    draw = Draw(seed)
    number = draw.whole(1, 9)
    chosen, rejected, margin = (draw.matrix(2.0, 1, number)[0] for _ in range(3))
    weight, flip = ([abs(x) % 1.0 for x in draw.matrix(1.0, 1, number)[0]] for _ in range(2))
    target = [draw.whole(0, 2) / 2 for _ in range(number)]
    losses = []
    for c, r, w, m, t, f in zip(chosen, rejected, weight, margin, target, flip, strict=True):
        d = c - r - (0.0 if t == 0.5 else m)
        right = 1 / (1 + math.exp(-d))
        q = (1 - f) * right + f * (1 - right)
        losses.append(-w * (t * math.log(q) + (1 - t) * math.log(1 - q)))
    given = [torch.tensor(x, dtype=dtype) for x in (chosen, rejected, weight, margin, target, flip)]
    same(preference_loss(*given), mean(losses), dtype, tolerance)


def answers_of(seed, people=4, items=7, classes=3):
    """(item, person, label) of a small crowd; not everyone labels everything, but everything has a label."""
    draw = Draw(seed)
    asked = [(item, who) for item in range(items) for who in range(people) if who == item % people or draw.whole(0, 2)]
    right = {item: draw.whole(0, classes - 1) for item in range(items)}
    return [
        (f"i{item}", f"p{who}", right[item] if draw.whole(0, 3) else draw.whole(0, classes - 1)) for item, who in asked
    ]


def shrink_slowly(counts, mean):
    """Shares of counts and 16 pseudo-counts of the mean."""
    return [(n + 16 * m) / (sum(counts) + 16) for n, m in zip(counts, mean, strict=True)]


def shrink_confusions_slowly(tables, classes, symmetric):
    """Each person's matrix by the hierarchical prior, from tables {person: [true][given]} of expected counts."""
    right = {who: sum(table[c][c] for c in range(classes)) for who, table in tables.items()}
    total = {who: sum(map(sum, table)) for who, table in tables.items()}
    typical = (sum(right.values()) + 2) / (sum(total.values()) + 2 + 0.5 * (classes - 1))
    even = [[typical if c == d else (1 - typical) / (classes - 1) for d in range(classes)] for c in range(classes)]
    pooled = [[sum(table[c][d] for table in tables.values()) for d in range(classes)] for c in range(classes)]
    panel = [shrink_slowly(row, mean) for row, mean in zip(pooled, even, strict=True)]
    confusion = {}
    for who, table in tables.items():
        accuracy = (right[who] + 16 * typical) / (total[who] + 16)
        error = (1 - accuracy) / (classes - 1)
        confusion[who] = [[accuracy if c == d else error for d in range(classes)] for c in range(classes)]
        if not symmetric:
            odds = accuracy / (1 - accuracy) / (typical / (1 - typical))
            scaled = [[p * odds if c == d else p for d, p in enumerate(row)] for c, row in enumerate(panel)]
            means = [[p / sum(row) for p in row] for row in scaled]
            confusion[who] = [shrink_slowly(row, mean) for row, mean in zip(table, means, strict=True)]
    return confusion


def maximise_slowly(tables, classes, symmetric):
    """Each person's matrix without a prior."""
    confusion = {}
    for who, table in tables.items():
        if symmetric:
            right = sum(table[c][c] for c in range(classes)) / sum(map(sum, table))
            wrong = (1 - right) / (classes - 1)
            confusion[who] = [[right if c == d else wrong for d in range(classes)] for c in range(classes)]
        else:
            confusion[who] = [[n / sum(row) if sum(row) else 1 / classes for n in row] for row in table]
    return confusion


def dawid_skene_slowly(answers, classes, prior, symmetric, steps, fixed=None):
    """(probabilities, confusions, class prior) after some steps of EM, by products of plain probabilities."""
    if prior and symmetric and fixed is None:
        fixed = dawid_skene_slowly(answers, classes, prior, False, steps)[2]
    items, people = ({answer[place] for answer in answers} for place in (0, 1))
    given = {item: [label for i, _, label in answers if i == item] for item in items}
    truth = {item: [given[item].count(c) / len(given[item]) for c in range(classes)] for item in items}
    for _ in range(steps):
        tables = {
            who: [
                [sum(truth[i][c] for i, p, g in answers if p == who and g == d) for d in range(classes)]
                for c in range(classes)
            ]
            for who in people
        }
        confusion = (shrink_confusions_slowly if prior else maximise_slowly)(tables, classes, symmetric)
        shares = fixed or [sum(truth[item][c] for item in items) + 1.0 * prior for c in range(classes)]
        shares = [share / sum(shares) for share in shares]
        for item in items:
            likely = [
                shares[c] * math.prod(confusion[p][c][label] for i, p, label in answers if i == item)
                for c in range(classes)
            ]
            truth[item] = [each / sum(likely) for each in likely]
    return (*([table[key] for key in sorted(table)] for table in (truth, confusion)), shares)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("prior", "symmetric"), [(True, False), (True, True), (False, False), (False, True)])
@pytest.mark.parametrize("steps", [1, 4])
def test_dawid_skene(seed, prior, symmetric, steps, monkeypatch):
    """At the first strengths, 16 pseudo-counts: how they are chosen is tested beside them."""
    answers = answers_of(seed)
    monkeypatch.setattr(consensus, "MAX_EM_STEPS", steps)
    monkeypatch.setattr(consensus, "STEPS_THAT_CHOOSE", 0)
    found = dawid_skene(*zip(*answers, strict=True), num_classes=3, prior=prior, symmetric=symmetric)
    expected = dawid_skene_slowly(answers, 3, prior, symmetric, steps)
    for table, slow in zip((found.probabilities, found.confusion, found.class_prior), expected, strict=True):
        same(torch.from_numpy(table), slow, torch.float64, 1e-12)


def judgements_of(seed, people=3, responses=4, number=25):
    """(left, right, annotator, choice) of a small panel, among them ties where the seed is even."""
    draw, choices = Draw(seed), ("left", "right", "tie") if seed % 2 == 0 else ("left", "right")
    pairs = [(a, b) for a in range(responses) for b in range(responses) if a != b]
    return [
        (*(f"r{place}" for place in pairs[draw.whole(0, len(pairs) - 1)]), f"p{at % people}", choices[pick])
        for at, pick in enumerate(draw.whole(0, len(choices) - 1) for _ in range(number))
    ]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def bradley_terry_slowly(judgements, score, skill, bias, careless, log_tie, weights):
    """-log posterior of the skilled Bradley-Terry model; every parameter in a dictionary."""
    people, spoken = sorted(skill), [who for _, _, who, _ in judgements]
    ties = sum(choice == "tie" for *_, choice in judgements)
    loss = 0.0
    for (left, right, who, choice), weight in zip(judgements, weights, strict=True):
        d = skill[who] * (score[left] - score[right]) + bias[who]
        looking = {"left": math.exp(d / 2), "right": math.exp(-d / 2), "tie": math.exp(log_tie[who])}
        own = [c for _, _, p, c in judgements if p == who]
        tie_rate = (own.count("tie") + 0.5) / (len(own) + 1) if ties else 0.0
        to_left = (1 - tie_rate) * sigmoid(bias[who])
        guessing = {"left": to_left, "right": 1 - tie_rate - to_left, "tie": tie_rate}
        looked = looking[choice] / sum(looking.values())
        loss -= weight * math.log((1 - careless[who]) * looked + careless[who] * guessing[choice])
    share = {who: spoken.count(who) / len(spoken) for who in people}
    typical = math.log(2 * ties / (len(spoken) - ties + 1)) if ties else -50.0
    loss += sum(share[who] * (skill[who] * s) ** 2 for who in people for s in score.values()) / (2 * 2.0**2)
    for who in people:
        loss += math.log(1 + ((skill[who] - (1 - careless[who])) / 0.5) ** 2)
        loss += bias[who] ** 2 / 2 + (log_tie[who] - typical) ** 2 / 2 + careless[who]
    size = {who: math.sqrt(skill[who] ** 2 + 0.2**2) for who in people}
    scale = sum(share[p] * size[p] ** 2 for p in people) / sum(share[p] * size[p] for p in people)
    return loss + 100.0 * math.log(scale / math.sqrt(1 + 0.2**2)) ** 2


def in_dictionaries(at, responses, people):
    """Parameters as the slow reference reads them."""
    named = [responses, people, people, people, people]
    arrays = (at.score, at.skill, at.bias, at.random, at.log_tie)
    return [dict(zip(keys, each.tolist(), strict=True)) for keys, each in zip(named, arrays, strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_skilled_bradley_terry(seed):
    draw, judgements = Draw(seed), judgements_of(seed)
    responses, people, data = reliability.encode_choices(*zip(*judgements, strict=True))
    parts = [draw.matrix(1.0, 1, size)[0] for size in (4, 3, 3, 3, 3)]
    parts[3] = [abs(x) % 1.0 for x in parts[3]]
    at = reliability.Parameters(*(np.array(part) for part in parts))
    weights = [abs(x) for x in draw.matrix(1.0, 1, len(judgements))[0]]
    loss, _ = reliability.negative_log_posterior(at, data, np.array(weights))
    slow = bradley_terry_slowly(judgements, *in_dictionaries(at, responses, people), weights)
    assert loss == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_single_step_leads_on_from_what_was_found(seed):
    """At the end the slow loss falls by less than 1e-5 nats, whichever parameter is moved a little either way."""
    judgements = judgements_of(seed)
    responses, people, data = reliability.encode_choices(*zip(*judgements, strict=True))
    found = in_dictionaries(reliability.fit_posterior_mode(data), responses, people)
    ones = [1.0] * len(judgements)
    end = bradley_terry_slowly(judgements, *found, ones)
    assert end < bradley_terry_slowly(judgements, *in_dictionaries(the_start(data), responses, people), ones)
    for place, table in enumerate(found):
        for key, step in [(key, step) for key in table for step in (-1e-2, -1e-3, 1e-3, 1e-2)]:
            if place == 3 and not 0 <= table[key] + step <= 1:
                continue
            moved = [table | {key: table[key] + step} if at == place else other for at, other in enumerate(found)]
            assert bradley_terry_slowly(judgements, *moved, ones) > end - 1e-5


def the_start(data):
    """Everyone typical, every response alike."""
    one = np.ones(data.num_annotators)
    return reliability.Parameters(np.zeros(data.num_responses), one, 0 * one, 0.05 * one, data.typical_log_tie * one)
