"""Groups with tastes of their own: found where they are, refused where they are not, and nobody of them flagged."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.special import expit

from likelier.feedback import tastes
from likelier.feedback.check import FeedbackCheck, check
from likelier.feedback.dissent import find_own_tastes
from likelier.feedback.taste_model import Mixture, Panel
from likelier.feedback.taste_report import Tastes
from likelier.feedback.tastes import adjusted_rand, compare_predictions, find_tastes
from likelier.feedback.votes import Votes
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response

NAMES = [f"a{number:02d}" for number in range(12)]


def draw_judged(minority: int, correlation: float, seed: int, num_responses: int = 24) -> list[JudgedComparison]:
    """Draw 80 answers of each of 12 people; the last ones have a taste of their own. Scores are spread by 1.5."""
    generator = np.random.default_rng(seed)
    prompt = Prompt("p")
    responses = [Response(prompt.id, f"{number:03d}") for number in range(num_responses)]
    mixing = np.array([[1, correlation], [0, np.sqrt(1 - correlation**2)]])
    scores = 1.5 * generator.normal(size=(num_responses, 2)) @ mixing
    judged = []
    for number in range(192):
        first, second = generator.choice(num_responses, 2, replace=False).tolist()
        for person in generator.permutation(12)[:5].tolist():
            left, right = (first, second) if generator.random() < 0.5 else (second, first)
            taste = int(person >= 12 - minority)
            choice = "left" if generator.random() < expit(scores[left, taste] - scores[right, taste]) else "right"
            sides = responses[left], responses[right]
            judgement = Judgement(f"c{number}", NAMES[person], sides[0].id, sides[1].id, choice)  # type: ignore[arg-type]
            judged.append(JudgedComparison(judgement, prompt, *sides))
    return judged


def test_a_minority_is_found_and_not_flagged() -> None:
    result = check(draw_judged(4, 0.0, 3))
    assert result.tastes is not None
    assert (result.tastes.number, result.tastes.model) == (2, "scores")
    assert [group.members for group in result.tastes.groups] == [tuple(NAMES[:8]), tuple(NAMES[8:])]
    assert result.tastes.disagreement == pytest.approx(0.5, abs=0.1)
    assert result.flagged == []
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert FeedbackCheck.from_json(record).tastes == result.tastes


def test_one_taste_is_told_where_another_would_have_shown() -> None:
    assert check(draw_judged(0, 0.0, 0)).tastes == Tastes(1, "alike", "scores")
    assert check(draw_judged(0, 0.0, 0, num_responses=150)).tastes == Tastes(None, "cannot tell", "scores")


def test_a_dissenter_who_is_alone_is_told_from_one_at_random_and_one_reversed() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(400, 3))
    annotator, pair = np.tile(np.arange(10), 100), np.repeat(np.arange(200), 5)
    difference = features[2 * pair] - features[2 * pair + 1]
    liked = np.select(
        [annotator == 0, annotator == 1, annotator == 2], [difference[:, 1], 0, -difference[:, 0]], difference[:, 0]
    )
    left = generator.random(1000) < expit(2 * liked)
    votes = Votes(
        annotator, pair, 2 * pair, 2 * pair + 1, np.where(left, 1.0, -1.0), np.ones(1000), np.zeros(1000),
        np.full(1000, np.nan), np.ones(1000, bool),
    )  # fmt: skip
    responses = [Response("p", str(number)) for number in range(400)]
    assert find_own_tastes(votes, np.zeros(1000), [0, 1, 2, 3], responses, features) == [0]


def test_a_minority_whose_groups_cannot_be_told_is_told_from_coins() -> None:
    """Of 16 people three share a taste that is opposed by 0.3, three flip coins and two answer the reverse, 50 each."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(60, 2)) @ np.array([[1.5, -0.45], [0, 1.43]])
    first, second = np.array([generator.choice(60, 2, replace=False) for _ in range(160)]).T
    annotator = np.concatenate([generator.permutation(16)[:5] for _ in range(160)])
    left, right = np.repeat(first, 5), np.repeat(second, 5)
    difference = (scores[left] - scores[right]).T
    liked = np.select([annotator < 3, annotator < 6, annotator < 8], [difference[1], 0, -difference[0]], difference[0])
    sign = np.where(generator.random(800) < expit(liked), 1.0, -1.0)
    comparison, nothing = np.repeat(np.arange(160), 5), np.full(800, np.nan)
    votes = Votes(
        annotator, comparison, left, right, sign, np.where(left < right, 1.0, -1.0), 0 * sign, nothing, sign != 0
    )
    responses = [Response("p", str(number)) for number in range(60)]
    consensus = np.sign(difference[0])
    assert find_own_tastes(votes, consensus, [0, 1, 2], responses) == [0, 1, 2]
    assert find_own_tastes(votes, consensus, [3, 4, 5], responses) == []
    assert find_own_tastes(votes, consensus, [6, 7], responses, alone=[6, 7]) == []


