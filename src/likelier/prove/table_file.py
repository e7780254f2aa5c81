"""Reader of YAML files with a user's own tabular language model and rewards."""

from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from likelier.config import Block, PositiveFloat, read_yaml
from likelier.errors import DataError
from likelier.prove.fixed_points import Table
from likelier.prove.tabular_lm import TabularLM

Finite = Annotated[float, Field(allow_inf_nan=False)]


class TableFile(Block):
    """Fields of a table file. Tokens are numbers from 0; a response or prefix is its tokens separated by blanks."""

    vocabulary: Annotated[int, Field(ge=2, le=8)]
    """Number of tokens."""
    length: Annotated[int, Field(ge=1, le=4)]
    """Maximum number of tokens in a response."""
    end_token: int | None = None
    """The token that ends a response; None: every response has the full length."""
    beta: PositiveFloat = 0.5
    """KL coefficient: reward per nat."""
    rewards: dict[str, Finite] = {}
    """Reward by response; 0 for the others."""
    reference: dict[str, list[PositiveFloat]] = {}
    """Reference probabilities of each token by prefix ("" is the start); uniform after the others."""

    @model_validator(mode="after")
    def check_tokens(self) -> "TableFile":
        """Tokens and prefixes lie within the vocabulary."""
        if self.end_token is not None and not 0 <= self.end_token < self.vocabulary:
            raise ValueError(f"end_token {self.end_token} is not one of the tokens 0 to {self.vocabulary - 1}")
        for prefix, probabilities in self.reference.items():
            if len(probabilities) != self.vocabulary or abs(sum(probabilities) - 1) > 1e-3:
                raise ValueError(f"reference: after `{prefix}` give {self.vocabulary} probabilities that sum to 1")
        return self


def read_table(path: Path) -> Table:
    """Read a table from a YAML file. ConfigError: not YAML; DataError: a field is wrong."""
    try:
        file = TableFile.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "table"
        raise DataError(f"{path}: {field}: {first['msg'].removeprefix('Value error, ')}") from error
    logits = torch.zeros(sum(file.vocabulary**t for t in range(file.length)), file.vocabulary)
    for prefix, probabilities in file.reference.items():
        logits[parse_state(prefix, file, path)] = torch.tensor(probabilities).log()
    model = TabularLM(file.vocabulary, file.length, logits, end_token=file.end_token)
    return Table(model, parse_rewards(model, file, path), file.beta)


def parse_rewards(model: TabularLM, file: TableFile, path: Path) -> Float[Tensor, " R"]:
    """Return the rewards in the order of the model's responses."""
    pairs = zip(model.responses.tolist(), model.masks.sum(1).tolist(), strict=True)
    rows = {tuple(tokens[:length]): row for row, (tokens, length) in enumerate(pairs)}
    rewards = torch.zeros(len(rows))
    for response, reward in file.rewards.items():
        row = rows.get(parse_tokens(response, "rewards", path))
        if row is None:
            raise DataError(f"{path}: rewards: `{response}` is not a complete response of {file.length} tokens at most")
        rewards[row] = reward
    return rewards


def parse_state(prefix: str, file: TableFile, path: Path) -> int:
    """Return the row of a prefix in the table of logits."""
    tokens, V = parse_tokens(prefix, "reference", path), int(file.vocabulary)
    if len(tokens) >= file.length or any(token not in range(V) or token == file.end_token for token in tokens):
        raise DataError(f"{path}: reference: `{prefix}` is not a prefix that a token could follow")
    code = 0
    for token in tokens:
        code = code * V + token
    return sum(int(V**t) for t in range(len(tokens))) + code


def parse_tokens(text: str, field: str, path: Path) -> tuple[int, ...]:
    """Parse token numbers separated by blanks."""
    words = text.split()
    if not all(word.isdecimal() for word in words):
        raise DataError(f"{path}: {field}: `{text}` is not a list of token numbers, such as `1 0`")
    return tuple(map(int, words))
