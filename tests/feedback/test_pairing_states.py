"""Pairing under whatever people do: no comparison is assigned beyond its overlap, and none is stuck (BATTERY D9)."""

import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from likelier.feedback.pairing import LEASE_SECONDS, Pairing
from likelier.feedback.questions import Assignment
from likelier.records import Comparison, Judgement

PEOPLE = st.integers(0, 5).map("person {}".format)


class People(RuleBasedStateMachine):
    """People ask, answer in time or late, skip, leave, and the server restarts."""

    @initialize(count=st.integers(1, 8), limit=st.integers(1, 3))
    def begin(self, count: int, limit: int) -> None:
        self.comparisons = [Comparison(f"p{each}", f"p{each} one", f"p{each} two") for each in range(count)]
        self.limit, self.now = limit, 0.0
        self.answers: list[Judgement] = []
        self.skipped: set[tuple[str, str]] = set()
        self.extra: Counter[str] = Counter()
        """Answers that came after their lease had ended, by comparison: somebody else may have had it since."""
        self.on_screen: defaultdict[str, list[Assignment]] = defaultdict(list)
        self.restart()

    @rule()
    def restart(self) -> None:
        """A new server knows what was judged, and not what is on screens."""
        self.pairing = Pairing(self.comparisons, judgements_per_comparison=self.limit, repeat_share=0.0)
        for each in self.answers:
            self.pairing.add(each)
        self.leased: dict[tuple[str, str], float] = {}
        self.skipped.clear()

    @rule(person=PEOPLE, count=st.integers(1, 2))
    def ask(self, person: str, count: int) -> None:
        assigned = self.pairing.assign(person, self.now, count)
        self.on_screen[person] = assigned
        for each in assigned:
            assert (person, each.question.id) not in self.skipped
            assert not any((a.annotator, a.comparison_id) == (person, each.question.id) for a in self.answers)
            self.leased[person, each.question.id] = self.now + LEASE_SECONDS

    @rule(person=PEOPLE)
    def answer(self, person: str) -> None:
        if self.on_screen[person]:
            shown = self.on_screen[person].pop(0)
            in_time = self.leased.pop((person, shown.question.id), 0.0) > self.now
            self.extra[shown.question.id] += not in_time
            judgement = Judgement(shown.question.id, person, *shown.shown, "left")
            self.answers.append(judgement)
            self.pairing.add(judgement)

    @rule(person=PEOPLE)
    def skip(self, person: str) -> None:
        if self.on_screen[person]:
            shown = self.on_screen[person].pop(0)
            self.leased.pop((person, shown.question.id), None)
            self.skipped.add((person, shown.question.id))
            self.pairing.skip(person, shown.question.id)

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS / 2, LEASE_SECONDS + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    @precondition(lambda self: hasattr(self, "pairing"))
    def nothing_is_assigned_beyond_its_overlap(self) -> None:
        judged = Counter(comparison for comparison, _ in {(a.comparison_id, a.annotator) for a in self.answers})
        live = Counter(
            comparison
            for (person, comparison), end in self.leased.items()
            if end > self.now and not any((a.annotator, a.comparison_id) == (person, comparison) for a in self.answers)
        )
        for each in self.comparisons:
            assert judged[each.id] + live[each.id] <= self.limit + self.extra[each.id]
        missing = sum(max(0, self.limit - judged[each.id]) for each in self.comparisons)
        assert self.pairing.count_missing(self.limit) == missing

    def teardown(self) -> None:
        """When all leases have ended, new people can judge whatever is left."""
        if not hasattr(self, "pairing"):
            return
        self.now += LEASE_SECONDS + 1
        for number in itertools.count():
            if not self.pairing.count_missing(self.limit):
                return
            assert number < 3, "a comparison is stuck"
            person = f"newcomer {number}"
            while held := self.pairing.assign(person, self.now):
                self.pairing.add(Judgement(held[0].question.id, person, *held[0].shown, "left"))


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        People,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_nothing_is_assigned_too_often_and_nothing_is_stuck() -> None:
    run(40, 25)


@pytest.mark.battery
def test_the_same_in_100_000_steps() -> None:
    run(1000, 100)
