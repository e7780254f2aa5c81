"""Data files of the tests, and the turns in them."""

import json
from pathlib import Path
from typing import Any

from likelier.files import write_jsonl

Line = dict[str, Any]


def write(path: Path, *records: Line) -> Path:
    write_jsonl(path, records)
    return path


def lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_bytes().decode().splitlines()]


def user(text: str) -> Line:
    return {"role": "user", "content": text}


def assistant(text: str) -> Line:
    return {"role": "assistant", "content": text}
