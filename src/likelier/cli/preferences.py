"""`likelier preferences`: weighted preference pairs from judgements, split by conversation."""

from pathlib import Path
from typing import Annotated

import typer

from likelier.cli.options import DB, OVERWRITE, PROJECT
from likelier.cli.output import JSON, Result, result_command
from likelier.progress import print_note
from likelier.terminal import print_stderr


@result_command()
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
    overwrite: OVERWRITE = False,
    project: PROJECT = None,
    json: JSON = False,
) -> Result:
    """Turn judgements into weighted pairs for reward models and DPO."""
    from likelier.errors import ConfigError, DataError
    from likelier.feedback.check import check as check_feedback
    from likelier.feedback.database import list_files
    from likelier.feedback.store import Store
    from likelier.feedback.unread import describe_unread
    from likelier.files.outputs import check_output
    from likelier.preferences.balance import Balance, TasteGroups
    from likelier.preferences.make import FILES, JUDGE_FILES, Split, make_preferences

    if taste not in ("all", "majority", "each"):
        raise ConfigError(f"--taste {taste}: allowed: all, majority, each")
    if not check and (taste != "all" or balance_groups):
        raise ConfigError("--no-check: without a check there are no groups for --taste and --balance-groups")
    people = (0.5 if check else 0.0) if balance_people is None else balance_people
    balance = Balance(people, balance_groups, balance_prompts, balance_topics)
    split = Split(seed, valid_share, test_share, held_out_annotators, judge_share)
    with Store.open(db, project=project) as store:
        if unread := describe_unread(store):
            print_stderr(unread)
        findings = check_feedback(store.judged()) if check else None
        group_of = findings.tastes.group_of() if findings and findings.tastes else {}
        if taste == "each" and not group_of:
            raise DataError(
                "--taste each: the check tells no groups with tastes of their own apart; see `likelier check`"
            )
        groups = range(max(group_of.values()) + 1) if taste == "each" else [0 if taste == "majority" else None]
        folders = [out / f"group-{group + 1}" if taste == "each" else out for group in groups]
        for folder in folders:
            for name in (*FILES, *JUDGE_FILES) if judge_share else FILES:
                check_output(folder / name, overwrite, list_files(db))
        made = [
            make_preferences(store, folder, findings, split, balance=balance, tastes=TasteGroups(group_of, group))
            for folder, group in zip(folders, groups, strict=True)
        ]
    for folder in folders:
        print_note(describe_balance(folder))
    return {folder.name: counts for folder, counts in zip(folders, made, strict=True)} if taste == "each" else made[0]


def describe_balance(folder: Path) -> str:
    """Return how many judgements, people and so on count, by the card of a folder of preferences."""
    from likelier.files import read_json
    from likelier.preferences.make import CARD

    effective = read_json(folder / CARD)["effective"]
    shown = [f"{value:,.1f} {name}" for name, value in effective.items() if value is not None]
    return f"{folder}: the weights count like " + ", ".join(shown) + " of equal weight"
