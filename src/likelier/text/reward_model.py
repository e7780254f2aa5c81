"""A reward model: a sequence classifier with one label, from text to score."""

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from likelier.distributed import SHARDED
from likelier.errors import DataError
from likelier.records import Text
from likelier.text.attribution import Attribution, gradient_times_input
from likelier.text.convention import always_begins, mark_made
from likelier.text.conversation import render
from likelier.text.models import (
    UNLIMITED,
    context_length,
    is_causal,
    load_partly,
    load_pretrained,
    load_safely,
    load_tokenizer,
    prepare_config,
    try_out,
    vocabulary_size,
)
from likelier.text.padding import PAD, pad_right, to_right_padding, unpadded_inputs
from likelier.text.tokens import check_in_vocabulary, encode, encode_conversations, find_begin, spell_each_token
from likelier.training.setup import autocast


class Reading(NamedTuple):
    """Scores and hidden states of some responses by a reward model, on the CPU."""

    scores: Float[Tensor, "H B"]
    """The score of each response by each head, most often a single one."""
    features: Float[Tensor, "B D"]
    """The hidden state of each response that the heads read."""


class RewardModel(nn.Module):
    """Scores responses at the last real token, found by the mask rather than by a padding id.

    A text is a prompt with its response (see `encode_conversations`); long texts are truncated on the left, keeping the
    tokens that begin every text. With several heads on one trunk (see `text/reward_heads.py`) their mean is the score.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.max_length = min(max_length or UNLIMITED, context_length(model))
        self.vocabulary_size = vocabulary_size(model)
        self.pad_id = choose_pad_id(tokenizer, self.vocabulary_size)
        trunk: Any = model.base_model
        self.is_causal = "score" in dict(model.named_children()) and is_causal(trunk)
        """Causal decoders have a head of this name (GenericForSequenceClassification); encoders pool."""
        self.can_pad = self.is_causal or (not model.config.is_encoder_decoder and ignores_padding(model))
        """False where a text must be run alone: T5 and BART count end tokens, XLNet reads the last place."""
        self.head_name = name_score_head(model)
        self.new_layers: list[str] = []
        """Other layers that the base has no weights for, as the pooler of some encoders: drawn at random."""

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    def encode(
        self, prompts: Sequence[Text], responses: Sequence[str]
    ) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
        """Encode prompts with their responses, right-padded, with their mask."""
        rows = encode_conversations(self.tokenizer, prompts, responses)
        check_in_vocabulary(self.tokenizer, rows, self.vocabulary_size, self.model.name_or_path)
        tokens, mask = pad_right([self.cut(row) for row in rows], self.pad_id)
        return tokens.to(self.device), mask.to(self.device)

    def cut(self, row: list[int]) -> list[int]:
        """The last `max_length` tokens; encoders read their score at the token that begins the text, so it stays."""
        begin = [] if always_begins(self.tokenizer) else find_begin(self.tokenizer)
        kept = begin if begin and row[: len(begin)] == begin and len(begin) < self.max_length < len(row) else []
        return kept + row[len(kept) :][-(self.max_length - len(kept)) :]

    @property
    def head(self) -> nn.Linear:
        """The last layer, from hidden states to scores."""
        head = self.model.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear), self.head_name
        return head

    def forward(self, tokens: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """Scores of texts padded on either side; differentiable."""
        scores, _ = self.read_tokens(tokens, mask)
        return scores[:, 0] if scores.shape[1] == 1 else scores.mean(1)

    def read_tokens(
        self, tokens: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B D"]]:
        """Return the scores of each head, and the hidden states that they read; differentiable."""
        tokens, mask = to_right_padding(tokens, mask)
        read: list[Tensor] = []
        # Architectures differ in what they put between trunk and head; what the head is given is the same for all.
        hook = self.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            logits = self.run(tokens, mask)
        finally:
            hook.remove()
        return logits.float(), torch.cat(read).float()

    def run(self, tokens: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B H"]:
        """Logits of texts padded on the right."""
        with autocast(self.device, SHARDED.get(self, False)):  # layers gathered in bfloat16 run in nothing else
            return self.run_trunk(tokens, mask)

    def run_trunk(self, tokens: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B H"]:
        """Logits of texts padded on the right, in the precision of those who ask."""
        if self.is_causal:
            hidden = self.model.base_model(**unpadded_inputs(tokens)).last_hidden_state
            last = hidden[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
            logits: Tensor = self.model.get_submodule("score")(last)
        elif self.can_pad:
            logits = self.model(input_ids=tokens, attention_mask=mask.long()).logits
        else:
            texts = [row[real][None] for row, real in zip(tokens, mask, strict=True)]
            logits = torch.cat([self.model(input_ids=text).logits for text in texts])
        return logits

    def score(self, prompts: Sequence[Text], responses: Sequence[str], batch_size: int = 64) -> Float[Tensor, " B"]:
        """Scores of responses on the CPU, in the order given; of several heads the mean."""
        scores = self.read(prompts, responses, batch_size).scores
        return scores[0] if len(scores) == 1 else scores.mean(0)

    @torch.no_grad()
    def read(self, prompts: Sequence[Text], responses: Sequence[str], batch_size: int = 64) -> Reading:
        """Read responses, in the order given; texts of similar length share a batch."""
        tokens, mask = self.encode(prompts, responses)
        scores = torch.zeros(len(tokens), self.head.out_features)
        features = torch.zeros(len(tokens), self.head.in_features)
        for rows, width in group_by_length(mask, batch_size):
            found = self.read_tokens(tokens[rows, :width], mask[rows, :width])
            scores[rows.cpu()], features[rows.cpu()] = (each.cpu() for each in found)
        return Reading(scores.T.contiguous(), features)

    def features(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "B D"]:
        """Inputs of the last layer on the CPU, in the order given: a score is their product with its weights."""
        return self.read(prompts, responses).features

    def attribute(self, prompt: Text, response: str, head: int | None = None) -> Attribution:
        """Return the part of each token of a text in the score of a head, by default in the mean of all.

        See `gradient_times_input`. The prompt's tokens are those in front that the text has in common with the prompt
        alone.
        """
        tokens, mask = self.encode([prompt], [response])

        def score() -> Float[Tensor, ""]:
            scores = self.read_tokens(tokens, mask)[0][0]
            return scores.mean() if head is None else scores[head]

        parts = gradient_times_input(self.model.get_input_embeddings(), score)
        (whole,) = encode_conversations(self.tokenizer, [prompt], [response])
        (asked,) = encode(self.tokenizer, [render(self.tokenizer, prompt)])
        shared = next((at for at, pair in enumerate(zip(whole, asked, strict=False)) if pair[0] != pair[1]), len(asked))
        ids = tokens[0].tolist()
        begin = max(0, shared - (len(whole) - len(ids)))  # what is cut is cut at the beginning
        return Attribution(spell_each_token(self.tokenizer, [ids])[0], parts.tolist(), begin)


def group_by_length(mask: Bool[Tensor, "B N"], batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield the rows of each batch, texts of similar length together, and the tokens of its longest text."""
    for rows in mask.sum(1).argsort(descending=True).split(batch_size):
        yield rows, int(mask[rows].sum(1).max())


