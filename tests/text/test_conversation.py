"""Prompts and conversations as the text that models read."""

from typing import Any

import pytest

from likelier.errors import DataError
from likelier.records import Message, Text
from likelier.text.conversation import find_closing_token, render, render_answer, render_conversation
from model_families import tiny_tokenizer

TALK: list[Message] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]


def test_messages_go_through_the_chat_template() -> None:
    assert render(tiny_tokenizer(chat=True), TALK) == "<s>system: be kind\nuser: hi\nassistant: "


def test_messages_without_a_template_read_like_a_dialogue() -> None:
    assert render(tiny_tokenizer(), TALK) == "be kind\n\nHuman: hi\n\nAssistant:"


def test_a_model_without_a_template_is_named_once_where_it_matters(capsys, monkeypatch) -> None:
    monkeypatch.setattr("likelier.progress.plain_lines", True)
    tokenizer = tiny_tokenizer()
    tokenizer.name_or_path = "models/plain"
    render(tokenizer, "plain text needs none")
    assert find_closing_token(tokenizer) is None  # nor does the end of a plain text
    for _ in range(2):
        render(tokenizer, TALK)
    line = "models/plain: no chat template, so turns are written as `Human: …` and `Assistant: …`\n"
    assert capsys.readouterr().err == line


def test_text_is_continued_as_it_is() -> None:
    assert render(tiny_tokenizer(chat=True), " hi {{ x }}") == " hi {{ x }}"


def test_a_template_that_refuses_is_one_line() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must\nalternate') }}"
    with pytest.raises(DataError, match=r"^the chat template refuses these messages: roles must alternate; .*'hi'$"):
        render(tokenizer, TALK)


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ messages.append(1) }}",
        "{% for x in range(1000000000) %}x{% endfor %}",
    ],
)
def test_templates_run_in_an_immutable_sandbox(attack: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = attack
    with pytest.raises(DataError, match="the chat template refuses"):
        render(tokenizer, TALK)


CHATML = (
    "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def answer(tokenizer: Any, prompt: Text, response: str) -> tuple[str, bool]:
    return render_answer(tokenizer, prompt, render(tokenizer, prompt), response)


def test_a_turn_ends_behind_the_first_special_token_that_the_template_writes() -> None:
    tokenizer = tiny_tokenizer()
    assert find_closing_token(tokenizer) is None
    assert answer(tokenizer, TALK, "hello") == ("hello", False)
    tokenizer.chat_template = CHATML
    assert render_conversation(tokenizer, TALK, "hello").endswith("hi</s>\n<|assistant|>hello</s>\n")
    assert answer(tokenizer, TALK, "hello ") == ("hello </s>", True)
    assert answer(tokenizer, TALK, "") == ("</s>", True)
    assert answer(tokenizer, "plain", "hello") == ("hello", False)
    assert find_closing_token(tokenizer) == tokenizer.eos_token_id
    tokenizer.chat_template = CHATML.replace("</s>", "<pad>")
    assert find_closing_token(tokenizer) == tokenizer.pad_token_id


def test_a_turn_that_the_template_does_not_close_ends_with_the_end_token() -> None:
    tokenizer = tiny_tokenizer(chat=True)
    assert answer(tokenizer, TALK, "hello") == ("hello", False)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert find_closing_token(tokenizer) is None


def test_an_opening_that_is_no_part_of_the_conversation_is_kept() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML.replace("<|assistant|>{% endif", "<|assistant|><think>{% endif")
    assert render(tokenizer, TALK).endswith("<|assistant|><think>")
    assert answer(tokenizer, TALK, "hello") == ("hello</s>", True)
    tokenizer.chat_template = CHATML.replace("{{ turn.content }}", "{{ ' ' + turn.content | trim }}")
    assert answer(tokenizer, TALK, "hello\n") == (" hello</s>", True)
