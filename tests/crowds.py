"""Crowds of five to a pair for tests of the audits, whose first person does something of their own."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from likelier.feedback.expected import Expected, expect_answers
from likelier.feedback.measures import Measures, measure_annotators
from likelier.feedback.shares import Share
from likelier.feedback.votes import Votes

Floats = NDArray[np.float64]
Change = Callable[[Votes, Floats, np.random.Generator], Votes]
"""Changes votes, given for each the better response's label."""


def draw_votes(seed: int, people: int = 8, each: int = 150, accuracy: float = 0.8) -> tuple[Votes, Floats]:
    """Draw votes of people who are right equally often on every pair; returns the labels of the better responses too.

    The first feature of style differs in most pairs, at random.
    """
    generator = np.random.default_rng(seed)
    pairs = people * each // 5
    annotator = np.concatenate([generator.permutation(people)[:5] for _ in range(pairs)])
    pair = np.repeat(np.arange(pairs), 5)
    better, longer, styled = generator.choice([-1.0, 1.0], (3, pairs))[:, pair]
    first_is_left = generator.choice([-1.0, 1.0], len(pair))
    labels = np.where(generator.random(len(pair)) < accuracy, better, -better)
    style = np.zeros((len(pair), 5), np.int8)
    style[:, 0] = styled * first_is_left
    votes = Votes(
        annotator=annotator,
        comparison=pair,
        left=2 * pair + (first_is_left < 0),
        right=2 * pair + (first_is_left > 0),
        sign=labels * first_is_left,
        left_is_first=first_is_left,
        longer=longer * first_is_left,
        seconds=generator.lognormal(2.5, 0.3, len(pair)),
        has_sides=np.ones(len(pair), bool),
        style=style,
    )
    return votes, better


def measure(votes: Votes) -> tuple[Expected, Measures]:
    """Return what the others say, and what is measured, without repeats."""
    count = int(votes.annotator.max()) + 1
    nothing = np.zeros(count, np.int64)
    expected = expect_answers(votes, count)
    return expected, measure_annotators(votes, count, expected, Share(nothing, nothing, nothing))


def change_first(votes: Votes, sign: Floats, share: float = 1.0, after: float = 0.0) -> Votes:
    """Give the first person other answers from a place in their sequence on, in a share of them."""
    own = np.flatnonzero(votes.annotator == 0)
    own = own[int(after * len(own)) :]
    own = own[np.random.default_rng(0).random(len(own)) < share]
    changed = votes.sign.copy()
    changed[own] = sign[own]
    return replace(votes, sign=changed)
