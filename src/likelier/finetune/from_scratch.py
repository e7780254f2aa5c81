"""A small language model from scratch: a tokenizer trained on the text, and random weights from a seed."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers import PreTrainedTokenizerFast as FastTokenizer

from likelier.errors import ConfigError
from likelier.text.models import disable_dropout, is_causal, load_tokenizer
from likelier.text.words import UNSPACED

PAD, UNKNOWN, BEGIN, END = SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
CHARACTER = UNSPACED.pattern
PIECES = {
    "words": rf" ?{CHARACTER}\p{{M}}*| ?(?:(?!{CHARACTER})[\p{{L}}\p{{M}}'])+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]|\s+",
    "characters": r"[\s\S]",
}
"""Pattern of one token. A word includes the blank before it, so that the tokens concatenate to the text again. In
scripts that put no blanks between words each character is a word, with its marks: a sentence would be one otherwise."""


def new_tokenizer(kind: str, texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a tokenizer on `texts`: `words`, `characters`, or `bpe` (byte-level, so that no text is unknown).

    Any other `kind` is a model folder whose tokenizer is loaded.

    ConfigError: `vocab_size` is too small. DataError: no such folder.
    """
    if kind == "bpe":
        return to_transformers(train_bpe(texts, vocab_size))
    if kind in PIECES:
        return to_transformers(count_pieces(PIECES[kind], texts, vocab_size))
    return load_tokenizer(kind)


def count_pieces(pattern: str, texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Build a vocabulary of the most frequent pieces, ties in alphabetical order for determinism."""
    if vocab_size <= len(SPECIAL):
        raise ConfigError(f"sft.vocab_size: {vocab_size} leaves no room beside {len(SPECIAL)} special tokens")
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    counts = Counter(piece for text in texts for piece, _ in cut.pre_tokenize_str(text))
    common = sorted(counts, key=lambda piece: (-counts[piece], piece))
    entries = [*SPECIAL, *common[: vocab_size - len(SPECIAL)]]
    tokenizer = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(entries)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def train_bpe(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Train byte-level byte-pair encoding, as in GPT-2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(alphabet) + len(SPECIAL):
        raise ConfigError(f"sft.vocab_size: bpe needs at least {len(alphabet) + len(SPECIAL)}, got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def to_transformers(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    """Wrap the tokenizer for transformers; it prepends the beginning-of-text token to every text."""
    begin = [(BEGIN, tokenizer.token_to_id(BEGIN))]
    tokenizer.post_processor = processors.TemplateProcessing(f"{BEGIN} $A", f"{BEGIN} $A $B", begin)
    return FastTokenizer(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )


def new_causal_lm(architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Create a language model with random weights; `architecture` is a Hugging Face config with a `model_type`.

    Vocabulary and special tokens are the tokenizer's. ConfigError: an unknown type or setting, or incompatible sizes.
    """
    settings = dict(architecture)
    model_type = settings.pop("model_type", None)
    try:
        known = AutoConfig.for_model(str(model_type)).to_dict()
    except ValueError as error:
        raise ConfigError(f"sft.architecture.model_type: transformers has no {model_type!r}; try llama") from error
    for name in settings:
        if name not in known:
            matches = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{matches[0]}`?" if matches else ""
            raise ConfigError(f"sft.architecture: {model_type} has no setting `{name}`{hint}")
    settings |= {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return init_weights(model_type, settings, seed)


def init_weights(model_type: str, settings: Mapping[str, Any], seed: int) -> PreTrainedModel:
    """Initialise the weights from a seed; torch's global generator, which transformers uses, is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            config = disable_dropout(AutoConfig.for_model(model_type, **settings))
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
            causal = is_causal(model)
        except (StrictDataclassError, ValueError, TypeError, RuntimeError, ArithmeticError, AssertionError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"sft.architecture: {model_type} cannot be built so: {reason[:300]}") from error
    if not causal:
        raise ConfigError(f"sft.architecture: {model_type} reads texts in both directions and cannot write; try llama")
    return model
