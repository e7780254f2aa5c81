"""Text to token ids and back: chat templates, the beginning token, prompts with their responses."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from likelier.errors import DataError
from likelier.records import Text
from likelier.text.chat_template import FAILURES, render_template
from likelier.text.padding import pad_left


class Prompts(NamedTuple):
    """Prompts padded on the left; True in `mask` is a token of the prompt."""

    tokens: Int[Tensor, "B P"]
    mask: Bool[Tensor, "B P"]


def render(tokenizer: PreTrainedTokenizerBase, text: Text) -> str:
    """The text that the model continues: a plain prompt as it is, messages by the tokenizer's chat template.

    The template opens the assistant's turn; `render_template` limits what it may take. Without a template turns are
    written like those of hh-rlhf (`Human: … Assistant:`). DataError: the template refuses these messages.
    """
    if isinstance(text, str):
        return text
    if tokenizer.chat_template is None:
        names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
        return "".join(names.get(turn["role"], "\n\n") + turn["content"] for turn in text) + "\n\nAssistant:"
    try:
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in text]
        return render_template(tokenizer, turns)
    except FAILURES as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the chat template refuses these messages: {reason}; prompt: {shorten(text)}") from error


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of rendered texts, with the beginning token once in front if the tokenizer has one."""
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    begin = tokenizer.bos_token_id
    if begin is None:
        return rows
    return [row if row[:1] == [begin] else [begin, *row] for row in rows]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Text], max_tokens: int, sources: Sequence[str] = ()
) -> Prompts:
    """Rendered prompts, padded on the left. DataError: the first that has more than `max_tokens`, or none at all.

    `sources` names the file and line of each prompt for the error; without it a prompt is named by its number.
    """
    rows = encode(tokenizer, [render(tokenizer, prompt) for prompt in prompts])
    for number, row in enumerate(rows):
        name = f"{sources[number]}: the prompt" if sources and sources[number] else f"prompt {number + 1}"
        if len(row) > max_tokens:
            raise DataError(
                f"{name} has {len(row)} tokens, at most {max_tokens} fit: {shorten(prompts[number])}; "
                "shorten it or response_length"
            )
        if not row:
            raise DataError(f"{name} is empty and this tokenizer has no beginning token; write some text")
    return Prompts(*pad_left(rows))


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
    """Token ids of a prompt and of a response to it, with the end token behind if `end`.

    Both are encoded as one text, as the model will read them; only where a token would span the border is the response
    encoded alone.
    """
    opening = render(tokenizer, prompt)
    prompt_ids, joined_ids = encode(tokenizer, [opening, opening + response])
    size = len(prompt_ids)
    if joined_ids[:size] == prompt_ids:
        response_ids = joined_ids[size:]
    else:
        response_ids = tokenizer(response, add_special_tokens=False)["input_ids"]
    return prompt_ids, response_ids + ([end_id(tokenizer)] if end else [])


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


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The end token. DataError: the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise DataError(f"{tokenizer.name_or_path}: the tokenizer has no end token; set eos_token in its config")
    return int(tokenizer.eos_token_id)


def shorten(text: Text) -> str:
    """The first sixty characters of a prompt, in one line and in quotes."""
    line = repr(" ".join((text if isinstance(text, str) else text[-1]["content"]).split()))
    return line if len(line) <= 60 else line[:57] + "..." + line[0]
