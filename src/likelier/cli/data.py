"""`likelier data import`, `export`, `backup` and `erase`: feedback in the formats of other tools, copies, and names."""

from pathlib import Path
from typing import Annotated

import typer

from likelier.cli.options import DB, OVERWRITE, PROJECT
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError
from likelier.terminal import echo

app = typer.Typer(help="Bring judgements in from other formats, or out to them; back up a database; erase a name.")
FORMATS = (
    *(
        "trl",
        "trl-unpaired",
        "trl-prompts",
        "anthropic",
        "openai",
        "openai-summaries",
        "label-studio",
        "argilla",
        "llama-factory",
    ),
    *("chatbot-arena", "open-webui", "ultrafeedback", "csv", "parquet", "hub", "likelier"),
)
"""Names of the formats, here too, so that `--help` does not import the database."""
ONLY_READ = ("open-webui", "ultrafeedback", "hub")
READ = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}.")]
WRITTEN = Annotated[
    str,
    typer.Option("--format", metavar="FORMAT", help=f"{', '.join(name for name in FORMATS if name not in ONLY_READ)}."),
]


@app.command("import")
@result_command()
def import_judgements(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON lines, JSON, CSV, Parquet, gzip'ed or not; NAME or NAME:SPLIT of the hub."
        ),
    ],
    db: DB,
    format_name: READ = None,
    columns: Annotated[
        str,
        typer.Option("--columns", metavar="NAMES", help="The file's names of columns: prompt=q,chosen=a,rejected=b."),
    ] = "",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Put bad lines aside, in a file.")] = False,
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="Project to add to; a new name makes a new one.")
    ] = None,
    json: JSON = False,
) -> Result:
    """Read a file of feedback into the database, creating it if needed. Without `--format` it is recognised."""
    from dataclasses import asdict

    from likelier.feedback.formats import import_file, is_hh_rlhf
    from likelier.feedback.store import Store
    from likelier.files.json_text import list_fields
    from likelier.progress import print_note

    renamed = parse_columns(columns)
    with Store.open(db, create=True, project=project) as store:
        counts = import_file(file, format_name, store, skip_bad=skip_bad, columns=renamed)
    if format_name is None:
        print_note(f"{file}: read as {counts.format}")
    if format_name == "trl" and not json and is_hh_rlhf(file):
        echo(f"{file}: transcripts, read as plain text; --format anthropic would tell their turns apart")
    if counts.passed_over and not json:
        names = list_fields(dict.fromkeys(counts.passed_over))
        echo(f"{file}: columns passed over, since {counts.format} has no place for them: {names}")
    if counts.settings == "kept" and not json:
        echo(f"{file}: the project keeps the settings that it has; those in the file differ")
    return asdict(counts)


def parse_columns(text: str) -> dict[str, str]:
    """Parse `prompt=q,chosen=a` to {"prompt": "q", "chosen": "a"}. ConfigError: a part without a name on each side."""
    columns = {}
    for part in text.split(",") if text else ():
        name, _, column = (piece.strip() for piece in part.partition("="))
        if not name or not column or name in columns:
            raise ConfigError(f"--columns {text!r}: write NAME=COLUMN, once for each name, as in prompt=q,chosen=a")
        columns[name] = column
    return columns


@app.command("export")
@result_command()
def export_judgements(
    db: DB,
    format_name: WRITTEN,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="JSONL file to write.")],
    overwrite: OVERWRITE = False,
    project: PROJECT = None,
    json: JSON = False,
) -> Result:
    """Write the judgements of a project to a file; those that the format cannot hold are counted.

    Without judgements the file is empty, a message says so, and the exit code is 0.
    """
    from dataclasses import asdict

    from likelier.feedback.database import list_files
    from likelier.feedback.formats import export_file
    from likelier.feedback.store import Store
    from likelier.files.outputs import check_output

    check_output(out, overwrite, list_files(db))
    with Store.open(db, project=project) as store:
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
    with Store.open(db, any_project=True) as store:
        return {"file": out, **back_up_store(store, out)}


@app.command("erase")
@result_command()
def erase(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="The name as it was given on the page.")],
    db: DB,
    json: JSON = False,
) -> Result:
    """Erase a person's name, account, sessions, and what they typed: reasons, and whole conversations with the model.

    Their other judgements stay, under a pseudonym. Copies keep all: backups, exports, reports, pairs and models made
    of them.
    """
    from likelier.errors import DataError
    from likelier.feedback.store import Store

    with Store.open(db, any_project=True) as store:
        erased = store.erase_person(person)
        if not erased.pseudonyms:
            raise DataError(
                f"{store.name}: nobody is called {person!r}; `likelier check` and the owner's page list names"
            )
        if not json:
            echo("copies of the database, exports, reports and pairs made before keep the name and the words")
        return {"erased": erased.pseudonyms, **erased.count_all()}
