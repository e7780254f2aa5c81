"""How often the intervals of the audits hold the truth, of honest people who judge the same comparisons in one order.

`python bench/audits.py [--panels 300]`: nobody changes over time and length has no effect, so that an interval of 95 %
excludes 0 (`drift`) or one half (`length`, `longer_is_better`, `style`, `side`) in one panel of twenty. Scores have a
standard deviation of 1.5 (of a difference 2.1), five people judge a comparison, and all of them judge in the same
order, as `serve` has it, which shows begun comparisons first. `recurring`: a response stands in about ten comparisons.
"""

import argparse
from collections import Counter

import numpy as np
from scipy.special import expit

from likelier.feedback.expected import expect_answers
from likelier.feedback.measures import measure_annotators
from likelier.feedback.panel_audits import audit_panel
from likelier.feedback.shares import Share
from likelier.feedback.style import FEATURES
from likelier.feedback.votes import Votes

LAYOUTS = ((12, 100, 5, False), (12, 100, 5, True), (5, 40, 5, False), (20, 50, 2, False), (12, 100, 1, False))
"""People, judgements each, people to a comparison, and whether responses recur."""
TRUTH = {"drift": 0.0, "length": 0.5, "style": 0.5, "side": 0.5, "longer_is_better": 0.5}
SPREAD = 1.5


def draw_votes(people: int, each: int, votes: int, recurs: bool, generator: np.random.Generator) -> Votes:
    """Draw honest votes: comparison by comparison, by the people who have judged least."""
    pairs = people * each // votes
    responses = max(20, pairs // 5) if recurs else 2 * pairs
    scores = generator.normal(0, SPREAD, responses)
    lengths, styles = generator.normal(size=responses), generator.integers(0, 4, responses)
    both = np.array([generator.choice(responses, 2, replace=False) for _ in range(pairs)])
    both = both if recurs else np.arange(2 * pairs).reshape(-1, 2)
    load, judges = np.zeros(people), []
    for _ in range(pairs):
        chosen = np.lexsort((generator.random(people), load))[:votes]
        load[chosen] += 1
        judges.append(chosen)
    comparison, annotator = np.repeat(np.arange(pairs), votes), np.concatenate(judges)
    swapped = generator.random(len(comparison)) < 0.5
    left, right = np.where(swapped, both[comparison].T[::-1], both[comparison].T)
    sign = np.where(generator.random(len(left)) < expit(scores[left] - scores[right]), 1.0, -1.0)
    style = np.zeros((len(left), len(FEATURES)), np.int8)
    style[:, 0] = np.sign(styles[left] - styles[right])
    return Votes(
        annotator=annotator,
        comparison=comparison,
        left=left,
        right=right,
        sign=sign,
        left_is_first=np.where(left < right, 1.0, -1.0),
        longer=np.sign(lengths[left] - lengths[right]),
        seconds=generator.lognormal(2.5, 0.3, len(left)),
        has_sides=np.ones(len(left), bool),
        style=style,
    )


def count_misses(
    people: int, each: int, votes: int, recurs: bool, panels: int
) -> tuple[Counter[str], dict[str, float]]:
    """Return how many panels' intervals exclude the truth, by audit, and the mean half width."""
    misses: Counter[str] = Counter()
    widths: dict[str, list[float]] = {}
    for seed in range(panels):
        drawn = draw_votes(people, each, votes, recurs, np.random.default_rng(seed))
        expected, nothing = expect_answers(drawn, people), np.zeros(people, np.int64)
        measures = measure_annotators(drawn, people, expected, Share(nothing, nothing, nothing))
        for audit in audit_panel(drawn, expected, measures):
            if audit.name in TRUTH and audit.interval:
                low, high = audit.interval
                misses[audit.name] += not low <= TRUTH[audit.name] <= high
                widths.setdefault(audit.name, []).append((high - low) / 2)
    return misses, {name: float(np.mean(each)) for name, each in widths.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=300)
    panels = parser.parse_args().panels
    for people, each, votes, recurs in LAYOUTS:
        misses, widths = count_misses(people, each, votes, recurs, panels)
        cells = ", ".join(
            f"{name} {misses[name]} (± {100 * widths[name]:.1f} points)" for name in TRUTH if name in widths
        )
        print(f"{people} x {each}, {votes} each{', recurring' * recurs}, of {panels}: {cells}", flush=True)


if __name__ == "__main__":
    main()
