"""Which of two answers a label names (`A`, `resp_1_better`, `b_winner`, `tie`), and rows that say so in a column.

A label that names neither is not guessed: 1 is the first answer in one file and the second in another (decision 0064).
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from likelier.errors import DataError
from likelier.feedback.formats.entry import Line, Place, shorten
from likelier.feedback.formats.fields import PROMPT_NAMES, find_answers, find_prompt
from likelier.records import Choice

SAID = frozenset(
    ("answer", "better", "best", "chosen", "is", "model", "option", "output", "preferred", "resp", "response", "side")
) | frozenset(("text", "win", "winner", "wins", "won"))
"""Words that may stand beside the letter or number of an answer; another, `worse` say, may turn the meaning."""
TIES = frozenset(("tie", "equal", "equally good", "same", "draw", "both good"))
BOTH_BAD = frozenset(("both bad", "bothbad", "tie bothbad", "tie both bad"))
WINNER_COLUMNS = (
    "winner",
    "preferred",
    "preference",
    "preferred_response",
    "choice",
    "better",
    "label",
    "vote",
    "verdict",
)
ANNOTATOR_COLUMNS = ("annotator", "annotator_id", "judge", "rater", "rater_id", "worker", "worker_id", "user_id")


class Winner(NamedTuple):
    """The side that was preferred, or a tie."""

    choice: Choice
    both_bad: bool = False


def read_winner(label: Any, answers: Sequence[str]) -> Winner | None:
    """Return which of two answers, by the names of their fields, a label names; None if it names neither.

    >>> read_winner("resp_1_better", ["response_0", "response_1"]), read_winner("A", ["answer_A", "answer_B"])
    (Winner(choice='right', both_bad=False), Winner(choice='left', both_bad=False))
    >>> read_winner("1", ["response_1", "response_2"]), read_winner("a_worse", ["response_a", "response_b"])
    (None, None)
    """
    if not isinstance(label, str):
        return None
    words = re.findall(r"[a-z]+|\d+", label.lower())
    text = " ".join(words)
    if text in TIES or text in BOTH_BAD:
        return Winner("tie", text in BOTH_BAD)
    marks = [re.findall(r"[a-z]+|\d+", name.lower())[-1] for name in answers]
    for mark, choice in zip(marks, ("left", "right"), strict=True):
        rest = [word for word in words if word != mark]
        if len(rest) + 1 == len(words) and SAID.issuperset(rest) and (rest or not mark.isdigit()):
            return Winner("left" if choice == "left" else "right")
    return None


def find_sides(record: Line) -> list[str]:
    """Return the names of two lettered answers of a row (`response_a`, `response_b`); empty if it has no such two."""
    names = find_answers(record)
    lettered = len(names) == 2 and not {"chosen", "rejected"} & {name.lower() for name in names}
    return names if lettered and all(isinstance(record[name], str) for name in names) else []


def find_column(record: Line, wanted: Sequence[str]) -> str | None:
    """Return the first column of a row that has one of these names, in any case."""
    lower = {name.lower(): name for name in record}
    return next((lower[name] for name in wanted if name in lower), None)


def names_winner(record: Line) -> bool:
    """True for a row with a prompt, two lettered answers, and a column that names the better one."""
    sides, column = find_sides(record), find_column(record, WINNER_COLUMNS)
    return bool(sides and column and set(PROMPT_NAMES) & record.keys() and read_winner(record[column], sides))


def name_columns(record: Line, where: Place) -> Line:
    """Return a row of `names_winner`'s kind with the columns of a table: prompt, left, right, choice, annotator.

    DataError: its column names neither answer.
    """
    sides, column = find_sides(record), find_column(record, WINNER_COLUMNS)
    if not sides or column is None:
        return record
    winner = read_winner(record[column], sides)
    if winner is None:
        raise DataError(
            f"{where}: `{column}` must name {sides[0]} or {sides[1]}, or be tie; got {shorten(record[column])}"
        )
    annotator = find_column(record, ANNOTATOR_COLUMNS)
    prompt = find_prompt(record, [*sides, column], where)
    named = {"prompt": prompt, "left": sides[0], "right": sides[1]} | ({"annotator": annotator} if annotator else {})
    rest = {name: value for name, value in record.items() if name not in {*named.values(), column}}
    table: Line = {name: record[source] for name, source in named.items()}
    return rest | table | {"choice": winner.choice} | ({"both_bad": "true"} if winner.both_bad else {})
