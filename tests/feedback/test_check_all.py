"""The check of judgements, rankings and ratings together, and what of them is learned from."""

import json
from pathlib import Path

import numpy as np
import pytest

from likelier.cli import main
from likelier.feedback.check import FeedbackCheck
from likelier.feedback.check_all import check_answers, check_store, count_evidence
from likelier.feedback.store import Store
from likelier.files import read_json
from likelier.records import (
    Comparison,
    JudgedComparison,
    Judgement,
    Prompt,
    RankedResponses,
    Ranking,
    Response,
    order_by_rank,
)
from rater_panel import rate_all


def rank_all(people: int, random: int, seed: int = 0) -> list[RankedResponses]:
    """Each person ranks four responses to each of 40 prompts; the first `random` people do not look."""
    generator, ranked = np.random.default_rng(seed), []
    for number in range(40):
        prompt, scores = Prompt(f"question {number}"), generator.normal(0, 2.5, 4)
        responses = tuple(Response(prompt.id, f"answer {place}") for place in range(4))
        ids = [each.id for each in responses]
        for person in range(people):
            seen = generator.gumbel(size=4) + scores * (person >= random)
            order = order_by_rank(ids, np.argsort(np.argsort(-seen)).tolist())
            ranked.append(RankedResponses(Ranking(prompt.id, f"p{person}", order, tuple(ids)), prompt, responses))
    return ranked


def test_rankings_tell_who_does_not_look() -> None:
    found = check_answers([], None, rank_all(6, 2))
    assert (found.judgements, found.comparisons, found.rankings) == (0, 0, 240)
    assert found.flagged == ["p0", "p1"]
    careless = {person.id: person.careless or 0.0 for person in found.annotators}
    assert min(careless["p0"], careless["p1"]) > 0.7
    assert max(careless[f"p{number}"] for number in range(2, 6)) < 0.1
    assert [(person.judgements, person.rankings) for person in found.annotators] == [(0, 40)] * 6
    assert found.alpha is not None


def test_all_kinds_stand_in_one_record() -> None:
    ranked, rated = rank_all(3, 0), rate_all(5, 1)
    prompt, (one, two, *_) = ranked[0].prompt, ranked[0].responses
    pair = Comparison(prompt.id, one.id, two.id)
    judged = [
        JudgedComparison(Judgement(pair.id, name, one.id, two.id, "left"), prompt, one, two) for name in ("p0", "zoe")
    ]
    found = check_answers(judged, None, ranked, rated)
    assert (found.judgements, found.comparisons, found.rankings, found.ratings) == (2, 1, 120, 300)
    people = {person.id: person for person in found.annotators}
    assert list(people) == ["p0", "p1", "p2", "p3", "p4", "zoe"]
    assert [people["p0"].judgements, people["p0"].rankings, people["p0"].ratings] == [1, 40, 60]
    assert [people["p3"].judgements, people["p3"].skill, people["p3"].ratings] == [0, None, 60]
    assert "p0" in found.flagged
    assert people["p0"].rating_flags == ("random",)
    assert people["p0"].flags == ()
    (scale,) = found.rating_agreement
    assert (scale.kind, scale.responses) == ("scale", 78)
    assert scale.alpha_ordinal_interval is not None
    assert scale.alpha_ordinal_interval[0] < scale.alpha_ordinal < scale.alpha_ordinal_interval[1]  # type: ignore[operator]
    assert FeedbackCheck.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_what_a_pair_of_a_ranking_is_worth_by_hand() -> None:
    """Of three: (1/2 + 2/3) / (3 / 2)."""
    assert [count_evidence(2), count_evidence(3)] == pytest.approx([1.0, 7 / 9])


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Ratings by six people, one at random, who also judged comparisons."""
    with Store.open(tmp_path / "f.db", create=True) as store, store.transaction() as writer:
        rated = rate_all(6, 1)
        writer.add_prompts([rated[0].prompt])
        writer.add_responses(list({entry.response.id: entry.response for entry in rated}.values()))
        writer.add_ratings([entry.rating for entry in rated])
    return tmp_path / "f.db"


def test_ratings_of_the_flagged_teach_nothing(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--db", str(db)]) == 0
    printed = capsys.readouterr().out
    assert "random (ratings)" in printed
    assert "360 ratings" in printed
    assert " responses rated by two or more: Krippendorff's alpha by their order" in printed
    assert "ratings that ignore the response: " in printed
    with Store.open(db) as store:
        assert check_store(store).flagged == ["p0"]
    folder = db.parent
    shares = ["--valid-share", "0", "--test-share", "0"]
    assert main(["preferences", "--db", str(db), "-o", str(folder / "checked"), *shares]) == 0
    assert "0 rankings and 300 ratings give 3,160 comparisons; 60 ratings by flagged people are left out" in (
        capsys.readouterr().err
    )
    assert read_json(folder / "checked/card.json")["ratings_dropped"] == 60
    assert main(["preferences", "--db", str(db), "-o", str(folder / "all"), "--no-check", *shares]) == 0
    assert "0 rankings and 360 ratings give 3,160 comparisons\n" in capsys.readouterr().err
    assert "ratings_dropped" not in read_json(folder / "all/card.json")


def test_a_taste_that_nobody_has_is_said(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--db", str(db), "--valid-share", "0", "--test-share", "0"]
    for number, option in enumerate((["--taste", "majority"], ["--balance-groups", "1"])):
        assert main(["preferences", *where, "-o", str(db.parent / f"{number}"), *option]) == 0
        said = (
            f"{' '.join(option)}: the check tells no groups of tastes apart, so everybody's answers are learned alike"
        )
        assert said in capsys.readouterr().err
