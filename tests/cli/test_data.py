"""`likelier data`: its help names the formats that there are."""

import typer

from likelier.cli import app
from likelier.cli.reference import list_commands
from likelier.feedback.formats import FORMATS


def test_the_help_names_every_format():
    """The list stands in the help by itself, so that `--help` does not import the database."""
    commands = dict(list_commands(typer.main.get_command(app).commands))
    for name in ("data import", "data export"):
        (option,) = (parameter for parameter in commands[name].params if "--format" in parameter.opts)
        assert option.help == f"{', '.join(FORMATS)}."
