"""Text to token ids and back: the tokens that begin and end a text, prompts with their responses."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from likelier.errors import DataError
from likelier.records import Text
from likelier.text.convention import always_begins, is_made_here
from likelier.text.conversation import TemplateText, render, render_answer, render_conversation, shorten
from likelier.text.padding import pad_left
from likelier.text.pictures import PictureInputs, process_pictures


class Prompts(NamedTuple):
    """Prompts padded on the left; True in `mask` is a token of the prompt."""

    tokens: Int[Tensor, "B P"]
    mask: Bool[Tensor, "B P"]
    pictures: PictureInputs | None = None
    """Of all rows; None if no prompt has a picture."""

    def to(self, device: torch.device) -> "Prompts":
        """Return the same on a device."""
        pictures = None if self.pictures is None else self.pictures.to(device)
        return Prompts(self.tokens.to(device), self.mask.to(device), pictures)

    def narrow(self, rows: Int[Tensor, " K"], width: int) -> "Prompts":
        """Return some rows, and of these the last `width` columns."""
        pictures = None if self.pictures is None else self.pictures[rows]
        return Prompts(self.tokens[rows, -width:], self.mask[rows, -width:], pictures)


class Affixes(NamedTuple):
    """The special tokens that a tokenizer puts around a plain text."""

    begin: list[int]
    end: list[int]


BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A byte, as SentencePiece's byte fallback names its token."""
PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
"""Bytes that stand for themselves in GPT-2's vocabulary; the others, in order, are the letters from U+0100 on."""
BYTE_LETTERS = {chr(byte): byte for byte in PRINTABLE} | {
    chr(0x100 + place): byte for place, byte in enumerate(sorted({*range(0x100)} - {*PRINTABLE}))
}
AFFIXES: WeakKeyDictionary[PreTrainedTokenizerBase, Affixes] = WeakKeyDictionary()
"""Result of `find_affixes` for each tokenizer."""


def find_affixes(tokenizer: PreTrainedTokenizerBase) -> Affixes:
    """Return the special tokens that a tokenizer puts around plain text, such as `[CLS]`; tried once on a letter."""
    if tokenizer not in AFFIXES:
        text, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        starts = [start for start in range(len(whole) - len(text) + 1) if whole[start : start + len(text)] == text]
        start = starts[0] if starts else len(whole)
        AFFIXES[tokenizer] = Affixes(whole[:start], whole[start + len(text) :])
    return AFFIXES[tokenizer]


def find_begin(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens in front of a plain text: the tokenizer's own; of models made before always the beginning token."""
    if always_begins(tokenizer):
        return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return find_affixes(tokenizer).begin


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of rendered texts, with the tokens that begin one in front, once, and none behind.

    A text from a chat template has what the template wrote, and nothing else. An empty text, which a model could not
    continue, has the beginning token if there is one.
    """
    if not texts:
        return []
    rows: list[list[int]] = tokenizer([str(text) for text in texts], add_special_tokens=False)["input_ids"]
    begin, everywhere = find_begin(tokenizer), always_begins(tokenizer)
    empty = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [
        row if row[: len(begin)] == begin or (isinstance(text, TemplateText) and not everywhere) else [*begin, *row]
        for text, row in zip(texts, (row or (begin or empty) for row in rows), strict=True)
    ]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Text], max_tokens: int, sources: Sequence[str] = ()
) -> Prompts:
    """Rendered prompts, padded on the left, with their pictures.

    `sources` names the file and line of each prompt for the error; without it a prompt is named by its number.
    DataError: the first prompt that has more than `max_tokens`, or none at all; see also `process_pictures`.
    """
    texts = [render(tokenizer, prompt) for prompt in prompts]
    rows = encode(tokenizer, texts)
    names = [
        f"{sources[number]}: the prompt" if sources and sources[number] else f"prompt {number + 1}"
        for number in range(len(prompts))
    ]
    rows, pictures = process_pictures(tokenizer, prompts, texts, rows, names)
    for name, row, prompt in zip(names, rows, prompts, strict=True):
        if len(row) > max_tokens:
            raise DataError(
                f"{name} has {len(row)} tokens, at most {max_tokens} fit: {shorten(prompt)}; "
                "shorten it or response_length"
            )
        if not row:
            raise DataError(f"{name} is empty and this tokenizer has no beginning token; write some text")
    return Prompts(*pad_left(rows), pictures)


def check_in_vocabulary(
    tokenizer: PreTrainedTokenizerBase, rows: Iterable[Sequence[int]], vocabulary_size: int, model: str | None
) -> None:
    """DataError: a token that the model has no embedding for, such as one that was added to the tokenizer alone."""
    outside = next((token for row in rows for token in row if token >= vocabulary_size), None)
    if outside is not None:
        name = tokenizer.convert_ids_to_tokens(outside)
        raise DataError(
            f"the token {name!r} has id {outside}, and {model or 'the model'} has embeddings for {vocabulary_size} "
            "tokens only; take it out of the texts, or resize the model's embeddings and train them"
        )


def encode_with_response(
    tokenizer: PreTrainedTokenizerBase, prompt: Text, response: str, end: bool
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and of a response to it; if `end`, closed by the chat template or the end token.

    Both are encoded as one text, as the model will read them; only where a token would span the border is the response
    encoded alone.
    """
    opening = render(tokenizer, prompt)
    answer, is_closed = render_answer(tokenizer, prompt, opening, response) if end else (response, False)
    prompt_ids, joined_ids = encode(tokenizer, [opening, opening + answer])
    size = len(prompt_ids)
    if joined_ids[:size] == prompt_ids:
        response_ids = joined_ids[size:]
    else:
        response_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return prompt_ids, response_ids + ([end_id(tokenizer)] if end and not is_closed else [])


def encode_conversations(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Text], responses: Sequence[str]
) -> list[list[int]]:
    """Token ids of prompts with their responses, as a reward model reads them.

    Messages stand as the chat template writes the whole conversation, plain texts between the tokenizer's own special
    tokens; where these end with none, a model that Likelier trained reads the end token behind them.
    """
    pairs = zip(prompts, responses, strict=True)
    texts = [render_conversation(tokenizer, prompt, response) for prompt, response in pairs]
    end = [] if always_begins(tokenizer) else find_affixes(tokenizer).end
    if not end and is_made_here(tokenizer):
        end = [end_id(tokenizer)]
    by_template = [isinstance(text, TemplateText) and not always_begins(tokenizer) for text in texts]
    return [
        (row if written else [*row, *end]) or [end_id(tokenizer)]
        for row, written in zip(encode(tokenizer, texts), by_template, strict=True)
    ]


