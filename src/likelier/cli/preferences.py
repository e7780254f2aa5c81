"""`likelier preferences`: weighted preference pairs from judgements, split by conversation."""

from pathlib import Path
from typing import Annotated

import typer

from likelier.cli.options import DB, OVERWRITE, PROJECT
from likelier.cli.output import JSON, Result, result_command
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
    overwrite: OVERWRITE = False,
    project: PROJECT = None,
    json: JSON = False,
) -> Result:
    """Turn judgements into weighted pairs for reward models and DPO."""
    from likelier.feedback.check import check as check_feedback
    from likelier.feedback.database import list_files
    from likelier.feedback.store import Store
    from likelier.feedback.unread import describe_unread
    from likelier.files.outputs import check_output
    from likelier.preferences.make import FILES, JUDGE_FILES, Split, make_preferences

    for name in (*FILES, *JUDGE_FILES) if judge_share else FILES:
        check_output(out / name, overwrite, list_files(db))
    with Store.open(db, project=project) as store:
        if unread := describe_unread(store):
            print_stderr(unread)
        findings = check_feedback(store.judged(), store.gold_answers()) if check else None
        split = Split(seed, valid_share, test_share, held_out_annotators, judge_share)
        return make_preferences(store, out, findings, split)
