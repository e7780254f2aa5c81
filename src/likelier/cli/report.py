"""`likelier report`: one HTML page about runs."""

from pathlib import Path
from typing import Annotated

import typer

from likelier.cli.output import JSON, Result, result_command


@result_command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, evaluations, searches or a circle.")
    ],
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="The page to write.")] = Path("report.html"),
    json: JSON = False,
) -> Result:
    """Write one self-contained HTML page about runs; nothing is computed anew.

    Curves show every run; of everything else the first folder that has it is shown, of a circle its last round.
    """
    from likelier.report.page import write_report

    write_report(runs, out)
    return {"file": out}
