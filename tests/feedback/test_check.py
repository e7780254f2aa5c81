"""The check on panels whose members are known: the three who misbehave are found, nobody else, whatever the taste."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likelier.feedback.check import FeedbackCheck, check
from likelier.feedback.simulate import Annotator, Vice, simulate_judgements
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Response

VICES: tuple[Vice, ...] = ("random", "left", "right", "longer", "shorter", "reversed")
TASTES: dict[str, Callable[[float, float], float]] = {
    # of a quality that nothing shows, and of the length, each in standard deviations
    "any length": lambda quality, length: quality,
    "short": lambda quality, length: 0.6 * quality - length,
    "long": lambda quality, length: 0.6 * quality + length,
}


def judged_by(
    panel: list[Annotator], generator: np.random.Generator, num: int = 800, per: int = 3
) -> list[JudgedComparison]:
    """What a panel says of pairs whose texts open with their quality and have log-normal lengths."""
    prompts = {prompt.id: prompt for prompt in (Prompt(f"Prompt {number}.") for number in range(num))}
    responses, comparisons = {}, []
    for prompt in prompts:
        texts = [f"{generator.normal():.4f} " + "x" * round(np.exp(4.8 + 0.35 * generator.normal())) for _ in range(2)]
        pair = [Response(prompt, text) for text in texts]
        responses |= {response.id: response for response in pair}
        comparisons.append(Comparison(prompt, pair[0].id, pair[1].id))
    judgements = simulate_judgements(comparisons, prompts, responses, panel, generator, per)
    return [
        JudgedComparison(j, prompts[responses[j.left].prompt_id], responses[j.left], responses[j.right])
        for j in judgements
    ]


def make_panel(
    taste: str, vices: list[Vice | None], generator: np.random.Generator, busier: float = 1.0
) -> list[Annotator]:
    def likes(prompt: str, response: str) -> float:
        quality, padding = response.split(" ")
        return TASTES[taste](float(quality), (np.log(len(padding)) - 4.8) / 0.35)

    return [
        Annotator(f"a{number:02d}", likes, generator.uniform(0.82, 0.95), vice, busier if vice else 1.0)
        for number, vice in enumerate(vices)
    ]


def flags_of(found: FeedbackCheck) -> dict[str, tuple[str, ...]]:
    return {person.id: person.flags for person in found.annotators if person.flags}


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("seed", range(4))
def test_the_three_planted_and_nobody_else(taste: str, seed: int) -> None:
    generator = np.random.default_rng([seed, len(taste)])
    vices: list[Vice | None] = [None] * 12
    for place, vice in zip(
        generator.choice(12, 3, replace=False), generator.choice(VICES, 3, replace=False), strict=True
    ):
        vices[place] = str(vice)  # type: ignore[assignment]
    panel = make_panel(taste, vices, generator, busier=float(generator.uniform(1, 2.5)))
    found = check(judged_by(panel, generator))
    assert flags_of(found) == {person.id: (person.vice,) for person in panel if person.vice}


def test_each_vice_under_a_taste_for_short_answers() -> None:
    generator = np.random.default_rng(0)
    panel = make_panel("short", [None] * 14 + list(VICES), generator)
    judged = judged_by(panel, generator, num=1500)
    found = check(judged)
    assert flags_of(found) == {f"a{14 + number}": (vice,) for number, vice in enumerate(VICES)}
    people = {person.id: person for person in found.annotators}
    assert found.length_bias is not None
    assert found.length_bias < -0.1
    assert people["a14"].error_rate == pytest.approx(0.5, abs=0.1)
    assert abs(people["a14"].skill or 9) < 0.3
    assert (people["a15"].left_rate or 0) > 0.95
    assert (people["a16"].left_rate or 1) < 0.05
    assert abs(people["a18"].skill or 9) < 0.7  # agrees with the panel, but only as far as length goes
    assert (people["a19"].error_rate or 0) > 0.8
    assert (people["a19"].skill or 0) < -0.5
    for person in found.annotators[:14]:
        assert person.skill == pytest.approx(1.1, abs=0.5)
        assert person.error_rate is not None
        assert person.error_rate < 0.2


def test_nobody_is_flagged_in_an_honest_panel_of_unequal_people() -> None:
    generator = np.random.default_rng(1)
    panel = [
        replace(person, accuracy=accuracy, share=share)
        for person, accuracy, share in zip(
            make_panel("short", [None] * 8, generator),
            (0.8, 0.8, 0.85, 0.9, 0.9, 0.95, 0.97, 0.97),
            (1, 8, 1, 1, 8, 1, 1, 0.1),
            strict=True,
        )
    ]
    assert flags_of(check(judged_by(panel, generator, num=1500, per=2))) == {}


def test_few_judgements_flag_nobody() -> None:
    generator = np.random.default_rng(2)
    panel = make_panel("any length", [None, None, None, "random"], generator)
    assert flags_of(check(judged_by(panel, generator, num=12))) == {}


def test_haste_and_too_many_ties() -> None:
    generator = np.random.default_rng(3)
    panel = make_panel("any length", [None, None, None, "fast", None, None], generator)
    judged = [
        replace(one, judgement=replace(one.judgement, choice="tie"))
        if one.judgement.annotator == "a05" and generator.random() < 0.6
        else one
        for one in judged_by(panel, generator, num=400)
    ]
    assert flags_of(check(judged)) == {"a03": ("fast",), "a05": ("too_many_ties",)}


@pytest.mark.parametrize("num_people", [3, 5])
def test_honest_people_who_differ_in_how_readily_they_say_tie(num_people: int) -> None:
    """Each panel has somebody who never does, the others do in about half of their answers."""
    generator, found = np.random.default_rng(0), []
    for _ in range(40):
        panel = make_panel("any length", [None] * num_people, generator)
        readiness = [0.0, *generator.normal(0.5, 0.1, num_people - 1)]
        judged = [
            replace(one, judgement=replace(one.judgement, choice="tie"))
            if generator.random() < readiness[int(one.judgement.annotator[1:])]
            else one
            for one in judged_by(panel, generator, num=40)
            if one.judgement.choice != "tie"
        ]
        found += [person.flags for person in check(judged).annotators]
    assert sum("too_many_ties" in flags for flags in found) <= 0.01 * len(found)


def untimed(one: JudgedComparison, simulated: bool) -> JudgedComparison:
    return replace(one, judgement=replace(one.judgement, simulated=simulated, duration_seconds=None))


def test_the_mark_is_never_looked_at_and_times_may_be_missing() -> None:
    generator = np.random.default_rng(4)
    judged = judged_by(make_panel("long", [None] * 4 + ["left"], generator), generator, num=300)
    marked = check([untimed(one, True) for one in judged])
    assert marked == check([untimed(one, False) for one in judged])
    assert flags_of(marked) == {"a04": ("left",)}


def judgement(pair: int, annotator: str, choice: str, extra: dict[str, Any] | None = None) -> JudgedComparison:
    """Of a longer response p and a shorter response q, shown left and right."""
    long, short = Response("prompt", f"p{pair} and more"), Response("prompt", f"q{pair}")
    said = Judgement(f"c{pair}", annotator, long.id, short.id, choice, extra=extra or {})  # type: ignore[arg-type]
    return JudgedComparison(said, Prompt("prompt"), long, short)


def test_numbers_by_hand() -> None:
    found = check(
        [
            judgement(1, "ann", "left"),
            judgement(1, "ben", "left"),
            judgement(3, "ann", "right"),
            judgement(3, "ben", "tie"),
            judgement(4, "", "left"),
        ]
    )
    assert (found.comparisons, found.judgements) == (3, 5)
    assert [(person.id, person.judgements, person.left_rate) for person in found.annotators] == [
        ("ann", 2, 0.5),
        ("ben", 2, 1.0),
    ]
    assert found.position_bias == 0.25
    assert found.length_bias == 0.25
    # In both pairs q comes first by id: labels second, second | first, tie; alpha = 1 - 3 * 2 / (16 - (4 + 1 + 1)).
    assert found.alpha == pytest.approx(0.4)


def test_without_overlap_there_is_no_agreement_and_no_skill() -> None:
    found = check([judgement(1, "ann", "left"), judgement(2, "ben", "right")])
    assert found.alpha is None
    assert found.alpha_interval is None
    assert [(person.skill, person.error_rate) for person in found.annotators] == [(None, None)] * 2
    assert flags_of(found) == {}


def test_nothing_and_nobody() -> None:
    nothing = check([])
    assert (nothing.comparisons, nothing.judgements, nothing.annotators) == (0, 0, ())
    assert (nothing.alpha, nothing.position_bias, nothing.length_bias) == (None, None, None)
    nobody = check([judgement(1, "", "left", {"sides": "unknown"})])
    assert nobody.annotators == ()
    assert (nobody.position_bias, nobody.length_bias) == (None, 0.5)
    only_ties = check([judgement(1, "ann", "tie"), judgement(1, "ben", "tie")])
    assert [(person.left_rate, person.skill, person.error_rate) for person in only_ties.annotators] == [(None,) * 3] * 2


def test_json_has_the_names_that_stay() -> None:
    generator = np.random.default_rng(5)
    judged = judged_by(make_panel("long", [None, None, "right"], generator), generator, num=150)
    record = json.loads(json.dumps(check(judged, seed=3).to_json(), allow_nan=False))
    assert list(record) == [
        "comparisons", "judgements", "annotators", "alpha", "alpha_interval", "position_bias", "length_bias",
    ]  # fmt: skip
    assert list(record["annotators"][0]) == ["id", "judgements", "skill", "error_rate", "left_rate", "flags"]
    assert record["annotators"][2]["flags"] == ["right"]
    low, high = record["alpha_interval"]
    assert low < record["alpha"] < high
    assert record == json.loads(json.dumps(check(judged, seed=3).to_json()))


def test_three_careful_people_of_pandalm(shared: Path) -> None:
    with gzip.open(shared / "data/pandalm-human/testset-v1.json.gz", "rt") as file:
        records = json.load(file)
    judged = []
    for record in records:
        prompt = Prompt(f"{record['idx']} {record['instruction']}")
        left, right = (Response(prompt.id, str(record[f"response{number}"]), model=str(number)) for number in (1, 2))
        comparison = Comparison(prompt.id, left.id, right.id).id
        for number in (1, 2, 3):
            choice = ("tie", "left", "right")[record[f"annotator{number}"]]
            said = Judgement(comparison, str(number), left.id, right.id, choice)  # type: ignore[arg-type]
            judged.append(JudgedComparison(said, prompt, left, right))
    found = check(judged)
    assert flags_of(found) == {}
    assert found.alpha == pytest.approx(0.86, abs=0.015)  # the published kappas are 0.85, 0.88, 0.86
    assert max(person.error_rate or 1 for person in found.annotators) < 0.05
