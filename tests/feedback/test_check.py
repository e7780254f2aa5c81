"""The feedback check on simulated panels: it flags the planted annotators and nobody else, whatever the taste."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection import draw_crowd, first_odds, flag_people

from likelier.feedback.check import FeedbackCheck, check
from likelier.feedback.simulate import Annotator, Vice, simulate_judgements
from likelier.records import Comparison, JudgedComparison, Judgement, Media, Prompt, Response

VICES: tuple[Vice, ...] = ("random", "left", "right", "longer", "shorter", "reversed")
TASTES: dict[str, Callable[[float, float], float]] = {
    # of (quality, length), each in standard deviations
    "any length": lambda quality, length: quality,
    "short": lambda quality, length: 0.6 * quality - length,
    "long": lambda quality, length: 0.6 * quality + length,
}


def simulate_judged(
    panel: list[Annotator], generator: np.random.Generator, num: int = 800, per: int = 3
) -> list[JudgedComparison]:
    """Simulate a panel's judgements of pairs whose texts begin with their quality and have log-normal lengths."""
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
    def utility(prompt: str, response: str) -> float:
        quality, padding = response.split(" ")
        return TASTES[taste](float(quality), (np.log(len(padding)) - 4.8) / 0.35)

    return [
        Annotator(f"a{number:02d}", utility, generator.uniform(0.82, 0.95), vice, busier if vice else 1.0)
        for number, vice in enumerate(vices)
    ]


def collect_flags(result: FeedbackCheck) -> dict[str, tuple[str, ...]]:
    return {person.id: person.flags for person in result.annotators if person.flags}


@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize("seed", range(4))
def test_flags_the_three_planted_annotators_only(taste: str, seed: int) -> None:
    generator = np.random.default_rng([seed, len(taste)])
    vices: list[Vice | None] = [None] * 12
    for place, vice in zip(
        generator.choice(12, 3, replace=False), generator.choice(VICES, 3, replace=False), strict=True
    ):
        vices[place] = str(vice)  # type: ignore[assignment]
    panel = make_panel(taste, vices, generator, busier=float(generator.uniform(1, 2.5)))
    result = check(simulate_judged(panel, generator))
    assert collect_flags(result) == {person.id: (person.vice,) for person in panel if person.vice}


def test_each_vice_under_a_taste_for_short_answers() -> None:
    generator = np.random.default_rng(0)
    panel = make_panel("short", [None] * 14 + list(VICES), generator)
    judged = simulate_judged(panel, generator, num=1500)
    result = check(judged)
    assert collect_flags(result) == {f"a{14 + number}": (vice,) for number, vice in enumerate(VICES)}
    people = {person.id: person for person in result.annotators}
    assert result.length_bias is not None
    assert result.length_bias < -0.1
    assert people["a14"].error_rate == pytest.approx(0.5, abs=0.1)
    assert abs(people["a14"].skill or 9) < 0.3
    assert (people["a15"].left_rate or 0) > 0.95
    assert (people["a16"].left_rate or 1) < 0.05
    assert abs(people["a18"].skill or 9) < 0.7  # agrees with the panel, but only as far as length goes
    assert (people["a19"].error_rate or 0) > 0.8
    assert (people["a19"].skill or 0) < -0.5
    for person in result.annotators[:14]:
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
    assert collect_flags(check(simulate_judged(panel, generator, num=1500, per=2))) == {}


def test_few_judgements_flag_nobody() -> None:
    generator = np.random.default_rng(2)
    panel = make_panel("any length", [None, None, None, "random"], generator)
    assert collect_flags(check(simulate_judged(panel, generator, num=12))) == {}


def test_fast_answers_and_too_many_ties() -> None:
    generator = np.random.default_rng(3)
    panel = make_panel("any length", [None, None, None, "fast", None, None], generator)
    judged = [
        replace(entry, judgement=replace(entry.judgement, choice="tie"))
        if entry.judgement.annotator == "a05" and generator.random() < 0.6
        else entry
        for entry in simulate_judged(panel, generator, num=400)
    ]
    assert collect_flags(check(judged)) == {"a03": ("fast",), "a05": ("too_many_ties",)}


