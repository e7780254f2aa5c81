"""Language and reward models: load, save, copy; a value head; a reward model as an object that scores text."""

import contextlib
import copy
import math
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation
from transformers.utils import logging

from likelier.errors import DataError
from likelier.files import read_json, write_json
from likelier.records import Text
from likelier.text.model_folder_check import check_model_folder, hub_answers
from likelier.text.tokens import encode, end_id, pad_id, pad_right, render
from likelier.training.state import as_os_errors

UNLIMITED = 1 << 30


@contextlib.contextmanager
def loading(path: str | Path) -> Iterator[dict[str, Any]]:
    """Check a folder, keep transformers quiet, and turn what it says against the model into one line.

    Gives the arguments that every `from_pretrained` takes: never code from the folder; the hub only where it answers.
    """
    check_model_folder(path)
    asks = not Path(path).is_dir()
    try:
        with quiet():
            yield {"trust_remote_code": False, "local_files_only": asks and not hub_answers()}
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split()).partition(" Model type should be one of")[0]
        if asks and not hub_answers():
            reason = "no such folder, and of a hub model there is no copy here and the hub does not answer"
        raise DataError(f"{path}: cannot load this model: {reason[:300]}; give a folder or hub name") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no progress bars from transformers."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. DataError: see `check_model_folder`, or there is none."""
    with loading(path) as safe:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, **safe)
    return tokenizer


def load_causal_lm(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """A language model in float32, in evaluation mode, its dropout set to 0. DataError: see `check_model_folder`."""
    return load(AutoModelForCausalLM, path, device)


def load_trunk(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """A language or reward model without its head: where a critic starts. DataError: see `check_model_folder`."""
    return load(AutoModel, path, device)


def load(auto: Any, path: str | Path, device: torch.device | str, **settings: Any) -> PreTrainedModel:
    """A model of one of transformers' Auto classes, with `settings` laid over its config."""
    with loading(path) as safe:
        config = without_dropout(AutoConfig.from_pretrained(path, **safe, **settings))
        if config.is_encoder_decoder and auto is not AutoModelForSequenceClassification:
            raise DataError(f"{path}: {config.model_type} has an encoder and a decoder; give a decoder-only model")
        model: PreTrainedModel
        model, found = auto.from_pretrained(
            path, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **safe
        )
    if not settings:  # else a new head is asked for
        check_complete(path, config, found["missing_keys"])
    nn.Module.to(fused(model).eval(), device)
    return model


def check_complete(path: str | Path, config: PreTrainedConfig, missing: Collection[str]) -> None:
    """DataError: the folder lacks weights, which transformers has drawn at random; a pooler is not used here."""
    lacking = sorted(name for name in missing if "pooler" not in name)
    if lacking:
        named = ", ".join(config.architectures or ["another kind of model"])
        raise DataError(f"{path}: holds no weights for {lacking[0]}; it is a {named}: give a model of the kind needed")


def fused(model: PreTrainedModel) -> PreTrainedModel:
    """The model with GPT-2's activation as one kernel instead of eight: the same formula, a fifth of the memory."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU("tanh"))
    return model


def without_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same config with every dropout rate 0: PPO compares two passes over the same tokens."""
    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            without_dropout(value)
        elif isinstance(value, float) and ("dropout" in name or name.endswith(("pdrop", "drop"))):
            setattr(config, name, 0.0)
    return config


def context_length(model: PreTrainedModel) -> int:
    """Most tokens in one sequence; very large where the model knows no limit."""
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)  # absent in recurrent models
    return int(found) if found and found > 0 else UNLIMITED


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that no optimizer can change: the reference."""
    copied = copy.deepcopy(model)
    copied.requires_grad_(False).eval()
    return copied


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str) -> None:
    """Write a Hugging Face model folder, whole or not at all; `card`: a sentence on where the model comes from."""
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with quiet(), as_os_errors():
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(model_card(folder.name, model, card), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def model_card(name: str, model: PreTrainedModel, card: str) -> str:
    auto = "AutoModelForCausalLM" if model.can_generate() else "AutoModelForSequenceClassification"
    return f"""---
library_name: transformers
tags: [likelier]
---
# {name}

{card}

- architecture: {type(model).__name__}, {model.num_parameters():,} parameters
- load with: `transformers.{auto}.from_pretrained(folder)`
- made with: likelier
"""


class ValueHead(nn.Module):
    """Hidden state to the expected return from there; 0 at the start, so that training begins without a bias."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N"]:
        with torch.autocast(hidden.device.type, enabled=False):  # a value in bf16 would have three digits
            values: Tensor = self.linear(hidden.to(self.linear.weight.dtype)).squeeze(-1)
        return values


def save_value_head(folder: Path, head: ValueHead) -> None:
    """Write `value_head.safetensors` with `value_head.json` beside a model."""
    save_file(
        {name: tensor.contiguous() for name, tensor in head.state_dict().items()}, folder / "value_head.safetensors"
    )
    write_json(folder / "value_head.json", {"hidden_size": head.linear.in_features, "schema_version": 1})


