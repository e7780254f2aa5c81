"""`likelier check`: agreement between annotators, their skill, and the biases of their answers."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from likelier.cli.options import DB, PROJECT
from likelier.cli.output import JSON, Result, result_command
from likelier.progress import print_note
from likelier.terminal import echo, print_stderr, print_table

SKILL_MODELS = {
    "skilled_bradley_terry": "skill: by scores of responses, which recur in several comparisons (Bradley and Terry)",
    "dawid_skene": "skill: by the others' votes on the same comparison (Dawid and Skene)",
}


MANY_CARELESS = 0.05
"""Careless share that the interval of a person who is named excludes."""


def show(result: Result) -> None:
    """Print a table of annotators, then agreement, and a sentence for each influence on the answers."""
    columns = ["annotator", "judgements", "skill", "error rate", "left rate", "flags"]
    rows = [annotator_row(person) for person in result["annotators"]]
    if any(person["name"] for person in result["annotators"]):
        columns.insert(1, "name")
        for row, person in zip(rows, result["annotators"], strict=True):
            row.insert(1, person["name"] or "")
    if rows:
        flagged = [bool(person["flags"]) for person in result["annotators"]]
        print_table(columns, zip(rows, flagged, strict=True), right_aligned=columns[-5:-1])
    echo(f"{result['judgements']:,} judgements of {result['comparisons']:,} comparisons")
    echo(describe_agreement(result))
    if result["skill_model"]:
        echo(SKILL_MODELS[result["skill_model"]])
        echo(describe_careless(result["annotators"]))
    for line in describe_pairs(result):
        echo(line)
    for audit in result["audits"]:
        echo(audit["sentence"])
    for line in describe_tastes_and_copies(result):
        echo(line)


def describe_tastes_and_copies(result: Result) -> Iterator[str]:
    """Yield sentences on groups with tastes of their own, on who is alone with one, and on who copies whom."""
    yield from result["tastes"]["sentences"] if result["tastes"] else ()
    for person in result["annotators"]:
        if person["own_taste"]:
            yield f"{person['id']} differs from the others by a taste of their own, not by chance"
        if person["copied_with"]:
            yield f"{person['id']} agrees far too much with {', '.join(person['copied_with'])}"


def annotator_row(person: dict[str, Any]) -> list[str]:
    """Table cells for one annotator."""
    rates = ["–" if person[name] is None else f"{person[name]:.0%}" for name in ("error_rate", "left_rate")]
    skill = "–" if person["skill"] is None else f"{person['skill']:.2f}"
    return [str(person["id"]), f"{person['judgements']:,}", skill, *rates, ", ".join(person["flags"])]


def describe_agreement(result: Result) -> str:
    """Summarise inter-annotator agreement in one line."""
    if result["alpha"] is None:
        return "agreement: unknown, since no comparison was judged by two people"
    interval = result["alpha_interval"]
    bounds = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"agreement: Krippendorff's alpha {result['alpha']:.2f}{bounds}; 1 is perfect, 0 is chance"


def describe_careless(people: Sequence[dict[str, Any]]) -> str:
    """Name the people who often answer without looking, in one line, or say why nobody can be named."""
    if all(person["careless"] is None for person in people):
        return "careless shares: cannot be told, as no comparison is judged by two people and no response recurs"
    named = sorted((person for person in people if ignores_many(person)), key=careless_of)
    if not named:
        return f"answers that ignore the responses: of nobody for certain more than {MANY_CARELESS:.0%}"
    listed = ", ".join(describe_share(person) for person in reversed(named[-10:]))
    more = f" and many of {len(named) - 10} more people's" if len(named) > 10 else ""
    return f"answers that ignore the responses: {listed}{more}"


def ignores_many(person: dict[str, Any]) -> bool:
    """Return True if the interval of an annotator's careless share excludes small ones."""
    return bool(person["careless_interval"]) and float(person["careless_interval"][0]) > MANY_CARELESS


def describe_share(person: dict[str, Any]) -> str:
    """Return an annotator's careless share with its interval: `90% of Fay's (70% to 100%)`."""
    low, high = person["careless_interval"]
    return f"{person['careless']:.0%} of {person['id']}'s ({low:.0%} to {high:.0%})"


def careless_of(person: dict[str, Any]) -> float:
    """Careless share of an annotator."""
    return float(person["careless"])


def describe_pairs(result: Result) -> Iterator[str]:
    """Yield lines on how often two people agree, where that is known."""
    if result["agreement"] is not None:
        interval = result["agreement_interval"]
        bounds = f" ({interval[0]:.0%} to {interval[1]:.0%})" if interval else ""
        yield f"two people who judged the same comparison gave the same answer in {result['agreement']:.0%}{bounds}"
    kappas = sorted(pair["kappa"] for pair in result["kappas"] if pair["kappa"] is not None)
    if kappas:
        least = min(pair["n"] for pair in result["kappas"])
        pairs = "1 pair of people" if len(kappas) == 1 else f"{len(kappas)} pairs of people"
        spread = f"{median(kappas):.2f}" + (f" ({kappas[0]:.2f} to {kappas[-1]:.2f})" if len(kappas) > 1 else "")
        yield f"Cohen's kappa of {pairs} who share {least} comparisons or more: median {spread}"


@result_command(show)
def check(db: DB, project: PROJECT = None, json: JSON = False) -> Result:
    """Measure agreement, the skill of each annotator, and bias; names stand beside pseudonyms where known."""
    from likelier.feedback.check import check as check_feedback
    from likelier.feedback.store import Store
    from likelier.feedback.unread import describe_unread

    with Store.open(db, project=project) as store:
        if unread := describe_unread(store):
            print_stderr(unread)
        result, names = check_feedback(store.judged(), store.gold_answers()).to_json(), store.names()
    result["annotators"] = [
        {"id": person["id"], "name": names.get(person["id"]), **person} for person in result["annotators"]
    ]
    for line in describe_doubles([annotator["id"] for annotator in result["annotators"]]):
        print_note(line)
    return result


def describe_doubles(annotators: Iterable[str]) -> Iterator[str]:
    """Yield a line for annotators whose names differ in capitals or spaces only: one person would count twice.

    Names from the page are one person then; in imported files capitals may tell ids apart, so nothing is merged.
    """
    from likelier.feedback.writer import fold_name

    same = defaultdict(list)
    for name in annotators:
        same[fold_name(name)].append(name)
    for names in same.values():
        if len(names) > 1:
            listed = ", ".join(map(repr, names))
            yield f"annotators {listed} differ in capitals or spaces only, and count as {len(names)} people"
