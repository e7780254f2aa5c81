"""`likelier tokens`: a page of single tokens, coloured by what a run knows of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from likelier.cli.options import OVERWRITE
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError

PAIRS = 20
"""Pairs that are shown of a file, if nothing else is asked for."""


@result_command()
def tokens(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run of `likelier ppo`, or of `likelier reward`.")
    ],
    step: Annotated[
        list[int] | None,
        typer.Option("--step", metavar="K", help="Of PPO: only this step; may be given several times."),
    ] = None,
    on: Annotated[
        Path | None,
        typer.Option("--on", metavar="PAIRS.jsonl", help="Of a reward run: the pairs whose scores are shown."),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option("--pairs", metavar="N", min=1, help=f"With --on: so many of them; by default {PAIRS}.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="The page to write.")] = Path("tokens.html"),
    lang: Annotated[
        Literal["en", "zh"], typer.Option("--lang", help="Language of the page: English, or zh, Chinese.")
    ] = "en",
    overwrite: OVERWRITE = False,
    json: JSON = False,
) -> Result:
    """Write a self-contained HTML page of single tokens, coloured by what a run knows of each.

    Of PPO: advantage, ratio, log-probabilities and so on, from `tokens.jsonl`, which a run with ppo.token_records
    writes. Where that is long, evenly spaced steps are shown; --step chooses others. Of a reward model: which tokens
    and words carry its scores of the pairs of --on.
    """
    from likelier.files.outputs import GENERATOR_MARK, check_output
    from likelier.runs.record import read_verb

    is_reward = read_verb(run) == "reward"
    check_options(run, is_reward, step, on, pairs)
    check_output(out, overwrite, [run, *([on] if on else [])], GENERATOR_MARK)
    if on is None:
        return show_ppo(run, out, step or [], lang)
    from likelier.explain.attribution import attribute_pairs
    from likelier.report.tokens import write_score_page

    return write_score_page(run.resolve().name, attribute_pairs(run, on, pairs or PAIRS), out, lang)


def check_options(run: Path, is_reward: bool, step: list[int] | None, on: Path | None, pairs: int | None) -> None:
    """ConfigError: an option of another kind of run, or one that is missing."""
    if is_reward and step:
        raise ConfigError(f"--step: {run} is a reward run, which has no tokens of steps; leave it out")
    if is_reward and on is None:
        raise ConfigError(f"{run}: a reward run; give --on PAIRS.jsonl, such as test.jsonl of its pairs")
    if not is_reward and on is not None:
        raise ConfigError(f"--on {on}: is of a reward run, and {run} is none")
    if on is None and pairs is not None:
        raise ConfigError("--pairs: is of a reward run; give --on PAIRS.jsonl, or leave it out")


def show_ppo(run: Path, out: Path, steps: list[int], language: str) -> Result:
    """Write the page of a PPO run, with a note if it leaves steps out."""
    from likelier.progress import print_note
    from likelier.report.tokens import list_few, write_token_page

    result = write_token_page(run, out, steps, language)
    if not steps and len(result["steps"]) < result["recorded_steps"]:
        count = f"{len(result['steps'])} of {result['recorded_steps']} recorded steps"
        print_note(f"{count} are shown ({list_few(result['steps'])}); --step K shows others")
    return result
