"""`likelier eval`: the new model against the old one on prompts that neither was trained on."""

from likelier.cli.answer import JSON, Result, answers
from likelier.cli.folders import fresh_folder
from likelier.cli.options import CONFIG, OUT, OVERRIDES, SEED
from likelier.cli.train import load


@answers()
def evaluate(
    config: CONFIG, overrides: OVERRIDES = None, out: OUT = None, seed: SEED = None, json: JSON = False
) -> Result:
    """Compare `eval.model_b` with `eval.model_a` on unseen prompts, by judges that score and by people."""
    from likelier.evaluation.compare import evaluate as compare
    from likelier.web.server import serve

    settings = load(config, overrides, seed)
    return compare(settings, fresh_folder(config.stem, out), serve)