def decode_responses(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> list[str]:
    """The text that each response adds to its prompt, without special tokens.

    Decoded together with the prompt: sentencepiece tokenizers drop a leading blank at the beginning of a text.
    """
    if not prompts:
        return []
    openings = decode(tokenizer, prompts)
    joined = decode(tokenizer, [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)])
    return [text[len(opening) :] for opening, text in zip(openings, joined, strict=True)]


def decode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """Texts of token ids without special tokens, blanks before punctuation as the tokens have them."""
    texts: list[str] = tokenizer.batch_decode(
        [list(row) for row in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return texts


def decode_each_token(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[list[str]]:
    """The text that each token adds: blanks as blanks, special tokens by their name, part of a letter as `\ufffd`.

    Each is decoded behind itself, because sentencepiece tokenizers drop a leading blank at the beginning of a text.
    """
    pieces: dict[int, str] = {}
    for token in {token for row in rows for token in row}:
        once, twice = (str(tokenizer.decode([token] * times, clean_up_tokenization_spaces=False)) for times in (1, 2))
        pieces[token] = twice[len(once) :]
    return [[pieces[token] for token in row] for row in rows]


def spell_each_token(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[list[str]]:
    """As `decode_each_token`, but bytes that are no whole letter are spelt out: `<0xE4><0xBD>`."""
    pieces: dict[int, str] = {}
    for row, texts in zip(rows, decode_each_token(tokenizer, rows), strict=True):
        for token, text in zip(row, texts, strict=True):
            if token not in pieces:
                name = str(tokenizer.convert_ids_to_tokens(token)) if "\ufffd" in text else ""
                pieces[token] = spell_bytes(name) or text
    return [[pieces[token] for token in row] for row in rows]


def spell_bytes(name: str) -> str:
    """Return the text of a token that holds bytes, from its name in the vocabulary: `<0xE4>` of SentencePiece's byte
    fallback, or letters that stand for bytes as in GPT-2's vocabulary. Empty if the name is of another kind.

    >>> spell_bytes("<0xE4>"), spell_bytes("Ġä½"), spell_bytes("中")
    ('<0xE4>', ' <0xE4><0xBD>', '')
    """
    if BYTE.fullmatch(name):
        return name
    if any(letter not in BYTE_LETTERS for letter in name):
        return ""
    text = bytes(BYTE_LETTERS[letter] for letter in name).decode("utf-8", "surrogateescape")
    # `surrogateescape` turns a byte b that is no UTF-8 into the code point 0xDC00 + b.
    return "".join(f"<0x{ord(letter) - 0xDC00:02X}>" if "\udc80" <= letter <= "\udcff" else letter for letter in text)


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The end token. DataError: the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise DataError(f"{tokenizer.name_or_path}: the tokenizer has no end token; set eos_token in its config")
    return int(tokenizer.eos_token_id)
