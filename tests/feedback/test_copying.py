"""Copied answers: told by agreement that skills do not explain, and by time; a shared taste is none."""

from dataclasses import replace

import numpy as np
import pytest

from crowds import draw_votes, measure
from likelier.feedback.copying import parse_time
from likelier.feedback.flags import flag_annotators
from likelier.feedback.votes import Votes


def copy(votes: Votes, source: int = 1) -> Votes:
    """Return votes whose first person has the source's answers where both judged the same pair."""
    labels = votes.labels
    known = dict(zip(votes.comparison[votes.annotator == source], labels[votes.annotator == source], strict=True))
    own = votes.annotator == 0
    copied = [known.get(pair, label) if mine else label
              for pair, label, mine in zip(votes.comparison, labels, own, strict=True)]  # fmt: skip
    return replace(votes, sign=np.array(copied) * votes.left_is_first)


def stamp(votes: Votes, delay: int) -> Votes:
    """Return votes whose first person is so many minutes behind the others."""
    minutes = 5 * votes.comparison + np.where(votes.annotator == 0, delay, votes.annotator % 2)
    times = [f"2026-11-{1 + each // 1440:02d}T{each // 60 % 24:02d}:{each % 60:02d}:00+00:00" for each in minutes]
    return replace(votes, created_at=np.array(times, object))


def test_two_who_agree_are_both_named_without_times() -> None:
    copies = measure(copy(draw_votes(0)[0]))[1].copies
    ((first, second, n, agreement, expected, later),) = copies.found
    assert (first, second, agreement, later) == (0, 1, 1.0, None)
    assert n > 40
    assert 0.6 < expected < 0.85  # of two who are right in 0.8: 0.68
    assert copies.num_pairs == 28


def test_who_answered_later_is_flagged_and_the_other_is_not() -> None:
    votes = copy(draw_votes(0)[0])
    assert flag_annotators(measure(votes)[1])[:3] == [("copied",), ("copied",), ()]
    assert flag_annotators(measure(stamp(votes, 3))[1])[:3] == [("copied",), (), ()]
    assert flag_annotators(measure(stamp(votes, -3))[1])[:3] == [(), ("copied",), ()]


def test_mixed_times_tell_nothing() -> None:
    votes = stamp(copy(draw_votes(0)[0]), 3)
    assert votes.created_at is not None
    swapped = votes.created_at.copy()
    early = (votes.annotator == 0) & (votes.comparison % 2 == 0)
    swapped[early] = "2026-10-01T00:00:00+00:00"
    assert measure(replace(votes, created_at=swapped))[1].copies.found[0].later is None


def test_a_taste_that_two_share_is_no_copying() -> None:
    """Two people, right by a taste of their own in 0.9: they agree in 0.82, which the others' do not explain."""
    for seed in range(4):
        votes, _ = draw_votes(seed, each=200)
        generator = np.random.default_rng(seed)
        taste = generator.choice([-1.0, 1.0], votes.comparison.max() + 1)[votes.comparison]
        own = np.where(generator.random(len(taste)) < 0.9, taste, -taste) * votes.left_is_first
        assert measure(replace(votes, sign=np.where(votes.annotator < 2, own, votes.sign)))[1].copies.found == []


def test_careful_people_are_no_copies() -> None:
    assert measure(draw_votes(1, accuracy=0.97)[0])[1].copies.found == []


def test_two_alone_cannot_be_told() -> None:
    votes = draw_votes(2, people=5, each=40)[0]
    pair = copy(votes).select(votes.annotator < 2)
    assert measure(pair)[1].copies.found == []


@pytest.mark.parametrize(("text", "seconds"), [
    ("1970-01-01T00:01:00", 60.0), ("1970-01-01T01:00:00+01:00", 0.0), ("yesterday", None), (None, None),
])  # fmt: skip
def test_times(text: str | None, seconds: float | None) -> None:
    assert parse_time(text) == pytest.approx(float("nan") if seconds is None else seconds, nan_ok=True)