@pytest.mark.parametrize("num_people", [3, 5])
def test_honest_people_who_differ_in_how_readily_they_say_tie(num_people: int) -> None:
    """Each panel has somebody who never does, the others do in about half of their answers."""
    generator, result = np.random.default_rng(0), []
    for _ in range(40):
        panel = make_panel("any length", [None] * num_people, generator)
        readiness = [0.0, *generator.normal(0.5, 0.1, num_people - 1)]
        judged = [
            replace(entry, judgement=replace(entry.judgement, choice="tie"))
            if generator.random() < readiness[int(entry.judgement.annotator[1:])]
            else entry
            for entry in simulate_judged(panel, generator, num=40)
            if entry.judgement.choice != "tie"
        ]
        result += [person.flags for person in check(judged).annotators]
    assert sum("too_many_ties" in flags for flags in result) <= 0.01 * len(result)


def drop_time(entry: JudgedComparison, simulated: bool) -> JudgedComparison:
    return replace(entry, judgement=replace(entry.judgement, simulated=simulated, duration_seconds=None))


def test_simulated_mark_is_ignored_and_times_may_be_missing() -> None:
    generator = np.random.default_rng(4)
    judged = simulate_judged(make_panel("long", [None] * 4 + ["left"], generator), generator, num=300)
    marked = check([drop_time(entry, True) for entry in judged])
    assert marked == check([drop_time(entry, False) for entry in judged])
    assert collect_flags(marked) == {"a04": ("left",)}


def make_judged(pair: int, annotator: str, choice: str, extra: dict[str, Any] | None = None) -> JudgedComparison:
    """Make a judgement of a longer response p, shown on the left, and a shorter response q."""
    long, short = Response("prompt", f"p{pair} and more"), Response("prompt", f"q{pair}")
    given = Judgement(f"c{pair}", annotator, long.id, short.id, choice, extra=extra or {})  # type: ignore[arg-type]
    return JudgedComparison(given, Prompt("prompt"), long, short)


def test_numbers_by_hand() -> None:
    result = check(
        [
            make_judged(1, "ann", "left"),
            make_judged(1, "ben", "left"),
            make_judged(3, "ann", "right"),
            make_judged(3, "ben", "tie"),
            make_judged(4, "", "left"),
        ]
    )
    assert (result.comparisons, result.judgements) == (3, 5)
    assert [(person.id, person.judgements, person.left_rate) for person in result.annotators] == [
        ("ann", 2, 0.5),
        ("ben", 2, 1.0),
    ]
    assert result.position_bias == 0.25
    assert result.length_bias == 0.25
    # In both pairs q comes first by id: labels second, second | first, tie; alpha = 1 - 3 * 2 / (16 - (4 + 1 + 1)).
    assert result.alpha == pytest.approx(0.4)


def test_media_files_have_no_length() -> None:
    """Someone who takes the text wherever the other side is an image is not someone who takes the longer response."""
    image = Response("prompt", media=Media("image/png", "a" * 64, 10))
    judged = [make_judged(pair, name, "left") for pair in range(40) for name in ("ann", "ben", "cho")]
    mixed = [replace(entry, right=image) for entry in judged]
    result = check(mixed)
    assert result.length_bias is None
    assert result.position_bias == 0.5
    assert not {"longer", "shorter"} & set(sum(collect_flags(result).values(), ()))
    assert check([*mixed, make_judged(99, "ann", "right")]).length_bias == -0.5
    assert check([replace(entry, left=image, right=image) for entry in judged]).alpha is not None


def test_without_overlap_there_is_no_agreement_and_no_skill() -> None:
    result = check([make_judged(1, "ann", "left"), make_judged(2, "ben", "right")])
    assert result.alpha is None
    assert result.alpha_interval is None
    assert [(person.skill, person.error_rate) for person in result.annotators] == [(None, None)] * 2
    assert collect_flags(result) == {}


def test_no_judgements_and_anonymous_judgements() -> None:
    nothing = check([])
    assert (nothing.comparisons, nothing.judgements, nothing.annotators) == (0, 0, ())
    assert (nothing.alpha, nothing.position_bias, nothing.length_bias) == (None, None, None)
    nobody = check([make_judged(1, "", "left", {"sides": "unknown"})])
    assert nobody.annotators == ()
    assert (nobody.position_bias, nobody.length_bias) == (None, 0.5)
    only_ties = check([make_judged(1, "ann", "tie"), make_judged(1, "ben", "tie")])
    assert [(person.left_rate, person.skill, person.error_rate) for person in only_ties.annotators] == [(None,) * 3] * 2


