"""Training examples for SFT, from TRL's formats, preferences or plain text, as token sequences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from likelier.errors import DataError
from likelier.files import read_jsonl, read_lines
from likelier.files.json_text import list_fields
from likelier.records import Text, check_text, to_plain_text
from likelier.text.tokens import encode, encode_with_response, end_id

SEPARATOR = "<|endoftext|>"
SHAPES = "`prompt` with `completion` or `chosen`, `messages`, or `text`"


@dataclass(frozen=True)
class Example:
    """A response to a prompt, or a plain text (`prompt` None)."""

    prompt: Text | None
    response: str

    @property
    def full_text(self) -> str:
        """Prompt and response, concatenated."""
        return self.response if self.prompt is None else to_plain_text(self.prompt) + self.response


class TokenizedExample(NamedTuple):
    """A token sequence; the tokens from `start` on are training targets."""

    tokens: list[int]
    start: int


def read_examples(path: Path) -> list[Example]:
    """Read the examples of a file: JSON lines in one of TRL's formats, or `.txt` with `<|endoftext|>` between texts.

    Each assistant turn in `messages` is an example that answers the turns before it. A preference yields its chosen
    response, a tie nothing; of a folder `train.jsonl` is read. DataError names the line.
    """
    path = path / "train.jsonl" if path.is_dir() else path
    if path.name.removesuffix(".gz").endswith(".txt"):
        examples = [Example(None, text.strip()) for text in read_text(path).split(SEPARATOR) if text.strip()]
    else:
        examples = [example for number, record in read_jsonl(path) for example in parse_record(path, number, record)]
    if not examples:
        raise DataError(f"{path}: nothing to learn from; give {SHAPES} on each line, or a .txt file")
    return examples


def read_text(path: Path) -> str:
    """Read a whole text file, including the blank lines that `read_lines` skips."""
    lines = dict(read_lines(path))
    return "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))


def parse_record(path: Path, number: int, record: dict[str, Any]) -> list[Example]:
    """The examples in one record."""
    if "completion" in record:
        return [parse_answer(path, number, record, "completion")]
    if "chosen" in record:
        return parse_preference(path, number, record)
    if "messages" in record:
        return parse_dialogue(path, number, record)
    if "text" in record:
        text = check_text(path, number, record, "text")
        if isinstance(text, str):
            return [Example(None, text)]
    raise DataError(f"{path}:{number}: expected {SHAPES}, found {list_fields(record)}")


def parse_answer(path: Path, number: int, record: dict[str, Any], key: str) -> Example:
    """Parse `prompt` and the answer under `key`: a text, or one assistant message."""
    answer = check_text(path, number, record, key)
    if not isinstance(answer, str) and [turn["role"] for turn in answer] != ["assistant"]:
        raise DataError(f"{path}:{number}: `{key}` must be a text or one message of the assistant")
    response = answer if isinstance(answer, str) else answer[0]["content"]
    return Example(check_text(path, number, record, "prompt"), response)


def parse_preference(path: Path, number: int, record: dict[str, Any]) -> list[Example]:
    """Parse the chosen response; none for a tie. Response or prompt may be empty, but not both."""
    empty = [key for key in ("prompt", "chosen") if record.get(key) == ""]
    if record.get("target", 1.0) == 0.5 or len(empty) == 2:
        return []
    if empty == ["prompt"]:
        return [Example(None, str(record["chosen"]))]
    if empty == ["chosen"]:
        return [Example(check_text(path, number, record, "prompt"), "")]
    return [parse_answer(path, number, record, "chosen")]


def parse_dialogue(path: Path, number: int, record: dict[str, Any]) -> list[Example]:
    """Parse one example per assistant turn."""
    turns = check_text(path, number, record, "messages")
    if isinstance(turns, str):
        raise DataError(f"{path}:{number}: `messages` must be a list of messages with role and content")
    answers = [index for index, turn in enumerate(turns) if turn["role"] == "assistant" and index > 0]
    examples = [Example(turns[:index], turns[index]["content"]) for index in answers]
    if not examples:
        raise DataError(f"{path}:{number}: `messages` holds no answer of the assistant")
    return examples


def tokenize_examples(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int
) -> tuple[list[TokenizedExample], int]:
    """Return token sequences of at most `max_length`, and the number of responses truncated or left out.

    After a prompt only the response and its end token are targets. In a plain text all tokens but the first are; a long
    text is split into several sequences.
    """
    tokenized, num_cut = [], 0
    for example in examples:
        if example.prompt is None:
            (row,) = encode(tokenizer, [example.response])
            tokenized += cut_text([*row, end_id(tokenizer)], max_length)
            continue
        prompt, response = encode_with_response(tokenizer, example.prompt, example.response, end=True)
        num_cut += len(prompt) + len(response) > max_length
        if len(prompt) < max_length:
            tokenized.append(TokenizedExample((prompt + response)[:max_length], max(1, len(prompt))))
    return tokenized, num_cut


def cut_text(tokens: list[int], max_length: int) -> list[TokenizedExample]:
    """Split a text into sequences of `max_length`; a last one of a single token has no target and is dropped."""
    cuts = [tokens[start : start + max_length] for start in range(0, len(tokens), max_length)]
    return [TokenizedExample(piece, 1) for piece in cuts if len(piece) > 1]
