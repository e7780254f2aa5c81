"""Simulated crowds for `python bench/feedback.py detection`: false flags of honest people, power against each vice.

Of `PANELS` every pair is judged by five people. The check runs whole, but for what it says of the panel. People are
right equally often on every pair (`SKILLS`), which is not what it assumes; `HONEST` are other honest crowds. One pair
in ten is a gold item whose answer is the better response, and everybody answers a tenth of their pairs again. In a
crowd with a vice the first person has it, in 95 of 100 answers.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.check import check_people
from likelier.feedback.shares import Share
from likelier.feedback.votes import Votes
from likelier.records import Response

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
PANELS = ((12, 100), (12, 375), (5, 40))
"""People, and judgements of each."""
PER_PAIR = 5
SKILLS = ("right in 0.8", "right in 0.7 to 0.9", "right in 0.8 ± 0.1, normal", "right in 0.6")
"""Of `HONEST`, those beside whom a vice is looked for."""
VICES = ("random", "left", "longer", "reversed", "fast", "style", "drifting", "copied", "inconsistent", "gold")
VICE_RATE = 0.95
GOLD_SHARE, REPEAT_SHARE, STYLED_SHARE = 0.1, 0.1, 0.6
"""Shares of pairs that are gold items, of answers that are repeated, of pairs whose sides differ in a style."""
WORDS = ["a", "fox", "and", "the", "hare", "walked", "on", "through", "snow", "to", "share", "some", "bread"]
SPREAD = 1.5
"""Standard deviation of the scores where people follow Bradley and Terry."""


class Crowd(NamedTuple):
    """First answers of a crowd, and how often its people answer a pair otherwise when asked again."""

    votes: Votes
    repeats: Share
    responses: list[Response]
    """By number."""


class Design(NamedTuple):
    """Who judges which pair, [N] each, and the people and pairs."""

    annotator: Numbers
    pair: Numbers
    place: Floats
    """From 0 for a person's first answer to 1 for the last."""
    people: int
    pairs: int


def draw_design(panel: tuple[int, int], generator: np.random.Generator) -> Design:
    """Draw five different people for each pair."""
    people, each = panel
    pairs = people * each // PER_PAIR
    annotator = np.concatenate([generator.permutation(people)[:PER_PAIR] for _ in range(pairs)])
    order = np.argsort(annotator, kind="stable")
    counts = np.bincount(annotator, minlength=people)
    place = np.empty(len(annotator))
    place[order] = np.arange(len(annotator)) - np.repeat(np.cumsum(counts) - counts, counts)
    place /= np.maximum(counts[annotator] - 1, 1)
    return Design(annotator, np.repeat(np.arange(pairs), PER_PAIR), place, people, pairs)


Odds = Callable[[Design, np.random.Generator], tuple[Floats, Floats]]
"""Draws, for each answer, the probability of no tie's being the first response, and that of a tie; the first response
of the pairs below `pairs` / 2 is the better one."""


def constant(low: float, high: float) -> Odds:
    """Return people who are right equally often on every pair."""

    def draw(design: Design, generator: np.random.Generator) -> tuple[Floats, Floats]:
        accuracy = generator.uniform(low, high, design.people)[design.annotator]
        return first_odds(design, accuracy), np.zeros(len(accuracy))

    return draw


