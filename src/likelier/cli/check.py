"""`likelier check`: agreement between annotators, their skill, and the biases of their answers."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from statistics import median
from typing import Any

from likelier.cli.options import DB, PROJECT
from likelier.cli.output import JSON, Result, result_command
from likelier.progress import print_note
from likelier.terminal import echo, print_table

SKILL_MODELS = {
    "skilled_bradley_terry": "skill: by scores of responses, which recur in several comparisons (Bradley and Terry)",
    "dawid_skene": "skill: by the others' votes on the same comparison (Dawid and Skene)",
}


MANY_CARELESS = 0.05
"""Careless share that the interval of a person who is named excludes."""


def show(result: Result) -> None:
    """Print a table of annotators, then agreement, and a sentence for each influence on the answers."""
    print_people(result)
    echo(describe_counts(result))
    if result["judgements"] or result["rankings"]:
        echo(describe_agreement(result))
    if result["skill_model"]:
        echo(SKILL_MODELS[result["skill_model"]])
        echo(describe_careless(result["annotators"]))
    for line in (*describe_kappas(result), *describe_pairs(result), *describe_ratings(result)):
        echo(line)
    for audit in result["audits"]:
        echo(audit["sentence"])
    for line in describe_tastes_and_copies(result):
        echo(line)


def print_people(result: Result) -> None:
    """Print the table of annotators, with columns for what anybody has."""
    people = result["annotators"]
    cells = {"annotator": [str(person["id"]) for person in people]}
    if any(person["name"] for person in people):
        cells["name"] = [person["name"] or "" for person in people]
    for name in ("judgements", "rankings", "ratings"):
        if result[name]:
            cells[name] = [f"{person[name]:,}" for person in people]
    if result["skill_model"]:
        cells["skill"] = [show_number(person["skill"]) for person in people]
    if result["ratings"]:
        cells["rating skill"] = [show_number(person["rating_skill"]) for person in people]
    for name in ("error_rate", "left_rate") if result["skill_model"] else ():
        cells[name.replace("_", " ")] = ["–" if person[name] is None else f"{person[name]:.0%}" for person in people]
    cells["flags"] = [", ".join(list_flags(person)) for person in people]
    if people:
        numbers = [name for name in cells if name not in ("annotator", "name", "flags")]
        rows = zip(zip(*cells.values(), strict=True), map(bool, cells["flags"]), strict=True)
        print_table(list(cells), ((list(row), flagged) for row, flagged in rows), right_aligned=numbers)


def show_number(value: float | None) -> str:
    """Cell of a number that may be unknown."""
    return "–" if value is None else f"{value:.2f}"


def list_flags(person: dict[str, Any]) -> list[str]:
    """All flags of an annotator, those by ratings marked."""
    return [*person["flags"], *(f"{flag} (ratings)" for flag in person["rating_flags"])]


def describe_counts(result: Result) -> str:
    """Say how much was answered, in one line."""
    more = [f"{result[name]:,} {name}" for name in ("rankings", "ratings") if result[name]]
    judged = f"{result['judgements']:,} judgements of {result['comparisons']:,} comparisons"
    return ", ".join([judged, *more] if result["judgements"] or not more else more)


def describe_tastes_and_copies(result: Result) -> Iterator[str]:
    """Yield sentences on groups with tastes of their own, on who is alone with one, and on who copies whom."""
    yield from result["tastes"]["sentences"] if result["tastes"] else ()
    for person in result["annotators"]:
        if person["own_taste"]:
            yield f"{person['id']} differs from the others by a taste of their own, not by chance"
        if person["copied_with"]:
            yield f"{person['id']} agrees far too much with {', '.join(person['copied_with'])}"


def describe_agreement(result: Result) -> str:
    """Summarise inter-annotator agreement in one line."""
    if result["alpha"] is None:
        return "agreement: unknown, since no comparison was judged by two people"
    return f"agreement: Krippendorff's alpha {show_bounds(result, 'alpha')}; 1 is perfect, 0 is chance"


def show_bounds(record: Mapping[str, Any], name: str, bounds: str = "") -> str:
    """Return a number with its interval, if there is one."""
    interval = record[bounds or f"{name}_interval"]
    return f"{record[name]:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def describe_kappas(result: Result) -> Iterator[str]:
    """Yield a line of the other coefficients of agreement, as far as they are defined."""
    parts = []
    if result["alpha_ordinal"] is not None:
        parts.append(f"alpha with ties in the middle (ordinal) {show_bounds(result, 'alpha_ordinal')}")
    if result["fleiss_kappa"] is not None:
        parts.append(f"Fleiss' kappa {show_bounds(result, 'fleiss_kappa', 'fleiss_interval')}")
    if parts:
        yield "; ".join(parts)


def describe_ratings(result: Result) -> Iterator[str]:
    """Yield lines on the agreement of ratings, and on who often rates without looking."""
    for scale in result["rating_agreement"]:
        of = "thumbs" if scale["kind"] == "thumbs" else "ratings"
        ends = f" from {scale['scale'][0]:g} to {scale['scale'][1]:g}" if scale["scale"] else ""
        if scale["alpha_ordinal"] is None:
            yield f"agreement of {of}{ends}: unknown, since no response was rated by two people"
            continue
        by_value = scale["alpha_numeric"] is not None and scale["kind"] != "thumbs"
        numeric = f", by their differences {show_bounds(scale, 'alpha_numeric')}" if by_value else ""
        yield (
            f"agreement of {of}{ends} on {scale['responses']:,} responses rated by two or more: Krippendorff's alpha "
            f"by their order {show_bounds(scale, 'alpha_ordinal')}{numeric}"
        )
    if any(person["rating_careless"] is not None for person in result["annotators"]):
        yield name_careless(result["annotators"], "rating_careless", "ratings that ignore the response")
    elif result["ratings"]:
        yield "careless shares of ratings: cannot be told, as no response is rated by two people"


def describe_careless(people: Sequence[dict[str, Any]]) -> str:
    """Name the people who often answer without looking, in one line, or say why nobody can be named."""
    if all(person["careless"] is None for person in people):
        return "careless shares: cannot be told, as no comparison is judged by two people and no response recurs"
    return name_careless(people, "careless", "answers that ignore the responses")


def name_careless(people: Sequence[dict[str, Any]], field: str, of: str) -> str:
    """Name the people whose share is large for certain, by its interval, in one line."""
    known = [person for person in people if person[f"{field}_interval"]]
    named = sorted(
        (person for person in known if person[f"{field}_interval"][0] > MANY_CARELESS), key=itemgetter(field)
    )
    if not named:
        return f"{of}: of nobody for certain more than {MANY_CARELESS:.0%}"
    listed = ", ".join(describe_share(person, field) for person in reversed(named[-10:]))
    more = f" and many of {len(named) - 10} more people's" if len(named) > 10 else ""
    return f"{of}: {listed}{more}"


def describe_share(person: dict[str, Any], field: str) -> str:
    """Return an annotator's careless share with its interval: `90% of Fay's (70% to 100%)`."""
    low, high = person[f"{field}_interval"]
    return f"{person[field]:.0%} of {person['id']}'s ({low:.0%} to {high:.0%})"


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
        spread = f", from {kappas[0]:.2f} to {kappas[-1]:.2f} over the pairs" if len(kappas) > 1 else ""
        yield f"Cohen's kappa of {pairs} who share {least} comparisons or more: median {median(kappas):.2f}{spread}"
        if len(kappas) == 1 and (interval := result["kappas"][0]["kappa_interval"]):
            yield f"its 95% interval over comparisons: {interval[0]:.2f} to {interval[1]:.2f}"


@result_command(show)
def check(db: DB, project: PROJECT = None, json: JSON = False) -> Result:
    """Measure agreement, the skill of each annotator, and bias; names stand beside pseudonyms where known."""
    from likelier.feedback.check_all import check_store
    from likelier.feedback.store import Store

    with Store.open(db, project=project) as store:
        result, names = check_store(store).to_json(), store.names()
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
