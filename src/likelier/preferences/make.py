"""From judgements to weighted pairs: whose answers count how much, and which conversation goes to which split."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from likelier.errors import DataError
from likelier.files import stable_id, write_json, write_jsonl
from likelier.preferences.balance import Balance, Fading, Margin, TasteGroups, measure_effect, rake_weights
from likelier.preferences.near_duplicates import DisjointSets, near_duplicates, normalise
from likelier.preferences.split import JUDGE, PARTS, Split, check_shares, split_pairs
from likelier.preferences.strengths import NO_STRENGTHS, Strengths, has_strength
from likelier.records import JudgedComparison, Preference, Text
from likelier.text.topics import find_topics

MEDIA = "image, sound or video"
CARD = "card.json"
FILES = (*(f"{part}.jsonl" for part in PARTS), CARD)
"""Files of a folder of preferences."""
JUDGE_FILES = tuple(f"{JUDGE}/{part}.jsonl" for part in PARTS)
KEPT_FLAGS = frozenset({"inconsistent", "drifting", "copied"})
"""Flags of people whose judgements teach more than they mislead (decision 0073)."""
SIDES, MOSTLY = frozenset({"left", "right"}), 0.5
"""Flags whose answers the likelihood can hold, up to this careless share: above it little is learned, and measures of a
model by their answers would say little of it."""
HUMAN_TURN = re.compile(r"\A\s*Human:\s*(.*?)(?=\n\n(?:Human|Assistant):|\Z)", re.DOTALL)


class AnnotatorFinding(Protocol):
    """Result of the check for one annotator."""

    @property
    def id(self) -> str:
        """Annotator id."""

    @property
    def error_rate(self) -> float | None:
        """Rate of wrong answers, for the card; None if unknown."""

    @property
    def careless(self) -> float | None:
        """Share of answers that ignore the responses; None if unknown."""

    @property
    def guess_left(self) -> float | None:
        """Probability of left among these answers; None if unknown."""

    @property
    def thresholds(self) -> Sequence[float] | None:
        """Log-odds from which the person says better, better by 2, and by 3; None if unknown."""

    @property
    def flags(self) -> Sequence[str]:
        """Names of the flags that the check raised."""


class Findings(Protocol):
    """Results of the check."""

    @property
    def annotators(self) -> Sequence[AnnotatorFinding]:
        """One finding an annotator."""


class JudgementSource(Protocol):
    """A store, or anything else that has judgements."""

    num_ratings_dropped: int
    """Ratings of flagged people from which the last `judged` made no comparisons."""

    def judged(self) -> list[JudgedComparison]:
        """All judgements with what was judged."""


def make_preferences(
    store: JudgementSource,
    out: Path,
    check: Findings | None,
    split: Split | None = None,
    drop_flagged: bool = True,
    only: Collection[str] | None = None,
    balance: Balance | None = None,
    tastes: TasteGroups | None = None,
) -> dict[str, Any]:
    """Write `train.jsonl`, `valid.jsonl`, `test.jsonl` (a `Preference` a line) and `card.json`; returns the counts.

    Judgements of flagged annotators are dropped, but for `KEPT_FLAGS`; of someone whose only flag is `reversed` they
    are kept with `flip` 1, of someone whose only flag is a side, and who mostly reads, with the `guess` of that side.
    `flip` is half the careless share: the error rate of the check counts honest mistakes on close pairs too, which
    Bradley-Terry's likelihood expects already, and a reward that expects them twice is too large. `weight` has a mean
    of 1 and balances as `balance` says, people by default; `tastes` has the groups of people with tastes of their own,
    and may leave out all but one, or let old answers weigh less. Of somebody's answers to one comparison the first
    counts, as in the check. Without a check, `flip` is 0 and nobody is dropped, and without `balance` too `weight` is
    1. Of a comparison that a reviewer decided only the decision counts. No conversation stands in two splits
    (`conversation_groups`). With `only`, ids of comparisons, other judgements are left out. The same judgements, check
    and settings give the same bytes.
    DataError: no judgements, none left, or too few conversations. ConfigError: shares that leave nothing to train on.
    """
    split = split or Split()
    check_shares(split)
    judged = settle([item for item in store.judged() if only is None or item.judgement.comparison_id in only])
    found = {person.id: person for person in check.annotators} if check else {}
    kept, reasons = choose_judgements(judged, found, drop_flagged)
    tastes = tastes or TasteGroups()
    if others := [item for item in kept if not tastes.has_taste(item.judgement.annotator)]:
        reasons["another taste"] = len(others)
        kept = [item for item in kept if tastes.has_taste(item.judgement.annotator)]
    if not kept:
        advice = "import more, or look at `check`"
        if num_media := sum(not item.is_text for item in judged):
            advice = f"{num_media} are of images, sounds or videos, and text models learn from texts alone"
        raise DataError(f"none of the {len(judged)} judgements can be learned from; {advice}")
    groups, threshold = conversation_groups(kept)
    balance = balance or (Balance() if check else Balance(people=0.0))
    margins = make_margins(kept, groups, tastes.group_of, balance)
    weights = weigh_judgements(kept, margins, tastes.fading)
    strengths = Strengths.count(kept, {name: person.thresholds for name, person in found.items()})
    pairs = [
        make_preference(item, group, weight, found, strengths)
        for item, group, weight in zip(kept, groups, weights, strict=True)
    ]
    parts = split_pairs(pairs, split)
    counts = write_parts(parts, out)
    if unused := len(pairs) - sum(counts.values()):
        reasons["kept apart by people"] = unused
    settings = {"split": vars(split), "drop_flagged": drop_flagged, "check": check is not None}
    settings |= {"balance": vars(balance)} | tastes.describe()
    effective = measure_effect(weights, margins)
    about = {"settings": settings, "effective": effective, "dropped": dict(sorted(reasons.items()))}
    about |= {"near_duplicate_threshold": threshold} | strengths.describe(pairs)
    if store.num_ratings_dropped:
        about["ratings_dropped"] = store.num_ratings_dropped
    write_json(out / CARD, about | make_card(judged, parts, found, out), private=True)
    return counts | {"dropped": sum(reasons.values())}


def settle(judged: Sequence[JudgedComparison]) -> list[JudgedComparison]:
    """Return the last decision of each comparison that a reviewer decided, and all votes on the others."""
    decisions = {entry.judgement.comparison_id: entry for entry in judged if entry.judgement.adjudicates}
    return [entry for entry in judged if decisions.get(entry.judgement.comparison_id, entry) is entry]


def choose_judgements(
    judged: Sequence[JudgedComparison], found: Mapping[str, AnnotatorFinding], drop_flagged: bool
) -> tuple[list[JudgedComparison], Counter[str]]:
    """Return the judgements to learn from, and how many are dropped for each reason.

    Rows that stand twice would let one person outvote the others; anonymous ones ("") may be of different people.
    """
    kept, reasons, answered = [], Counter[str](), set()
    for item in judged:
        answer = (item.judgement.annotator, item.judgement.comparison_id)
        reason = why_dropped(item, found, drop_flagged) or ("answered before" if answer in answered else "")
        if reason:
            reasons[reason] += 1
            continue
        kept.append(item)
        if item.judgement.annotator:
            answered.add(answer)
    return kept, reasons


def why_dropped(item: JudgedComparison, found: Mapping[str, AnnotatorFinding], drop_flagged: bool) -> str:
    """Return why a judgement is dropped; empty if it is kept. Anonymous judgements ("") are never dropped."""
    if not item.is_text:
        return MEDIA
    if item.left.text == item.right.text:
        return "same text on both sides"
    if item.judgement.adjudicates:
        return ""
    annotator = item.judgement.annotator
    flags = set(found[annotator].flags) if annotator and annotator in found else set()
    kept = not flags - KEPT_FLAGS or flags == {"reversed"} or leans_at_times(found[annotator])
    return "" if kept or not drop_flagged else "flagged annotator"


def leans_at_times(person: AnnotatorFinding) -> bool:
    """Return True for somebody whose only flag is a side, and who mostly reads."""
    return (
        len(person.flags) == 1
        and SIDES.issuperset(person.flags)
        and person.careless is not None
        and person.careless <= MOSTLY
    )


def make_preference(
    item: JudgedComparison,
    group: str,
    weight: float,
    found: Mapping[str, AnnotatorFinding],
    strengths: Strengths = NO_STRENGTHS,
) -> Preference:
    """One judgement as a pair; a tie has target 0.5 and its left response first."""
    judgement = item.judgement
    better, worse = (item.right, item.left) if judgement.choice == "right" else (item.left, item.right)
    person = None if judgement.adjudicates else found.get(judgement.annotator)
    kind = ("careless" if judgement.adjudicates else find_flip_kind(person)) if found else ""
    return Preference(
        prompt=item.prompt.text,
        chosen=better.text,
        rejected=worse.text,
        weight=round(weight * item.weight, 6),
        flip=flip_rate(person),
        target=(0.5 if judgement.choice == "tie" else 1.0) if item.target is None else item.target,
        margin=float(judgement.extra.get("margin", 0.0)),
        annotator=judgement.annotator,
        comparison=judgement.comparison_id,
        conversation=group,
        guess=guess_rate(person, judgement.choice),
        flip_kind=kind,
        asked_weight=round(item.asked_weight, 6),
        **strengths.find_interval(item, guess_rate(person, judgement.choice)),
    )


def to_line(pair: Preference) -> dict[str, Any]:
    """Return a pair as it is written: `asked_weight` only where a strategy chose what is asked, `lower`, `upper` and
    `chance` only of answers with a strength."""
    left_out = {"asked_weight"} if pair.asked_weight == 1.0 else set()
    if not has_strength(pair):
        left_out |= {"lower", "upper", "chance"}
    return {name: value for name, value in vars(pair).items() if name not in left_out}


def flip_rate(person: AnnotatorFinding | None) -> float:
    """Return half the share of answers that ignore the pair; 1 for somebody who is flagged as reversed.

    An error rate is no such thing: most errors are close pairs, of which `sigmoid(difference)` has its share already.
    """
    kind = find_flip_kind(person)
    if kind == "reversed":
        return 1.0
    return round(person.careless / 2, 6) if person and person.careless and kind == "careless" else 0.0


def guess_rate(person: AnnotatorFinding | None, choice: str) -> float:
    """Return the probability that an answer that ignores the pair is this one; 1/2 for a tie."""
    if person is None or find_flip_kind(person) != "careless" or person.guess_left is None or choice == "tie":
        return 0.5
    return round(person.guess_left if choice == "left" else 1 - person.guess_left, 6)


def find_flip_kind(person: AnnotatorFinding | None) -> str:
    """Return where the `flip` of an annotator is from: `careless`, `reversed` or `unidentified`; see `Preference`."""
    if person is None or not person.id:
        return "unidentified"
    if "reversed" in person.flags:
        return "reversed"
    return "unidentified" if person.careless is None else "careless"


def weigh_judgements(
    kept: Sequence[JudgedComparison], margins: Mapping[str, Margin], fading: Fading | None
) -> list[float]:
    """Return weights of mean 1, balanced and then faded by age."""
    weights = rake_weights(list(margins.values()), len(kept))
    return weights if fading is None else fading.fade(weights, [item.judgement for item in kept])


def make_margins(
    kept: Sequence[JudgedComparison], conversations: Sequence[str], group_of: Mapping[str, int], balance: Balance
) -> dict[str, Margin]:
    """Return the people, groups of one taste, prompts (with their near copies) and topics of judgements."""
    people = [item.judgement.annotator for item in kept]
    topics = find_topics([opening_texts(item)[0] for item in kept]) if balance.topics else None
    return {
        "people": Margin(people, balance.people),
        "groups": Margin([str(group_of.get(name, "")) for name in people], balance.groups),
        "prompts": Margin(conversations, balance.prompts),
        "topics": Margin([""] * len(kept) if topics is None else list(map(str, topics)), balance.topics),
    }


def conversation_groups(judged: Sequence[JudgedComparison]) -> tuple[list[str], float | None]:
    """Return the split group of each judgement, and the similarity threshold of `near_duplicates`.

    Together are: the same `conversation` of the prompt; the same first human turn but for case, punctuation and
    spacing; and first turns that are nearly the same. Pairs without a prompt are together if they share a response,
    since it may be an answer to the same unknown question.
    """
    groups = DisjointSets()
    openings = [[normalise(text) or text for text in opening_texts(item)] for item in judged]
    turns = [texts[0] for texts in openings]
    for item, texts in zip(judged, openings, strict=True):
        if item.prompt.conversation:  # sorts before a turn, so a group is named by its conversation if it has one
            groups.join(f"conversation {item.prompt.conversation}", f"turn {texts[0]}")
        for other in texts[1:]:
            groups.join(f"turn {texts[0]}", f"turn {other}")
    pairs, threshold = near_duplicates([text for texts in openings for text in texts])
    for one, other in pairs:
        groups.join(f"turn {one}", f"turn {other}")
    return [group_name(groups.find(f"turn {turn}")) for turn in turns], threshold


def opening_texts(item: JudgedComparison) -> list[str]:
    """Return the first user turn; the text of a plain prompt, or without a prompt both responses, sorted."""
    text: Text = item.prompt.text
    if not isinstance(text, str):
        return [next((turn["content"] for turn in text if turn["role"] == "user"), text[0]["content"])]
    if opening := HUMAN_TURN.match(text):
        return [opening[1]]
    return [text] if text else sorted((item.left.text, item.right.text))


def group_name(root: str) -> str:
    """Return the name of a group: its conversation, or a hash of its first turn."""
    kind, _, rest = root.partition(" ")
    return rest if kind == "conversation" else f"turn-{stable_id(rest)}"


def write_parts(parts: Mapping[str, Sequence[Preference]], out: Path) -> dict[str, int]:
    """Write the splits; returns how many pairs each has.

    The judge's folder has its own training pairs beside the `valid` and `test` of all, so that its accuracy is measured
    on pairs that neither it nor the reward model has seen.
    """
    counts = {part: write_jsonl(out / f"{part}.jsonl", map(to_line, parts[part]), private=True) for part in PARTS}
    if JUDGE in parts:
        for name, part in {"train": JUDGE, "valid": "valid", "test": "test"}.items():
            write_jsonl(out / JUDGE / f"{name}.jsonl", map(to_line, parts[part]), private=True)
        counts[JUDGE] = len(parts[JUDGE])
    return counts


def make_card(
    judged: Sequence[JudgedComparison],
    parts: Mapping[str, Sequence[Preference]],
    found: Mapping[str, AnnotatorFinding],
    out: Path,
) -> dict[str, Any]:
    """Contents of the folder, the files it was made from, and how each person counts."""
    given = Counter(item.judgement.annotator for item in judged)
    used = Counter(pair.annotator for pairs in parts.values() for pair in pairs)
    weight = {pair.annotator: pair.weight for pairs in parts.values() for pair in pairs}
    return {
        "made_from": stable_id(sorted([item.judgement.key, item.judgement.choice] for item in judged)),
        "judgements": len(judged),
        "simulated": sum(item.judgement.simulated for item in judged),
        "parts": {
            part: make_part_card(pairs, out / (f"{JUDGE}/train.jsonl" if part == JUDGE else f"{part}.jsonl"))
            for part, pairs in parts.items()
        },
        "annotators": [
            {
                "id": name,
                "judgements": given[name],
                "used": used[name],
                "error_rate": found[name].error_rate if name in found else None,
                "careless": found[name].careless if name in found else None,
                "flip": flip_rate(found.get(name)),
                "weight": weight.get(name),
                "flags": list(found[name].flags) if name in found else [],
            }
            for name in sorted(given)
        ],
    }


def make_part_card(pairs: Sequence[Preference], path: Path) -> dict[str, Any]:
    """Counts and hash of one split."""
    return {
        "preferences": len(pairs),
        "ties": sum(pair.target == 0.5 for pair in pairs),
        "conversations": len({pair.conversation for pair in pairs}),
        "annotators": len({pair.annotator for pair in pairs} - {""}),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
