"""Assignment of comparisons: order, balance of sides, repeats and limits."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from likelier.feedback.draws import Priorities
from likelier.feedback.pairing import LEASE_SECONDS, Pairing, num_missing, shuffle_keys
from likelier.feedback.questions import Assignment, Question, Shown
from likelier.records import Comparison, Judgement


def make_comparisons(number: int) -> list[Comparison]:
    return [Comparison(f"p{prompt}", f"p{prompt} one", f"p{prompt} two") for prompt in range(number)]


def judge(assignment: Assignment, annotator: str, choice: str = "left") -> Judgement:
    return Judgement(assignment.question.id, annotator, *assignment.shown, choice)  # type: ignore[arg-type]


def add_all(pairing: Pairing, judgements: list[Judgement]) -> None:
    for judgement in judgements:
        pairing.add(judgement)


def simulate_turns(
    comparisons: list[Comparison], people: list[str], turns: int, **settings: object
) -> list[tuple[str, Assignment]]:
    """Assign comparisons to people in turn, skipping those with none left, and record an answer to each."""
    pairing = Pairing(comparisons, **settings)  # type: ignore[arg-type]
    assigned = []
    for turn in range(turns):
        person = people[turn % len(people)]
        assignment = pairing.next_question(person)
        if assignment is None:
            continue
        assigned.append((person, assignment))
        pairing.add(judge(assignment, person))
    return assigned


def test_the_same_history_gives_the_same_question() -> None:
    comparisons = make_comparisons(20)
    assert simulate_turns(comparisons, ["ann", "bob"], 30, seed=5) == simulate_turns(
        comparisons, ["ann", "bob"], 30, seed=5
    )
    assert simulate_turns(comparisons, ["ann", "bob"], 30, seed=5) != simulate_turns(
        comparisons, ["ann", "bob"], 30, seed=6
    )


def test_everything_is_judged_once_before_anything_is_judged_twice() -> None:
    comparisons = make_comparisons(30)
    assigned = simulate_turns(comparisons, ["ann", "bob", "eve"], 60, repeat_share=0.0)
    ids = [assignment.question.id for _, assignment in assigned]
    assert len(set(ids[:30])) == 30
    assert max(Counter(ids[:50]).values()) == 2


def test_with_a_limit_a_second_opinion_comes_before_a_new_comparison() -> None:
    """Of 200 comparisons 40 answers would else never meet: agreement and skill could not be measured."""
    assigned = simulate_turns(make_comparisons(200), ["ann", "bob"], 40, judgements_per_comparison=2, repeat_share=0.0)
    assert set(Counter(assignment.question.id for _, assignment in assigned).values()) == {2}
    alone = simulate_turns(make_comparisons(200), ["ann"], 40, judgements_per_comparison=2, repeat_share=0.0)
    assert len({assignment.question.id for _, assignment in alone}) == 40


def test_nobody_is_asked_twice_without_a_repeat_and_it_ends() -> None:
    comparisons = make_comparisons(10)
    assigned = simulate_turns(comparisons, ["ann"], 100, repeat_share=0.0)
    assert len(assigned) == len({assignment.question.id for _, assignment in assigned}) == 10


def test_the_limit_counts_people() -> None:
    comparisons = make_comparisons(10)
    assigned = simulate_turns(comparisons, ["ann", "bob", "eve"], 100, judgements_per_comparison=2, repeat_share=0.0)
    assert len(assigned) == 20
    everything = [
        judge(assignment, "ann") for _, assignment in simulate_turns(comparisons, ["ann"], 10, repeat_share=0.0)
    ]
    twice = [*everything, *everything]  # one person's repeats leave room for a second person
    pairing = Pairing(comparisons, judgements_per_comparison=2, repeat_share=0.0)
    add_all(pairing, twice)
    assert pairing.next_question("bob") is not None
    add_all(pairing, [judge(assignment, "bob") for _, assignment in simulate_turns(comparisons, ["bob"], 10)])
    assert pairing.next_question("eve") is None


def test_sides_are_balanced_within_each_comparison_and_over_all() -> None:
    comparisons = make_comparisons(200)
    assigned = simulate_turns(comparisons, ["ann", "bob"], 400, repeat_share=0.0)
    shown = Counter((assignment.question.id, assignment.shown[0]) for _, assignment in assigned)
    assert len(shown) == 400  # each comparison was shown both ways
    first = [assignment.shown[0] == assignment.question.responses[0] for _, assignment in assigned[:200]]
    assert 72 <= sum(first) <= 128  # four standard deviations around 100


def test_repeats_swap_the_sides_come_late_and_only_once() -> None:
    comparisons = make_comparisons(300)
    assigned = [
        assignment for _, assignment in simulate_turns(comparisons, ["ann"], 300, repeat_share=0.2, repeat_gap=10)
    ]
    repeats = [index for index, assignment in enumerate(assigned) if assignment.repeat]
    assert 33 <= len(repeats) <= 87  # four standard deviations around 60
    assert len({assigned[index].question.id for index in repeats}) == len(repeats)
    for index in repeats:
        (earlier,) = [place for place in range(index) if assigned[place].question == assigned[index].question]
        assert index - earlier >= 10
        assert assigned[earlier].shown == assigned[index].shown[::-1]


def test_nothing_is_repeated_before_the_gap() -> None:
    comparisons = make_comparisons(5)
    assigned = simulate_turns(comparisons, ["ann"], 20, repeat_share=1.0, repeat_gap=3)
    assert [assignment.repeat for _, assignment in assigned[:4]] == [False, False, False, True]


def test_judgements_of_unknown_comparisons_are_ignored() -> None:
    (known,) = make_comparisons(1)
    gone = Judgement("gone", "ann", "x", "y", "left")
    pairing = Pairing([known], repeat_share=1.0, repeat_gap=1)
    add_all(pairing, [gone, replace(gone, key="2")])
    assignment = pairing.next_question("ann")
    assert assignment is not None
    assert (assignment.question, assignment.repeat) == (known, False)


def test_counts_kept_along_the_way_are_those_of_a_fresh_start() -> None:
    """A restarted server has the same question for everybody as the one that saw each answer come."""
    comparisons, people = make_comparisons(30), ["ann", "bob", "eve"]
    kept, answers = Pairing(comparisons, judgements_per_comparison=2, repeat_share=0.2, repeat_gap=3), []
    for turn in range(70):
        if assignment := kept.next_question(people[turn * turn % 3]):
            answers.append(judge(assignment, people[turn * turn % 3]))
            kept.add(answers[-1])
        fresh = Pairing(comparisons, judgements_per_comparison=2, repeat_share=0.2, repeat_gap=3)
        add_all(fresh, answers)
        assert [kept.next_question(who) for who in people] == [fresh.next_question(who) for who in people]
        assert kept.count_missing(2) == fresh.count_missing(2) == num_missing([c.id for c in comparisons], answers, 2)


def test_num_missing_counts_different_people() -> None:
    """Of 3 comparisons with 2 people each: one by ann twice (1 missing), one by three people (0), one by nobody (2)."""
    given = [("one", "ann"), ("one", "ann"), ("two", "ann"), ("two", "bob"), ("two", "cyd"), ("other", "ann")]
    judgements = [Judgement(comparison, who, "l", "r", "left") for comparison, who in given]
    assert num_missing(["one", "two", "three"], judgements, 2) == 3
    assert num_missing([], judgements, 2) == 0


def test_what_is_on_a_screen_is_nobody_elses() -> None:
    """Two people who asked for the last pair at once judged it twice."""
    pairing = Pairing(make_comparisons(2), judgements_per_comparison=1, repeat_share=0.0)
    ann = pairing.assign("ann", 0.0, 2)
    assert len(ann) == 2
    assert pairing.assign("bob", 1.0) == []
    assert pairing.assign("ann", 2.0, 2) == ann  # who reloads the page gets the same


def test_a_lease_that_expires_gives_the_comparison_back() -> None:
    pairing = Pairing(make_comparisons(1), judgements_per_comparison=1, repeat_share=0.0)
    (ann,) = pairing.assign("ann", 0.0)
    assert pairing.assign("bob", LEASE_SECONDS - 1) == []
    (bob,) = pairing.assign("bob", LEASE_SECONDS + 1)
    assert bob.question == ann.question
    pairing.add(judge(ann, "ann"))  # late, and it counts all the same
    assert pairing.count_missing(1) == 0


def test_a_lease_is_no_judgement() -> None:
    pairing = Pairing(make_comparisons(3), judgements_per_comparison=2, repeat_share=0.0)
    pairing.assign("ann", 0.0, 2)
    assert pairing.count_missing(2) == 6


def test_what_is_skipped_goes_to_others() -> None:
    pairing = Pairing(make_comparisons(1), judgements_per_comparison=1, repeat_share=0.0)
    (ann,) = pairing.assign("ann", 0.0)
    pairing.skip("ann", ann.question.id)
    assert pairing.assign("ann", 1.0) == []
    assert [each.question for each in pairing.assign("bob", 1.0)] == [ann.question]


def test_an_answer_that_supersedes_another_is_counted_once() -> None:
    pairing = Pairing(make_comparisons(2), judgements_per_comparison=1, repeat_share=0.0)
    (first,) = pairing.assign("ann", 0.0)
    pairing.add(judge(first, "ann"))
    pairing.add(replace(judge(first, "ann", "right"), supersedes="key"))
    assert (pairing.num_judgements, pairing.num_stored, pairing.count_missing(1)) == (1, 2, 1)


@pytest.mark.parametrize("seed", range(5))
def test_people_who_come_and_go_never_judge_one_too_often_and_leave_none(seed: int) -> None:
    """100 comparisons by two each; some leave for good with a comparison on their screen, some skip."""
    draw = random.Random(seed)
    pairing, now, judged = Pairing(make_comparisons(100), judgements_per_comparison=2, repeat_share=0.0), 0.0, Counter()
    for turn in range(3000):
        now += 5.0
        person = f"p{draw.randrange(8) + turn // 400}"
        held = pairing.assign(person, now, 2)
        if not held or draw.random() < 0.2:
            continue
        if draw.random() < 0.05:
            pairing.skip(person, held[0].question.id)
            continue
        judged[held[0].question.id] += 1
        pairing.add(judge(held[0], person))
    assert set(judged.values()) == {2}
    assert len(judged) == 100


def ask_in_turn(pairing: Pairing, person: str, turns: int) -> list[str]:
    """The ids of the questions that a person is asked one after another, answering each."""
    asked = []
    for turn in range(turns):
        held = pairing.assign(person, float(turn), 2)
        if not held:
            break
        asked.append(held[0].question.id)
        pairing.add(judge(held[0], person))
    return asked


def test_training_items_come_first_for_each_newcomer_and_once() -> None:
    comparisons = make_comparisons(10)
    training = [comparisons[7].id, comparisons[2].id]
    pairing = Pairing(comparisons, judgements_per_comparison=1, repeat_share=0.0, training=training)
    for person in ("ann", "bob"):
        for expected in training:
            first = pairing.assign(person, 0.0)[0]
            assert first.question.id == expected
            pairing.add(replace(judge(first, person), extra={"training": True}))
    assert (pairing.num_judgements, pairing.num_stored, pairing.count_missing(1)) == (0, 4, 8)
    assert set(ask_in_turn(pairing, "ann", 20)) == {comparison.id for comparison in comparisons} - set(training)
    assert pairing.assign("bob", 30.0) == []


def test_gold_items_are_mixed_in_at_their_share_and_asked_of_everybody_once() -> None:
    comparisons = make_comparisons(430)
    gold = [comparison.id for comparison in comparisons[:30]]
    pairing = Pairing(comparisons, judgements_per_comparison=2, repeat_share=0.0, gold=gold, gold_share=0.1)
    for person in ("ann", "bob", "eve"):
        asked = ask_in_turn(pairing, person, 200)
        assert 7 <= len(set(asked) & set(gold)) <= 33  # four standard deviations around 20
        assert len(set(asked)) == 200
    assert pairing.count_missing(2) == 800 - sum(
        pairing.times[person][comparison.id]
        for person in ("ann", "bob", "eve")
        for comparison in comparisons
        if comparison.id not in gold
    )


def test_without_an_ordinary_question_no_gold_item_is_asked() -> None:
    comparisons = make_comparisons(6)
    gold = [comparison.id for comparison in comparisons[:3]]
    pairing = Pairing(comparisons, judgements_per_comparison=1, repeat_share=0.0, gold=gold, gold_share=0.0)
    assert set(ask_in_turn(pairing, "ann", 9)) == {comparison.id for comparison in comparisons[3:]}


def test_a_restart_with_gold_items_has_the_same_question() -> None:
    comparisons, answers = make_comparisons(60), []
    settings = {"gold": [each.id for each in comparisons[:20]], "gold_share": 0.3, "training": [comparisons[30].id]}
    kept = Pairing(comparisons, **settings)  # type: ignore[arg-type]
    for _ in range(40):
        fresh = Pairing(comparisons, **settings)  # type: ignore[arg-type]
        add_all(fresh, answers)
        assignment = kept.next_question("ann")
        assert assignment is not None
        assert assignment == fresh.next_question("ann")
        lesson = {"training": True} if assignment.question.id in settings["training"] else {}
        answers.append(replace(judge(assignment, "ann"), extra=lesson))
        kept.add(answers[-1])


def test_what_is_on_a_screen_stays_when_the_questions_change() -> None:
    comparisons = make_comparisons(4)
    before = Pairing(comparisons[:3], judgements_per_comparison=1, repeat_share=0.0)
    held = before.assign("ann", 0.0, 2)
    before.skip("ann", held[1].question.id)
    after = Pairing(comparisons, judgements_per_comparison=1, repeat_share=0.0)
    after.take_over(before)
    assert after.assign("ann", 1.0) == held[:1]
    others = {each.question.id for each in after.assign("bob", 1.0, 9)}
    assert others == {comparison.id for comparison in comparisons} - {held[0].question.id}
    assert held[1].question.id not in {each.question.id for each in after.assign("ann", 2.0, 9)}


def test_several_responses_have_an_order_of_their_own_each_time() -> None:
    question = Question("p", tuple("abcdef"))
    pairing = Pairing([question], repeat_share=0.0)
    orders = set()
    for person in map(str, range(12)):
        (assignment,) = pairing.assign(person, 0.0)
        assert sorted(assignment.shown) == list("abcdef")
        orders.add(assignment.shown)
        pairing.add(Shown(1, question.id, person, assignment.shown))
    assert len(orders) > 8
    (alone,) = Pairing([Question("p", ("a",))]).assign("ann", 0.0)
    assert (alone.question.id, alone.shown) == ("a", ("a",))


def test_comparisons_that_come_later_are_asked_and_counted() -> None:
    first, later = make_comparisons(5)[:2], make_comparisons(5)[2:]
    pairing = Pairing(first, judgements_per_comparison=1, repeat_share=0.0)
    for _ in range(2):
        pairing.add(judge(pairing.assign("ann", 0.0)[0], "ann"))
    assert pairing.assign("ann", 0.0) == []
    pairing.add_comparisons([*first, *later])
    assert pairing.count_unbegun() == pairing.count_missing(1) == 3
    asked = []
    while held := pairing.assign("ann", 0.0):
        asked.append(held[0].question.id)
        pairing.add(judge(held[0], "ann"))
    assert sorted(asked) == sorted(each.id for each in later)
    assert pairing.count_missing(1) == 0


@pytest.mark.parametrize("seed", range(3))
def test_later_comparisons_come_in_the_order_that_they_would_have_had_from_the_start(seed: int) -> None:
    comparisons = make_comparisons(30)
    whole, grown = (Pairing(part, seed, 2, repeat_share=0.0) for part in (comparisons, comparisons[:1]))
    assert grown.next_question("ann")
    grown.add_comparisons(comparisons[1:])
    for person in ["ann", "bob", "bob", "eve"] * 20:
        asked = [pairing.assign(person, 0.0) for pairing in (whole, grown)]
        assert asked[0] == asked[1]
        for pairing in (whole, grown):
            add_all(pairing, [judge(held, person) for held in asked[0]])


def test_what_is_withdrawn_is_asked_no_more_unless_somebody_has_judged_it() -> None:
    comparisons = make_comparisons(3)
    pairing = Pairing(comparisons, judgements_per_comparison=2, repeat_share=0.0)
    judged, on_screen = (held.question.id for held in pairing.assign("ann", 0.0, 2))
    pairing.add(judge(pairing.assign("ann", 0.0)[0], "ann"))
    pairing.withdraw([each.id for each in comparisons])
    assert (pairing.count_unbegun(), pairing.count_missing(2)) == (0, 1)
    assert {held.question.id for held in pairing.assign("bob", 0.0, 3)} == {judged, on_screen}
    pairing.skip("bob", on_screen)
    pairing.end_leases(LEASE_SECONDS + 1)
    assert [held.question.id for held in pairing.assign("eve", LEASE_SECONDS + 1, 3)] == [judged]


def test_an_answer_to_what_was_withdrawn_meanwhile_counts() -> None:
    pairing = Pairing(make_comparisons(1), judgements_per_comparison=2, repeat_share=0.0)
    (held,) = pairing.assign("ann", 0.0)
    pairing.withdraw([held.question.id])
    pairing.end_leases(LEASE_SECONDS + 1)
    assert pairing.assign("bob", LEASE_SECONDS + 1) == []
    pairing.add(judge(held, "ann"))
    assert pairing.count_missing(2) == 1
    assert [each.question for each in pairing.assign("bob", LEASE_SECONDS + 1)] == [held.question]


def test_keys_of_an_order_are_splitmix64() -> None:
    """The first outputs of the published generator from seed 0."""
    keys = shuffle_keys(np.array([1, 2, 3]), 0)
    assert [int(key) for key in keys] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_people_have_orders_of_their_own() -> None:
    pairing = Pairing(make_comparisons(50), repeat_share=0.0)
    firsts = {assignment.question.id for who in range(20) if (assignment := pairing.next_question(f"p{who}"))}
    assert len(firsts) > 10


def draw_all(pairing: Pairing, person: str, count: int) -> list[Assignment]:
    """Let a person answer so many questions."""
    assigned = []
    for _ in range(count):
        assignment = pairing.next_question(person)
        assert assignment is not None
        assigned.append(assignment)
        pairing.add(judge(assignment, person))
    return assigned


def test_priorities_decide_which_comparison_is_begun_and_each_draw_has_its_probability() -> None:
    comparisons = make_comparisons(50)
    pairing = Pairing(comparisons, judgements_per_comparison=1, repeat_share=0.0)
    favourites = {comparison.id: 1.0 for comparison in comparisons[:5]}
    pairing.prioritise(Priorities(favourites, floor=0.2))
    assigned = draw_all(pairing, "ann", 12)
    draws = [assignment.draw for assignment in assigned]
    assert [draw.of for draw in draws if draw] == list(range(50, 38, -1))
    left = 5
    for assignment in assigned:
        assert assignment.draw is not None
        is_favourite = assignment.question.id in favourites
        expected = 0.2 / assignment.draw.of + 0.8 * is_favourite / max(left, 1) if left else 1 / assignment.draw.of
        assert assignment.draw.probability == pytest.approx(expected)
        assert is_favourite or assignment.draw.random
        left -= is_favourite
    assert left == 0  # once they are through, chance decides
    assert pairing.find_draw(assigned[3].question.id) == draws[3]
    pairing.prioritise(None)
    assert draw_all(pairing, "ann", 1)[0].draw is None


def test_started_comparisons_come_first_under_priorities_too_unless_the_strategy_asks_new_ones() -> None:
    comparisons = make_comparisons(10)
    for started_first in (True, False):
        pairing = Pairing(comparisons, judgements_per_comparison=2, repeat_share=0.0)
        pairing.prioritise(Priorities(started_first=started_first))
        first = draw_all(pairing, "ann", 1)[0]
        second = draw_all(pairing, "bob", 1)[0]
        assert (first.question == second.question) is started_first
        assert (first.draw == second.draw) is started_first  # the pair's draw is by whoever began it


def test_priorities_and_draws_outlast_a_fresh_start_and_new_comparisons() -> None:
    comparisons = make_comparisons(10)
    earlier = Pairing(comparisons[:6], judgements_per_comparison=2, repeat_share=0.0)
    earlier.prioritise(Priorities({comparisons[8].id: 1.0}, floor=0.01))
    begun = draw_all(earlier, "ann", 1)[0]
    later = Pairing(comparisons[:8], judgements_per_comparison=2, repeat_share=0.0)
    later.take_over(earlier)
    assert later.find_draw(begun.question.id) == begun.draw
    later.add_comparisons(comparisons[8:])
    later.add(judge(begun, "ann"))
    assert draw_all(later, "ann", 1)[0].question == comparisons[8]
