"""Tables of rewards from YAML files: a tabular language model of the user's own."""

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
    """What a file says. Tokens are numbers from 0; a response or prefix is written as tokens with blanks between."""

    vocabulary: Annotated[int, Field(ge=2, le=8)]
    """How many tokens there are."""
    length: Annotated[int, Field(ge=1, le=4)]
    """Most tokens in a response."""
    end_token: int | None = None
    """The token that ends a response; None: every response has the full length."""
    beta: PositiveFloat = 0.5
    """Price of one nat of KL."""
    rewards: dict[str, Finite] = {}
    """Reward by response; the others get 0."""
    reference: dict[str, list[PositiveFloat]] = {}
    """The reference's probabilities of each token after a prefix ("" is the start); uniform after the others."""

    @model_validator(mode="after")
    def tokens_are_known(self) -> "TableFile":
        if self.end_token is not None and not 0 <= self.end_token < self.vocabulary:
            raise ValueError(f"end_token {self.end_token} is not one of the tokens 0 to {self.vocabulary - 1}")
        for prefix, probabilities in self.reference.items():
            if len(probabilities) != self.vocabulary or abs(sum(probabilities) - 1) > 1e-3:
                raise ValueError(f"reference: after `{prefix}` give {self.vocabulary} probabilities that sum to 1")
        return self


def read_table(path: Path) -> Table:
    """The table of a YAML file. DataError, ConfigError: what is wrong in one line."""
    try:
        said = TableFile.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "table"
        raise DataError(f"{path}: {field}: {first['msg'].removeprefix('Value error, ')}") from error
    logits = torch.zeros(sum(said.vocabulary**t for t in range(said.length)), said.vocabulary)
    for prefix, probabilities in said.reference.items():
        logits[state_of(prefix, said, path)] = torch.tensor(probabilities).log()
    model = TabularLM(said.vocabulary, said.length, logits, end_token=said.end_token)
    return Table(model, rewards_of(model, said, path), said.beta)


def rewards_of(model: TabularLM, said: TableFile, path: Path) -> Float[Tensor, " R"]:
    pairs = zip(model.responses.tolist(), model.masks.sum(1).tolist(), strict=True)
    rows = {tuple(tokens[:length]): row for row, (tokens, length) in enumerate(pairs)}
    rewards = torch.zeros(len(rows))
    for response, reward in said.rewards.items():
        row = rows.get(tokens_of(response, "rewards", path))
        if row is None:
            raise DataError(f"{path}: rewards: `{response}` is no whole response of {said.length} tokens at most")
        rewards[row] = reward
    return rewards


def state_of(prefix: str, said: TableFile, path: Path) -> int:
    """The row of a prefix in a table of logits."""
    tokens, V = tokens_of(prefix, "reference", path), int(said.vocabulary)
    if len(tokens) >= said.length or any(token not in range(V) or token == said.end_token for token in tokens):
        raise DataError(f"{path}: reference: `{prefix}` is no prefix that a token could follow")
    number = 0
    for token in tokens:
        number = number * V + token
    return sum(int(V**t) for t in range(len(tokens))) + number


def tokens_of(text: str, field: str, path: Path) -> tuple[int, ...]:
    words = text.split()
    if not all(word.isdecimal() for word in words):
        raise DataError(f"{path}: {field}: `{text}` is not a list of token numbers, such as `1 0`")
    return tuple(map(int, words))