def first_odds(design: Design, accuracy: Floats) -> Floats:
    """Return P(first response), given the probability of the better one."""
    return np.where(design.pair < design.pairs // 2, accuracy, 1 - accuracy)


def normal(design: Design, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """People whose shares of right answers are normal, 0.8 ± 0.1: a few are next to chance."""
    accuracy = np.clip(generator.normal(0.8, 0.1, design.people), 0.5, 0.99)
    return first_odds(design, accuracy[design.annotator]), np.zeros(len(design.pair))


def tired(design: Design, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """People of 0.85 at first, of whom each falls by 0 to 0.25 on the way to the last answer."""
    fall = generator.uniform(0, 0.25, design.people)[design.annotator]
    return first_odds(design, 0.85 - fall * design.place), np.zeros(len(fall))


def moody(design: Design, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """People whose skill varies: each tenth of their answers has a share of its own, from 0.6 to 1."""
    shares = generator.uniform(0.6, 1.0, (design.people, 10))
    accuracy = shares[design.annotator, np.minimum((10 * design.place).astype(int), 9)]
    return first_odds(design, accuracy), np.zeros(len(accuracy))


def draw_differences(design: Design, generator: np.random.Generator) -> Floats:
    """Draw the differences of scores of the pairs, the first response's minus the second's, [pairs]."""
    sizes = np.abs(generator.normal(0, SPREAD * np.sqrt(2), design.pairs))
    return np.where(np.arange(design.pairs) < design.pairs // 2, sizes, -sizes)


def of_scores(design: Design, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """People who follow Bradley and Terry, with skills of 0.6 to 1.4."""
    skill = generator.uniform(0.6, 1.4, design.people)[design.annotator]
    difference = draw_differences(design, generator)[design.pair]
    return 1 / (1 + np.exp(-skill * difference)), np.zeros(len(difference))


def indifferent(design: Design, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """People who follow Bradley and Terry, and say tie below a perceived difference of their own, 0.1 to 0.8."""
    limit = generator.uniform(0.1, 0.8, design.people)[design.annotator]
    difference = draw_differences(design, generator)[design.pair]
    first, second = 1 / (1 + np.exp(limit - difference)), 1 / (1 + np.exp(limit + difference))
    return first / (first + second), 1 - first - second


def of_two_tastes(share: float) -> Odds:
    """Return people of two tastes that know nothing of each other, right by their own in 0.85."""

    def draw(design: Design, generator: np.random.Generator) -> tuple[Floats, Floats]:
        minority = np.arange(design.people) < round(share * design.people)
        other = generator.integers(2, size=design.pairs)[design.pair]
        odds = np.where(
            minority[design.annotator], np.where(other == 1, 0.85, 0.15), first_odds(design, np.array(0.85))
        )
        return odds, np.zeros(len(odds))

    return draw


HONEST: dict[str, Odds] = {
    "right in 0.8": constant(0.8, 0.8),
    "right in 0.7 to 0.9": constant(0.7, 0.9),
    "right in 0.6": constant(0.6, 0.6),
    "right in 0.8 ± 0.1, normal": normal,
    "Bradley-Terry, skills 0.6 to 1.4": of_scores,
    "Bradley-Terry with ties": indifferent,
    "tired: 0.85 falling by 0 to 0.25": tired,
    "moody: 0.6 to 1 by tenths": moody,
    "two tastes, 80:20": of_two_tastes(0.2),
    "two tastes, 60:40": of_two_tastes(0.4),
}


def draw_crowd(panel: tuple[int, int], odds: Odds, vice: str | None, generator: np.random.Generator) -> Crowd:
    """Draw a crowd, of whom the first person has the vice."""
    design = draw_design(panel, generator)
    p_first, p_tie = odds(design, generator)
    count = len(design.pair)
    is_first_better = design.pair < design.pairs // 2
    longer, styled = generator.choice([-1.0, 1.0], (2, design.pairs))
    styled *= generator.random(design.pairs) < STYLED_SHARE
    is_gold = generator.random(design.pairs) < GOLD_SHARE
    first_is_left = generator.choice([-1.0, 1.0], count)
    seconds = generator.lognormal(np.log(12), 0.35, count)
    answers, again = (
        np.where(generator.random(count) < p_tie, 0.0, np.where(generator.random(count) < p_first, 1.0, -1.0))
        for _ in range(2)
    )
    guess = generator.choice([-1.0, 1.0], count)
    bad = (design.annotator == 0) & (generator.random(count) < VICE_RATE)
    habits = {
        "random": (bad, guess),
        "left": (bad, first_is_left),
        "longer": (bad, longer[design.pair]),
        "reversed": (bad, -answers),
        "fast": (bad & (generator.random(count) < 0.5), guess),
        "style": (bad & (styled[design.pair] != 0), styled[design.pair]),
        "drifting": (bad & (design.place > 0.5), guess),
        "copied": (bad, copy_second_person(design, answers)),
        "gold": (bad & is_gold[design.pair], np.where(is_first_better, -1.0, 1.0)),
    }
    if vice == "fast":
        seconds[design.annotator == 0] *= 0.9 / 12
    if vice in habits:
        follows, habit = habits[vice]
        answers, again = np.where(follows, habit, answers), np.where(follows, habit, again)
    if vice in ("random", "inconsistent", "drifting", "fast"):
        again = np.where(habits["random" if vice == "inconsistent" else vice][0], guess, again)
    repeated = generator.random(count) < REPEAT_SHARE
    trials = np.bincount(design.annotator[repeated], minlength=design.people)
    events = np.bincount(design.annotator[repeated & (again != answers)], minlength=design.people)
    votes = Votes(
        annotator=design.annotator,
        comparison=design.pair,
        left=2 * design.pair + (first_is_left < 0),
        right=2 * design.pair + (first_is_left > 0),
        sign=answers * first_is_left,
        left_is_first=first_is_left,
        longer=longer[design.pair] * first_is_left,
        seconds=seconds,
        has_sides=np.ones(count, bool),
        style=np.stack([styled[design.pair] * first_is_left] + 4 * [np.zeros(count)], axis=1).astype(np.int8),
        created_at=stamp_times(design, generator) if vice == "copied" else None,
        gold=np.where(is_gold[design.pair], np.where(is_first_better, 1.0, -1.0) * first_is_left, np.nan),
    )
    return Crowd(votes, Share(events, trials, trials), write_responses(longer, styled, generator))


def write_responses(longer: Floats, styled: Floats, generator: np.random.Generator) -> list[Response]:
    """Return texts of random words, two a pair: `longer` and `styled` say which is longer and which has a list."""
    responses = []
    for pair, (length, style) in enumerate(zip(longer.tolist(), styled.tolist(), strict=True)):
        for is_first in (1, -1):
            words = generator.choice(WORDS, int(generator.integers(26, 41) if length == is_first else 13)).tolist()
            text = " ".join(words) + "\n- bread\n- snow" * (style == is_first)
            responses.append(Response(f"pair {pair}", text))
    return responses


def copy_second_person(design: Design, answers: Floats) -> Floats:
    """Return the second person's answer to each pair that they judged, else the person's own."""
    known = np.full(design.pairs, np.nan)
    second = design.annotator == 1
    known[design.pair[second]] = answers[second]
    return np.where(np.isnan(known[design.pair]), answers, known[design.pair])


def stamp_times(design: Design, generator: np.random.Generator) -> NDArray[np.object_]:
    """Return times of people who work in the order of the pairs; the first person is an hour behind."""
    minutes = design.pair + generator.uniform(0, 5, len(design.pair)) + 60 * (design.annotator == 0)
    start = np.datetime64("2026-11-01T08:00:00")
    return np.datetime_as_string(start + (60 * minutes).astype("timedelta64[s]")).astype(object)


def flag_people(crowd: Crowd, people: int) -> list[tuple[str, ...]]:
    """Return the flags of each person."""
    names = [f"{number:02d}" for number in range(people)]
    return [each.flags for each in check_people(crowd.votes, names, crowd.responses, crowd.repeats).people]


class Cell(NamedTuple):
    """Crowds of one kind, and what was flagged in them."""

    panel: tuple[int, int]
    odds: str
    vice: str | None
    crowds: int
    seed: int
    """Of the first crowd; each has a seed of its own."""


class Found(NamedTuple):
    """Counts over the crowds of a cell."""

    named: int
    """Crowds whose first person has the flag of the vice."""
    flagged: int
    """Crowds whose first person has any flag."""
    stained: int
    """Crowds in which another person has a flag; of crowds without a vice, in which anybody has."""
    false: int
    """Such people."""
    flags: Counter[str]
    """Flags of those people."""


def run_cell(cell: Cell) -> Found:
    """Simulate the crowds of a cell."""
    people = cell.panel[0]
    named = flagged = stained = false = 0
    flags: Counter[str] = Counter()
    for number in range(cell.crowds):
        generator = np.random.default_rng([cell.seed + number, *cell.odds.encode(), *(cell.vice or "").encode()])
        found = flag_people(draw_crowd(cell.panel, HONEST[cell.odds], cell.vice, generator), people)
        others = found if cell.vice is None else found[1:]
        named += cell.vice in found[0]
        flagged += cell.vice is not None and bool(found[0])
        stained += any(others)
        false += sum(map(bool, others))
        flags.update(flag for own in others for flag in own)
    return Found(named, flagged, stained, false, flags)


def list_cells(crowds: int, seed: int) -> Iterator[Cell]:
    """Yield the cells of the table: honest crowds (a tenth as many of other kinds), a 25th as many of each vice."""
    for panel, odds in product(PANELS, SKILLS):
        yield Cell(panel, odds, None, crowds, seed)
    for vice, panel, odds in product(VICES, PANELS, SKILLS):
        yield Cell(panel, odds, vice, crowds // 25, seed)
    for panel, odds in product(PANELS, HONEST):
        if odds not in SKILLS:
            yield Cell(panel, odds, None, crowds // 10, seed)


def print_detection(crowds: int, seed: int, jobs: int) -> None:
    """Print a row for each cell, as they are done: false flags of honest people, power against each vice."""
    if sys.platform != "win32":
        os.nice(15)
    print(
        "| people × judgements | honest people | vice | crowds | flagged by name | flagged | crowds with false flags |"
    )
    print("|---|---|---|---|---|---|---|")
    cells = list(list_cells(crowds, seed))
    with ProcessPoolExecutor(jobs) as pool:
        for cell, found in zip(cells, pool.map(run_cell, cells), strict=True):
            power = f"{found.named} | {found.flagged}" if cell.vice else "– | –"
            flags = "".join(f", {flag} {count}" for flag, count in found.flags.most_common())
            people, each = cell.panel
            print(
                f"| {people} × {each} | {cell.odds} | {cell.vice or 'none'} | {cell.crowds} | {power} "
                f"| {found.stained}{flags} |",
                flush=True,
            )
