"""How many comparisons an acquisition strategy saves, and what its answers say of all comparisons.

`python bench/ask.py tastes` draws responses with features and people whose reward is linear in them: of all prompts
alike, or of prompts whose responses differ more or less from each other. `recurring` draws responses without features
that stand in several comparisons each. `ukp` and `hh` (`--data DIR`) replay ukp-convarg1 and hh-rlhf: an answer is that
of a worker of the pair, or the label. Features of texts are their style and the directions of their words; `ukp` also
prints the scores of arguments, which recur. Each prints, for each strategy, the comparisons that asking at random needs
for an accuracy divided by those that the strategy needs, with the 95% interval over seeds (bootstrap); 0 where it does
not get there with twice as many. `coverage` asks by a strategy that seeks disagreement, and counts how often the
interval of the share of agreeing answers holds that of all comparisons, with and without the weights of draws.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from likelier.asking.gains import choose_by_determinant, choose_by_entropy, measure_disagreement
from likelier.asking.scores import estimate_scores
from likelier.feedback.draws import ASKED, FLOOR, Draw
from likelier.feedback.inclusion import draw_new, weigh_draws
from likelier.feedback.reliability import Choices, fit_posterior_mode
from likelier.feedback.text_features import NUM_TOPICS, describe_texts
from likelier.intervals import rate_interval
from likelier.records import Judgement
from likelier.text.topics import embed_words

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
STEP = 20
"""Answers after which strategies choose again, and the accuracy is measured."""
MEMBERS = 5
PEOPLE = 10
DIRECTIONS = 16
"""Of words."""


class World(NamedTuple):
    """Comparisons that can be asked, and those on which accuracy is measured."""

    features: Floats | None
    """[R, D]; None: what is learned are scores of the responses themselves."""
    left: Indices
    right: Indices
    answer: Callable[[int], float]
    """1 left, -1 right: to the comparison of this number, drawn anew each time."""
    test_left: Indices
    test_right: Indices
    truth: Floats
    """1 where the left response is better, else -1."""
    num_responses: int
    ridge: float = 1.0
    """Of the linear reward that is learned."""


@dataclass(frozen=True)
class State:
    """What is known after some answers."""

    world: World
    asked: Indices
    signs: Floats
    open: Indices
    """Numbers of the comparisons that have not been asked."""
    generator: np.random.Generator

    def difference(self, numbers: Indices) -> Floats:
        """Return the features of the left response minus those of the right one, [N, D]."""
        assert self.world.features is not None
        return np.asarray(
            self.world.features[self.world.left[numbers]] - self.world.features[self.world.right[numbers]]
        )

    def fit(self, rows: Floats, signs: Floats) -> Floats:
        """Return the weights of a linear reward, [D], by logistic regression."""
        ridge = self.world.ridge

        def loss(weights: Floats) -> tuple[float, Floats]:
            logits = signs * (rows @ weights)
            value = float(-log_expit(logits).sum() + ridge * weights @ weights / 2)
            return value, rows.T @ (-signs * expit(-logits)) + ridge * weights

        return np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x)

    def to_choices(self) -> Choices:
        """Return the answers as those of `PEOPLE` people."""
        left, right = self.world.left[self.asked], self.world.right[self.asked]
        people = np.arange(len(left)) % PEOPLE
        return Choices(left, right, people, self.signs, self.world.num_responses, PEOPLE, np.zeros(PEOPLE), -50.0)

    def measure(self) -> float:
        """Return the share of test comparisons whose better response has the higher score."""
        if self.world.features is None:
            score = fit_posterior_mode(self.to_choices()).score
        else:
            score = self.world.features @ self.fit(self.difference(self.asked), self.signs)
        gap = score[self.world.test_left] - score[self.world.test_right]
        return float(np.mean(np.where(gap == 0, 0.5, gap * self.world.truth > 0)))


Strategy = Callable[[State], Sequence[int]]
"""Returns a batch, as places in `open`; an empty one: at random."""


def ask_determinant(state: State) -> list[int]:
    """As `Pool.choose_by_determinant`, with a reward that is fitted again each time."""
    rows, judged = state.difference(state.open), state.difference(state.asked)
    weights, scale = state.fit(judged, state.signs), float(np.sqrt((rows**2).mean()))
    p, known = expit(rows @ weights), expit(judged @ weights)
    return choose_by_determinant(rows / scale, p * (1 - p), judged / scale, known * (1 - known), STEP, 1.0)


def ask_disagreement(state: State) -> list[int]:
    """An ensemble by bootstrap."""
    rows, judged = state.difference(state.open), state.difference(state.asked)
    drawn = [state.generator.integers(len(judged), size=len(judged)) for _ in range(MEMBERS)]
    heads = np.array([state.fit(judged[some], state.signs[some]) for some in drawn])
    return list(np.argsort(-measure_disagreement(heads @ rows.T))[:STEP])


def ask_by_gap(state: State, closest: bool) -> list[int]:
    gap = np.abs(state.difference(state.open) @ state.fit(state.difference(state.asked), state.signs))
    return list(np.argsort(gap if closest else -gap)[:STEP])


def ask_entropy(state: State) -> list[int]:
    world = state.world
    scores = estimate_scores(state.to_choices(), world.left, world.right, world.num_responses)
    return choose_by_entropy(*scores, world.left[state.open], world.right[state.open], STEP)


BY_FEATURES: Mapping[str, Strategy] = {
    "random": lambda state: (),
    "d_optimality": ask_determinant,
    "disagreement": ask_disagreement,
    "closest pairs": partial(ask_by_gap, closest=True),
    "largest gap": partial(ask_by_gap, closest=False),
}
BY_SCORES: Mapping[str, Strategy] = {"random": lambda state: (), "entropy": ask_entropy}


def follow(world: World, strategy: Strategy, seed: int, floor: float, last: int) -> Floats:
    """Return the accuracy after each `STEP` answers; the first ones are drawn at random."""
    generator = np.random.default_rng(seed)
    state = State(world, np.zeros(0, np.int64), np.zeros(0), np.arange(len(world.left)), generator)
    curve = []
    while len(state.asked) < last:
        weights = np.zeros(len(state.open))
        if len(state.asked):
            weights[list(strategy(state))] = 1.0
        asked, signs, still_open = list(state.asked), list(state.signs), state.open
        for _ in range(STEP):
            number, _ = draw_new(weights, int(generator.integers(len(weights))), floor, *generator.random(2).tolist())
            asked.append(still_open[number])
            signs.append(world.answer(int(still_open[number])))
            still_open, weights = np.delete(still_open, number), np.delete(weights, number)
        state = State(world, np.array(asked), np.array(signs), still_open, generator)
        curve.append(state.measure())
    return np.array(curve)


def make_rising(curve: Floats) -> Floats:
    """Return the closest curve that never falls (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in curve:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, more = blocks.pop()
            mean, count = (mean * count + before * more) / (count + more), count + more
        blocks.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in blocks])


