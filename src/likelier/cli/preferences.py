"""`likelier preferences`: weighted preference pairs from judgements, split by conversation."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from likelier.cli.options import DB, OVERWRITE, PROJECT
from likelier.cli.output import JSON, Result, result_command, show_lines
from likelier.progress import print_note
from likelier.terminal import echo

if TYPE_CHECKING:
    from likelier.feedback.check import AnnotatorCheck
    from likelier.feedback.derived import AllAnswers
    from likelier.preferences.balance import Balance
    from likelier.preferences.split import Split


def show(result: Result) -> None:
    """Print the counts; of several groups a line each."""
    for name, counts in result.items():
        if isinstance(counts, dict):
            echo(f"{name}: " + ", ".join(f"{part} {count}" for part, count in counts.items()))
    show_lines(result)


@result_command(show)
def preferences(
    db: DB,
    out: Annotated[Path, typer.Option("-o", metavar="DIR", help="Folder for train, valid and test.")],
    check: Annotated[bool, typer.Option(help="Drop flagged annotators; turn the reversed round.")] = True,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides which conversation goes to which split.")] = 0,
    valid_share: Annotated[float, typer.Option(metavar="SHARE", help="Conversations kept for validation.")] = 0.1,
    test_share: Annotated[float, typer.Option(metavar="SHARE", help="Conversations kept for the test.")] = 0.2,
    held_out_annotators: Annotated[
        float,
        typer.Option(metavar="SHARE", help="People whose judgements stand in the test split only."),
    ] = 0.0,
    judge_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Conversations kept for a judge, in the folder `judge` within DIR.")
    ] = 0.0,
    taste: Annotated[
        str,
        typer.Option(
            metavar="all|majority|each",
            help="Whose taste to learn, where the check tells groups apart: all, the largest group's, or each group's"
            " (folders group-1, group-2 ... within DIR).",
        ),
    ] = "all",
    balance_people: Annotated[
        float | None,
        typer.Option(
            metavar="DIAL",
            help="0: every judgement counts, 1: every person; by default 0.5, and 0 with --no-check.",
            show_default=False,
        ),
    ] = None,
    balance_groups: Annotated[
        float,
        typer.Option(metavar="DIAL", help="The same of groups with tastes of their own: 1 lets each count alike."),
    ] = 0.0,
    balance_prompts: Annotated[float, typer.Option(metavar="DIAL", help="The same of prompts.")] = 0.0,
    balance_topics: Annotated[
        float, typer.Option(metavar="DIAL", help="The same of topics: clusters of prompts by their words.")
    ] = 0.0,
    half_life: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS", help="Days after which an answer weighs half, for tastes that change.", show_default=False
        ),
    ] = None,
    overwrite: OVERWRITE = False,
    project: PROJECT = None,
    json: JSON = False,
) -> Result:
    """Turn judgements into weighted pairs for reward models and DPO."""
    from likelier.errors import ConfigError
    from likelier.preferences.balance import choose_balance
    from likelier.preferences.split import Split

    if taste not in ("all", "majority", "each"):
        raise ConfigError(f"--taste {taste}: allowed: all, majority, each")
    if not check and (taste != "all" or balance_groups):
        raise ConfigError("--no-check: without a check there are no groups for --taste and --balance-groups")
    balance = choose_balance(balance_people, balance_groups, balance_prompts, balance_topics, is_checked=check)
    split = Split(seed, valid_share, test_share, held_out_annotators, judge_share)
    return make_folders((db, project), (out, overwrite), check, taste, (split, balance, half_life))


def make_folders(
    source: tuple[str, str | None],
    target: tuple[Path, bool],
    check: bool,
    taste: str,
    settings: tuple["Split", "Balance", float | None],
) -> Result:
    """Make the pairs of a database and project in a folder, which may be overwritten, or in one for each group."""
    from likelier.errors import DataError
    from likelier.feedback.check_all import check_store
    from likelier.feedback.database import list_files
    from likelier.feedback.derived import AllAnswers
    from likelier.feedback.store import Store
    from likelier.files.outputs import check_output
    from likelier.preferences.balance import TasteGroups, fade_by_day
    from likelier.preferences.make import FILES, JUDGE_FILES, make_preferences

    (db, project), (out, overwrite), (split, balance, half_life) = source, target, settings
    names = (*FILES, *JUDGE_FILES) if split.judge_share else FILES
    for name in names if taste != "each" else ():
        check_output(out / name, overwrite, list_files(db))
    with Store.open(db, project=project) as store:
        findings = check_store(store) if check else None
        answers = AllAnswers(store, findings)
        if findings and findings.annotators and all(is_unknown(person) for person in findings.annotators):
            print_note(
                "careless shares cannot be told, as no comparison is judged by two people and no response recurs: "
                "everybody is believed, and `likelier reward` looks at the words"
            )
        fading = None if half_life is None else fade_by_day(half_life, [item.judgement for item in answers.judged()])
        group_of = findings.tastes.group_of() if findings and findings.tastes else {}
        if not group_of and (taste == "majority" or balance.groups):
            option = "--taste majority" if taste == "majority" else f"--balance-groups {balance.groups:g}"
            print_note(f"{option}: the check tells no groups of tastes apart, so everybody's answers are learned alike")
        if taste != "each":
            tastes = TasteGroups(group_of, 0 if taste == "majority" else None, fading)
            made = make_preferences(answers, out, findings, split, balance=balance, tastes=tastes)
            print_note(describe_pairs(out))
            print_derived(answers)
            return made
        if not group_of:
            raise DataError("--taste each: the check tells no groups of tastes apart; `likelier check` says why")
        folders = {
            f"group-{group + 1}": TasteGroups(group_of, group, fading) for group in sorted(set(group_of.values()))
        }
        for folder in folders:
            for name in names:
                check_output(out / folder / name, overwrite, list_files(db))
        counts = {}
        for folder, tastes in folders.items():
            counts[folder] = make_preferences(answers, out / folder, findings, split, balance=balance, tastes=tastes)
            print_note(describe_pairs(out / folder))
        print_derived(answers)
        return counts


def is_unknown(person: "AnnotatorCheck") -> bool:
    """Return True where nothing says how often somebody answers without looking."""
    return person.careless is None and person.rating_careless is None


def print_derived(answers: "AllAnswers") -> None:
    """Print how many comparisons follow from rankings and ratings, if any do."""
    if note := answers.describe():
        print_note(note)


def describe_pairs(folder: Path) -> str:
    """Return how many judgements, people and so on count, and what strengths mean, by the card of a folder of pairs."""
    from likelier.files import read_json
    from likelier.preferences.make import CARD

    card = read_json(folder / CARD)
    shown = [f"{value:,.1f} {name}" for name, value in card["effective"].items() if value is not None]
    counted = f"{folder}: the weights count like " + ", ".join(shown) + " of equal weight"
    if "strengths" not in card:
        return counted
    first, second, third = map(median, zip(*card["strengths"]["thresholds"].values(), strict=True))
    ties = f", no tie from {first:.2f}" if first > 0 else ""
    return (
        f"{counted}\n{folder}: {card['strengths']['pairs']:,} pairs say how much better: more than slightly from "
        f"log-odds of {second:.2f}, much from {third:.2f}{ties} (medians of people)"
    )
