"""Tasks of Label Studio."""

from pathlib import Path

import pytest

from data_files import Line, lines, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store


def annotation(selected: str, who: object, **more: object) -> Line:
    return {"completed_by": who, "result": [{"type": "pairwise", "value": {"selected": selected}}]} | more


TASK = {
    "id": 12,
    "data": {"prompt": "Hi", "answer1": "Hello.", "answer2": "Go.", "source": "web"},
    "annotations": [
        annotation("left", 1, lead_time=4.5, created_at="2026-01-01T00:00:00Z"),
        annotation("right", {"email": "ann@example.org", "id": 2}),
        annotation("right", 3, was_cancelled=True),
    ],
    "predictions": [],
}


def test_a_task_with_several_annotations(store: Store, tmp_path: Path) -> None:
    counts = import_file(write(tmp_path / "a.jsonl", TASK), "label-studio", store)
    assert (counts.read, counts.stored, counts.passed_over) == (1, 2, ("data.source",))
    first, second = sorted(store.judgements(), key=lambda judgement: judgement.annotator)
    assert (first.annotator, first.choice, first.duration_seconds) == ("1", "left", 4.5)
    assert (second.annotator, second.choice) == ("ann@example.org", "right")
    assert export_file(store, "label-studio", tmp_path / "b.jsonl").written == 1
    (task,) = lines(tmp_path / "b.jsonl")
    assert task["data"] == {"prompt": "Hi", "response1": "Hello.", "response2": "Go."}
    assert [each["completed_by"] for each in task["annotations"]].count(1) == 1


def test_a_task_that_nobody_answered_is_a_comparison_to_judge(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", TASK | {"annotations": []}), "label-studio", store)
    assert (len(store.comparisons()), store.judgements()) == (1, [])


def test_fields_of_any_name(store: Store, tmp_path: Path) -> None:
    record = TASK | {"data": {"q": "Hi", "this": "Hello.", "that": "Go."}}
    columns = {"prompt": "q", "left": "this", "right": "that"}
    import_file(write(tmp_path / "a.jsonl", record), None, store, columns=columns)
    assert [judged.left.text for judged in store.judged()] == ["Hello.", "Hello."]


def test_other_answers_are_named(store: Store, tmp_path: Path) -> None:
    task = TASK | {"annotations": [annotation("left", 1)]}
    task["annotations"][0]["result"].append({"type": "choices", "value": {"choices": ["rude"]}})
    counts = import_file(write(tmp_path / "a.jsonl", task), "label-studio", store)
    assert counts.passed_over == ("data.source", "annotations.result.choices")


def test_a_tie_is_skipped(store: Store, tmp_path: Path) -> None:
    tie = {"prompt": "Hi", "left": "a", "right": "b", "choice": "tie"}
    import_file(write(tmp_path / "a.jsonl", tie), "likelier", store)
    assert export_file(store, "label-studio", tmp_path / "b.jsonl").skipped == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"data": []}, "`data` must be an object"),
        (
            {"data": {"prompt": "Hi", "x": "a"}},
            "which two fields of `data` are compared.*--columns prompt=NAME,left=NAME",
        ),
        ({"data": {"answer1": "a", "answer2": "b"}}, "no field `prompt`.*--columns prompt=NAME"),
        ({"annotations": [annotation("middle", 1)]}, "`selected` must be left or right, got 'middle'"),
        ({"annotations": ["x"]}, "`annotations` must be a list of objects"),
    ],
)
def test_a_bad_record(store: Store, tmp_path: Path, record: Line, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(write(tmp_path / "a.jsonl", TASK | record), "label-studio", store)


def choose(*choices: str, who: int = 1, name: str = "winner") -> Line:
    return {"completed_by": who, "result": [choice_of(*choices, name=name)], "lead_time": 4.399}


def choice_of(*choices: str, name: str = "winner") -> Line:
    return {"type": "choices", "from_name": name, "to_name": "response_a", "value": {"choices": list(choices)}}


def test_a_choice_that_names_an_answer_or_a_tie_is_a_judgement(store: Store, tmp_path: Path) -> None:
    """As in a public project's export: its judgements were lost."""
    data = {"prompt": "Hi", "response_a": "Hello.", "response_b": "Go.", "model_a": "one"}
    annotations = [choose("b_winner"), choose("tie", who=2), choose("unsure", who=3), choose("a_winner", "tie", who=4)]
    task = {"id": 4, "data": data, "annotations": annotations}
    counts = import_file(write(tmp_path / "a.json", task), None, store)
    assert (counts.format, counts.judgements) == ("label-studio", 2)
    assert counts.passed_over == ("data.model_a", "annotations.result.choices")
    judged = {entry.annotator: (entry.choice, entry.duration_seconds) for entry in store.judgements()}
    assert judged == {"1": ("right", 4.399), "2": ("tie", 4.399)}


def test_of_several_choices_that_name_answers_none_is_taken(store: Store, tmp_path: Path) -> None:
    data = {"prompt": "Hi", "response_a": "Hello.", "response_b": "Go."}
    both = {"result": [choice_of("A", name="overall"), choice_of("B", name="tone")], "completed_by": 1}
    counts = import_file(write(tmp_path / "a.json", {"data": data, "annotations": [both]}), None, store)
    assert (counts.judgements, counts.stored) == (0, 1)
