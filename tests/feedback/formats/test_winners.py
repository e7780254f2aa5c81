"""Labels that name one of two answers, as annotators' own projects have them, and rows of a table that say so."""

from pathlib import Path

import pytest

from likelier.errors import DataError, UnknownFormatError
from likelier.feedback.formats import import_file
from likelier.feedback.formats.winners import read_winner
from likelier.feedback.store import Store

LETTERS, NUMBERS = ["response_a", "response_b"], ["response_0", "response_1"]


@pytest.mark.parametrize(
    ("label", "answers", "choice"),
    [
        ("A", LETTERS, "left"),
        ("b", LETTERS, "right"),
        ("b_winner", LETTERS, "right"),
        ("Model A wins", LETTERS, "left"),
        ("response_b", LETTERS, "right"),
        ("resp_1_better", NUMBERS, "right"),
        ("Response 0 is better", NUMBERS, "left"),
        ("answer2", ["answer1", "answer2"], "right"),
        ("Tie", LETTERS, "tie"),
        ("equal", NUMBERS, "tie"),
    ],
)
def test_a_label_that_names_an_answer(label: str, answers: list[str], choice: str) -> None:
    winner = read_winner(label, answers)
    assert winner is not None
    assert winner == (choice, False)


def test_both_bad_is_a_tie_of_its_kind() -> None:
    assert read_winner("tie (bothbad)", LETTERS) == read_winner("Both bad", NUMBERS) == ("tie", True)


@pytest.mark.parametrize(
    ("label", "answers"),
    [
        ("1", ["response_1", "response_2"]),  # the second answer in a file that counts from 0
        (1, NUMBERS),
        ("a_worse", LETTERS),
        ("not a", LETTERS),
        ("a or b", LETTERS),
        ("a bit of both", LETTERS),
        ("", LETTERS),
        (None, LETTERS),
        ("response", LETTERS),
    ],
)
def test_what_names_none_is_not_guessed(label: object, answers: list[str]) -> None:
    assert read_winner(label, answers) is None


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


TABLE = """example_id,prompt,response_a,response_b,preferred,annotator_id
1,Hi,Hello.,Go.,A,ann
2,Hi,Go.,Hello.,B,bo
3,Hi,Hello.,Go.,tie,cy
"""


def test_rows_of_two_lettered_answers_and_the_better_ones_letter(store: Store, tmp_path: Path) -> None:
    """As `preferences.csv` of a public project has them: it was refused."""
    counts = import_file(put(tmp_path / "a.csv", TABLE), None, store)
    assert (counts.format, counts.stored, counts.annotators, counts.passed_over) == ("csv", 3, 3, ("example_id",))
    choices = {judged.judgement.annotator: judged.judgement.choice for judged in store.judged()}
    assert choices == {"ann": "left", "bo": "right", "cy": "tie"}
    assert [judged.left.text for judged in store.judged()] == ["Hello.", "Go.", "Hello."]


def test_a_row_that_names_neither_is_named(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", TABLE + "4,Hi,Hello.,Go.,C,di\n")
    with pytest.raises(DataError, match="row 5: `preferred` must name response_a or response_b, or be tie; got 'C'"):
        import_file(file, None, store)


def test_numbers_alone_are_still_asked_about(store: Store, tmp_path: Path) -> None:
    text = (
        TABLE.replace("_a", "_1")
        .replace("_b", "_2")
        .replace(",A,", ",1,")
        .replace(",B,", ",2,")
        .replace(",tie,", ",1,")
    )
    with pytest.raises(UnknownFormatError, match="no format that is known"):
        import_file(put(tmp_path / "a.csv", text), None, store)


def test_letters_count_where_columns_are_named(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", "q,one,two,won\nHi,Hello.,Go.,B\n")
    columns = {"prompt": "q", "left": "one", "right": "two", "choice": "won"}
    assert import_file(file, None, store, columns=columns).stored == 1
    assert [judgement.choice for judgement in store.judgements()] == ["right"]
