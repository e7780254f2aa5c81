"""Rankings and changed ratings: stored once, read back whole, superseded by their own person only."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from likelier.errors import DataError
from likelier.feedback.formats import ExportCounts, export_file, import_file
from likelier.feedback.questions import Shown, hash_set
from likelier.feedback.store import Store, Superseded
from likelier.files import write_jsonl
from likelier.records import Comparison, Judgement, Prompt, Ranking, Rating, Response, order_by_rank

PROMPT = Prompt("Name a colour.")
RESPONSES = [Response(PROMPT.id, text, "m") for text in ("red", "green", "blue")]
RED, GREEN, BLUE = (response.id for response in RESPONSES)
RANKING = Ranking(
    PROMPT.id,
    "ann",
    order=((GREEN,), (RED, BLUE)),
    shown=(RED, GREEN, BLUE),
    duration_seconds=3.5,
    created_at="2026-01-01",
    simulated=True,
    guideline="2",
    key="k1",
    extra={"why": "nice"},
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "feedback.db", create=True) as opened:
        opened.add_prompts([PROMPT])
        opened.add_responses(RESPONSES)
        yield opened


def read(store: Store) -> list[Ranking]:
    return [each.ranking for each in store.ranked_by_content()]


def test_a_ranking_comes_back_whole_and_once(store: Store) -> None:
    assert store.add_answer(RANKING) == RANKING
    assert store.add_answer(replace(RANKING, order=((RED, GREEN, BLUE),))) == RANKING  # what is stored counts
    (ranked,) = store.ranked_by_content()
    assert (ranked.ranking, ranked.prompt, ranked.responses) == (RANKING, PROMPT, tuple(RESPONSES))
    assert store.counts()["judgements"] == 0


def test_a_rank_for_each_response() -> None:
    assert order_by_rank(["a", "b", "c", "d"], [3, 1, 3, 2.5]) == (("b",), ("d",), ("a", "c"))
    assert RANKING.ranks == [2, 1, 2]


@pytest.mark.parametrize(
    "order", [((GREEN,), (RED,)), ((GREEN, RED), (RED, BLUE)), ((GREEN,), (BLUE, RED)), ((), (RED, GREEN, BLUE))]
)
def test_an_order_that_is_none_is_refused(order: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(ValueError, match="a ranking puts each|share a place"):
        replace(RANKING, order=order)


def test_a_changed_ranking_supersedes_that_of_its_own_person(store: Store) -> None:
    store.add_answer(RANKING)
    changed = replace(RANKING, key="k2", order=((RED, GREEN, BLUE),), shown=(RED, GREEN, BLUE), supersedes="k1")
    for theft in (replace(changed, annotator="eve"), replace(changed, shown=(RED, GREEN), order=((RED, GREEN),))):
        with pytest.raises(Superseded):
            store.add_answer(theft)
    store.add_answer(changed)
    assert read(store) == [changed]
    assert len(list(store.ranked_by_content(everything=True))) == 2
    with pytest.raises(Superseded):
        store.add_answer(replace(changed, key="k3"))


def test_a_changed_rating_supersedes_the_first(store: Store) -> None:
    first = Rating(RED, "ann", 3.0, key="r1")
    store.add_answer(first)
    with pytest.raises(Superseded):
        store.add_answer(Rating(GREEN, "ann", 5.0, key="r2", supersedes="r1"))
    second = store.add_answer(Rating(RED, "ann", 5.0, key="r2", supersedes="r1"))
    assert [each.rating for each in store.rated_by_content()] == [second]


def test_the_database_itself_refuses_to_change_a_ranking(store: Store, tmp_path: Path) -> None:
    store.add_answer(RANKING)
    with contextlib.closing(sqlite3.connect(tmp_path / "feedback.db")) as connection:
        for statement in ("UPDATE rankings SET shown = '[]'", "DELETE FROM rankings"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                connection.execute(statement)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("\"order\" = '[[1]]'", r"\[\[1\]\] is no list of ids"),
        ('"order" = \'["x"\'', "is not JSON"),
        ("shown = '[]'", "a ranking puts each"),
        ("duration_seconds = 9e999", "duration_seconds is inf"),
        ("prompt_id = 'x'", "no prompt or response 'x'"),
    ],
)
def test_a_damaged_ranking_is_named(store: Store, tmp_path: Path, change: str, reason: str) -> None:
    store.add_answer(RANKING)
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "feedback.db", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER rankings_no_update")
        connection.execute(f"UPDATE rankings SET {change}")
    with Store.open(tmp_path / "feedback.db") as damaged, pytest.raises(DataError, match=f"ranking 'k1': .*{reason}"):
        list(damaged.ranked_by_content())


def test_the_native_format_keeps_rankings_and_others_count_them(store: Store, tmp_path: Path) -> None:
    store.add_answer(RANKING)
    store.add_answer(replace(RANKING, key="k2", order=((RED,), (GREEN,), (BLUE,)), supersedes="k1"))
    assert export_file(store, "likelier", tmp_path / "a.jsonl") == ExportCounts(2, 0)
    assert export_file(store, "trl", tmp_path / "trl.jsonl") == ExportCounts(0, 1)
    with Store.open(tmp_path / "other.db", create=True) as other:
        assert import_file(tmp_path / "a.jsonl", None, other).stored == 2
        assert list(other.ranked_by_content()) == list(store.ranked_by_content())
        assert import_file(tmp_path / "a.jsonl", "likelier", other).stored == 0
        export_file(other, "likelier", tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    with Store.open(tmp_path / "other.db", create=True, project="second") as second:
        assert import_file(tmp_path / "a.jsonl", "likelier", second).stored == 2
        assert [each.ranking.key for each in second.ranked_by_content()] == ["second/k2"]


def test_a_ranking_written_by_hand(store: Store, tmp_path: Path) -> None:
    line = {"record": "ranking", "prompt": PROMPT.text, "responses": ["one", "two", "three"], "ranks": [2, 1, 2]}
    write_jsonl(tmp_path / "a.jsonl", [line, line])
    assert import_file(tmp_path / "a.jsonl", None, store).stored == 2  # equal answers of nobody in particular
    assert [each.ranks for each in read(store)] == [[2, 1, 2]] * 2
    assert len({each.key for each in read(store)}) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ranks": [1]}, "`ranks` must be 2 numbers"),
        ({"ranks": [1, "2"]}, "`ranks` must be 2 numbers"),
        ({"ranks": [1, True]}, "`ranks` must be 2 numbers"),
        ({"responses": ["a", "a"]}, "two or more different"),
        ({"responses": ["a"], "ranks": [1]}, "two or more different"),
        ({"rank": [1, 2]}, "unknown field `rank`; did you mean `ranks`"),
    ],
)
def test_a_line_that_is_no_ranking_is_named(store: Store, tmp_path: Path, changes: dict, reason: str) -> None:  # type: ignore[type-arg]
    line = {"record": "ranking", "prompt": "p", "responses": ["a", "b"], "ranks": [1, 2]}
    write_jsonl(tmp_path / "a.jsonl", [line | changes])
    with pytest.raises(DataError, match=reason):
        import_file(tmp_path / "a.jsonl", "likelier", store)


def test_what_was_answered_is_read_by_number(store: Store) -> None:
    store.add_answer(RANKING)
    store.add_answer(Rating(RED, "ann", 3.0, key="r1"))
    store.add_answer(Rating(RED, "ann", 4.0, key="r2", supersedes="r1"))
    hashed = hash_set(PROMPT.id, RANKING.shown)
    assert store.shown_after(0, Ranking) == [Shown(1, hashed, "ann", RANKING.shown)]
    assert store.shown_after(1, Rating) == [Shown(2, RED, "ann", (RED,), supersedes=True)]
    assert (store.count_stored(Rating), store.count_stored(Ranking), store.count_stored()) == (2, 1, 0)


def test_answers_to_training_items_are_kept_and_count_nowhere(store: Store, tmp_path: Path) -> None:
    pair = Comparison(PROMPT.id, RED, GREEN)
    store.add_comparisons([pair])
    lesson = Judgement(pair.id, "ann", RED, GREEN, "left", key="t", extra={"training": True})
    spoken = Judgement(pair.id, "ann", RED, GREEN, "right", key="s", extra={"comment": '"training": true'})
    store.add_judgements([lesson, spoken])
    assert store.judgements() == store.newest_judgements(9) == [each.judgement for each in store.judged()] == [spoken]
    assert store.counts()["judgements"] == 1
    assert [each.training for each in store.shown_after(0)] == [True, False]
    assert export_file(store, "trl", tmp_path / "trl.jsonl").written == 1
    assert export_file(store, "likelier", tmp_path / "all.jsonl").written == 3  # two judgements, and blue alone
