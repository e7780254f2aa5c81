"""`likelier eval`: the new model against the old one, on held-out prompts."""

from functools import partial

from likelier.cli.folders import hold_evaluation_folder
from likelier.cli.options import CONFIG, OUT, OVERRIDES, SEED
from likelier.cli.output import JSON, Result, result_command
from likelier.cli.train import load_settings


@result_command()
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
    with hold_evaluation_folder(config.stem, out, (PART, judge.PART)) as folder:
        return compare(settings, folder, page).to_json()
