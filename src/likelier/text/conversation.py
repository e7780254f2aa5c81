"""Prompts as the text that a model continues, and with a response as the text that a reward model reads."""

import contextlib
from collections.abc import Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerBase

from likelier.errors import DataError
from likelier.progress import print_note
from likelier.records import Message, Text
from likelier.records.messages import name_pictures, split_content
from likelier.text.chat_template import FAILURES, render_template
from likelier.text.convention import always_begins

PROBE = "probe"
NEEDS_PARTS: WeakKeyDictionary[PreTrainedTokenizerBase, bool] = WeakKeyDictionary()
"""Result of `needs_parts` for each tokenizer."""


class TemplateText(str):
    """Text from a chat template, which wrote its special tokens: the tokenizer's own are not added to it."""

    def __add__(self, other: str) -> "TemplateText":
        return TemplateText(super().__add__(other))


def render(tokenizer: PreTrainedTokenizerBase, text: Text) -> str:
    """The text that the model continues: a plain prompt as it is, messages by the tokenizer's chat template.

    The template opens the assistant's turn; `render_template` limits what it may take. Without a template turns are
    written like those of hh-rlhf (`Human: … Assistant:`). DataError: the template refuses these messages.
    """
    if isinstance(text, str):
        return text
    if tokenizer.chat_template is None:
        note_missing_template(tokenizer.name_or_path or "the tokenizer")
        names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
        return "".join(names.get(turn["role"], "\n\n") + name_pictures(turn) for turn in text) + "\n\nAssistant:"
    return apply_template(tokenizer, text, opens_turn=True)


@cache
def note_missing_template(model: str) -> None:
    """Say once for each model how its conversations are written: a chat model's template may have been left behind."""
    print_note(f"{model}: no chat template, so turns are written as `Human: …` and `Assistant: …`")


def render_conversation(tokenizer: PreTrainedTokenizerBase, prompt: Text, response: str) -> str:
    """Prompt and response as one text; the template writes messages with the response, and closes its turn."""
    if isinstance(prompt, str) or tokenizer.chat_template is None or always_begins(tokenizer):
        return render(tokenizer, prompt) + response
    return apply_template(tokenizer, [*prompt, {"role": "assistant", "content": response}], opens_turn=False)


def render_answer(tokenizer: PreTrainedTokenizerBase, prompt: Text, opening: str, response: str) -> tuple[str, bool]:
    """Return the text to be generated after `opening`, the rendered prompt, and True if it closes the turn.

    With a template: its text up to the first special token behind the response. A template whose opening is
    another than that of a conversation (an open `<think>`) has the response as it is, with the same closing. False
    where the turn must be closed with the end token: plain prompts, and templates that close without a special token.
    """
    if not isinstance(opening, TemplateText) or always_begins(tokenizer):
        return response, False
    conversation, content = render_conversation(tokenizer, prompt, response), response.strip()
    end = conversation.rfind(content) + len(content) if content else len(opening)
    answer = conversation[len(opening) : end] if conversation.startswith(opening) else response
    closing = cut_behind_special(tokenizer, conversation[end:]) if content in conversation else ""
    return (answer + closing, True) if closing else (response, False)


def find_closing_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token with which the chat template closes the assistant's turn; None: it has none, or refuses to say."""
    if tokenizer.chat_template is None:
        return None
    prompt: Text = [{"role": "user", "content": "a"}]
    try:
        answer, is_closed = render_answer(tokenizer, prompt, render(tokenizer, prompt), "b")
    except DataError:
        return None
    return int(tokenizer(answer, add_special_tokens=False)["input_ids"][-1]) if is_closed else None


def apply_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], opens_turn: bool) -> TemplateText:
    """The text that a chat template makes of messages. DataError: it refuses them."""
    try:
        turns = list_turns(messages, needs_parts(tokenizer))
        return TemplateText(render_template(tokenizer, turns, opens_turn))
    except FAILURES as error:
        reason = " ".join(str(error).split())
        last = next((turn for turn in reversed(messages) if turn["role"] != "assistant"), messages[-1])
        raise DataError(f"the chat template refuses these messages: {reason}; prompt: {shorten([last])}") from error


def list_turns(messages: Sequence[Message], in_parts: bool) -> list[dict[str, Any]]:
    """Messages as a chat template reads them: content with pictures is a list of parts, all content with `in_parts`."""
    turns: list[dict[str, Any]] = []
    for turn in messages:
        content: Any = split_content(turn)
        if isinstance(content, str) and in_parts:
            content = [{"type": "text", "text": content}]
        turns.append({"role": turn["role"], "content": content})
    return turns


def needs_parts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if a template writes nothing of a text that is not a list of parts, as those of vision-language models do.

    Tried once for each tokenizer. An error shows with the messages themselves.
    """
    if tokenizer not in NEEDS_PARTS:
        plain: list[Message] = [{"role": "user", "content": PROBE}]
        NEEDS_PARTS[tokenizer] = False
        with contextlib.suppress(*FAILURES, DataError):
            as_text, as_parts = (render_template(tokenizer, list_turns(plain, each)) for each in (False, True))
            NEEDS_PARTS[tokenizer] = PROBE not in as_text and PROBE in as_parts
    return NEEDS_PARTS[tokenizer]


def cut_behind_special(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text up to and with its first special token; empty where it has none."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    ends = [(start, start + len(name)) for name in added if (start := text.find(name)) >= 0]
    return text[: min(ends)[1]] if ends else ""


def shorten(text: Text) -> str:
    """The first sixty characters of a prompt, in one line and in quotes."""
    line = repr(" ".join((text if isinstance(text, str) else name_pictures(text[-1])).split()))
    return line if len(line) <= 60 else line[:57] + "..." + line[0]
