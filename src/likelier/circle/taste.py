"""Whose taste a circle learns: the largest group's where the check first tells groups apart, and from then on the same.

Each round's check groups people anew, on more judgements: groups may change their order, fall together, or be unclear
for once. A reward that then learned another taste would pull the policy back and forth.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from likelier.feedback.taste_report import Reason, Tastes
from likelier.preferences.balance import TasteGroups

WHY: dict[Reason, str] = {
    "alike": "the check finds one taste",
    "too few": "there are too few judgements to tell tastes apart",
    "cannot tell": "the check cannot tell if there are several tastes",
}


@dataclass(frozen=True)
class FollowedTaste:
    """The people whose taste a round learns, and those of other tastes; nobody where no groups were told apart yet."""

    members: tuple[str, ...]
    others: tuple[str, ...]
    in_words: str

    def find_groups(self) -> TasteGroups:
        """Return the people to learn from: the members, and who is in no group."""
        group_of = dict.fromkeys(self.members, 0) | dict.fromkeys(self.others, 1)
        return TasteGroups(group_of, 0)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "FollowedTaste":
        """Rebuild the record from the output of `to_json`."""
        return cls(tuple(record["members"]), tuple(record["others"]), record["in_words"])


def follow_taste(tastes: Tastes | None, former: FollowedTaste | None) -> FollowedTaste:
    """Choose whose taste to learn; `former` is the choice of the round before, `tastes` the result of this one's check.

    Of groups it is the one with most of the former members, without such the largest. Who is in no group now stays
    where they were. Without groups all stay where they were.
    """
    groups = tastes.groups if tastes else ()
    if former is None or not former.members:
        return begin_to_follow(tastes)
    shared = [len(set(former.members).intersection(group.members)) for group in groups]
    if not any(shared):
        why = "nobody of its group is in one now" if groups else explain(tastes)
        return FollowedTaste(
            former.members,
            former.others,
            f"This round learns the same taste as the one before, from the same people: {why}.",
        )
    number = shared.index(max(shared))
    elsewhere = {name for other, group in enumerate(groups) if other != number for name in group.members}
    now = {*groups[number].members, *elsewhere}
    members = {*groups[number].members, *(set(former.members) - now)}
    words = f"This round learns the same taste as the one before, now of {count_people(members)}"
    if len(groups[number].members) < max(len(group.members) for group in groups):
        words += ", not the largest group any more"
    if moved := elsewhere.intersection(former.members):
        words += f"; of those before, now of another: {len(moved)}"
    others = {*elsewhere, *(set(former.others) - now)}
    return FollowedTaste(tuple(sorted(members)), tuple(sorted(others)), f"{words}.")


def begin_to_follow(tastes: Tastes | None) -> FollowedTaste:
    """Choose the largest group, if the check tells any."""
    if tastes is None or not tastes.groups:
        return FollowedTaste((), (), f"This round learns from everybody: {explain(tastes)}.")
    first, *rest = tastes.groups
    words = f"This round learns the taste of {count_people(first.members)}, the largest of {len(tastes.groups)} groups"
    if any(len(group.members) == len(first.members) for group in rest):
        words = f"This round learns the taste of {count_people(first.members)}, though another group is as large"
    others = tuple(sorted(name for group in rest for name in group.members))
    return FollowedTaste(tuple(sorted(first.members)), others, f"{words}.")


def explain(tastes: Tastes | None) -> str:
    """Return why there are no groups."""
    return WHY[tastes.reason] if tastes else WHY["too few"]


def count_people(names: Collection[str]) -> str:
    """Return a number of people in words."""
    return f"{len(names)} {'person' if len(names) == 1 else 'people'}"