def test_a_minority_is_told_from_coins_by_the_same_comparisons_alone() -> None:
    """No response recurs, and texts are alike: nine of fifteen answer by one hidden order, three by another, three flip
    coins. Those who share the second are spared, with no careless share beside the first."""
    generator = np.random.default_rng(0)
    people = [*["most"] * 9, *["few"] * 3, *["coins"] * 3]
    judged = []
    for number in range(450):
        prompt = Prompt(f"p{number}")
        one, two = Response(prompt.id, f"{number} one"), Response(prompt.id, f"{number} two")
        better = {"most": one, "few": (one, two)[generator.integers(2)]}
        for person in generator.choice(15, 5, replace=False).tolist():
            kind = people[person]
            chosen = better[kind] if kind in better and generator.random() < 0.8 else (one, two)[generator.integers(2)]
            left, right = (one, two) if generator.random() < 0.5 else (two, one)
            judgement = Judgement(
                Comparison(prompt.id, one.id, two.id).id, f"{kind} {person}", left.id, right.id,
                "left" if chosen is left else "right", key=f"{number} {person}",
            )  # fmt: skip
            judged.append(JudgedComparison(judgement, prompt, left, right))
    found = {person.id: person for person in check(judged).annotators}
    few = [person for name, person in found.items() if name.startswith("few")]
    assert [(person.own_taste, person.flags, person.careless) for person in few] == [(True, (), 0.0)] * 3
    assert not any(person.own_taste for name, person in found.items() if not name.startswith("few"))
    assert {name[:5] for name, person in found.items() if person.flags == ("random",)} == {"coins"}


def test_several_flags_random_are_said_to_be_perhaps_a_taste() -> None:
    assert len(list(Tastes(None, "cannot tell", suspects=1).describe())) == 1
    assert "a taste they share" in list(Tastes(None, "cannot tell", suspects=2).describe())[1]
    assert len(list(Tastes(1, "alike", suspects=2).describe())) == 1


def test_few_judgements_are_said_to_be_few() -> None:
    assert check(draw_judged(4, 0.0, 0)[:200]).tastes == Tastes(None, "too few")


def test_a_reward_of_features_that_are_given() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(240, 3))
    annotator, pair = np.tile(np.arange(12), 50), np.repeat(np.arange(120), 5)
    own = np.where(annotator >= 8, -1.0, 1.0)  # the minority likes the second feature less
    difference = features[2 * pair] - features[2 * pair + 1]
    left = generator.random(600) < expit(2 * difference[:, 0] + 2 * own * difference[:, 1])
    votes = Votes(
        annotator, pair, 2 * pair, 2 * pair + 1, np.where(left, 1.0, -1.0), np.ones(600), np.zeros(600),
        np.full(600, np.nan), np.ones(600, bool),
    )  # fmt: skip
    found = find_tastes(votes, NAMES, [Response("p", str(number)) for number in range(240)], features)
    assert [group.members for group in found.tastes.groups] == [tuple(NAMES[:8]), tuple(NAMES[8:])]
    assert found.tastes.groups[1].dislikes[0] == found.tastes.groups[0].likes[0] == "feature 2"


def test_adjusted_rand_by_hand() -> None:
    one, other = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    # pairs together: 2 in both, 6 and 3 in either, of 15: (2 - 1.2) / (4.5 - 1.2)
    assert adjusted_rand(one, other) == pytest.approx(0.8 / 3.3)
    assert adjusted_rand(one, 1 - one) == 1.0


def test_predictions_that_add_nothing_and_much() -> None:
    generator = np.random.default_rng(0)
    fewer, truth = generator.normal(size=(2, 1000))
    left = generator.random(1000) < expit(fewer + truth)
    assert abs(compare_predictions(fewer, fewer + generator.normal(size=1000), left, np.arange(1000)).z) < 3
    assert compare_predictions(fewer, fewer + truth, left, np.arange(1000)).z > 8
    assert compare_predictions(fewer, fewer, left, np.arange(1000)).z == 0


def test_a_taste_that_is_half_opposed_is_not_taken_for_reversed_people() -> None:
    """Correlation -0.5: a negative skill explains half of what the two of twelve say, and was "one taste" before."""
    result = check(draw_judged(2, -0.5, 4))
    assert result.tastes is not None
    assert (result.tastes.number, result.tastes.groups[1].members) == (2, ("a10", "a11"))
    assert result.flagged == []


def test_one_taste_is_not_told_by_features_that_miss_what_people_agree_about() -> None:
    """Ten people with one taste for the first of two features, which is seen, or not."""
    generator = np.random.default_rng(2)
    features = generator.normal(size=(400, 2))
    annotator, pair = np.tile(np.arange(10), 100), np.repeat(np.arange(200), 5)
    swapped = generator.integers(2, size=1000)
    left, right = 2 * pair + swapped, 2 * pair + 1 - swapped
    sign = np.where(generator.random(1000) < expit(3 * (features[left, 0] - features[right, 0])), 1.0, -1.0)
    votes = Votes(annotator, pair, left, right, sign, 1.0 - 2 * swapped, np.zeros(1000), np.full(1000, np.nan),
                  np.ones(1000, bool))  # fmt: skip
    responses = [Response("p", str(number)) for number in range(400)]
    reasons = [find_tastes(votes, NAMES[:10], responses, seen).tastes.reason for seen in (features, features[:, 1:])]
    assert reasons == ["alike", "cannot tell"]


def test_of_two_groups_with_as_many_clear_members_the_likelier_one_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tastes, "assign_people", lambda panel, mixture: np.array([0, 1, -1]))
    membership = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
    values = [np.zeros(1), np.ones(1)]
    mixture = Mixture(values, values, membership, np.array([0.5, 0.5]), 0.0)
    empty = np.zeros(0, np.int64)
    panel = Panel(csr_array((0, 1)), empty, empty.astype(bool), np.zeros(0), empty, 3)
    assert tastes.sort_groups(panel, mixture).tastes == [values[1], values[0]]
