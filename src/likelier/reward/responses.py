"""Responses to be scored, with prompts and columns; and the scores of each source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from likelier.records import Prompt, column_names
from likelier.text.sampler import Samples
from likelier.text.tokens import decode_each_token


@dataclass(frozen=True)
class ResponseBatch:
    """Responses to score, one per prompt."""

    prompts: Sequence[Prompt]
    texts: Sequence[str]
    token_ids: Sequence[Sequence[int]] | None = None
    """Of each response, its end token among them; None where only the texts are known."""
    token_texts: Sequence[Sequence[str]] | None = None
    """The same tokens as texts; None unless a source reads them."""

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """Return the prompts' columns, one value per response; None where a prompt lacks the column."""
        return {name: [each.extra.get(name) for each in self.prompts] for name in column_names(self.prompts)}

    @classmethod
    def from_samples(
        cls,
        prompts: Sequence[Prompt],
        samples: Samples,
        tokenizer: PreTrainedTokenizerBase,
        with_token_texts: bool = False,
    ) -> "ResponseBatch":
        """Make a batch of sampled responses. Decoding each token separately is slow and therefore optional."""
        lengths = samples.mask.sum(1).tolist()
        ids = [row[:length] for row, length in zip(samples.tokens.tolist(), lengths, strict=True)]
        return cls(prompts, samples.texts, ids, decode_each_token(tokenizer, ids) if with_token_texts else None)


class SourceScores(NamedTuple):
    """The scores of one source."""

    values: Float[Tensor, " B"] | Float[Tensor, "B T"]
    """One number per response, or one per token (0 after the last); 0 where the source left the response out."""
    scored: Bool[Tensor, " B"]
    """True where the source scored the response; a function leaves one out by returning None for it."""
    disagreement: Float[Tensor, " B"] | None = None
    """Standard deviation between the models of an ensemble; None for any other source."""
    rated: Bool[Tensor, " B"] | None = None
    """True where people rated the response, False where a model of their ratings scored it; None: others score here."""
    signs: dict[str, Float[Tensor, " B"]] = {}
    """Signs that a reward model was not trained on such responses, by name; see reward/out_of_distribution.py."""

    def with_nan(self) -> Float[Tensor, " B"]:
        """Scores of whole responses, NaN where the source gave none."""
        return torch.where(self.scored.to(self.values.device), self.values, torch.nan)

    def only_scored(self) -> Float[Tensor, " N"]:
        """Return the scores of the responses that the source scored."""
        return self.values[self.scored.to(self.values.device)]


Source = Callable[[ResponseBatch], SourceScores]


def score_all(
    values: Float[Tensor, " B"],
    disagreement: Float[Tensor, " B"] | None = None,
    signs: dict[str, Float[Tensor, " B"]] | None = None,
) -> SourceScores:
    """Wrap the scores of a source that scores every response."""
    return SourceScores(values, torch.ones(len(values), dtype=torch.bool), disagreement, signs=signs or {})


@dataclass(frozen=True)
class LoggedValues:
    """Values logged by reward functions in one call of the scorer (TRL's `log_metric` and `log_extra`)."""

    metrics: dict[str, float] = field(default_factory=dict)
    """By name; the mean, where a name was logged several times."""
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """By name; one value per response."""


class JudgedBatch(NamedTuple):
    """The scores of a batch, by source."""

    batch: ResponseBatch
    by_source: dict[str, SourceScores]
    """Unweighted; of a source per token the sum over the tokens."""
    at_tokens: Float[Tensor, "B T"] | None
    """The weighted sum of the sources per token; None without any."""
    logged: LoggedValues

    @property
    def unweighted(self) -> dict[str, Float[Tensor, " B"]]:
        """Unweighted scores by source; 0 where a source gave none."""
        return {name: scores.values for name, scores in self.by_source.items()}

    @property
    def awaits_people(self) -> bool:
        """True if people are the only source, and have rated nothing yet that a model could be fitted to."""
        return all(scores.rated is not None and not scores.scored.any() for scores in self.by_source.values())

    def scored_by(self, name: str) -> Float[Tensor, " N"]:
        """The scores of one source, for those responses that it scored."""
        return self.by_source[name].only_scored()
