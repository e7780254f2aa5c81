"""JSON lines between the server and the process that generates; neither runs code of the other."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from likelier.records import Text

if TYPE_CHECKING:  # the server does without the settings of training
    from likelier.config import ModelDtype


@dataclass(frozen=True)
class GenerationSettings:
    """First line to the process: which policies it loads, and how it samples from them."""

    policies: tuple[str, ...]
    """Model folders, run folders, folders of circles, or names of hub models."""
    temperature: float | None = None
    """None, without `top_p`: as the policy's generation_config.json says, or else 1."""
    top_p: float | None = None
    response_length: int | None = None
    """Most tokens in a response; None: `DEFAULT_LENGTH`, or half of what the model can read if that is less."""
    device: str = "auto"
    model_dtype: "ModelDtype" = "float32"
    """How weights are stored."""

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


class Item(NamedTuple):
    """A prompt to be answered once by the policy of a number."""

    policy: int
    prompt: Text


class Sampled(NamedTuple):
    """A response, or a reason why there is none: `too_long`, `not_loaded` or `failed`."""

    text: str = ""
    stop_reason: str = ""
    model: str = ""
    error: str = ""


def write_line(record: dict[str, Any]) -> bytes:
    """Return a record as a line."""
    return json.dumps(record).encode("ascii") + b"\n"


def read_line(line: bytes) -> dict[str, Any]:
    """Return the record of a line. ValueError: it is none."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("a line is not a JSON object")
    return record
