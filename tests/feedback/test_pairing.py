"""Pairing: who is asked what next, and that sides and repeats come out even."""

from collections import Counter
from dataclasses import replace

from likelier.feedback.pairing import Ask, next_comparison, num_missing
from likelier.records import Comparison, Judgement


def offered(number: int) -> list[Comparison]:
    return [Comparison(f"p{prompt}", f"p{prompt} one", f"p{prompt} two") for prompt in range(number)]


def judge(ask: Ask, annotator: str, choice: str = "left") -> Judgement:
    return Judgement(ask.comparison.id, annotator, ask.left, ask.right, choice)  # type: ignore[arg-type]


def run(comparisons: list[Comparison], people: list[str], turns: int, **settings: object) -> list[tuple[str, Ask]]:
    """What people are asked when they answer in turn; who has nothing left is passed over."""
    judgements: list[Judgement] = []
    asked = []
    for turn in range(turns):
        person = people[turn % len(people)]
        ask = next_comparison(comparisons, judgements, person, **settings)  # type: ignore[arg-type]
        if ask is None:
            continue
        asked.append((person, ask))
        judgements.append(judge(ask, person))
    return asked


def test_the_same_history_gives_the_same_question() -> None:
    comparisons = offered(20)
    assert run(comparisons, ["ann", "bob"], 30, seed=5) == run(comparisons, ["ann", "bob"], 30, seed=5)
    assert run(comparisons, ["ann", "bob"], 30, seed=5) != run(comparisons, ["ann", "bob"], 30, seed=6)


def test_everything_is_judged_once_before_anything_is_judged_twice() -> None:
    comparisons = offered(30)
    asked = run(comparisons, ["ann", "bob", "eve"], 60, repeat_share=0.0)
    ids = [ask.comparison.id for _, ask in asked]
    assert len(set(ids[:30])) == 30
    assert max(Counter(ids[:50]).values()) == 2


def test_with_a_limit_a_second_opinion_comes_before_a_new_comparison() -> None:
    """Of 200 comparisons 40 answers would else never meet: agreement and skill could not be measured."""
    asked = run(offered(200), ["ann", "bob"], 40, judgements_per_comparison=2, repeat_share=0.0)
    assert set(Counter(ask.comparison.id for _, ask in asked).values()) == {2}
    alone = run(offered(200), ["ann"], 40, judgements_per_comparison=2, repeat_share=0.0)
    assert len({ask.comparison.id for _, ask in alone}) == 40


def test_nobody_is_asked_twice_without_a_repeat_and_it_ends() -> None:
    comparisons = offered(10)
    asked = run(comparisons, ["ann"], 100, repeat_share=0.0)
    assert len(asked) == len({ask.comparison.id for _, ask in asked}) == 10


def test_the_limit_counts_people() -> None:
    comparisons = offered(10)
    asked = run(comparisons, ["ann", "bob", "eve"], 100, judgements_per_comparison=2, repeat_share=0.0)
    assert len(asked) == 20
    everything = [judge(ask, "ann") for _, ask in run(comparisons, ["ann"], 10, repeat_share=0.0)]
    twice = [*everything, *everything]  # one person's repeats leave room for a second person
    assert next_comparison(comparisons, twice, "bob", judgements_per_comparison=2, repeat_share=0.0) is not None


def test_sides_are_balanced_within_each_comparison_and_over_all() -> None:
    comparisons = offered(200)
    asked = run(comparisons, ["ann", "bob"], 400, repeat_share=0.0)
    shown = Counter((ask.comparison.id, ask.left) for _, ask in asked)
    assert len(shown) == 400  # each comparison was shown both ways
    first = [ask.left == ask.comparison.response_a for _, ask in asked[:200]]
    assert 72 <= sum(first) <= 128  # four standard deviations around 100


def test_repeats_swap_the_sides_come_late_and_only_once() -> None:
    comparisons = offered(300)
    asked = [ask for _, ask in run(comparisons, ["ann"], 300, repeat_share=0.2, repeat_gap=10)]
    repeats = [index for index, ask in enumerate(asked) if ask.repeat]
    assert 33 <= len(repeats) <= 87  # four standard deviations around 60
    assert len({asked[index].comparison.id for index in repeats}) == len(repeats)
    for index in repeats:
        (earlier,) = [place for place in range(index) if asked[place].comparison == asked[index].comparison]
        assert index - earlier >= 10
        assert (asked[earlier].left, asked[earlier].right) == (asked[index].right, asked[index].left)


def test_nothing_is_repeated_before_the_gap() -> None:
    comparisons = offered(5)
    asked = run(comparisons, ["ann"], 20, repeat_share=1.0, repeat_gap=3)
    assert [ask.repeat for _, ask in asked[:4]] == [False, False, False, True]


def test_judgements_of_comparisons_that_are_not_offered_do_no_harm() -> None:
    (known,) = offered(1)
    gone = Judgement("gone", "ann", "x", "y", "left")
    ask = next_comparison([known], [gone, replace(gone, key="2")], "ann", repeat_share=1.0, repeat_gap=1)
    assert ask is not None
    assert (ask.comparison, ask.repeat) == (known, False)


def test_how_many_answers_are_missing():
    """Of 3 comparisons with 2 people each: one by ann twice (1 missing), one by three people (0), one by nobody (2)."""
    given = [("one", "ann"), ("one", "ann"), ("two", "ann"), ("two", "bob"), ("two", "cyd"), ("other", "ann")]
    judgements = [Judgement(comparison, who, "l", "r", "left") for comparison, who in given]
    assert num_missing(["one", "two", "three"], judgements, 2) == 3
    assert num_missing([], judgements, 2) == 0
