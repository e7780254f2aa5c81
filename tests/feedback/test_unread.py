"""Ratings and rankings, which some verbs do not read, are not passed over in silence."""

import json
import shutil
from pathlib import Path

import pytest

from likelier.cli import main
from likelier.feedback.store import Store
from likelier.feedback.unread import count_unread, describe_unread
from likelier.records import Comparison, Judgement, Prompt, Ranking, Rating, Response
from likelier.report.page import write_report

OLD = Path(__file__).parents[1] / "data/old/feedback/feedback.sqlite"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A judgement, two ratings of which one supersedes the other, and two rankings."""
    prompt = Prompt("p")
    one, two = Response(prompt.id, "one"), Response(prompt.id, "two")
    pair = Comparison(prompt.id, one.id, two.id)
    with Store.open(tmp_path / "f.db", create=True) as store:
        with store.transaction() as writer:
            writer.add_prompts([prompt])
            writer.add_responses([one, two])
            writer.add_comparisons([pair])
            writer.add_judgements([Judgement(pair.id, "ann", one.id, two.id, "left")])
            writer.add_ratings(
                [Rating(one.id, "ann", 3.0, key="a"), Rating(one.id, "ann", 4.0, key="b", supersedes="a")]
            )
            order = ((one.id,), (two.id,))
            writer.add_rankings([Ranking(prompt.id, who, order, (one.id, two.id)) for who in ("ann", "bob")])
        assert count_unread(store) == {"ratings": 1, "rankings": 2}
    return tmp_path / "f.db"


def test_check_says_so_and_its_json_stays_json(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--db", str(db), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["judgements"] == 1
    said = f"1 rating and 2 rankings in {db} are not read: only judgements of two responses are, as yet"
    assert said in printed.err


@pytest.mark.parametrize(
    ("language", "words"), [("en", "are stored too; this page does not read them"), ("zh", "本页不读取它们")]
)
def test_the_report_says_so(db: Path, language: str, words: str) -> None:
    write_report([], db.parent / "r.html", str(db), language)
    assert words in (db.parent / "r.html").read_text("utf-8")


def test_a_database_without_any_says_nothing(tmp_path: Path) -> None:
    shutil.copy(OLD, tmp_path / "old.db")  # from before there were ratings
    with Store.open(tmp_path / "old.db") as store:
        assert describe_unread(store) == ""
