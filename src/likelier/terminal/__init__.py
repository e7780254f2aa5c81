"""Output to a terminal: each line goes through `echo`, each table through `print_table`; ends by signals."""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys instead of showing them: control characters except tab and line end, and those that
change the direction of what stands around them (Unicode's bidirectional embeddings, overrides and isolates)."""


def escape_controls(text: str) -> str:
    r"""Return a text as it is shown: `\u001b[2J` for the sequence that would clear the screen.

    Prompts, names of people and of files, and what other programs report may hold such. Within a JSON text the escape
    means the same character.
    """
    return CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def echo(text: object = "", file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Print a text with its control characters escaped, on stdout unless `file` is given."""
    print(escape_controls(str(text)), file=file, end=end, flush=flush)


def print_stderr(line: str) -> None:
    """Print a line on stderr at once."""
    echo(line, file=sys.stderr, flush=True)


def print_columns(heads: Sequence[str], texts: Sequence[str]) -> None:
    """Print texts side by side, each below its head, in columns of the same width."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True, padding=(0, 2))
    for head in heads:
        table.add_column(escape_controls(head), ratio=1, overflow="fold")
    table.add_row(*map(escape_controls, texts))
    Console(markup=False).print(table, "", sep="\n")


def print_table(
    columns: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]], right_aligned: Sequence[str] = ()
) -> None:
    """Print rows of cells without lines between them, and an empty line; a row is red if its second part says so."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(escape_controls(column), justify="right" if column in right_aligned else "left")
    for cells, is_red in rows:
        table.add_row(*map(escape_controls, cells), style="red" if is_red else None)
    Console(markup=False).print(table, "", sep="\n")
