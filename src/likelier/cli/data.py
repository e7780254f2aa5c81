"""`likelier data import`, `export` and `backup`: judgements in the file formats of other tools, and backups."""

from pathlib import Path
from typing import Annotated

import typer

from likelier.cli.options import DB, OVERWRITE
from likelier.cli.output import JSON, Result, result_command
from likelier.terminal import echo

app = typer.Typer(help="Bring judgements in from other formats, or out to them; back up a database.")
FORMAT = Annotated[str, typer.Option("--format", metavar="FORMAT", help="trl, anthropic, openai-summaries, likelier.")]


@app.command("import")
@result_command()
def import_judgements(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, gzip'ed or not.")],
    format_name: FORMAT,
    db: DB,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Put bad lines aside, in a file.")] = False,
    json: JSON = False,
) -> Result:
    """Read a file of preferences into the database, creating it if needed."""
    from dataclasses import asdict

    from likelier.feedback.formats import import_file, is_hh_rlhf
    from likelier.feedback.store import Store
    from likelier.files.json_text import list_fields

    with Store.open(db, create=True) as store:
        counts = import_file(file, format_name, store, skip_bad=skip_bad)
    if format_name == "trl" and not json and is_hh_rlhf(file):
        echo(f"{file}: transcripts, read as plain text; --format anthropic would tell their turns apart")
    if counts.passed_over and not json:
        names = list_fields(dict.fromkeys(counts.passed_over))
        echo(f"{file}: columns passed over, since {format_name} has no place for them: {names}")
    return asdict(counts)


@app.command("export")
@result_command()
def export_judgements(
    db: DB,
    format_name: FORMAT,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="JSONL file to write.")],
    overwrite: OVERWRITE = False,
    json: JSON = False,
) -> Result:
    """Write the judgements of a database to a file; those that the format cannot hold are counted.

    Without judgements the file is empty, a message says so, and the exit code is 0.
    """
    from dataclasses import asdict

    from likelier.feedback.database import list_files
    from likelier.feedback.formats import export_file
    from likelier.feedback.store import Store
    from likelier.files.outputs import check_output

    check_output(out, overwrite, list_files(db))
    with Store.open(db) as store:
        counts = export_file(store, format_name, out)
    if not counts.written and not json:
        none = f"{format_name} can hold none of these judgements; `likelier` holds all"
        echo(f"{out}: empty: {none if counts.skipped else 'there is nothing to write yet'}")
    return asdict(counts)


@app.command("backup")
@result_command()
def back_up(
    db: DB,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="The copy to write; its media go to FILE.media.")],
    overwrite: OVERWRITE = False,
    json: JSON = False,
) -> Result:
    """Copy a SQLite database with its media files, even while `likelier serve` is using it.

    Existing databases are never overwritten, so each backup needs a new name.
    """
    from likelier.feedback.backup import back_up_store
    from likelier.feedback.database import list_files
    from likelier.feedback.store import Store
    from likelier.files.outputs import check_output

    check_output(out, overwrite, list_files(db))
    with Store.open(db) as store:
        return {"file": out, **back_up_store(store, out)}
