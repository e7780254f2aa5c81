"""How well can careless shares be told at all? The exact posterior of who flips coins, of twelve people and three votes
a comparison.

`python bench/careless_limit.py bound [--each 40] [--seeds 40]` weighs all 4,096 ways in which twelve people read or
flip coins, each with the differences of scores integrated out, and prints the scale that comes of the posterior (as in
`careless.py scale`, 1 is right): for somebody who knows the share of coin-flippers and the spread of the scores, for
somebody who knows the share alone, and for priors from "most panels are honest" to "every share is as likely".
`python bench/careless_limit.py needed [--seeds 20]` prints the scale of the package's estimate by judgements a person.
"""

import argparse
from itertools import product

import numpy as np
from careless import answer_honestly, draw_panel, fit_scale, flip_coins, make_votes, measure_scale
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import betaln, expit, logsumexp

from likelier.feedback.careless import estimate_careless

Floats = NDArray[np.float64]
PEOPLE, COINS = 12, 4
WAYS = np.array(list(product((0, 1), repeat=PEOPLE)))
"""Who flips coins, [4096, people]."""
NUM_COINS = WAYS.sum(axis=1)
SPREADS = np.geomspace(0.2, 8, 16)
"""Standard deviations of a difference of scores that are as likely."""
NODES, _weights = hermegauss(41)
NODE_WEIGHTS = _weights / _weights.sum()
HONEST = {"90 % of panels honest": 0.9, "70 %": 0.7, "50 %": 0.5, "30 %": 0.3, "every share as likely": 0.0}


def weigh_ways(annotator: NDArray[np.int64], prefers_first: Floats, spread: float) -> Floats:
    """Return the log-likelihood of each of `WAYS`, [4096], of three votes a comparison and differences of `spread`."""
    people, sign = annotator.reshape(-1, 3), prefers_first.reshape(-1, 3)
    read = expit(sign[:, :, None] * spread * NODES)
    cases = list(product((False, True), repeat=3))
    table = np.empty((len(people), len(cases)))
    for number, coins in enumerate(cases):
        votes = [np.full_like(read[:, 0], 0.5) if coin else read[:, place] for place, coin in enumerate(coins)]
        table[:, number] = np.log(np.prod(votes, axis=0) @ NODE_WEIGHTS)
    case = WAYS[:, people] @ np.array([4, 2, 1])
    return np.asarray(table[np.arange(len(people)), case].sum(axis=1))


def list_priors() -> dict[str, Floats]:
    """Return log-priors of `WAYS`: the share of coin-flippers known, or a panel honest, else of any share up to all."""
    share = COINS / PEOPLE
    any_share = betaln(1 + NUM_COINS, 2 + PEOPLE - NUM_COINS) - betaln(1, 2)
    priors = {"share known": NUM_COINS * np.log(share) + (PEOPLE - NUM_COINS) * np.log(1 - share)}
    with np.errstate(divide="ignore"):
        for name, honest in HONEST.items():
            nobody = np.log(np.where(NUM_COINS == 0, honest, 0.0))
            priors[name] = np.logaddexp(nobody, np.log(1 - honest) + any_share)
    return priors


def measure_bounds(each: int, spread: float, is_honest: bool, seed: int) -> dict[str, float]:
    """Return the scale by each kind of knowledge, for one panel."""
    generator = np.random.default_rng(seed)
    panel = draw_panel("votes", PEOPLE, each, spread, generator)
    bad = panel.annotator < COINS
    bad_answers = (answer_honestly if is_honest else flip_coins)(generator, panel)
    sign = np.where(bad, bad_answers, answer_honestly(generator, panel))
    careless = estimate_careless(make_votes(panel, sign, 0 * sign, generator), PEOPLE)
    assert careless is not None
    known = weigh_ways(panel.annotator, sign, spread * np.sqrt(2))
    tried = np.stack([weigh_ways(panel.annotator, sign, each_spread) for each_spread in SPREADS])
    priors = list_priors()
    posteriors = {"share and spread known": known + priors["share known"]}
    posteriors |= {name: logsumexp(tried, axis=0) + prior for name, prior in priors.items()}
    shares = {"who is known": 1.0 * (np.arange(PEOPLE) < COINS) * (not is_honest)}
    shares |= {name: np.exp(each - logsumexp(each)) @ WAYS for name, each in posteriors.items()}
    shares["the package"] = careless.shares
    return {name: fit_scale(panel.difference, sign, own[panel.annotator] / 2) for name, own in shares.items()}


def print_bounds(each: int, seeds: int) -> None:
    """Print a row of a table for each kind of knowledge: mean scales of honest panels, and with coin-flippers."""
    spreads = (0.4, 0.8, 1.5, 4.0)
    cells = [(spread, is_honest) for spread in spreads for is_honest in (True, False)]
    print("| what is known | " + " | ".join(f"{s}, {'honest' if honest else 'coins'}" for s, honest in cells) + " |")
    print("|---" * (1 + len(cells)) + "|")
    scales: dict[str, list[float]] = {}
    for spread, is_honest in cells:
        runs = [measure_bounds(each, spread, is_honest, seed) for seed in range(seeds)]
        for name in runs[0]:
            scales.setdefault(name, []).append(float(np.mean([run[name] for run in runs])))
    for name, row in scales.items():
        print(f"| {name} | " + " | ".join(f"{scale:.2f}" for scale in row) + " |")


def print_needed(seeds: int) -> None:
    """Print the scale of the package's estimate with coin-flippers and without, by judgements a person."""
    for kind, spread in product(("scores", "votes"), (0.4, 0.8)):
        for each in (40, 60, 80, 100, 150, 200, 300, 450):
            scales = []
            for bad in (answer_honestly, flip_coins):
                runs = [measure_scale(kind, (PEOPLE, each), spread, (answer_honestly, bad), s)[0] for s in range(seeds)]
                scales.append(f"{np.mean(runs):.2f} ± {np.std(runs, ddof=1) / np.sqrt(seeds):.2f}")
            print(f"{kind}, spread {spread}, {each} each: honest {scales[0]}, 30 % coins {scales[1]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bound", "needed"])
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=40)
    given = parser.parse_args()
    if given.what == "bound":
        print_bounds(given.each, given.seeds)
    else:
        print_needed(given.seeds)


if __name__ == "__main__":
    main()
