"""`likelier config check`, `show` and `schema`: validate a config, print its settings, describe them."""

import difflib
from typing import Annotated, Any

import typer

from likelier.cli.options import CONFIG, OVERRIDES
from likelier.cli.output import JSON, Result, result_command
from likelier.cli.train import load_settings
from likelier.errors import ConfigError, DataError
from likelier.terminal import echo, escape_controls

app = typer.Typer(help="Check, show or describe the settings.")


def show_yaml(settings: Result) -> None:
    """Print settings as YAML."""
    import yaml

    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    if escape_controls(text) != text:  # as YAML escapes them, so that it reads back what was written
        text = yaml.safe_dump(dict(settings), sort_keys=False)
    echo(text, end="")


def show_indented(schema: Result) -> None:
    """Print a schema as indented JSON."""
    import json

    echo(json.dumps(schema, indent=2))


@app.command()
@result_command()
def check(config: CONFIG, overrides: OVERRIDES = None, json: JSON = False) -> Result:
    """See whether settings are right, and their models and files there, without a run; every fault is named."""
    from pydantic import ValidationError

    from likelier.config.load import describe_errors
    from likelier.runs.inputs import list_hub_names, list_missing

    try:
        settings = load_settings(config, overrides, None)
    except ConfigError as error:
        if isinstance(error.__cause__, ValidationError):
            raise ConfigError(f"{config}: {describe_errors(error.__cause__)}") from error
        raise
    if missing := list_missing(settings):
        raise DataError(f"{config}: {'; '.join(missing)}")
    hub_names = list_hub_names(settings)
    if hub_names and not json:
        echo(f"{config}: not here, so taken for a name on the hub, which was not asked: {'; '.join(hub_names)}")
    return {"file": config, "ok": True, **({"on_hub": hub_names} if hub_names else {})}


@app.command()
@result_command(show_yaml)
def show(config: CONFIG, overrides: OVERRIDES = None, json: JSON = False) -> Result:
    """Print every setting with its effective value, defaults included."""
    settings: dict[str, Any] = load_settings(config, overrides, None).model_dump(mode="json")
    return settings


@app.command()
@result_command(show_indented)
def schema(
    block: Annotated[
        str | None, typer.Argument(metavar="[BLOCK]", help="A block such as ppo; by default the whole file.")
    ] = None,
    json: JSON = False,
) -> Result:
    """Print the JSON Schema of the settings."""
    from likelier.config import Config, list_blocks

    if block is None:
        return Config.model_json_schema()
    blocks = list_blocks()
    if block not in blocks:
        matches = difflib.get_close_matches(block, blocks, n=1) or sorted(blocks)
        raise ConfigError(f"config schema: no block `{block}`; try {', '.join(matches)}")
    return blocks[block].model_json_schema()
