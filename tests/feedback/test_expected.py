"""What the others say: which model is used, and that nobody's own answers are in what they are compared with."""

from dataclasses import replace

import numpy as np
import pytest

from likelier.feedback.check import check
from likelier.feedback.expected import expect_answers, expect_by_scores, responses_recur
from likelier.feedback.reliability import encode_choices, fit_posterior_mode, leave_annotators_out
from likelier.feedback.votes import Votes
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response


def draw_votes(seed: int, skill: list[float], num: int = 600, responses: int = 20) -> Votes:
    """Draw random pairs of responses of normal scores (standard deviation 1.5), each judged by one annotator."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 1.5, responses)
    left = generator.integers(responses, size=num)
    right = (left + generator.integers(1, responses, size=num)) % responses
    annotator = generator.integers(len(skill), size=num)
    probability = 1 / (1 + np.exp(-np.array(skill)[annotator] * (scores[left] - scores[right])))
    sign = np.where(generator.random(num) < probability, 1.0, -1.0)
    low, high = np.minimum(left, right), np.maximum(left, right)
    first = np.where(left < right, 1.0, -1.0)
    zeros = np.zeros(num)
    return Votes(annotator, low * responses + high, left, right, sign, first, zeros, zeros + 3, zeros == 0)


def test_responses_recur_where_most_stand_in_several_comparisons() -> None:
    """Of a, b, c all three pairs: each stands in two. Of a, b and c, d one pair each, judged twice or once."""
    votes = draw_votes(0, [1.0], num=3)
    ring = replace(votes, left=np.array([0, 0, 1]), right=np.array([1, 2, 2]), comparison=np.array([0, 1, 2]))
    assert responses_recur(ring)
    apart = replace(votes, left=np.array([0, 1, 2]), right=np.array([1, 0, 3]), comparison=np.array([0, 0, 1]))
    assert not responses_recur(apart)
    assert expect_answers(ring, 1).model == "skilled_bradley_terry"
    assert expect_answers(apart, 1).model == "dawid_skene"


def test_one_step_leaves_out_almost_all_that_a_refit_leaves_out() -> None:
    votes = draw_votes(1, [1.0, 1.0, 1.0, 0.0])
    choices = ["left" if sign > 0 else "right" for sign in votes.sign]
    everything = encode_choices(votes.left.tolist(), votes.right.tolist(), votes.annotator.tolist(), choices)[2]
    mode = fit_posterior_mode(everything)
    stepped = leave_annotators_out(everything, mode)
    own = votes.annotator == 0
    rest = [np.array(each)[~own].tolist() for each in (votes.left, votes.right, votes.annotator, choices)]
    refit = fit_posterior_mode(encode_choices(*rest)[2])  # the others judge all 20 responses
    exact = (refit.score[votes.left] - refit.score[votes.right])[own]
    with_own = (mode.score[votes.left] - mode.score[votes.right])[own]
    assert np.abs(stepped[own] - exact).mean() < 0.4 * np.abs(with_own - exact).mean()


def test_who_answers_at_random_agrees_with_nobody_where_responses_recur() -> None:
    expected = expect_by_scores(draw_votes(2, [1.0] * 5 + [0.0], num=900), 6)
    assert expected.error_rates[:5].max() < 0.35
    assert expected.error_rates[5] == pytest.approx(0.5, abs=0.1)


def test_check_says_which_model_and_flags_by_it() -> None:
    votes = draw_votes(3, [1.0] * 6 + [0.0, -1.0], num=1600)
    prompt = Prompt("p")
    responses = [Response(prompt.id, f"text {number:02d}") for number in range(20)]
    judged = [
        JudgedComparison(
            Judgement(Comparison(prompt.id, left.id, right.id).id, f"a{who}", left.id, right.id, choice),
            prompt,
            left,
            right,
        )
        for who, one, two, sign in zip(votes.annotator, votes.left, votes.right, votes.sign, strict=True)
        for left, right, choice in [(responses[one], responses[two], "left" if sign > 0 else "right")]
    ]
    result = check(judged)
    assert result.skill_model == "skilled_bradley_terry"
    assert {person.id: person.flags for person in result.annotators if person.flags} == {
        "a6": ("random",),
        "a7": ("reversed",),
    }