def load_reward_model(
    path: str | Path, device: torch.device | str = "cpu", max_length: int | None = None
) -> RewardModel:
    """Load a sequence classifier with one label. DataError: see `check_model_folder`, or another number of labels."""
    with load_safely(path) as options:
        config = AutoConfig.from_pretrained(path, **options)
    if config.num_labels != 1:
        raise DataError(
            f"{path}: {config.num_labels} labels; a reward model has exactly 1: give one that `likelier reward` trained"
        )
    model = load_pretrained(AutoModelForSequenceClassification, path, device)
    tokenizer = load_tokenizer(path)
    with try_out(path):
        return RewardModel(model, tokenizer, max_length).eval()


def new_reward_model(
    base: str | Path,
    device: torch.device | str = "cpu",
    max_length: int | None = None,
    generator: torch.Generator | None = None,
    from_scratch: bool = False,
    tokenizer_folder: str | None = None,
) -> RewardModel:
    """Make a reward model from the trunk of any base, with a new head (see `init_score_head`).

    `from_scratch`: random weights (from torch's global generator) of the base's architecture. `tokenizer_folder`: where
    its tokenizer is, if not with the base.
    """
    tokenizer = load_tokenizer(tokenizer_folder or base)
    mark_made(tokenizer)
    if from_scratch:
        with load_safely(base) as options:
            config = prepare_config(AutoConfig.from_pretrained(base, num_labels=1, **options))
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        missing: Collection[str] = ()
    else:
        model, missing = load_partly(AutoModelForSequenceClassification, base, num_labels=1)
    model.config.pad_token_id = choose_pad_id(tokenizer, vocabulary_size(model))
    with try_out(base):
        reward = RewardModel(model.eval(), tokenizer, max_length)
    reward.new_layers = sorted({key.rpartition(".")[0] for key in missing} - {reward.head_name})
    init_score_head(model, generator)
    return reward.to(device).eval()


@torch.no_grad()
def ignores_padding(model: PreTrainedModel) -> bool:
    """True if masked right padding does not change the output; tested on one short text."""
    text = torch.arange(5, 8, device=model.device)[None] % vocabulary_size(model)
    padded, mask = nn.functional.pad(text, (0, 2), value=PAD), nn.functional.pad(torch.ones_like(text), (0, 2))
    alone, beside = model(input_ids=text).logits, model(input_ids=padded, attention_mask=mask).logits
    return torch.allclose(alone, beside, rtol=1e-3, atol=1e-3, equal_nan=True)


def choose_pad_id(tokenizer: PreTrainedTokenizerBase, vocabulary_size: int) -> int:
    """Return the padding token, else the end token, if the model has an embedding for it; else any valid id.

    transformers' sequence classifiers use it to find the last token of a text, and some encoders to number positions.
    """
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((each for each in ids if each is not None and each < vocabulary_size), PAD)


def init_score_head(model: nn.Module, generator: torch.Generator | None) -> None:
    """Reinitialise the last layer with one output: normal, standard deviation 1/sqrt(d + 1), bias 0.

    Stiennon et al. 2020, "Learning to summarize from human feedback", appendix B.1: scores then start near 0.
    """
    head = find_score_head(model)
    nn.init.normal_(head.weight, std=1.0 / math.sqrt(head.in_features + 1), generator=generator)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def find_score_head(model: nn.Module) -> nn.Linear:
    """Return the last layer that has one output."""
    head = model.get_submodule(name_score_head(model))
    assert isinstance(head, nn.Linear)
    return head


def name_score_head(model: nn.Module) -> str:
    """Return the name of the last linear layer with one output."""
    layers: list[tuple[str, nn.Module]] = list(model.named_modules())
    return [name for name, layer in layers if isinstance(layer, nn.Linear) and layer.out_features == 1][-1]
