"""Pairing: which pairs are made, who is asked what next, and that sides and repeats come out even."""

from collections import Counter
from dataclasses import replace

from likelier.feedback.pairing import Ask, next_comparison, pair_responses
from likelier.records import Comparison, Judgement, Response


def responses(num_prompts: int, each: int) -> list[Response]:
    return [Response(f"p{prompt}", f"text {number}") for prompt in range(num_prompts) for number in range(each)]


def judge(ask: Ask, annotator: str, choice: str = "left") -> Judgement:
    return Judgement(ask.comparison.id, annotator, ask.left, ask.right, choice)  # type: ignore[arg-type]


def run(comparisons: list[Comparison], people: list[str], turns: int, **settings: object) -> list[tuple[str, Ask]]:
    """What people are asked when they answer in turn until nothing is left for the one whose turn it is."""
    judgements: list[Judgement] = []
    asked = []
    for turn in range(turns):
        person = people[turn % len(people)]
        ask = next_comparison(comparisons, judgements, person, **settings)  # type: ignore[arg-type]
        if ask is None:
            break
        asked.append((person, ask))
        judgements.append(judge(ask, person))
    return asked


def test_pairs_are_spread_over_the_responses() -> None:
    pairs = pair_responses(responses(30, 4), seed=1, pairs_per_prompt=2)
    assert len(pairs) == 60
    used = Counter(side for pair in pairs for side in (pair.response_a, pair.response_b))
    assert len(used) == 120
    assert set(used.values()) == {1}  # two pairs of four responses: each stands in one


def test_all_pairs_when_more_are_wanted_than_there_are() -> None:
    pairs = pair_responses(responses(1, 4), seed=1, pairs_per_prompt=100)
    assert len({pair.id for pair in pairs}) == len(pairs) == 6


def test_equal_texts_are_never_paired() -> None:
    same = [Response("p", "text", model) for model in ("m1", "m2")]
    assert pair_responses(same, seed=0) == []
    (pair,) = pair_responses([*same, Response("p", "other")], seed=0)
    assert Response("p", "other").id in (pair.response_a, pair.response_b)


def test_pairs_follow_from_the_seed_and_not_from_the_order() -> None:
    forward = responses(20, 3)
    assert pair_responses(forward, seed=1) == pair_responses(forward[::-1], seed=1)
    assert pair_responses(forward, seed=1) != pair_responses(forward, seed=2)


def test_the_same_history_gives_the_same_question() -> None:
    comparisons = pair_responses(responses(20, 2), seed=0)
    assert run(comparisons, ["ann", "bob"], 30, seed=5) == run(comparisons, ["ann", "bob"], 30, seed=5)
    assert run(comparisons, ["ann", "bob"], 30, seed=5) != run(comparisons, ["ann", "bob"], 30, seed=6)


def test_everything_is_judged_once_before_anything_is_judged_twice() -> None:
    comparisons = pair_responses(responses(30, 2), seed=0)
    asked = run(comparisons, ["ann", "bob", "eve"], 60, repeat_share=0.0)
    ids = [ask.comparison.id for _, ask in asked]
    assert len(set(ids[:30])) == 30
    assert max(Counter(ids[:50]).values()) == 2


def test_nobody_is_asked_twice_without_a_repeat_and_it_ends() -> None:
    comparisons = pair_responses(responses(10, 2), seed=0)
    asked = run(comparisons, ["ann"], 100, repeat_share=0.0)
    assert len(asked) == len({ask.comparison.id for _, ask in asked}) == 10


def test_the_limit_counts_people() -> None:
    comparisons = pair_responses(responses(10, 2), seed=0)
    asked = run(comparisons, ["ann", "bob", "eve"], 100, judgements_per_comparison=2, repeat_share=0.0)
    assert len(asked) == 20
    everything = [judge(ask, "ann") for _, ask in run(comparisons, ["ann"], 10, repeat_share=0.0)]
    twice = [*everything, *everything]  # one person's repeats leave room for a second person
    assert next_comparison(comparisons, twice, "bob", judgements_per_comparison=2, repeat_share=0.0) is not None


def test_sides_are_balanced_within_each_comparison_and_over_all() -> None:
    comparisons = pair_responses(responses(200, 2), seed=0)
    asked = run(comparisons, ["ann", "bob"], 400, repeat_share=0.0)
    shown = Counter((ask.comparison.id, ask.left) for _, ask in asked)
    assert len(shown) == 400  # each comparison was shown both ways
    first = [ask.left == ask.comparison.response_a for _, ask in asked[:200]]
    assert 72 <= sum(first) <= 128  # four standard deviations around 100


def test_repeats_swap_the_sides_come_late_and_only_once() -> None:
    comparisons = pair_responses(responses(300, 2), seed=0)
    asked = [ask for _, ask in run(comparisons, ["ann"], 300, repeat_share=0.2, repeat_gap=10)]
    repeats = [index for index, ask in enumerate(asked) if ask.repeat]
    assert 33 <= len(repeats) <= 87  # four standard deviations around 60
    assert len({asked[index].comparison.id for index in repeats}) == len(repeats)
    for index in repeats:
        (earlier,) = [place for place in range(index) if asked[place].comparison == asked[index].comparison]
        assert index - earlier >= 10
        assert (asked[earlier].left, asked[earlier].right) == (asked[index].right, asked[index].left)


def test_nothing_is_repeated_before_the_gap() -> None:
    comparisons = pair_responses(responses(5, 2), seed=0)
    asked = run(comparisons, ["ann"], 20, repeat_share=1.0, repeat_gap=3)
    assert [ask.repeat for _, ask in asked[:4]] == [False, False, False, True]


def test_judgements_of_comparisons_that_are_not_offered_do_no_harm() -> None:
    (known,) = pair_responses(responses(1, 2), seed=0)
    gone = Judgement("gone", "ann", "x", "y", "left")
    ask = next_comparison([known], [gone, replace(gone, key="2")], "ann", repeat_share=1.0, repeat_gap=1)
    assert ask is not None
    assert (ask.comparison, ask.repeat) == (known, False)
