"""Records of Argilla in their three shapes."""

from pathlib import Path

import pytest

from data_files import Line, lines, user, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store

TEXTS = {"prompt": "Hi", "response1": "Hello.", "response2": "Go."}
RANKING = {"rank": [2, 1], "value": ["response1", "response2"]}
FLAT = TEXTS | {
    "preference": [
        {"user_id": "u1", "value": RANKING, "status": "submitted"},
        {"user_id": "u2", "value": RANKING | {"rank": [1, 1]}, "status": "submitted"},
        {"user_id": "u3", "value": RANKING, "status": "discarded"},
    ],
    "preference-suggestion": RANKING,
    "external_id": None,
    "metadata": "{}",
}
NESTED = {"id": "1", "fields": TEXTS, "status": "completed", "suggestions": {}, "metadata": {}, "vectors": {}} | {
    "responses": {"preference": [{"value": ["response-2", "response-1"], "user_id": "u1"}]}
}
FLATTENED = TEXTS | {
    "preference.responses": [["response2", "response1"]],
    "preference.responses.users": ["u1"],
    "preference.responses.status": ["submitted"],
}
BY_USER = {"fields": TEXTS, "responses": [{"user_id": "u1", "values": {"preference": {"value": "response2"}}}]}


@pytest.mark.parametrize("record", [FLAT, NESTED, FLATTENED, BY_USER])
def test_all_shapes(store: Store, tmp_path: Path, record: Line) -> None:
    assert import_file(write(tmp_path / "a.jsonl", record), None, store).format == "argilla"
    judged = {each.judgement.annotator: each for each in store.judged()}
    assert (judged["u1"].judgement.choice, judged["u1"].left.text) == ("right", "Hello.")
    assert "u3" not in judged
    if record is FLAT:
        assert judged["u2"].judgement.choice == "tie"


def test_suggestions_are_passed_over(store: Store, tmp_path: Path) -> None:
    assert import_file(write(tmp_path / "a.jsonl", FLAT), "argilla", store).passed_over == ("preference-suggestion",)


def test_a_ranking_of_three_is_three_judgements(store: Store, tmp_path: Path) -> None:
    value = {"rank": [3, 1, 2], "value": ["response1", "response2", "response3"]}
    record = TEXTS | {"response3": "Bye.", "preference": [{"user_id": "u", "value": value}]}
    import_file(write(tmp_path / "a.jsonl", record), "argilla", store)
    better = {(each.left.text, each.right.text): each.judgement.choice for each in store.judged()}
    assert better == {("Hello.", "Go."): "right", ("Hello.", "Bye."): "right", ("Go.", "Bye."): "left"}


def test_a_record_without_answers_is_offered(store: Store, tmp_path: Path) -> None:
    record = NESTED | {"responses": {}, "fields": TEXTS | {"prompt": [user("Hi")]}}
    import_file(write(tmp_path / "a.jsonl", record), "argilla", store)
    assert (len(store.comparisons()), store.prompts()[0].text) == (1, [user("Hi")])


def test_people_of_one_comparison_share_a_row(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", FLAT), "argilla", store)
    assert export_file(store, "argilla", tmp_path / "b.jsonl").written == 1
    (row,) = lines(tmp_path / "b.jsonl")
    assert {answer["user_id"]: answer["value"]["rank"] for answer in row["preference"]} == {"u1": [2, 1], "u2": [1, 1]}


def test_a_record_without_responses_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no ranking, and no fields with responses"):
        import_file(write(tmp_path / "a.jsonl", {"fields": {"text": "Hi"}, "responses": {}}), "argilla", store)


@pytest.mark.parametrize(("label", "choice"), [("resp_0_better", "left"), ("resp_1_better", "right"), ("equal", "tie")])
def test_a_label_that_names_a_response_in_words(store: Store, tmp_path: Path, label: str, choice: str) -> None:
    """As in a public project's `records.json` of Argilla 2: its judgements were lost."""
    answers = {
        "preference_selection": [{"value": label, "user_id": "u1"}],
        "reasoning": [{"value": "0", "user_id": "u1"}],
    }
    record = NESTED | {"fields": {"prompt": "Hi", "response_0": "Hello.", "response_1": "Go."}, "responses": answers}
    counts = import_file(write(tmp_path / "a.jsonl", record), None, store)
    assert (counts.format, counts.judgements, counts.passed_over) == ("argilla", 1, ("reasoning",))
    (judgement,) = store.judgements()
    assert (judgement.choice, judgement.annotator) == (choice, "u1")