def test_json_keys() -> None:
    generator = np.random.default_rng(5)
    judged = simulate_judged(make_panel("long", [None, None, "right"], generator), generator, num=150)
    record = json.loads(json.dumps(check(judged).to_json(), allow_nan=False))
    assert list(record) == [
        "comparisons", "judgements", "annotators", "alpha", "alpha_interval", "position_bias", "length_bias",
        "alpha_ordinal", "fleiss_kappa", "agreement", "agreement_interval", "kappas", "repeats", "consistency",
        "skill_model", "audits", "tastes", "rankings", "ratings", "rating_agreement", "alpha_ordinal_interval",
        "fleiss_interval",
    ]  # fmt: skip
    person = [
        "id", "judgements", "skill", "error_rate", "left_rate", "flags", "repeats", "consistency",
        "consistency_interval", "style", "style_lean", "style_interval", "skill_change", "skill_change_interval",
        "speed_change", "speed_change_interval", "triads", "cyclic", "cyclic_expected", "gold", "gold_accuracy",
        "gold_interval", "copied_with", "careless", "careless_interval", "guess_left", "thresholds", "own_taste",
        "rankings", "ratings", "rating_skill", "rating_careless", "rating_careless_interval", "rating_flags",
    ]  # fmt: skip
    assert list(record["annotators"][0]) == person
    assert list(record["audits"][0]) == ["name", "value", "interval", "n", "sentence"]
    pair = ["first", "second", "n", "agreement", "kappa", "weighted_kappa", "kappa_interval", "weighted_kappa_interval"]
    assert list(record["kappas"][0]) == pair
    older = {key: record[key] for key in list(record)[:7]}
    assert FeedbackCheck.from_json(older).agreement is None
    assert record["annotators"][2]["flags"] == ["right"]
    low, high = record["alpha_interval"]
    assert low < record["alpha"] < high
    assert record == json.loads(json.dumps(check(judged).to_json()))
    assert FeedbackCheck.from_json(record | {"made_from": "a key"}) == check(judged)
    assert FeedbackCheck.from_json(check([]).to_json()) == check([])


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
            given = Judgement(comparison, str(number), left.id, right.id, choice)  # type: ignore[arg-type]
            judged.append(JudgedComparison(given, prompt, left, right))
    result = check(judged)
    assert collect_flags(result) == {}
    assert result.alpha == pytest.approx(0.86, abs=0.015)  # the published kappas are 0.85, 0.88, 0.86
    assert result.fleiss_kappa == pytest.approx(result.alpha, abs=0.001)
    assert sorted(round(pair.kappa or 0, 2) for pair in result.kappas) == [0.85, 0.86, 0.88]
    assert max(person.error_rate or 1 for person in result.annotators) < 0.05


@pytest.mark.parametrize("vice", ["random", "left", "too quick"])
def test_rows_that_stand_twice_change_nothing_but_the_count(vice: str) -> None:
    """Answers that stood twice were the truth of Dawid and Skene's model: the guesser had an error rate of 0."""
    generator = np.random.default_rng(7)
    vices: list[Vice | None] = [None, None, None, vice if vice in VICES else None]  # type: ignore[list-item]
    once = simulate_judged(make_panel("any length", vices, generator), generator, 200, 2)
    twice = [
        replace(entry, judgement=replace(entry.judgement, key=f"{entry.judgement.key}{copy}"))
        for entry in once
        for copy in range(2 if entry.judgement.annotator == "a03" else 1)
    ]
    first, second = check(once), check(twice)
    for one, other in zip(first.annotators, second.annotators, strict=True):
        assert replace(other, judgements=one.judgements, repeats=0, consistency=None, consistency_interval=None) == one
    assert second.judgements == first.judgements + first.annotators[3].judgements
    assert second.annotators[3].judgements == 2 * first.annotators[3].judgements
    assert (second.annotators[3].repeats, second.annotators[3].consistency) == (first.annotators[3].judgements, 1.0)
    assert (second.alpha, second.position_bias, second.length_bias) == (
        first.alpha,
        first.position_bias,
        first.length_bias,
    )


@pytest.mark.parametrize(("accuracy", "flags"), [(0.5, ("random",)), (0.6, ())])
def test_who_follows_the_others_a_little_is_not_called_random(accuracy, flags):
    """Of 375 pairs, where the others are right in 0.8. At 3.72 standard errors both were flagged."""

    def draw(design, generator):
        right = np.where(design.annotator == 0, accuracy, 0.8)
        return first_odds(design, right), np.zeros(len(right))

    for seed in (1, 2):
        crowd = draw_crowd((12, 375), draw, None, np.random.default_rng(seed))
        assert flag_people(crowd, 12) == [flags, *[()] * 11]
