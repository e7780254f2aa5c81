"""`likelier eval`: the new model against the old one, on held-out prompts."""

from likelier.cli.folders import new_folder
from likelier.cli.options import CONFIG, OUT, OVERRIDES, SEED
from likelier.cli.output import JSON, Result, result_command
from likelier.cli.train import load_settings


@result_command()
def evaluate(
    config: CONFIG, overrides: OVERRIDES = None, out: OUT = None, seed: SEED = None, json: JSON = False
) -> Result:
    """Compare `eval.model_b` with `eval.model_a` on held-out prompts, by judges that score and by people."""
    from likelier.evaluation.compare import evaluate as compare
    from likelier.web.server import serve

    settings = load_settings(config, overrides, seed)
    return compare(settings, new_folder(config.stem, out), serve).to_json()
