"""Careless shares and strengths of real people, against what else is known of them.

`python bench/real_people.py ukp --data DIR` (ukp-convarg1): do people whom the check gives a high careless share rank
low in the authors' estimate of competence (of the same votes), and do they give short or repeated reasons, and
fast answers (which the share does not know)? `summaries --data DIR` (summarize-from-feedback): its confidence, from 1
(the first is far better) to 9, as a strength; is the held-out log-likelihood of sides better with it, and does the
careless share go with low or constant confidence? Rank correlations over people with 95 % intervals by a bootstrap.
"""

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import numpy as np
from careless import Floats, read_ukp
from scipy.special import expit
from scipy.stats import spearmanr
from strengths import make_answers

from likelier.explain.head import fit_head
from likelier.feedback.careless import Careless, estimate_careless
from likelier.feedback.strengths import fit_gaps, fit_thresholds, grade_votes, measure_chances
from likelier.feedback.votes import Votes

FOLDS, RIDGES, WAYS = 5, (0.03, 0.1, 0.3), ("sides, nobody careless", "sides", "common", "own")


def describe_correlation(one: Floats, other: Floats, draws: int = 1000) -> str:
    """Spearman's correlation with a bootstrap interval."""
    generator, count = np.random.default_rng(0), len(one)
    drawn = [spearmanr(one[rows], other[rows]).statistic for rows in generator.integers(count, size=(draws, count))]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return f"{spearmanr(one, other).statistic:+.2f} ({low:+.2f} to {high:+.2f})"


def print_ukp(data: Path) -> None:
    """Print how the careless share goes with competence, reasons and speed."""
    records, votes = read_ukp(data)
    people = int(votes.annotator.max()) + 1
    careless = estimate_careless(votes, people)
    assert careless is not None
    reasons = Counter((each["annotator"], each["extra"]["reason"].strip().lower()) for each in records)
    known: dict[str, list[Floats]] = defaultdict(lambda: [np.zeros(0)] * people)
    rows = [np.flatnonzero(votes.annotator == person) for person in range(people)]
    for person, own in enumerate(rows):
        mine = [records[row] for row in own]
        texts = [each["extra"]["reason"].strip().lower() for each in mine]
        known["competence"][person] = np.mean([each["extra"]["competence"] for each in mine])
        known["words of a reason"][person] = np.mean([len(text.split()) for text in texts])
        known["share of repeated reasons"][person] = np.mean(
            [reasons[mine[0]["annotator"], text] > 1 for text in texts]
        )
        known["seconds"][person] = np.median([each["duration_seconds"] for each in mine])
    count = np.bincount(votes.annotator)
    for least in (1, 20):
        some = np.flatnonzero(count >= least)
        shares = careless.shares[some]
        print(f"ukp-convarg1, {len(some)} people with {least} answers or more, mean share {shares.mean():.3f}")
        for name, values in known.items():
            columns = np.array(values)[some]
            worst, rest = columns[shares >= 0.2], columns[shares < 0.2]
            means = f"mean {worst.mean():.2f} of {len(worst)} with a share of 0.2 or more, {rest.mean():.2f} of others"
            print(f"  careless share and {name}: {describe_correlation(shares, columns)}; {means}", flush=True)


def read_summaries(data: Path) -> tuple[Votes, Floats]:
    """Return the votes with strengths by the distance of the confidence from 5, and that distance."""
    files = sorted((data / "summarize-from-feedback").glob("*.jsonl.gz"))
    records = [json.loads(line) for path in files for line in gzip.decompress(path.read_bytes()).splitlines()]
    sides = [[f"{each['info'].get('id')} {side['text']}" for side in each["summaries"]] for each in records]
    ids = np.unique(np.array(sides), return_inverse=True)[1].reshape(-1, 2)
    comparison = np.unique([" ".join(map(str, sorted(pair))) for pair in ids.tolist()], return_inverse=True)[1]
    annotator = np.unique([each["worker"] for each in records], return_inverse=True)[1]
    sign = np.array([-1.0 if each["choice"] else 1.0 for each in records])
    distance = np.array([abs(each["extra"]["confidence"] - 5.0) for each in records])
    strength = np.array([0, 1, 2, 2, 3])[distance.astype(int)]
    nothing, sided = np.full(len(sign), np.nan), np.ones(len(sign), bool)
    first = np.where(ids[:, 0] < ids[:, 1], 1.0, -1.0)
    votes = Votes(annotator, comparison, *ids.T, sign, first, nothing, nothing, sided, strength=strength)
    return votes.select(votes.is_vote), distance[votes.is_vote]