def load_value_head(folder: Path) -> ValueHead:
    """What `save_value_head` wrote. DataError: not there."""
    head = ValueHead(read_json(folder / "value_head.json")["hidden_size"])
    head.load_state_dict(load_file(folder / "value_head.safetensors"))
    return head


class RewardModel(nn.Module):
    """A sequence classifier with one label and its tokenizer: text in, score out.

    The score is read at the last real token by the mask, never by looking for a padding id. A text is the rendered
    prompt, the response and the end token; one that is too long loses its beginning.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.max_length = min(max_length or UNLIMITED, context_length(model))
        self.reads_last = "score" in dict(model.named_children())
        """Causal decoders have a head of this name (GenericForSequenceClassification); encoders pool."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    def encode(
        self, prompts: Sequence[Text], responses: Sequence[str]
    ) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
        """Tokens of prompt, response and end token, padded on the right, with their mask."""
        texts = [render(self.tokenizer, prompt) + text for prompt, text in zip(prompts, responses, strict=True)]
        rows = [[*row, end_id(self.tokenizer)] for row in encode(self.tokenizer, texts)]
        tokens, mask = pad_right([row[-self.max_length :] for row in rows], pad_id(self.tokenizer))
        return tokens.to(self.device), mask.to(self.device)

    def forward(self, tokens: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """Scores of texts padded on either side; differentiable."""
        tokens, mask = to_right_padding(tokens, mask)
        if self.reads_last:
            hidden = self.model.base_model(**unpadded(tokens)).last_hidden_state
            last = mask.sum(1) - 1
            logits: Tensor = self.model.get_submodule("score")(
                hidden[torch.arange(len(last), device=last.device), last]
            )
        else:
            logits = self.model(input_ids=tokens, attention_mask=mask.long()).logits
        return logits[:, 0].float()

    def pair_scores(
        self, prompts: Sequence[Text], chosen: Sequence[str], rejected: Sequence[str]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Scores of both sides in one forward pass; differentiable."""
        both = self(*self.encode([*prompts, *prompts], [*chosen, *rejected]))
        return both[: len(chosen)], both[len(chosen) :]

    @torch.no_grad()
    def score(self, prompts: Sequence[Text], responses: Sequence[str], batch_size: int = 64) -> Float[Tensor, " B"]:
        """Scores of responses on the CPU, in the order given; batches are cut by length."""
        tokens, mask = self.encode(prompts, responses)
        scores = torch.zeros(len(tokens))
        for rows in mask.sum(1).argsort(descending=True).split(batch_size):
            width = int(mask[rows].sum(1).max())
            scores[rows.cpu()] = self(tokens[rows, :width], mask[rows, :width]).cpu()
        return scores


def to_right_padding(
    tokens: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]
) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """The same texts with all padding behind them."""
    order = (~mask).long().argsort(dim=1, stable=True)
    return tokens.gather(1, order), mask.gather(1, order)


def load_reward_model(
    path: str | Path, device: torch.device | str = "cpu", max_length: int | None = None
) -> RewardModel:
    """A sequence classifier with one label. DataError: see `check_model_folder`, or another number of labels."""
    with loading(path) as safe:
        config = AutoConfig.from_pretrained(path, **safe)
    if config.num_labels != 1:
        raise DataError(
            f"{path}: {config.num_labels} labels; a reward model has exactly 1: give one that `likelier reward` trained"
        )
    model = load(AutoModelForSequenceClassification, path, device)
    return RewardModel(model, load_tokenizer(path), max_length).eval()


def new_reward_model(
    base: str | Path,
    device: torch.device | str = "cpu",
    max_length: int | None = None,
    generator: torch.Generator | None = None,
    from_scratch: bool = False,
) -> RewardModel:
    """A reward model on the trunk of any base, with a new head: normal, standard deviation 1/sqrt(d + 1) (Stiennon
    et al. 2020). `from_scratch`: random weights (from torch's global generator) of the base's architecture.
    """
    tokenizer = load_tokenizer(base)
    if from_scratch:
        with loading(base) as safe:
            config = without_dropout(AutoConfig.from_pretrained(base, num_labels=1, **safe))
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    else:
        model = load(AutoModelForSequenceClassification, base, "cpu", num_labels=1)
    model.config.pad_token_id = pad_id(tokenizer)
    reward = RewardModel(model.eval(), tokenizer, max_length)
    draw_head(model, generator)
    return reward.to(device).eval()


def draw_head(model: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the last layer with one output anew."""
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == 1][-1]
    nn.init.normal_(head.weight, std=1.0 / math.sqrt(head.in_features + 1), generator=generator)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def unpadded(tokens: Int[Tensor, "B N"]) -> dict[str, Any]:
    """Inputs of a causal model over texts padded on the right: no token that counts sees one that does not.

    A mask of ones and not none, because transformers takes that for a mistake and warns.
    """
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "use_cache": False}


def positions(mask: Bool[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Position of each token in its text: counted from 0 at the first real token."""
    return (mask.long().cumsum(1) - 1).clamp_(min=0)


def precise(logits: Float[Tensor, "*N V"]) -> Float[Tensor, "*N V"]:
    """In float32, or in float64 where they are: a softmax over a vocabulary in bf16 would be off by percents."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
