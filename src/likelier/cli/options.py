"""Arguments and options shared by several commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

CONFIG = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings: `likelier config schema` lists them.")]
OVERRIDES = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.SUB=VALUE]...", help="Settings laid over the file.", show_default=False),
]
OUT = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder to write; by default runs/<config name>-<n>.")
]
RESUME = Annotated[
    str, typer.Option("--resume", metavar="auto|never|PATH", help="Go on from the newest checkpoint, or from PATH.")
]
ACCEPT_CHANGES = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="With --resume: go on although data, models, code or versions have changed; run.json records what.",
    ),
]
SEED = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Everything random follows from it; overrides the config.")
]
DB = Annotated[str, typer.Option("--db", metavar="DB", help="Feedback database: a path or a SQLAlchemy URL.")]
PROJECT = Annotated[
    str | None,
    typer.Option("--project", metavar="NAME", help="Project in the database; one that has only one needs no name."),
]
OVERWRITE = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output that exists; never an input or a database.")
]
DEVICE = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where the model runs.")]
MODEL_DTYPE = Annotated[
    Literal["float32", "bfloat16", "float16", "4bit", "8bit"],
    typer.Option("--model-dtype", metavar="TYPE", help="How weights are stored: bfloat16, 8bit, 4bit, ..."),
]
TEMPLATE_KWARGS = Annotated[
    str,
    typer.Option("--chat-template-kwargs", metavar="JSON", help='Arguments for the chat template: {"a": false}.'),
]
