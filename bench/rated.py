"""Ratings and rankings by panels of which some people do not look: scores with and without the check, truth known.

python bench/rated.py ratings --seeds 20
python bench/rated.py rankings --seeds 12
python bench/rated.py honest --seeds 200
"""

import argparse
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.careless import ByScores, arrange_answers, estimate_careless
from likelier.feedback.check_all import count_evidence
from likelier.feedback.derived import compare_ranked
from likelier.feedback.raters import Scale, fit_scale, flag_raters, measure_skills, predict_all
from likelier.feedback.votes import arrange_votes
from likelier.records import JudgedComparison, Prompt, RankedResponses, Ranking, Response, order_by_rank

Floats = NDArray[np.float64]
PEOPLE, RESPONSES, LEVELS = 8, 120, 7
STEPS = np.array([-3.0, -1.8, -0.6, 0.6, 1.8, 3.0])
QUESTIONS, RANKED = 30, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ratings", "rankings", "honest"])
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    if given.what == "honest":
        panels = [rate(1000 + seed, 0, (40, 100)[seed % 2], 1.5) for seed in range(given.seeds)]
        print(f"honest panels with somebody flagged: {sum(panel[4] > 0 for panel in panels)} of {len(panels)}")
        return
    run = rate if given.what == "ratings" else rank
    for bad, count, spread in [(0, 40, 1.5), (3, 40, 1.5), (0, 40, 0.7), (0, 100, 1.5), (3, 100, 1.5)]:
        if run is rank and count == 100:
            continue
        rows = np.array([run(seed, bad, count, spread) for seed in range(given.seeds)])
        names = ("all alike", "checked", "without them", "flagged", "falsely", "careless: honest", "random")
        shown = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, rows.mean(axis=0), strict=True))
        print(f"{bad} of {PEOPLE} at random, {count}, spread {spread}: {shown}", flush=True)


def rate(seed: int, bad: int, count: int, spread: float) -> tuple[float, ...]:
    """Each of eight people rates `count` of 120 responses from 1 to 7 by the graded response model."""
    generator = np.random.default_rng(seed)
    truth, rows = generator.normal(size=RESPONSES) * spread, []
    for person in range(PEOPLE):
        thresholds = STEPS + generator.normal()
        for response in generator.choice(RESPONSES, count, replace=False):
            value = int((truth[response] + generator.logistic() > thresholds).sum())
            rows.append((response, person, int(generator.integers(LEVELS)) if person < bad else value))
    response, annotator, category = np.array(rows).T
    seen = np.unique(response)
    names = [f"p{person}" for person in range(PEOPLE)]
    told = predict_all([make_scale(response, annotator, category, names)], names)
    assert told
    flags = [bool(own) for own in flag_raters(*measure_skills(told[0], PEOPLE))]
    careless = dict(zip(names, told[1].mean.tolist(), strict=True))

    def score(kept: "NDArray[np.bool_]", shares: dict[str, float]) -> float:
        scores = np.zeros(RESPONSES)
        fitted = fit_scale(make_scale(response[kept], annotator[kept], category[kept], names), shares)
        scores[np.unique(response[kept])] = fitted.scores.mean
        return float(np.corrcoef(scores[seen], truth[seen])[0, 1])

    everyone, honest = np.ones(len(rows), bool), annotator >= bad
    kept = ~np.array(flags)[annotator]
    share = told[1].mean
    return (
        score(everyone, {}), score(kept, careless), score(honest, {}), float(sum(flags[:bad])),
        float(sum(flags[bad:])), float(share[bad:].mean()), float(share[:bad].mean()) if bad else 0.0,
    )  # fmt: skip


def make_scale(response: Floats, annotator: Floats, category: Floats, names: list[str]) -> Scale:
    """Return ratings as a scale of seven levels."""
    ids, codes = np.unique(response, return_inverse=True)
    return Scale(list(map(str, ids)), codes, names, annotator, category, LEVELS)


def rank(seed: int, bad: int, _: int, spread: float) -> tuple[float, ...]:
    """Each of eight people ranks four responses to 20 of 30 prompts by Plackett and Luce."""
    generator, truth, pairs = np.random.default_rng(seed), dict[str, float](), list[JudgedComparison]()
    asked = []
    for number in range(QUESTIONS):
        prompt = Prompt(f"question {number}")
        responses = tuple(Response(prompt.id, f"answer {place}") for place in range(4))
        asked.append((prompt, responses, generator.normal(size=4) * spread))
        truth |= {each.id: float(score) for each, score in zip(responses, asked[-1][2], strict=True)}
    for person in range(PEOPLE):
        for number in generator.choice(QUESTIONS, RANKED, replace=False):
            prompt, responses, scores = asked[number]
            seen = generator.gumbel(size=4) + scores * (person >= bad)
            ids = [each.id for each in responses]
            order = order_by_rank(ids, np.argsort(np.argsort(-seen)).tolist())
            ranking = Ranking(prompt.id, f"p{person}", order, tuple(ids), key=f"{seed}-{person}-{number}")
            pairs += compare_ranked([RankedResponses(ranking, prompt, responses)])
    weighed = [replace(pair, weight=count_evidence(4)) for pair in pairs]
    votes, names = arrange_votes(weighed)
    found = estimate_careless(votes, len(names))
    assert found
    careless = dict(zip(names, found.shares.tolist(), strict=True))
    dishonest = {f"p{person}" for person in range(bad)}
    honest = [share for name, share in careless.items() if name not in dishonest]
    random = [careless[name] for name in dishonest]
    return (
        correlate(weighed, {}, truth, ()), correlate(weighed, careless, truth, ()),
        correlate(weighed, {}, truth, dishonest), 0.0, 0.0, float(np.mean(honest)), float(np.mean(random or [0.0])),
    )  # fmt: skip


def correlate(
    pairs: list[JudgedComparison], careless: dict[str, float], truth: dict[str, float], without: Collection[str]
) -> float:
    """Return the correlation of Bradley-Terry scores with the truth within prompts."""
    kept = [pair for pair in pairs if pair.judgement.annotator not in without]
    votes, names = arrange_votes(kept)
    answers = arrange_answers(votes)
    model, share = ByScores(answers), np.array([careless.get(name, 0.0) for name in names])[answers.annotator]
    model.fit(share, np.full(len(share), 0.5))
    responses = {each.id: each for pair in kept for each in (pair.left, pair.right)}
    ids = sorted(responses)
    prompts = np.unique([responses[each].prompt_id for each in ids], return_inverse=True)[1]
    columns = [model.scores[: len(ids)], np.array([truth[each] for each in ids])]
    centred = [each - (np.bincount(prompts, each) / np.bincount(prompts))[prompts] for each in columns]
    return float(np.corrcoef(*centred)[0, 1])


if __name__ == "__main__":
    main()