def count_needed(curve: Floats, accuracy: float) -> float:
    """Return the comparisons after which a curve, made to rise, has an accuracy; infinity if it never has."""
    rising = make_rising(curve)
    reached = np.flatnonzero(rising >= accuracy - 1e-12)
    if not len(reached):
        return float("inf")
    place = int(reached[0])
    if place == 0:
        return float(STEP)
    return STEP * (place + float((accuracy - rising[place - 1]) / (rising[place] - rising[place - 1])))


def compare(curves: Floats, random: Floats, target: int) -> tuple[float, float, float]:
    """Return the ratio of comparisons needed and its interval over seeds; the curves are [seeds, looks]."""

    def find_ratio(rows: Indices) -> float:
        base = random[rows].mean(axis=0)
        accuracy = float(make_rising(base)[target // STEP - 1])
        return count_needed(base, accuracy) / count_needed(curves[rows].mean(axis=0), accuracy)

    generator, seeds = np.random.default_rng(0), len(curves)
    drawn = [find_ratio(generator.integers(seeds, size=seeds)) for _ in range(1000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return find_ratio(np.arange(seeds)), float(low), float(high)


def print_ratios(
    name: str, draw: Callable[[int], World], strategies: Mapping[str, Strategy], target: int, seeds: int, floor: float
) -> None:
    """Print the ratio of each strategy, and its accuracies beside those at random."""
    curves = {
        strategy: np.array([follow(draw(seed), choose, seed, floor, 2 * target) for seed in range(seeds)])
        for strategy, choose in strategies.items()
    }
    looks = [target // 2, target, 2 * target]
    for strategy, own in curves.items():
        ratio, low, high = compare(own, curves["random"], target)
        accuracy = " ".join(f"{100 * own[:, look // STEP - 1].mean():.1f}" for look in looks)
        line = f"{name}, {strategy}: {ratio:.2f} ({low:.2f} to {high:.2f}); accuracy at {looks}: {accuracy}"
        print(line, flush=True)


def draw_taste(seed: int, vary: float, dimensions: int = 24, spread: float = 1.5) -> World:
    """Draw 500 prompts with four responses each; the reward is linear in features of falling size, as directions are.

    `vary` is the standard deviation of the logarithm of how much the responses to a prompt differ.
    """
    generator = np.random.default_rng([1, seed])
    scale = 1 / np.sqrt(1 + np.arange(dimensions))
    size = np.exp(vary * generator.normal(size=1000) - vary**2)
    features = generator.normal(size=(3000, dimensions)) * scale
    features *= np.repeat(size, [4] * 500 + [2] * 500)[:, None]
    scores = features @ generator.normal(size=dimensions) * spread / np.sqrt((scale**2).sum())
    one, two = np.triu_indices(4, 1)
    first = 4 * np.arange(500)[:, None]
    left, right, test = (first + one).ravel(), (first + two).ravel(), np.arange(2000, 3000, 2)
    features /= np.sqrt((features**2).mean())
    truth = np.sign(scores[test] - scores[test + 1])
    return World(features, left, right, make_answer(scores, left, right, generator), test, test + 1, truth, 3000)


def draw_recurring(seed: int, each: int, spread: float = 1.5) -> World:
    """Draw about 1,200 comparisons, of all pairs of `each` responses to a prompt; the test is of all of them."""
    generator = np.random.default_rng([2, seed])
    one, two = np.triu_indices(each, 1)
    first = each * np.arange(round(1200 / len(one)))[:, None]
    left, right = (first + one).ravel(), (first + two).ravel()
    scores = generator.normal(0, spread, first.size * each)
    truth = np.sign(scores[left] - scores[right])
    return World(None, left, right, make_answer(scores, left, right, generator), left, right, truth, len(scores))


def make_answer(
    scores: Floats, left: Indices, right: Indices, generator: np.random.Generator
) -> Callable[[int], float]:
    """Return people who answer by Bradley and Terry's model."""

    def answer(number: int) -> float:
        return 1.0 if generator.random() < expit(scores[left[number]] - scores[right[number]]) else -1.0

    return answer


class Replay(NamedTuple):
    """Comparisons of texts with people's answers."""

    texts: Sequence[str]
    left: Indices
    right: Indices
    votes: Sequence[Sequence[float]]
    """Of each comparison: 1 left, -1 right."""
    group: Indices
    """Of each text: those of one group are asked about or tested together."""
    prompt: Indices
    """Of each comparison."""


def read_ukp(data: Path) -> Replay:
    """Read the workers' answers to ukp-convarg1 that are no ties; pairs with as many for either side are left out."""
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    import ukp_convarg1

    texts: dict[str, str] = {}
    votes: dict[tuple[str, str], list[float]] = {}
    prompts: dict[tuple[str, str], str] = {}
    for each in ukp_convarg1.judgements(data / "ukp-convarg1"):
        one, two = each["left"]["model"], each["right"]["model"]
        texts |= {one: each["left"]["text"], two: each["right"]["text"]}
        if each["choice"] != "tie":
            sign = 1.0 if each["choice"] == "left" else -1.0
            votes.setdefault((min(one, two), max(one, two)), []).append(sign if one <= two else -sign)
            prompts[min(one, two), max(one, two)] = each["prompt"]
    number = {name: place for place, name in enumerate(sorted(texts))}
    pairs = sorted(pair for pair, given in votes.items() if sum(given))
    left, right = np.array([[number[one], number[two]] for one, two in pairs]).T
    prompt = np.unique([prompts[pair] for pair in pairs], return_inverse=True)[1]
    every = [texts[name] for name in number]
    return Replay(every, left, right, [votes[pair] for pair in pairs], np.arange(len(every)), prompt)


def read_hh(data: Path) -> Replay:
    """Read the last answers of the helpful part of hh-rlhf."""
    texts: list[str] = []
    for path in sorted((data / "hh-rlhf").glob("helpful*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for record in map(json.loads, file):
                texts += [record[side].rpartition("\n\nAssistant:")[2] for side in ("chosen", "rejected")]
    left = 2 * np.arange(len(texts) // 2)
    return Replay(texts, left, left + 1, [[1.0]] * len(left), np.arange(len(texts)) // 2, np.arange(len(left)))


def describe(texts: Sequence[str]) -> Floats:
    """Return features of texts: style, and directions of words at a common scale."""
    style = describe_texts(texts)[1][:, :-NUM_TOPICS]
    words = embed_words(texts, DIRECTIONS)[1]
    words -= words.mean(axis=0)
    return np.concatenate([style, words / words.std(axis=0).mean()], axis=1) / 2


def draw_replay(replay: Replay, features: Floats, seed: int) -> World:
    """Test on comparisons of two of three tenths of the texts, ask about those of two others."""
    generator = np.random.default_rng([3, seed])
    out = (generator.random(int(replay.group.max()) + 1) < 0.3)[replay.group]
    turned = np.where(generator.random(len(replay.left)) < 0.5, -1.0, 1.0)
    left, right = np.where(turned > 0, [replay.left, replay.right], [replay.right, replay.left])
    pool, test = np.flatnonzero(~(out[left] | out[right])), np.flatnonzero(out[left] & out[right])
    truth = np.array([np.sign(sum(votes)) for votes in replay.votes]) * turned

    def answer(number: int) -> float:
        row = int(pool[number])
        return float(turned[row] * generator.choice(replay.votes[row]))

    sides = left[pool], right[pool], answer, left[test], right[test]
    return World(features, *sides, truth[test], len(replay.texts), ridge=10.0)


def draw_scores(replay: Replay, seed: int, num_prompts: int = 4) -> World:
    """Ask about the texts of a few prompts, whose scores are learned from the answers alone; test on all of them."""
    generator = np.random.default_rng([4, seed])
    chosen = generator.permutation(int(replay.prompt.max()) + 1)[:num_prompts]
    rows = np.flatnonzero(np.isin(replay.prompt, chosen))
    texts, codes = np.unique([replay.left[rows], replay.right[rows]], return_inverse=True)
    left, right = codes.reshape(2, -1)
    truth = np.array([np.sign(sum(replay.votes[row])) for row in rows])

    def answer(number: int) -> float:
        return float(generator.choice(replay.votes[rows[number]]))

    return World(None, left, right, answer, left, right, truth, len(texts))


def print_coverage(size: int, count: int, floor: float, runs: int, seed: int = 0) -> None:
    """Print how often intervals of the share of pairs of answers that agree hold that of all comparisons."""
    generator = np.random.default_rng(seed)
    held: dict[str, list[bool]] = {"weighted": [], "unweighted": []}
    widths, bias = [], []
    for _ in range(runs):
        p = expit(generator.normal(0, 1.5, size))
        agreement = p**2 + (1 - p) ** 2
        truth, open_ones, judged = float(agreement.mean()), np.arange(size), []
        values = []
        for place in range(count):
            if place % STEP == 0:  # the strategy knows which are close, roughly
                guess = np.abs(p[open_ones] - 0.5) + generator.normal(0, 0.1, len(open_ones))
                weights = np.zeros(len(open_ones))
                weights[np.argsort(guess)[:STEP]] = 1.0
            number, draw = draw_new(
                weights, int(generator.integers(len(weights))), floor, *generator.random(2).tolist()
            )
            row = open_ones[number]
            values.append(float(generator.random() < agreement[row]))
            extra, time = {ASKED: Draw._asdict(draw)}, f"{place:06d}"
            judged.append(Judgement(str(row), "", "a", "b", "left", extra=extra, created_at=time))
            open_ones, weights = np.delete(open_ones, number), np.delete(weights, number)
        names = [each.comparison_id for each in judged]
        found = weigh_draws(judged)
        for name, own in (("weighted", found), ("unweighted", None)):
            interval = rate_interval(values, names, own)
            assert interval
            held[name].append(interval[0] <= truth <= interval[1])
            if name == "weighted":
                widths.append(interval[1] - interval[0])
                bias.append(np.average(values, weights=own) - truth)
    shares = ", ".join(f"{name} {np.mean(own):.3f}" for name, own in held.items())
    print(
        f"{count} of {size}, floor {floor}: covered {shares}; width {np.mean(widths):.3f}, "
        f"mean error {np.mean(bias):+.4f}",
        flush=True,
    )


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["tastes", "recurring", "ukp", "hh", "coverage"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--floor", type=float, default=FLOOR)
    given = parser.parse_args(None if argv is None else list(argv))
    seeds, floor = given.seeds, given.floor
    folder = {"ukp": "ukp-convarg1", "hh": "hh-rlhf"}.get(given.what)
    if folder and not (given.data / folder).is_dir():
        print(f"skipped: no {given.data / folder}; give --data DIR")
        return
    if given.what == "tastes":
        for vary in (0.0, 0.5):
            name = f"tastes, prompts vary by {vary}"
            print_ratios(name, partial(draw_taste, vary=vary), BY_FEATURES, 200, seeds, floor)
    elif given.what == "recurring":
        for each in (3, 4, 8, 16):
            draw = partial(draw_recurring, each=each)
            print_ratios(f"{each} responses a prompt", draw, BY_SCORES, 400, seeds, floor)
    elif given.what == "coverage":
        for size, count in ((2000, 200), (2000, 600), (500, 400)):
            for share in (0.1, 0.2, 0.5):
                print_coverage(size, count, share, 50 * seeds)
    else:
        replay = read_ukp(given.data) if given.what == "ukp" else read_hh(given.data)
        features = describe(replay.texts)
        if given.what == "ukp":
            print_ratios("ukp, scores", partial(draw_scores, replay), BY_SCORES, 400, seeds, floor)
        draw = partial(draw_replay, replay, features)
        print_ratios(f"{given.what}, features", draw, BY_FEATURES, 200, seeds, floor)


if __name__ == "__main__":
    main()
