"""`likelier explain`: what a reward model learned, and from whom."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from likelier.cli.output import JSON, Result, format_value, result_command
from likelier.errors import ConfigError
from likelier.files.json_text import truncate
from likelier.terminal import echo, print_table

LONGEST = 60
"""Characters shown of a text in a table."""


def show(result: Result) -> None:
    """Print sentences, and who taught the model the score of a response."""
    for sentence in result["in_words"]:
        echo(sentence)
    if "benchmark" in result:
        show_benchmark(result["benchmark"])
    if "taught" in result:
        show_taught(result["taught"])


def show_benchmark(subsets: Sequence[Result]) -> None:
    """Print the score on each subset of a benchmark, and their mean."""
    rows = [
        [each["subset"], str(each["prompts"]), *map(format_value, (each["score"], each["interval"], each["chance"]))]
        for each in subsets
    ]
    if len(subsets) > 1:
        rows.append(["mean", "", format_value(sum(each["score"] for each in subsets) / len(subsets)), "", ""])
    columns = ["subset", "prompts", "score", "95 % interval", "chance"]
    print_table(columns, [(row, False) for row in rows], right_aligned=columns[1:])


def show_taught(taught: Result) -> None:
    """Print the people and comparisons without whom the score of a response would be another."""
    echo(f"Score {taught['score']:+.3f} (0 is the mean of the training responses).\n")
    people = [
        [each["id"], str(each["judgements"]), f"{each['change']:+.3f}", f"{each['without']:+.3f}"]
        for each in taught["annotators"]
    ]
    columns = ["without", "judgements", "change", "score"]
    print_table(columns, [(row, False) for row in people], right_aligned=columns[1:])
    pairs = [
        [f"{each['change']:+.3f}", shorten(each["chosen"]), shorten(each["rejected"]), list_votes(each["annotators"])]
        for each in taught["comparisons"]
    ]
    print_table(["change", "without: chosen", "rejected", "judged by"], [(row, False) for row in pairs], ["change"])
    echo(
        f"Changes are those of the last layer fitted again, whose scores correlate with the model's at "
        f"{taught['agreement']:.3f};\ntrained again as a whole, its scores would change more by the seed alone."
    )


def shorten(text: str) -> str:
    """Return the beginning of a text, on one line."""
    return truncate(" ".join(text.split()), LONGEST)


def list_votes(votes: Sequence[Mapping[str, str]]) -> str:
    """Return who judged a comparison, and what they chose if not the response that is called chosen."""
    return ", ".join((vote["id"] or "–") + f" ({vote['chose']})" * (vote["chose"] != "chosen") for vote in votes)


@result_command(show)
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished reward run.")],
    response: Annotated[
        str | None, typer.Option("--response", metavar="TEXT", help="Who taught the model the score of this response?")
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="What it answers.")] = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="Train again on fewer comparisons, and forecast what more would bring.")
    ] = False,
    more: Annotated[int, typer.Option("--more", metavar="N", min=1, help="With --curve: judgements to add.")] = 500,
    on: Annotated[
        Path | None, typer.Option("--on", metavar="FILE", help="Score on a file of LLMBar or RewardBench 2.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Comparisons and people that are shown.")] = 5,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="The run's pairs, where they have moved.")
    ] = None,
    json: JSON = False,
) -> Result:
    """Say what a reward model learned, and from whom."""
    if prompt is not None and response is None:
        raise ConfigError("--prompt: give the --response too that it was answered with")
    from likelier.explain.describe import explain_run

    return explain_run(run, prompt or "", response, data, [more] if curve else [], top, on)
