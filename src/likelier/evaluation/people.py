"""People as judges of an evaluation: they compare what both models wrote and are not told which wrote it."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

from likelier.config import EvalConfig
from likelier.errors import ConfigError, DataError, Stopped
from likelier.feedback.pairing import num_missing
from likelier.feedback.store import Store
from likelier.intervals import rate_interval
from likelier.progress import note
from likelier.records import Comparison, Judgement, Prompt, Response

MARK = {"kept_for": "evaluation"}
"""In `Prompt.extra`: tells the comparisons of evaluations from those that a model is trained on."""


@runtime_checkable
class Page(Protocol):
    """Lets people judge comparisons until each has its judgements; `web.server.serve` is one."""

    def __call__(self, store: Store, *, port: int, per_comparison: int, only: Collection[str]) -> int:
        """Serve the page until every comparison in `only` has `per_comparison` judgements; return an exit code."""
        ...


@dataclass(frozen=True)
class Row:
    """What both models wrote to one prompt."""

    prompt: Prompt
    a: Response
    b: Response

    @property
    def comparison(self) -> Comparison | None:
        """What people are asked; None where both wrote the same, word for word: a tie without asking."""
        return None if self.a.text == self.b.text else Comparison(self.prompt.id, self.a.id, self.b.id)

    def share_for_b(self, judgements: Sequence[Judgement]) -> float | None:
        """Share of the judgements that prefer b, a tie counting half; None without any."""
        if self.comparison is None:
            return 0.5
        wins = [{self.b.id: 1.0, self.a.id: 0.0, None: 0.5}[each.preferred] for each in judgements]
        return sum(wins) / len(wins) if wins else None


class Answers(NamedTuple):
    """What people said."""

    verdict: dict[str, Any]
    shares: list[float | None]
    """Of each row the share of judgements for b; None: nobody has judged it."""


def open_people(settings: EvalConfig) -> Store:
    """The database in which people of `eval.scorer` judge.

    ConfigError: it holds comparisons of another purpose. DataError: see `Store.open`.
    """
    assert settings.people is not None
    assert settings.people.people is not None
    store = Store.open(settings.people.people, create=True)
    if any(prompt.extra.get("kept_for") != "evaluation" for prompt in store.prompts()):
        store.close()
        advice = "a model could be trained on what is kept for evaluation; give people a database of its own"
        raise ConfigError(f"eval.scorer: {store.name} holds other comparisons: {advice}")
    return store


def ask_people(store: Store, rows: Sequence[Row], settings: EvalConfig, page: Page | None) -> Answers:
    """Let people judge the rows, and count what they say.

    Every judgement of these comparisons counts, so that what was stored before a page was closed or killed is not asked
    again. Without a page nobody is asked. Stopped, DataError: there is no judgement at all.
    """
    add_rows(store, rows)
    asked = {row.comparison.id for row in rows if row.comparison is not None}
    missing = num_missing(asked, store.judgements(), settings.judgements_per_comparison)
    if missing and page is not None:
        note(f"people: {missing} judgements are wanted; Ctrl-C closes the page, and what was judged by then counts")
        try:
            page(store, port=settings.port, per_comparison=settings.judgements_per_comparison, only=asked)
        except KeyboardInterrupt:
            if not judged_of(store, asked):
                line = "nobody has judged anything yet, so there is no win rate; the same command asks again"
                raise Stopped(f"{store.name}: {line}", 130) from None
    judgements = judged_of(store, asked)
    if asked and not judgements:
        raise DataError(f"{store.name}: no judgement of these answers; let people judge them with `likelier eval`")
    by_comparison: dict[str, list[Judgement]] = defaultdict(list)
    for each in judgements:
        by_comparison[each.comparison_id].append(each)
    shares = [row.share_for_b(by_comparison[row.comparison.id] if row.comparison else ()) for row in rows]
    counts = {"judgements": len(judgements), "people": len({each.annotator for each in judgements})}
    return Answers(people_verdict(rows, shares) | counts, shares)


def add_rows(store: Store, rows: Sequence[Row]) -> None:
    """Store what is to be compared; what is there already is not stored twice."""
    compared = [row for row in rows if row.comparison is not None]
    with store.transaction() as writer:
        writer.add_prompts(replace(row.prompt, extra=row.prompt.extra | MARK) for row in compared)
        writer.add_responses(response for row in compared for response in (row.a, row.b))
        writer.add_comparisons(row.comparison for row in compared if row.comparison is not None)


def judged_of(store: Store, comparisons: Collection[str]) -> list[Judgement]:
    """All judgements of some comparisons."""
    return [each for each in store.judgements() if each.comparison_id in comparisons]


def people_verdict(rows: Sequence[Row], shares: Sequence[float | None]) -> dict[str, Any]:
    """Win rate of b over the rows that count, with an interval that draws whole prompts.

    Rows that nobody has judged are left out; of the rows with equal answers, which need no judge, then as many stay in
    as of the others: else a page that was closed early would make a win rate look closer to one half.
    """
    equal = [at for at, row in enumerate(rows) if row.comparison is None]
    judged = [at for at, row in enumerate(rows) if row.comparison is not None and shares[at] is not None]
    others = len(rows) - len(equal)
    counted = judged + equal[: round(len(equal) * len(judged) / others) if others else None]
    values = [share for at in counted if (share := shares[at]) is not None]
    clusters = [rows[at].prompt.conversation or rows[at].prompt.id for at in counted]
    return {
        "win_rate": sum(values) / len(values),
        "interval": rate_interval(values, clusters),
        "ties": values.count(0.5),
        "n": len(values),
        "unjudged": others - len(judged),
    }
