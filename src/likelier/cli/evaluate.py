"""`likelier eval`: the new model against the old one, on held-out prompts."""

from functools import partial

from likelier.cli.folders import hold_evaluation_folder
from likelier.cli.options import CONFIG, OUT, OVERRIDES, SEED
from likelier.cli.output import JSON, Result, format_value, result_command, show_lines
from likelier.cli.train import advise_on_memory, load_settings
from likelier.terminal import echo

COLUMNS = ("win_rate", "interval", "score_a", "score_b", "difference", "difference_interval")
"""Of the table of judges; those that give no scores leave the last four empty."""


def show(result: Result) -> None:
    """Print the figures of the judge that decides, and a table of all judges if there are several."""
    show_lines(result)
    if len(judges := result["judges"]) < 2:
        return
    rows = [["judge", *(name.replace("_", " ") for name in COLUMNS)]]
    rows += [[name, *(format_value(judge.get(key)) for key in COLUMNS)] for name, judge in judges.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    echo(f"\nThe first of {len(judges)} judges decides:")
    for row in rows:
        echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@result_command(show)
def evaluate(
    config: CONFIG, overrides: OVERRIDES = None, out: OUT = None, seed: SEED = None, json: JSON = False
) -> Result:
    """Compare `eval.model_b` with `eval.model_a` on held-out prompts, by judges that score and by people.

    After a kill the same command goes on from the batches of responses that were done.
    """
    from likelier.evaluation import judge
    from likelier.evaluation.compare import evaluate as compare
    from likelier.evaluation.kept_samples import PART
    from likelier.web.server import make_access, serve

    settings = load_settings(config, overrides, seed)
    page = partial(serve, access=make_access(settings.eval, "eval"))
    parts = (PART, judge.PART)
    with advise_on_memory("eval", settings), hold_evaluation_folder(config.stem, out, parts) as folder:
        return compare(settings, folder, page).to_json()
