"""One person has one vote on a comparison; what they say again tells how far they agree with themselves."""

from typing import Any

from likelier.feedback.check import check
from likelier.feedback.votes import arrange_votes
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response


def make_judged(number: int, annotator: str, preferred: str, swapped: bool = False) -> JudgedComparison:
    """Make an answer to pair `number`: `a` or `b` is preferred, `a` stands on the left unless swapped."""
    prompt = Prompt(f"p{number}")
    a, b = Response(prompt.id, "a"), Response(prompt.id, "b")
    left, right = (b, a) if swapped else (a, b)
    choice: Any = "tie" if preferred == "=" else "left" if (preferred == left.text) else "right"
    comparison = Comparison(prompt.id, a.id, b.id)
    return JudgedComparison(Judgement(comparison.id, annotator, left.id, right.id, choice), prompt, left, right)


def test_a_swapped_repeat_with_the_same_preference_is_consistent() -> None:
    """Ann: the same response after a swap, then another one; a tie again. Bob never repeats."""
    judged = [
        make_judged(1, "ann", "a"), make_judged(1, "ann", "a", swapped=True), make_judged(1, "ann", "b"),
        make_judged(2, "ann", "="), make_judged(2, "ann", "=", swapped=True), make_judged(1, "bob", "b"),
    ]  # fmt: skip
    votes, names = arrange_votes(judged)
    assert names == ["ann", "bob"]
    assert [counts.tolist() for counts in votes.count_repeats(2)] == [[1, 0], [3, 0], [2, 0]]
    assert [place for place, is_vote in enumerate(votes.is_vote) if is_vote] == [0, 3, 5]
    result = check(judged)
    assert (result.judgements, result.repeats, result.consistency) == (6, 3, 2 / 3)
    assert [(person.id, person.repeats, person.consistency) for person in result.annotators] == [
        ("ann", 3, 2 / 3), ("bob", 0, None),
    ]  # fmt: skip
    assert result.position_bias == 0.0  # ann's first left, bob's right: later answers are no votes


def test_nobody_knows_who_is_anonymous() -> None:
    judged = [make_judged(1, "", "a"), make_judged(1, "", "a")]
    assert arrange_votes(judged)[0].is_vote.all()
    assert check(judged).repeats == 0
