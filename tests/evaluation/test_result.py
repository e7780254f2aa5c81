"""What `evaluation.json` holds can be read back as the same records."""

from likelier.evaluation.result import (
    BestOfN,
    BestOfNScore,
    EvaluationResult,
    OtherResult,
    PeopleResult,
    ResponseStats,
    ScorerResult,
)

STATS = ResponseStats(response_length=12.5, ended_rate=0.75, distinct_1=0.5, distinct_2=0.875)
KIND = ScorerResult(
    win_rate=0.75,
    interval=[0.5, 1.0],
    ties=1,
    n=4,
    score_a=1.0,
    score_b=2.0,
    difference=1.0,
    difference_interval=None,
    std_a=0.5,
    in_stds=2.0,
    in_stds_interval=None,
)
PEOPLE = PeopleResult(win_rate=0.625, interval=[0.25, 0.875], ties=1, n=4, unjudged=2, judgements=9, people=3)


def make_result(**fields: object) -> EvaluationResult:
    whole = {
        "kl": 1.5,
        "kl_interval": [1.0, 2.0],
        "judges": {"kind": KIND, "people": PEOPLE},
        "b": STATS,
        "model_a": "old",
        "model_b": "new",
        "seed": 3,
        "a": STATS,
    }
    return EvaluationResult(**whole | fields)  # type: ignore[arg-type]


def test_the_first_judge_gives_the_headline():
    record = make_result().to_json()
    headline = {"win_rate": 0.75, "interval": [0.5, 1.0], "ties": 1, "n": 4, "score_a": 1.0, "score_b": 2.0}
    assert {key: record[key] for key in headline} == headline
    assert not {"people", "judgements", "best_of", "others", "samples"} & set(record)


def test_people_at_the_head_give_counts_and_no_scores():
    result = make_result(judges={"people": PEOPLE, "kind": KIND})
    record = result.to_json()
    assert (result.score_a, record["score_b"], record["win_rate"]) == (None, None, 0.625)
    assert (record["judgements"], record["people"], record["unjudged"]) == (9, 3, 2)


def test_all_parts_are_read_back():
    control = BestOfNScore(0.9, [0.8, 1.0], 2.5, 1.5, [1.0, 2.0], None)
    other = OtherResult(name="dpo", model="runs/dpo/model", kl=None, kl_interval=None, judges={"kind": KIND}, b=STATS)
    result = make_result(
        best_of=(BestOfN(4, 0.636, 2.5, {"kind": control}),),
        others=(other,),
        samples=({"prompt": "p", "response_a": "a", "response_b": "b"},),
    )
    record = result.to_json()
    assert EvaluationResult.from_json(record | {"written_by": "a later version"}) == result
    assert record["best_of"][0]["win_rate"] == 0.9
    assert (record["others"][0]["score_b"], record["others"][0]["kl"]) == (2.0, None)
