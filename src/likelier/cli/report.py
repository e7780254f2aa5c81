"""`likelier report`: one HTML page about runs and feedback."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from likelier.cli.options import OVERWRITE, PROJECT
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError


@result_command()
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...", help="Folders of runs, evaluations, searches or a circle.", show_default=False
        ),
    ] = None,
    db: Annotated[
        str | None, typer.Option("--db", metavar="DB", help="Feedback database whose comparisons are shown.")
    ] = None,
    project: PROJECT = None,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="The page to write.")] = Path("report.html"),
    lang: Annotated[
        Literal["en", "zh"], typer.Option("--lang", help="Language of the page: English, or zh, Chinese.")
    ] = "en",
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve the page on this machine alone, and refresh it while a run goes on.")
    ] = False,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="With --watch; 0 takes a free one.")] = 0,
    overwrite: OVERWRITE = False,
    json: JSON = False,
) -> Result:
    """Write one self-contained HTML page about runs, or about people's judgements, from what is already recorded.

    Curves show every run; all other sections come from the first folder that has them, or a circle's last round. Media
    files above 256 KiB are written next to the page. An earlier report is replaced; any other existing file only with
    --overwrite.
    """
    if not runs and db is None:
        raise ConfigError("report: give folders of runs, --db DB, or both")
    if project is not None and db is None:
        raise ConfigError(f"--project {project}: is of a database; give --db DB")
    from likelier.feedback.database import list_files
    from likelier.files.outputs import GENERATOR_MARK, check_output
    from likelier.report.page import write_report

    inputs = [*(runs or []), *(list_files(db) if db is not None else [])]
    check_output(out, overwrite, inputs, GENERATOR_MARK)
    if watch:
        from likelier.report.watch import have_ended
        from likelier.report.watch import watch as serve

        serve(out, lambda: write_report(runs or [], out, db, lang, project), lambda: have_ended(runs or []), port)
        return {"file": out}
    write_report(runs or [], out, db, lang, project)
    return {"file": out}
