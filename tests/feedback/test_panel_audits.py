"""The sentences of the audits, by hand, and that each has a figure with an interval."""

from dataclasses import replace

import numpy as np
import pytest

from crowds import draw_votes, measure
from likelier.feedback.check import check
from likelier.feedback.panel_audits import Audit, audit_panel
from likelier.feedback.votes import arrange_votes
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response


def make_judged(number: int, annotator: str, preferred: str, swapped: bool = False) -> JudgedComparison:
    """Make an answer to pair `number`: `long` or `short` is preferred, `long` stands on the left unless swapped."""
    prompt = Prompt(f"p{number}")
    texts = {"long": Response(prompt.id, "- a long one!"), "short": Response(prompt.id, "short")}
    left, right = (texts["short"], texts["long"]) if swapped else (texts["long"], texts["short"])
    choice = "tie" if preferred == "=" else "left" if texts[preferred] == left else "right"
    pair = Comparison(prompt.id, left.id, right.id)
    given = Judgement(pair.id, annotator, left.id, right.id, choice, duration_seconds=8.0)  # type: ignore[arg-type]
    return JudgedComparison(given, prompt, left, right)


def by_name(audits: tuple[Audit, ...]) -> dict[str, Audit]:
    return {audit.name: audit for audit in audits}


def test_figures_and_sentences_by_hand() -> None:
    """Three people and 24 pairs, of which all prefer the longer response in 18; cho says tie to the last four."""
    judged = [
        make_judged(
            number, name, "=" if name == "cho" and number >= 20 else "long" if number < 18 else "short", swapped
        )
        for number in range(24)
        for name, swapped in (("ann", number % 2 == 0), ("ben", number % 3 == 0), ("cho", number % 2 == 1))
    ]
    judged += [make_judged(number, "ann", "long") for number in (0, 1, 20)]  # asked again: the last is another answer
    gold = {entry.judgement.comparison_id: entry.judgement.preferred for entry in judged[:6:3]}
    result = check(judged, gold)
    audits = by_name(result.audits)
    assert list(audits) == [
        "side", "length", "longer_is_better", "style", "speed", "consistency", "drift", "copied", "ties", "gold",
    ]  # fmt: skip
    assert audits["length"].value == pytest.approx(54 / 68)
    assert audits["length"].sentence.startswith("The longer response was chosen in 79% (")
    assert audits["longer_is_better"].value == 18 / 24
    assert audits["longer_is_better"].sentence.endswith("a person agrees with the others in 100%.")
    assert audits["ties"].value == pytest.approx(4 / 72)
    assert (audits["consistency"].value, audits["consistency"].n) == (pytest.approx(2 / 3), 3)
    assert audits["consistency"].interval is None  # of one person
    assert (audits["gold"].value, audits["gold"].n) == (1.0, 6)
    assert audits["gold"].interval == (pytest.approx(0.025 ** (1 / 3)), 1.0)  # of three people
    assert audits["style"].sentence.startswith("The response with more exclamation marks was")
    assert audits["speed"].sentence.startswith("An answer took 8 seconds in the median; 0% (0% to ")
    for audit in result.audits:
        assert audit.interval is None or audit.interval[0] < audit.interval[1]
    ann = result.annotators[0]
    assert (ann.gold, ann.gold_accuracy, ann.gold_interval) == (2, 1.0, (pytest.approx(0.025**0.5), 1.0))
    assert ann.consistency_interval is not None


def test_gold_items_of_a_tie_and_of_others() -> None:
    judged = [make_judged(1, "ann", "="), make_judged(2, "ann", "long"), make_judged(3, "ann", "long")]
    gold = {judged[0].judgement.comparison_id: None, judged[1].judgement.comparison_id: judged[1].right.id}
    votes = arrange_votes(judged, gold)[0]
    assert votes.gold is not None
    assert votes.gold[:2].tolist() == [0.0, -1.0]
    assert np.isnan(votes.gold[2])
    assert check(judged, gold).annotators[0].gold_accuracy == 0.5


def test_people_who_tire() -> None:
    votes, better = draw_votes(0, each=100)
    late = votes.comparison > 106
    expected, measures = measure(replace(votes, sign=np.where(late, -1, 1) * better * votes.left_is_first))
    drift = by_name(audit_panel(votes, expected, measures))["drift"]
    assert drift.sentence.startswith("People follow the others in ")
    assert " points." in drift.sentence


def test_circles_beside_those_that_chance_makes() -> None:
    """Four people who prefer 0 to 1, 1 to 2 and 2 to 0, in each of five prompts."""
    judged = []
    for number in range(5):
        prompt = Prompt(f"p{number}")
        texts = [Response(prompt.id, f"{each}") for each in range(3)]
        for name in ("ann", "ben", "cho", "dan"):
            for one, two in ((0, 1), (1, 2), (2, 0)):
                swapped = (number + one + ord(name[0])) % 2 == 0
                left, right = (texts[two], texts[one]) if swapped else (texts[one], texts[two])
                pair, choice = Comparison(prompt.id, left.id, right.id), "right" if swapped else "left"
                given = Judgement(pair.id, name, left.id, right.id, choice)  # type: ignore[arg-type]
                judged.append(JudgedComparison(given, prompt, left, right))
    result = check(judged)
    cycles = by_name(result.audits)["cycles"]
    assert (cycles.value, cycles.n) == (1.0, 20)
    assert cycles.sentence.endswith("more than one scale can explain.")
    assert [(person.triads, person.cyclic) for person in result.annotators] == [(5, 1.0)] * 4
