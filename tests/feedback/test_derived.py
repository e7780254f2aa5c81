"""Comparisons from rankings and ratings: which, with what probability and weight, and how they reach the pairs."""

from pathlib import Path

import numpy as np
import pytest

from likelier.cli import main
from likelier.feedback.derived import compare_ranked, compare_rated, draw_from_rankings
from likelier.feedback.store import Store
from likelier.records import (
    Prompt,
    RankedResponses,
    Ranking,
    RatedResponse,
    Rating,
    Response,
    read_preferences,
)

PROMPT = Prompt("p")
RESPONSES = [Response(PROMPT.id, text) for text in ("one", "two", "three")]


def rate(response: Response, value: float, annotator: str = "ann", kind: str = "scale") -> RatedResponse:
    return RatedResponse(Rating(response.id, annotator, value, kind), PROMPT, response)  # type: ignore[arg-type]


def test_a_ranking_is_its_pairs_but_for_shared_places() -> None:
    one, two, three = (each.id for each in RESPONSES)
    ranking = Ranking(PROMPT.id, "ann", ((three,), (one, two)), (one, two, three))
    pairs = list(compare_ranked([RankedResponses(ranking, PROMPT, tuple(RESPONSES))]))
    found = [(pair.judgement.left, pair.judgement.right, pair.judgement.choice, pair.weight) for pair in pairs]
    assert found == [(one, three, "right", 2 / 3), (two, three, "right", 2 / 3)]
    assert {pair.judgement.annotator for pair in pairs} == {"ann"}
    assert [pair.target for pair in pairs] == [None, None]


def test_ratings_say_how_probable_a_preference_is() -> None:
    """Ten people rate the first 5 and the second 3, one rates the third 5: less is known of it."""
    rated = [rate(RESPONSES[place], value, f"p{n}") for n in range(10) for place, value in ((0, 5.0), (1, 3.0))]
    pairs = {
        (pair.left.text, pair.right.text): (pair.judgement.choice, pair.target, pair.weight)
        for pair in compare_rated([*rated, rate(RESPONSES[2], 5.0, "p0")])
    }
    chances = {frozenset(names): target for names, (_, target, _) in pairs.items()}
    assert chances[frozenset({"one", "two"})] > 0.95 > chances[frozenset({"two", "three"})] > 0.6
    for (left, _), (choice, target, weight) in pairs.items():
        assert (choice == "left") == (left == "one" or (left == "three" and target > 0.6)) or choice == "tie"
        assert weight == 2 / 3


def test_thumbs_and_scales_stand_apart_and_one_value_says_nothing() -> None:
    assert list(compare_rated([rate(RESPONSES[0], 1.0, kind="thumbs"), rate(RESPONSES[1], 0.0)])) == []
    thumbs = [rate(RESPONSES[0], 1.0, kind="thumbs"), rate(RESPONSES[1], 0.0, kind="thumbs")]
    (pair,) = compare_rated(thumbs)
    winner = pair.left if pair.judgement.choice == "left" else pair.right
    assert winner.text == "one"
    assert pair.target is not None
    assert 0.5 < pair.target < 0.8


def test_a_ranking_is_checked_by_independent_comparisons() -> None:
    """3,000 rankings of four by Plackett and Luce: three draws each, of which sigmoid(1) prefer one to three."""
    responses = [Response(PROMPT.id, text) for text in ("one", "two", "three", "four")]
    ids, scores, generator = (
        tuple(each.id for each in responses),
        np.array([0.0, 2.0, 1.0, -1.0]),
        np.random.default_rng(0),
    )
    ranked = []
    for number in range(3000):
        order = tuple((ids[place],) for place in np.argsort(-scores - generator.gumbel(size=4)))
        ranked.append(RankedResponses(Ranking(PROMPT.id, f"p{number}", order, ids), PROMPT, tuple(responses)))
    pairs = list(draw_from_rankings(ranked))
    assert len(pairs) == 9000
    between = [pair.judgement for pair in pairs if {pair.left.text, pair.right.text} == {"one", "three"}]
    assert len(between) > 1000
    wins = np.mean([each.preferred == ids[2] for each in between])
    assert wins == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)
    assert np.mean([each.choice == "left" for each in between]) == pytest.approx(0.5, abs=0.05)
    assert {each.extra["sides"] for each in between} == {"unknown"}


def test_the_last_place_says_nothing_of_itself_and_the_page_knows_sides() -> None:
    one, two, three = (each.id for each in RESPONSES)
    ranking = Ranking(PROMPT.id, "ann", ((three,), (one, two)), (one, two, three), duration_seconds=4.0)
    (pair,) = draw_from_rankings([RankedResponses(ranking, PROMPT, tuple(RESPONSES))])
    assert (pair.judgement.preferred, pair.judgement.right, pair.judgement.extra) == (three, three, {})


def test_a_database_of_ratings_and_rankings_gives_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["how do birds fly", "a cake for ten", "why is the sea salty", "name five rivers"]
    with Store.open(tmp_path / "f.db", create=True) as store, store.transaction() as writer:
        for place, text in enumerate(texts):
            prompt = Prompt(text)
            one, two = Response(prompt.id, f"good {place}"), Response(prompt.id, f"bad {place}")
            writer.add_prompts([prompt])
            writer.add_responses([one, two])
            if place == 0:
                writer.add_rankings([Ranking(prompt.id, "ann", ((one.id,), (two.id,)), (two.id, one.id))])
            else:
                writer.add_ratings([Rating(one.id, "ann", 6.0), Rating(two.id, "ann", 2.0)])
    assert main(["preferences", "--db", str(tmp_path / "f.db"), "-o", str(tmp_path / "out")]) == 0
    assert "1 rankings and 6 ratings give 4 comparisons" in capsys.readouterr().err
    parts = (tmp_path / "out" / f"{part}.jsonl" for part in ("train", "valid", "test"))
    rows = {row.prompt: row for part in parts for row in read_preferences(part)}
    assert {str(row.chosen)[:4] for row in rows.values()} == {"good"}
    assert (rows[texts[0]].target, rows[texts[0]].annotator) == (1.0, "ann")
    assert len({rows[text].target for text in texts[1:]}) == 1
    assert 0.5 < rows[texts[1]].target < 0.9
