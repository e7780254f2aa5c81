"""How often win rates by a judge, corrected by people on a random part, hold the truth, and how short they are.

`python bench/corrected.py [--draws 400] [--seed 0]`: b's true rate, the share of pairs on which the judge agrees with
people (one that favours b errs for b alone), the number of pairs that people judged and of all, and of pairs a prompt.
The truth is people's rate over all prompts that there could be.
"""

import argparse
from itertools import product

import numpy as np

from likelier.evaluation.corrected import correct_win_rate

RATES, AGREEMENTS, SIZES = (0.5, 0.6, 0.9), (0.5, 0.65, 0.75, 0.85, 0.95), ((100, 500), (100, 1000), (300, 1000))
CORRELATION = 0.3
"""Of pairs of one prompt, where it has three."""


def draw(rate: float, agreement: float, favours_b: bool, judged: int, total: int, rows: int, generator):
    """Return people's shares, NaN where they did not judge, the judge's wins and the prompt of each pair."""
    count = total // rows
    spread = 1 / CORRELATION - 1
    rates = generator.beta(rate * spread, (1 - rate) * spread, count) if rows > 1 else np.full(count, rate)
    truth = (generator.random((count, rows)) < rates[:, None]).astype(float)
    errs = generator.random((count, rows)) < (1 - agreement) / ((1 - rate) if favours_b else 1)
    judge = np.where(errs & ((truth == 0) | (not favours_b)), 1 - truth, truth)
    shares = truth.copy()
    shares[generator.permutation(count)[judged // rows :]] = np.nan
    return shares.ravel(), judge.ravel(), np.repeat(np.arange(count), rows).astype(str)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    coverage, wider = [], []
    for rows, (judged, total), rate, favours_b in product((1, 3), SIZES, RATES, (False, True)):
        cells = []
        for agreement in AGREEMENTS:
            if favours_b and 1 - agreement > 1 - rate:
                continue
            generator = np.random.default_rng([given.seed, rows, judged, total, int(100 * rate), int(100 * agreement)])
            holds, ratios, alone = [], [], []
            for _ in range(given.draws):
                shares, judge, prompts = draw(rate, agreement, favours_b, judged, total, rows, generator)
                result = correct_win_rate(shares, judge, prompts.tolist(), np.zeros(len(judge)))
                if result and result.interval and result.people_alone_interval:
                    holds.append(result.interval[0] <= rate <= result.interval[1])
                    alone.append(result.people_alone_interval[0] <= rate <= result.people_alone_interval[1])
                    ratios.append(1 - (result.gain or 0))
            cells.append(f"{agreement:.2f}: {np.mean(holds):.3f} ({np.mean(alone):.3f}), {np.mean(ratios):.3f}")
            coverage.append(np.mean(holds))
            wider.append(np.mean(ratios))
        name = f"{judged} of {total}, {rows} a prompt, rate {rate}, {'favours b' if favours_b else 'errs both ways'}"
        print(f"{name}: " + "; ".join(cells), flush=True)
    print(f"coverage at least {min(coverage):.3f}; widest {max(wider):.3f} of people alone")


if __name__ == "__main__":
    main()