def predict_sides(
    votes: Votes, careless: Careless, train: np.ndarray, thresholds: Floats | None, ridge: float
) -> Floats:
    """Return the log-probability of each side by scores of the responses that are learned from the rows of `train`."""
    ids = np.unique([votes.left, votes.right], return_inverse=True)[1].reshape(2, -1)
    rows, numbers = np.zeros((len(votes.sign), int(ids.max()) + 1)), np.arange(len(votes.sign))
    rows[numbers, ids[0]], rows[numbers, ids[1]] = votes.sign, -votes.sign
    learned = votes.select(train)
    chance = measure_chances(learned, careless, np.ones(len(learned.sign), bool))
    answers = make_answers(learned, careless.shares[learned.annotator] / 2, thresholds, chance)
    head = fit_head(rows[train], answers, ridge, np.eye(rows.shape[1]))
    share = careless.shares[votes.annotator]
    found: Floats = np.log((1 - share) * expit(rows @ head.weights) + share / 2)
    return found


def fit_ways(votes: Votes, careless: Careless) -> dict[str, Floats | None]:
    """Return thresholds of each person, none, common ones and own ones; not those of whose strengths say nothing."""
    people = len(careless.shares)
    own, graded = fit_thresholds(votes, careless, people), grade_votes(votes, careless, people)
    if own is None or graded is None:
        return {"sides": None, "common": None, "own": None}
    one = np.zeros(len(graded.annotator), np.int64)
    common = np.tile(fit_gaps(graded._replace(annotator=one), 1).thresholds, (people, 1))
    return {"sides": None, "common": common, "own": own}


def print_summaries(data: Path) -> None:
    """Print held-out log-likelihoods of sides with strengths and without, and what goes with the careless share."""
    votes, distance = read_summaries(data)
    people = int(votes.annotator.max()) + 1
    careless = estimate_careless(votes, people)
    assert careless is not None
    thresholds = fit_ways(votes, careless)["own"]
    print(f"summarize-from-feedback, {len(votes.sign)} answers of {people} people")
    if thresholds is not None:
        said = f"{np.isnan(thresholds[:, 0]).sum()} people's strengths say nothing"
        print(f"  median thresholds {np.round(np.nanmedian(thresholds, axis=0), 2)}, {said}")
    # Only responses that stand in other comparisons too say anything of a left-out answer.
    often = np.bincount(np.concatenate([votes.left, votes.right]))
    shared = (often[votes.left] > 1) & (often[votes.right] > 1)
    fold = np.random.default_rng(0).integers(FOLDS, size=len(votes.sign))
    print(f"  {shared.sum()} left-out sides, of responses that stand in other comparisons too")
    found: dict[str, dict[float, Floats]] = {way: {ridge: np.zeros(shared.sum()) for ridge in RIDGES} for way in WAYS}
    for number in range(FOLDS):
        train = fold != number
        out, others = ~train[shared], estimate_careless(votes.select(train), people)
        assert others is not None
        ways = fit_ways(votes.select(train), others)
        for way, ridge in product(WAYS, RIDGES):
            believed = others if way in ways else others._replace(shares=np.zeros(people))
            by_scores = predict_sides(votes.select(shared), believed, ~out, ways.get(way), ridge)
            found[way][ridge][out] = by_scores[out]
    best = {way: max(tried, key=lambda ridge: float(tried[ridge].mean())) for way, tried in found.items()}
    for way in WAYS:
        gains = found[way][best[way]] - found["sides"][best["sides"]]
        low, high = draw_interval(gains, votes.comparison[shared])
        print(
            f"  {way}: {found[way][best[way]].mean():.4f} nats a left-out side (ridge {best[way]}), "
            f"{gains.mean():+.4f} ({low:+.4f} to {high:+.4f}) beside sides",
            flush=True,
        )
    some = np.flatnonzero(np.bincount(votes.annotator, minlength=people) >= 20)
    values = [distance[votes.annotator == person] for person in some]
    shares = careless.shares[some]
    print(f"  {len(some)} people with 20 answers or more, careless shares {np.round(np.sort(shares), 2)}")
    print(f"  careless share and mean strength: {describe_correlation(shares, np.array([x.mean() for x in values]))}")
    print(f"  careless share and its spread: {describe_correlation(shares, np.array([x.std() for x in values]))}")


def draw_interval(values: Floats, clusters: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean by a bootstrap over clusters."""
    generator, groups = np.random.default_rng(0), np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    drawn = generator.integers(len(sums), size=(2000, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ukp", "summaries"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    {"ukp": print_ukp, "summaries": print_summaries}[given.what](given.data)


if __name__ == "__main__":
    sys.exit(main())
