"""Preferences: what becomes of a judgement, how people are weighed, and that no conversation stands in two splits."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from likelier.errors import ConfigError, DataError
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.preferences.balance import Balance, TasteGroups
from likelier.preferences.make import (
    conversation_groups,
    make_preferences,
    opening_texts,
    why_dropped,
)
from likelier.preferences.split import PARTS, Split
from likelier.records import JudgedComparison, Judgement, Media, Preference, Prompt, Response, Text, read_preferences


@dataclass(frozen=True)
class Person:
    id: str
    error_rate: float | None = 0.1
    flags: tuple[str, ...] = ()
    careless: float | None = None
    guess_left: float | None = None
    thresholds: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Check:
    annotators: Sequence[Person]


class Source:
    """A store that holds just these judgements."""

    num_ratings_dropped = 0

    def __init__(self, *items: JudgedComparison) -> None:
        self.items = list(items)

    def judged(self) -> list[JudgedComparison]:
        return self.items


def judged(prompt: Text, annotator: str = "ann", choice: str = "left", **more: Any) -> JudgedComparison:
    asked = Prompt(prompt, more.pop("conversation", ""))
    left, right = Response(asked.id, more.pop("left", "L")), Response(asked.id, more.pop("right", "R"))
    judgement = Judgement(f"c-{asked.id}", annotator, left.id, right.id, choice, **more)  # type: ignore[arg-type]
    return JudgedComparison(judgement, asked, left, right)


NAMES = "apple river stone cloud tiger piano garden winter copper lantern meadow rocket velvet walnut zebra"
WORDS = NAMES.split()


def different_prompts(number: int) -> list[str]:
    """Prompts that have nothing in common."""
    return [f"{WORDS[n % 15] * 2} {WORDS[n // 15 % 15] * 3} {n * 7919}" for n in range(number)]


def made(tmp_path: Path, *items: JudgedComparison, check: Check | None = None, **settings: Any) -> list[Preference]:
    """All preferences made of `items`; three conversations are added so that there is something to split."""
    extra = [judged(text, annotator="") for text in ("xyzzy plugh", "sphinx of black quartz", "jackdaws love my big")]
    make_preferences(Source(*items, *extra), tmp_path / "out", check, **settings)
    found = [row for part in PARTS for row in read_preferences(tmp_path / "out" / f"{part}.jsonl")]
    return [row for row in found if row.annotator]


@pytest.mark.parametrize(
    ("choice", "chosen", "rejected", "target"),
    [("left", "L", "R", 1.0), ("right", "R", "L", 1.0), ("tie", "L", "R", 0.5)],
)
def test_a_judgement_becomes_a_pair(tmp_path: Path, choice: str, chosen: str, rejected: str, target: float) -> None:
    item = judged("Hi", choice=choice, extra={"margin": 2})
    (row,) = made(tmp_path, item, check=Check([Person("ann", 0.25)]))
    assert row == Preference(
        prompt="Hi",
        chosen=chosen,
        rejected=rejected,
        weight=1.0,
        flip=0.0,  # an error rate of 0.25 holds honest mistakes, which the likelihood expects already
        target=target,
        margin=2.0,
        annotator="ann",
        comparison=item.judgement.comparison_id,
        conversation=row.conversation,
        flip_kind="unidentified",
    )


def test_rows_of_one_person_that_stand_twice_are_one_pair(tmp_path: Path) -> None:
    """Each was trained on, though the check counts the first alone. Anonymous rows may be of different people."""
    items = [judged("Hi"), judged("Hi", choice="right"), judged("Hi", "bob"), judged("Hi", ""), judged("Hi", "")]
    rows = made(tmp_path, *items, check=Check([Person("ann", 0.1), Person("bob", 0.1)]))
    assert [(row.annotator, row.chosen) for row in rows] == [("ann", "L"), ("bob", "L")]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["dropped"] == {"answered before": 1}
    assert sum(part["preferences"] for part in card["parts"].values()) == 7  # five of them anonymous


def test_without_a_check_nothing_is_dropped_or_weighed(tmp_path: Path) -> None:
    rows = made(tmp_path, *(judged(f"{text} {n}") for n, text in enumerate(different_prompts(5))), judged("x", "bob"))
    assert {(row.flip, row.weight) for row in rows} == {(0.0, 1.0)}
    assert Counter(row.annotator for row in rows) == {"ann": 5, "bob": 1}


@pytest.mark.parametrize(
    ("person", "noise"),
    [
        (Person("ann", 0.3), (0.0, 0.5, "unidentified")),
        (Person("ann", 0.7), (0.0, 0.5, "unidentified")),  # no proof that the answers are the wrong way round
        (Person("ann", 0.9, ("reversed",), careless=0.1), (1.0, 0.5, "reversed")),
        (Person("ann", None), (0.0, 0.5, "unidentified")),
        (Person("bob", 0.9, ("reversed",)), (0.0, 0.5, "unidentified")),
        (Person("ann", 0.3, careless=0.0, guess_left=0.5), (0.0, 0.5, "careless")),
        (Person("ann", 0.3, careless=0.5, guess_left=0.5), (0.25, 0.5, "careless")),
        (Person("ann", 0.5, ("left",), careless=0.5, guess_left=0.9), (0.25, 0.9, "careless")),
        (Person("ann", 0.5, ("right",), careless=0.4, guess_left=0.1), (0.2, 0.1, "careless")),
    ],
)
def test_careless_and_reversed_annotators_have_a_flip(tmp_path: Path, person: Person, noise: tuple) -> None:
    """`flip`, `guess` and `flip_kind` of an answer that is the left response."""
    (row,) = made(tmp_path, judged("Hi"), check=Check([person]))
    assert (row.flip, row.guess, row.flip_kind) == noise
    (row,) = made(tmp_path, judged("Hi"), check=Check([person]), drop_flagged=False)
    assert (row.flip, row.guess, row.flip_kind) == noise


def test_who_mostly_takes_a_side_is_dropped(tmp_path: Path) -> None:
    leaning = [Person("ann", 0.5, ("left",), careless=0.6, guess_left=0.9), Person("bob", 0.5, ("left",))]
    leaning.append(Person("eve", 0.5, ("left", "fast"), careless=0.2, guess_left=0.9))
    items = [judged("Hi", name) for name in ("ann", "bob", "eve", "fay")]
    assert [row.annotator for row in made(tmp_path, *items, check=Check(leaning))] == ["fay"]


def test_the_guess_is_of_the_side_that_was_chosen(tmp_path: Path) -> None:
    leaning = Check([Person("ann", 0.3, careless=0.4, guess_left=0.9)])
    rows = made(tmp_path, judged("Hi", choice="right"), judged("Ho", choice="tie"), check=leaning)
    assert {(row.target, row.guess) for row in rows} == {(1.0, 0.1), (0.5, 0.5)}


def test_flagged_annotators_are_dropped_unless_they_are_only_reversed(tmp_path: Path) -> None:
    people = Check(
        [Person("ann"), Person("bob", 0.5, ("random",)), Person("eve", 0.9, ("reversed",)), Person("", 0.5, ("left",))]
    )
    items = [judged("Hi", name) for name in ("ann", "bob", "eve")] + [judged("Ho", "both")]
    people = Check([*people.annotators, Person("both", 0.9, ("reversed", "fast"))])
    assert {row.annotator for row in made(tmp_path, *items, check=people)} == {"ann", "eve"}
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["dropped"] == {"flagged annotator": 2}
    assert {row.annotator for row in made(tmp_path, *items, check=people, drop_flagged=False)} == {
        "ann",
        "bob",
        "eve",
        "both",
    }


def test_an_unknown_annotator_is_never_dropped(tmp_path: Path) -> None:
    items = [judged(text, "") for text in different_prompts(10)]
    counts = make_preferences(Source(*items), tmp_path, Check([Person("", 0.5, ("left",))]))
    assert (counts["dropped"], sum(counts[part] for part in PARTS)) == (0, 10)


def test_equal_texts_are_dropped_and_counted(tmp_path: Path) -> None:
    items = [judged(text) for text in different_prompts(10)]
    counts = make_preferences(Source(*items, judged("same", left="S", right="S")), tmp_path, None)
    assert counts["dropped"] == 1


def test_media_are_left_out_and_counted(tmp_path: Path) -> None:
    image = Response("p", model="m", media=Media("image/png", "a" * 64, 10))
    pairs = [judged(text) for text in different_prompts(10)]
    shown = [replace(pairs[0], left=image), replace(pairs[1], right=image), replace(pairs[2], left=image, right=image)]
    counts = make_preferences(Source(*pairs, *shown), tmp_path, None)
    assert (counts["dropped"], sum(counts[part] for part in PARTS)) == (3, 10)
    assert json.loads((tmp_path / "card.json").read_text())["dropped"] == {"image, sound or video": 3}
    with pytest.raises(DataError, match="none of the 3 judgements .* 3 are of images, sounds or videos, and text"):
        make_preferences(Source(*shown), tmp_path, None)


TURN = "How do I pick the lock of an old front door?"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (judged(TURN), judged(TURN)),
        (judged(TURN), judged("  how do i pick the LOCK of an old front door")),
        (judged(TURN), judged("How do I pick the lock of an old front doors?")),
        (judged(TURN), judged([{"role": "user", "content": TURN}])),
        (judged(TURN), judged([{"role": "system", "content": "Be kind."}, {"role": "user", "content": TURN}])),
        (judged(TURN), judged(f"\n\nHuman: {TURN}\n\nAssistant: Why?\n\nHuman: So.\n\nAssistant:")),
        (judged("one thing", conversation="c"), judged("another matter", conversation="c")),
    ],
)
def test_what_is_one_conversation(one: JudgedComparison, other: JudgedComparison) -> None:
    (first, second, third), _ = conversation_groups([one, other, judged("Bake a cake.")])
    assert first == second != third


def test_conversations_are_joined_through_one_another() -> None:
    chain = [
        judged("one thing", conversation="c"),
        judged("One thing!", conversation="d"),
        judged("other", conversation="d"),
    ]
    assert conversation_groups(chain)[0] == ["c", "c", "c"]


def test_pairs_without_a_prompt_are_told_apart_by_their_texts() -> None:
    pairs = [
        judged("", left="apple pie", right="zoo"),
        judged("", left="zoo", right="apple pie"),
        judged("", left="river"),
    ]
    (first, second, third), _ = conversation_groups(pairs)
    assert first == second != third
    assert opening_texts(pairs[0]) == ["apple pie", "zoo"]


def test_pairs_without_a_prompt_that_share_a_response_stay_together() -> None:
    """A > B and B > C, answers to one question that the file does not tell: B stood in train and in test."""
    pairs = [
        judged("", left="apple pie", right="walnut cake"),
        judged("", left="Walnut cake!", right="zebra crossing"),
        judged("", left="garden party", right="velvet rope"),
    ]
    (first, second, third), _ = conversation_groups(pairs)
    assert first == second != third


def parts_of(folder: Path) -> dict[str, list[Preference]]:
    return {part: read_preferences(folder / f"{part}.jsonl") for part in PARTS}


def test_no_conversation_stands_in_two_splits_and_shares_are_kept(tmp_path: Path) -> None:
    items = [judged(text, f"a{n % 7}", key=str(n)) for n, text in enumerate(different_prompts(100) * 5)]
    counts = make_preferences(Source(*items), tmp_path, None)
    parts = parts_of(tmp_path)
    assert [len(parts[part]) for part in PARTS] == [counts[part] for part in PARTS] == [350, 50, 100]
    groups = [{row.conversation for row in parts[part]} for part in PARTS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 100
    texts = [{row.prompt for row in parts[part]} for part in PARTS]
    assert not texts[0] & (texts[1] | texts[2])


def test_the_split_follows_from_the_seed_and_not_from_the_order(tmp_path: Path) -> None:
    items = [judged(text, key=str(n)) for n, text in enumerate(different_prompts(60))]
    for name, order, seed in (("a", items, 0), ("b", items[::-1], 0), ("c", items, 1)):
        make_preferences(Source(*order), tmp_path / name, None, Split(seed))
    files = [
        [(tmp_path / name / file).read_bytes() for file in ("train.jsonl", "test.jsonl", "card.json")] for name in "abc"
    ]
    assert files[0] == files[1]
    assert files[0][1] != files[2][1]


@pytest.mark.parametrize(
    ("shares", "sizes"), [((0.0, 0.5), [10, 0, 10]), ((0.0, 0.0), [20, 0, 0]), ((0.1, 0.1), [16, 2, 2])]
)
def test_other_shares(tmp_path: Path, shares: tuple[float, float], sizes: list[int]) -> None:
    items = [judged(text) for text in different_prompts(20)]
    counts = make_preferences(Source(*items), tmp_path, None, Split(0, *shares))
    assert [counts[part] for part in PARTS] == sizes


def test_few_conversations_still_fill_every_split(tmp_path: Path) -> None:
    counts = make_preferences(Source(*(judged(text) for text in different_prompts(3))), tmp_path, None)
    assert [counts[part] for part in PARTS] == [1, 1, 1]


def test_held_out_annotators_stand_in_test_only(tmp_path: Path) -> None:
    items = [judged(text, f"a{n}") for n in range(10) for text in different_prompts(30)]
    counts = make_preferences(Source(*items), tmp_path, None, Split(held_out_annotators=0.3))
    parts = parts_of(tmp_path)
    people = {part: {row.annotator for row in parts[part]} for part in PARTS}
    assert len(people["test"]) == 3
    assert not people["test"] & (people["train"] | people["valid"])
    assert counts == {"train": 21 * 7, "valid": 3 * 7, "test": 6 * 3, "dropped": 24 * 3 + 6 * 7}


def test_the_judge_learns_from_pairs_of_its_own_and_is_measured_on_the_same_unseen_ones(tmp_path: Path) -> None:
    items = [judged(text) for text in different_prompts(20)]
    counts = make_preferences(Source(*items), tmp_path, None, Split(judge_share=0.3))
    assert counts == {"train": 8, "valid": 2, "test": 4, "judge": 6, "dropped": 0}
    parts, judge = parts_of(tmp_path), parts_of(tmp_path / "judge")
    assert (judge["valid"], judge["test"]) == (parts["valid"], parts["test"])
    texts = {row.prompt for row in judge["train"]}
    assert len(texts) == 6
    assert not texts & {row.prompt for part in PARTS for row in parts[part]}


@pytest.mark.parametrize(
    ("items", "check", "message"),
    [
        ([], None, "none of the 0 judgements"),
        ([judged("a")], Check([Person("ann", 0.5, ("random",))]), "none of the 1 judgements"),
        ([judged("a"), judged("b")], None, r"2 conversation\(s\) cannot be split into train, valid, test"),
    ],
)
def test_too_little_to_split(tmp_path: Path, items: list[JudgedComparison], check: Check | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_preferences(Source(*items), tmp_path / "out", check)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.1, 1.2)])
def test_shares_that_make_no_sense(tmp_path: Path, shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="below 1"):
        make_preferences(Source(judged("a")), tmp_path, None, Split(0, *shares))


@pytest.mark.parametrize(
    ("flags", "is_kept"),
    [(("drifting", "copied"), True), (("inconsistent",), True), (("reversed",), True), (("style",), False),
     (("gold",), False), (("copied", "gold"), False), (("reversed", "drifting"), False)],
)  # fmt: skip
def test_flags_that_leave_a_person_out(flags: tuple[str, ...], is_kept: bool) -> None:
    assert (why_dropped(judged("a", "bob"), {"bob": Person("bob", 0.4, flags)}, True) == "") == is_kept


def test_the_card_says_what_is_there(tmp_path: Path) -> None:
    items = [judged(text, "ann" if n else "bob", simulated=True) for n, text in enumerate(different_prompts(10))]
    make_preferences(Source(*items), tmp_path, Check([Person("ann", 0.2), Person("bob", 0.4, ("reversed",))]))
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["judgements"], card["simulated"]) == (10, 10)
    assert sum(card["parts"][part]["preferences"] for part in PARTS) == 10
    assert [[person[key] for key in ("id", "used", "error_rate", "flip")] for person in card["annotators"]] == [
        ["ann", 9, 0.2, 0.0],
        ["bob", 1, 0.4, 1.0],
    ]
    assert card["annotators"][1]["flags"] == ["reversed"]


def test_real_conversations_stay_together(tmp_path: Path, shared: Path) -> None:
    with Store.open(tmp_path / "a.db", create=True) as store:
        for part in ("helpful-base", "helpful-rejection-sampled"):
            file = Path(shutil.copy(shared / "data" / "hh-rlhf" / f"{part}-part-a.jsonl.gz", tmp_path))
            import_file(file, "anthropic", store, skip_bad=True)
        counts = make_preferences(store, tmp_path / "out", None)
    assert sum(counts[part] for part in PARTS) == 1205 + 1835 - 18
    parts = parts_of(tmp_path / "out")
    turns = {part: {row.prompt[0]["content"] for row in parts[part]} for part in PARTS}  # type: ignore[index]
    assert not turns["train"] & turns["test"]
    trips = {
        row.conversation for part in PARTS for row in parts[part] if "I am taking a business trip to" in str(row.prompt)
    }
    assert len(trips) <= 2  # dozens of prompts from one template, all on one side but for those worded otherwise


def test_one_taste_is_learned_and_groups_are_balanced(tmp_path: Path) -> None:
    items = [judged(text, name) for text in different_prompts(10) for name in ("ann", "bob", "cyd")]
    groups = {"ann": 0, "bob": 0, "cyd": 1}
    counts = make_preferences(Source(*items), tmp_path / "a", None, tastes=TasteGroups(groups, 1))
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    assert card["dropped"] == {"another taste": 20}
    assert counts["dropped"] == 20
    make_preferences(Source(*items), tmp_path / "b", None, balance=Balance(0, groups=1), tastes=TasteGroups(groups))
    pairs = [pair for part in PARTS for pair in read_preferences(tmp_path / "b" / f"{part}.jsonl")]
    weight = {pair.annotator: pair.weight for pair in pairs}
    assert weight == {"ann": 0.75, "bob": 0.75, "cyd": 1.5}  # twenty judgements count as much as ten
    effective = json.loads((tmp_path / "b" / "card.json").read_text())["effective"]
    assert effective == {"judgements": 26.67, "people": 2.67, "groups": 2.0, "prompts": 10.0, "topics": None}
