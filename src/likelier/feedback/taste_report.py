"""A report on people's tastes: how many groups there are, who is in which, and how they differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Reason = Literal["found", "alike", "too few", "cannot tell"]

MIN_JUDGED, MIN_PEOPLE = 20, 4
"""Votes that it takes to have a taste, and people with as many that it takes to look for groups."""
MAX_NAMES = 12
ONE_OR_NONE: dict[Reason, str] = {
    "alike": "One taste: people depart from it no more together than by chance, and another of a fifth of them would "
    "show.",
    "too few": f"Tastes: too few judgements to tell; it takes {MIN_PEOPLE} people with {MIN_JUDGED} each that are no "
    "ties.",
    "cannot tell": "Tastes: these judgements cannot tell if some people share a taste of their own.",
}
SUSPECTS = (
    "Several people are flagged `random`: where tastes cannot be told, that may be a taste they share, so look at "
    "their answers before they are left out."
)


@dataclass(frozen=True)
class TasteGroup:
    """People who share a taste."""

    members: tuple[str, ...]
    share: float
    """Of the people of all groups."""
    likes: tuple[str, ...] = ()
    dislikes: tuple[str, ...] = ()
    """What the group likes more, or less, than the other people do: features or, where no feature differs, the
    beginnings of responses. The strongest first."""


@dataclass(frozen=True)
class Tastes:
    """How many tastes there are, and whose."""

    number: int | None
    """None: cannot tell."""
    reason: Reason
    model: Literal["scores", "features"] | None = None
    """What the tastes are made of: a score for each response, or weights of features of the texts."""
    groups: tuple[TasteGroup, ...] = ()
    """The largest first; none unless there are two or more."""
    unclear: tuple[str, ...] = ()
    """People who were compared and fit no group better than another."""
    disagreement: float | None = None
    """Share of the judged pairs on which the tastes of the two largest groups prefer different responses."""
    correlation: float | None = None
    """Of these two tastes, over the judged pairs."""
    gain: float | None = None
    """Log-likelihood of left-out judgements with one group more than without, in nats in all."""
    z: float | None = None
    """The standard normal score of that gain: of two groups over one, or of the number over one fewer."""

    suspects: int = 0
    """People flagged `random`."""

    def group_of(self) -> dict[str, int]:
        """Return the number of each member's group, from 0 on."""
        return {name: number for number, group in enumerate(self.groups) for name in group.members}

    def describe(self) -> Iterator[str]:
        """Yield sentences for people."""
        if self.number is None or self.number == 1:
            yield ONE_OR_NONE[self.reason]
            if self.reason == "cannot tell" and self.suspects > 1:
                yield SUSPECTS
            return
        yield (
            f"{self.number} groups of people have different tastes: the two largest prefer different responses in "
            f"{self.disagreement:.0%} of the judged pairs (correlation {self.correlation:.2f}), and judgements that "
            f"were left out are likelier by {self.gain:.1f} nats ({self.z:.1f} standard errors)."
        )
        for number, group in enumerate(self.groups, 1):
            yield f"Taste {number}, {group.share:.0%} of these people: {list_names(group.members)}."
            if group.likes:
                yield f"Taste {number} likes more than the others: {'; '.join(group.likes)}."
            if group.dislikes:
                yield f"Taste {number} likes less than the others: {'; '.join(group.dislikes)}."
        if self.unclear:
            yield f"No taste fits the answers of {list_names(self.unclear)}."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with the sentences for people."""
        return asdict(self) | {"sentences": list(self.describe())}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Tastes":
        """Rebuild the record from the output of `to_json`; unknown keys are ignored."""
        values = {each.name: record[each.name] for each in fields(cls) if each.name in record}
        groups = tuple(
            TasteGroup(tuple(each["members"]), each["share"], tuple(each["likes"]), tuple(each["dislikes"]))
            for each in record.get("groups", ())
        )
        return cls(**values | {"groups": groups, "unclear": tuple(record.get("unclear", ()))})


def list_names(names: Sequence[str]) -> str:
    """Return names with commas; of many the first ones, and how many more there are."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
