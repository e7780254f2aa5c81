"""Battles of Chatbot Arena and MT-bench."""

from pathlib import Path

import pytest

from data_files import assistant, lines, user, write
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store

BATTLE = {
    "question_id": "q1",
    "model_a": "one",
    "model_b": "two",
    "winner": "model_b",
    "judge": "arena_user_7",
    "conversation_a": [user("Hi"), assistant("Hello.")],
    "conversation_b": [user("Hi"), assistant("Go.")],
    "turn": 1,
    "anony": True,
    "language": "English",
    "tstamp": 1682351591.1322,
}
MORE_A, MORE_B = [user("Why?"), assistant("So.")], [user("Why?"), assistant("No.")]


def test_sides_models_judge_and_time(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", BATTLE), "chatbot-arena", store)
    (judged,) = store.judged()
    assert (judged.left.model, judged.left.text, judged.right.model) == ("one", "Hello.", "two")
    assert (judged.judgement.choice, judged.judgement.annotator) == ("right", "arena_user_7")
    assert judged.judgement.created_at == "2023-04-24T15:53:11+00:00"
    export_file(store, "chatbot-arena", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl") == [BATTLE]


def test_rounds_after_the_first_answer_belong_to_the_response(store: Store, tmp_path: Path) -> None:
    longer = {"turn": 2, "conversation_a": [*BATTLE["conversation_a"], *MORE_A]}
    record = BATTLE | longer | {"conversation_b": [*BATTLE["conversation_b"], *MORE_B]}
    import_file(write(tmp_path / "a.jsonl", record), "chatbot-arena", store)
    (judged,) = store.judged()
    assert judged.prompt.text == [user("Hi")]
    assert judged.left.text == "Hello.\n\nHuman: Why?\n\nAssistant: So."
    export_file(store, "chatbot-arena", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl") == [record]


def test_the_first_round_of_mt_bench_alone_was_judged(store: Store, tmp_path: Path) -> None:
    record = BATTLE | {"conversation_a": [*BATTLE["conversation_a"], *MORE_A], "turn": 1}
    import_file(write(tmp_path / "a.jsonl", record), "chatbot-arena", store)
    assert store.judged()[0].left.text == "Hello."


@pytest.mark.parametrize("winner", ["tie", "tie (bothbad)", "both_bad"])
def test_ties(store: Store, tmp_path: Path, winner: str) -> None:
    import_file(write(tmp_path / "a.jsonl", BATTLE | {"winner": winner}), "chatbot-arena", store)
    assert (store.judgements()[0].choice, store.judgements()[0].both_bad) == ("tie", winner != "tie")
    export_file(store, "chatbot-arena", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl")[0]["winner"] == ("tie" if winner == "tie" else "tie (bothbad)")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"winner": "both"}, "`winner` must be one of model_a, model_b, tie, tie .bothbad., got 'both'"),
        ({"conversation_b": None}, "no `conversation_b`: without the conversations there is nothing to learn from"),
        ({"conversation_b": [user("Ho"), assistant("x")]}, "do not begin with the same question"),
        ({"conversation_b": [user("Hi")]}, "`conversation_b` must end with the assistant's turn, got user"),
        ({"conversation_b": BATTLE["conversation_a"], "model_b": "one"}, "are the same"),
    ],
)
def test_a_bad_record(store: Store, tmp_path: Path, record: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_file(write(tmp_path / "a.jsonl", BATTLE | record), "chatbot-arena", store)


KAGGLE = """id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie
1,one,two,"[""Hi"",""Why?""]","[""Hello."",""So.""]","[""Go."",""No.""]",0,1,0
2,one,two,"[""Hi""]","[""Hello.""]","[""Go.""]",0,0,1
"""


def test_the_table_of_a_contest_with_its_rounds(store: Store, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(KAGGLE)
    counts = import_file(tmp_path / "train.csv", None, store)
    assert (counts.format, counts.judgements, counts.passed_over) == ("chatbot-arena", 2, ())
    first, second = sorted(store.judged(), key=lambda judged: judged.judgement.extra["chatbot-arena"]["id"])
    assert (first.prompt.text, first.left.model, first.judgement.choice) == ([user("Hi")], "one", "right")
    assert (first.left.text, first.right.text) == (
        "Hello.\n\nHuman: Why?\n\nAssistant: So.",
        "Go.\n\nHuman: Why?\n\nAssistant: No.",
    )
    assert (second.judgement.choice, second.judgement.both_bad) == ("tie", False)


def test_texts_and_a_label_of_ones_own_beside_the_models(store: Store, tmp_path: Path) -> None:
    texts = {"prompt": "Hi", "response_a": "Hello.", "response_b": "Go."}
    record = {"model_a": "one", "model_b": "two", "winner": "b_winner", "annotator": "1", **texts}
    assert import_file(write(tmp_path / "a.jsonl", record), None, store).format == "chatbot-arena"
    (judged,) = store.judged()
    assert (judged.judgement.choice, judged.judgement.annotator, judged.right.text) == ("right", "1", "Go.")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (",0,1,0", ",0,0,0", "row 2: one of winner_model_a, winner_model_b, winner_tie must be 1, the others 0"),
        ('""Go."",""No.""', '""Go.""', "row 2: `response_b` must have an answer in each of the 2 rounds of `prompt`"),
        ('""Go."",""No.""', '""Go."",null', "row 2: `response_b` must have an answer in each of the 2 rounds"),
    ],
)
def test_a_row_that_is_no_battle_is_named(store: Store, tmp_path: Path, old: str, new: str, text: str) -> None:
    (tmp_path / "train.csv").write_text(KAGGLE.replace(old, new))
    with pytest.raises(DataError, match=text):
        import_file(tmp_path / "train.csv", None, store)
