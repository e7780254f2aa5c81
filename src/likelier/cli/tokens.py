"""`likelier tokens`: a page of single tokens, coloured by what a run knows of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from likelier.cli.options import OVERWRITE
from likelier.cli.output import JSON, Result, result_command


@result_command()
def tokens(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of `likelier ppo`.")],
    step: Annotated[
        list[int] | None, typer.Option("--step", metavar="K", help="Only this step; may be given several times.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="The page to write.")] = Path("tokens.html"),
    lang: Annotated[
        Literal["en", "zh"], typer.Option("--lang", help="Language of the page: English, or zh, Chinese.")
    ] = "en",
    overwrite: OVERWRITE = False,
    json: JSON = False,
) -> Result:
    """Write a self-contained HTML page of single tokens, coloured by advantage, ratio, log-probability and so on.

    It shows `tokens.jsonl`, which a run with ppo.token_records writes. Where that is long, evenly spaced steps are
    shown; --step chooses others.
    """
    from likelier.files.outputs import GENERATOR_MARK, check_output
    from likelier.progress import print_note
    from likelier.report.tokens import list_few, write_token_page

    check_output(out, overwrite, [run], GENERATOR_MARK)
    result = write_token_page(run, out, step or [], lang)
    if not step and len(result["steps"]) < result["recorded_steps"]:
        count = f"{len(result['steps'])} of {result['recorded_steps']} recorded steps"
        print_note(f"{count} are shown ({list_few(result['steps'])}); --step K shows others")
    return result
