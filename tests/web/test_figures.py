"""Figures of the owner's page, by hand."""

import json
from dataclasses import replace

from likelier.evaluation.length_control import control_length
from likelier.feedback.store import Store
from likelier.records import Comparison, JudgedComparison, Judgement, Prompt, Rating, Response
from likelier.web import figures
from likelier.web.figures import Figures, compare_models, compute_figures, count_by_day
from likelier.web.room import Room
from page_visitors import add_pair

DAY = "2026-11-01T10:00:00+00:00"


def judged(number, models, choice, day="2026-11-01"):
    prompt = Prompt(f"Story {number}")
    left, right = (Response(prompt.id, f"text {model}", model) for model in models)
    comparison = Comparison(prompt.id, left.id, right.id)
    answer = Judgement(comparison.id, "ann", left.id, right.id, choice, created_at=f"{day}T10:00:00+00:00")
    return JudgedComparison(answer, prompt, left, right)


def test_the_win_rate_is_of_the_later_model():
    votes = [judged(0, ("old", "new"), "right"), judged(1, ("new", "old"), "tie"), judged(2, ("new", "old"), "left")]
    votes += [judged(3, ("new", "new"), "left"), judged(4, ("new", "older"), "left")]
    rates = compare_models([judged(9, ("old", "old"), "left"), *votes])
    assert (rates["model"], rates["other"]) == ("new", "old")
    assert [(each["judgements"], each["rate"]) for each in rates["points"]] == [(1, 1.0), (2, 0.75), (3, 2.5 / 3)]
    assert rates["points"][0]["low"] < 0.01  # one prompt says next to nothing


def test_the_first_vote_on_a_prompt_counts():
    votes = [judged(number, ("old", "new"), choice) for number in (0, 1) for choice in ("right", "left", "left")]
    points = compare_models([judged(9, ("old", "old"), "left"), *votes])["points"]
    assert [(each["judgements"], each["prompts"], each["rate"]) for each in points] == [(1, 1, 1.0), (4, 2, 1.0)]


def test_the_win_rate_at_equal_length_stands_beside_it():
    """The new model writes the longer answer in 30 of 40 pairs, and the longer one wins each time."""
    lengths = [(5, 9) if number % 4 else (9, 5) for number in range(40)]
    texts = [("o" * old, "n" * new) for old, new in lengths]
    votes = []
    for number, (old, new) in enumerate(texts):
        entry = judged(number, ("old", "new"), "right" if len(new) > len(old) else "left")
        left, right = Response(entry.prompt.id, old, "old"), Response(entry.prompt.id, new, "new")
        votes.append(replace(entry, left=left, right=right))
    rates = compare_models([judged(99, ("old", "old"), "left"), *votes])
    controlled = rates["length_controlled"]
    assert rates["points"][-1]["rate"] == 0.75
    expected = control_length(
        [float(new > old) for old, new in lengths], [new - old for old, new in lengths], [str(n) for n in range(40)]
    )
    assert 0.5 < controlled["rate"] == expected.rate < 0.75
    assert [controlled["low"], controlled["high"]] == expected.interval
    assert compare_models([judged(99, ("old", "old"), "left"), *votes[:10]])["length_controlled"] is None


def test_one_model_has_no_win_rate():
    assert compare_models([judged(0, ("new", "new"), "left")]) is None


def test_judgements_are_counted_by_day():
    votes = [judged(0, ("a", "b"), "left", day) for day in ("2026-11-02", "2026-11-01", "2026-11-02")]
    assert count_by_day([entry.judgement for entry in votes]) == [
        {"day": "2026-11-01", "judgements": 1},
        {"day": "2026-11-02", "judgements": 2},
    ]


def test_they_are_computed_again_once_anything_is_new_and_after_a_rest(tmp_path, monkeypatch):
    """At first they waited for a twentieth more judgements: of a hundred thousand that is an hour of twenty people."""
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        (pair,) = store.comparisons()
        values = Figures(Room(store, None, None, None))
        assert values.read() == {}
        for name, rest, as_of in (("a", 0, 1), ("b", 1e6, 2), ("c", 1e6, 2)):
            monkeypatch.setattr(figures, "REST", rest)
            store.add_judgement(Judgement(pair.id, name, pair.response_a, pair.response_b, "left"))
            assert values.read(600)["as_of"] == as_of
        values.rest_until = 0.0
        assert values.read(600)["as_of"] == 3


def test_many_are_computed_by_a_process_of_its_own_from_a_copy(tmp_path, monkeypatch):
    """A reader of the file itself kept answers out of it for as long as the figures took."""
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        (pair,) = store.comparisons()
        store.add_judgements(
            Judgement(pair.id, f"p{number}", pair.response_a, pair.response_b, "left") for number in range(30)
        )
        here = compute_figures(store)
        monkeypatch.setattr(figures, "MAX_HERE", 20)
        computed = Figures(Room(store, None, None, None)).read(600)
        assert computed == json.loads(json.dumps(here)) | {"as_of": 30}


def test_ratings_are_checked_and_counted(tmp_path):
    """Four people rate 40 responses like their number, one upside down: flagged, with the agreement of the five."""
    with Store.open(tmp_path / "f.db", create=True) as store:
        prompt = Prompt("p")
        responses = [Response(prompt.id, f"text {number}") for number in range(40)]
        store.add_prompts([prompt])
        store.add_responses(responses)
        with store.transaction() as writer:
            for person in range(5):
                values = [1 + (number + person) % 40 // 6 for number in range(40)]
                writer.add_ratings(
                    Rating(response.id, f"p{person}", 8.0 - value if person == 4 else value, created_at=DAY)
                    for response, value in zip(responses, values, strict=True)
                )
        computed = compute_figures(store)
    assert computed["throughput"] == [{"day": "2026-11-01", "judgements": 200}]
    assert computed["win_rates"] is None
    flags = {person["id"]: person["rating_flags"] for person in computed["check"]["annotators"]}
    assert {name for name, own in flags.items() if own} == {"p4"}
    assert list(flags["p4"]) == ["reversed"]
    (scale,) = computed["check"]["rating_agreement"]
    assert scale["responses"] == 40


def test_there_are_no_figures_of_no_answers(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        assert compute_figures(store) == {}
