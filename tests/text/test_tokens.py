"""Rendering, encoding and padding of text."""

from pathlib import Path
from typing import Any

import pytest

from likelier.errors import DataError
from likelier.records import Message
from likelier.text.models import load_tokenizer
from likelier.text.tokens import (
    decode_each_token,
    decode_responses,
    encode,
    encode_prompts,
    encode_with_response,
    render,
)
from model_families import tiny_tokenizer

TALK: list[Message] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]


def test_messages_go_through_the_chat_template() -> None:
    assert render(tiny_tokenizer(chat=True), TALK) == "<s>system: be kind\nuser: hi\nassistant: "


def test_messages_without_a_template_read_like_a_dialogue() -> None:
    assert render(tiny_tokenizer(), TALK) == "be kind\n\nHuman: hi\n\nAssistant:"


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


def test_the_beginning_token_stands_once() -> None:
    tokenizer = tiny_tokenizer(chat=True)
    assert encode(tokenizer, ["ab"]) == [[1, 4, 5]]
    assert encode(tokenizer, [render(tokenizer, TALK)])[0].count(1) == 1
    assert encode(tiny_tokenizer(bos=None), ["ab"]) == [[3, 4]]
    assert encode(tokenizer, []) == []


def test_prompts_are_padded_left_and_masked_by_length() -> None:
    prompts = encode_prompts(tiny_tokenizer(bos="<s>", eos="<s>", pad="<s>"), ["a", "abc"], max_tokens=4)
    assert prompts.tokens.tolist() == [[0, 0, 0, 2], [0, 2, 3, 4]]
    assert prompts.mask.tolist() == [[False, False, True, True], [True, True, True, True]]


def test_a_prompt_that_is_too_long_or_empty_is_named() -> None:
    with pytest.raises(DataError, match=r"prompt 2 has 4 tokens, at most 3 fit: 'abc'; shorten it or response_length"):
        encode_prompts(tiny_tokenizer(), ["a", "abc"], max_tokens=3)
    with pytest.raises(DataError, match="prompt 1 is empty and this tokenizer has no beginning token"):
        encode_prompts(tiny_tokenizer(bos=None), [""], max_tokens=3)
    assert encode_prompts(tiny_tokenizer(), [""], max_tokens=3).tokens.tolist() == [[1]]


def test_a_response_is_encoded_behind_its_prompt() -> None:
    assert encode_with_response(tiny_tokenizer(), "ab", "c", end=True) == ([1, 4, 5], [6, 2])
    assert encode_with_response(tiny_tokenizer(), "ab", "c", end=False) == ([1, 4, 5], [6])
    with pytest.raises(DataError, match="no end token"):
        encode_with_response(without_end(), "ab", "c", end=True)


def without_end() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    return tokenizer


@pytest.mark.parametrize("name", ["stories260K", "stories-char-940K"])
@pytest.mark.parametrize("response", [", there was", " upon a time", "ing. 'Ü' ", " ", ""])
def test_real_responses_survive_encoding_and_decoding(shared: Path, name: str, response: str) -> None:
    tokenizer = load_tokenizer(shared / "models" / name)
    prompt, ids = encode_with_response(tokenizer, "Once", response, end=True)
    expected = response if name == "stories260K" else response.replace("Ü", "")
    assert decode_responses(tokenizer, [prompt], [ids]) == [expected]
    assert prompt[0] == 1
    assert prompt.count(1) == 1
    assert ids[-1] == 1


@pytest.mark.parametrize("name", ["stories260K", "stories-char-940K"])
def test_tokens_spell_out_their_response(shared: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared / "models" / name)
    prompt, response = encode_with_response(tokenizer, "Once upon a time", ", there was a big, big dog.", end=True)
    (pieces,) = decode_each_token(tokenizer, [response])
    assert len(pieces) == len(response)
    assert "".join(pieces[:-1]) == ", there was a big, big dog."
    assert pieces[-1] == tokenizer.eos_token
    assert decode_each_token(tokenizer, [[], prompt[:1]])[0] == []
