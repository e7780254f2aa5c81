"""Rendering, encoding and padding of text."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors

from likelier.errors import DataError
from likelier.finetune.from_scratch import to_transformers, train_bpe
from likelier.records import Message
from likelier.text.convention import ALWAYS_BEGIN, MARK, mark_made
from likelier.text.conversation import render
from likelier.text.models import load_tokenizer
from likelier.text.tokens import (
    decode_each_token,
    decode_responses,
    encode,
    encode_conversations,
    encode_prompts,
    encode_with_response,
    spell_bytes,
    spell_each_token,
)
from model_families import tiny_tokenizer

TALK: list[Message] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
WITHOUT_BEGIN = "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}{% endfor %}"
"""As the templates of Phi-3 and Granite: no `bos_token`."""


def test_the_beginning_token_stands_once() -> None:
    tokenizer = tiny_tokenizer(chat=True)
    assert encode(tokenizer, ["ab"]) == [[1, 4, 5]]
    assert encode(tokenizer, ["<s>ab"]) == [[1, 4, 5]]
    assert encode(tokenizer, [render(tokenizer, TALK)])[0].count(1) == 1
    assert encode(tiny_tokenizer(bos=None), ["ab"]) == [[3, 4]]
    assert encode(tokenizer, []) == []


def test_no_beginning_token_where_neither_tokenizer_nor_template_puts_one() -> None:
    plain = without_affixes()
    assert plain.bos_token_id == 1
    assert encode(plain, ["ab", ""]) == [[4, 5], [1]]
    assert encode_with_response(plain, "ab", "c", end=True) == ([4, 5], [6, 2])
    chat = tiny_tokenizer()
    chat.chat_template = WITHOUT_BEGIN
    assert 1 not in encode(chat, [render(chat, TALK)])[0]
    assert encode(chat, [render(chat, TALK) + "ab"])[0][-2:] == [4, 5]
    assert encode_prompts(chat, [TALK, "ab"], 40).tokens[1].tolist()[-3:] == [1, 4, 5]


def test_a_model_made_before_keeps_its_beginning_and_end_tokens() -> None:
    made_before = without_affixes()
    made_before.chat_template = CLOSED
    made_before.init_kwargs[MARK] = ALWAYS_BEGIN
    hi = encode(made_before, ["<|user|>hi<pad>\n"])[0]
    assert encode(made_before, ["ab"]) == [[1, 4, 5]]
    assert encode_prompts(made_before, [TALK[1:]], 20).tokens.tolist() == [hi]
    assert hi[0] == 1
    assert encode_with_response(made_before, TALK[1:], "a", end=True) == (hi, [4, 2])
    assert encode_conversations(made_before, [TALK[1:], "b"], ["a", "a"]) == [[*hi, 4, 2], [1, 5, 4, 2]]


CLOSED = "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}<unk>\n{% endfor %}".replace("<unk>", "<pad>")
"""Closes a turn with a token other than the end token, and a new line, as Gemma's."""


def test_a_turn_is_learned_to_where_its_template_closes_it() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CLOSED
    (prompt,) = encode(tokenizer, [render(tokenizer, TALK)])
    assert encode_with_response(tokenizer, TALK, "ab", end=True)[1][-1] == tokenizer.pad_token_id
    assert 1 not in prompt


def test_a_reward_model_from_elsewhere_reads_what_its_own_tokenizer_and_template_write() -> None:
    encoder = tiny_tokenizer(bos="[CLS]", eos="[SEP]")
    encoder._tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    encoder.eos_token = None
    assert encode_conversations(encoder, ["a"], ["b"]) == [[1, 4, 5, 2]]
    chat = tiny_tokenizer()
    chat.chat_template = CLOSED
    turns = [*TALK, {"role": "assistant", "content": "ab"}]
    expected = chat.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert encode_conversations(chat, [TALK], ["ab"]) == [expected]
    assert encode_conversations(chat, ["a"], ["b"]) == [[1, 4, 5]]
    mark_made(chat)
    assert encode_conversations(chat, [TALK, "a"], ["ab", "b"]) == [expected, [1, 4, 5, 2]]


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


def without_affixes() -> Any:
    """Has a beginning token, and puts it nowhere: `add_bos_token: false`."""
    tokenizer = tiny_tokenizer()
    tokenizer._tokenizer.post_processor = processors.Sequence([])
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


def test_bytes_of_a_letter_are_spelt_out_by_a_byte_level_vocabulary() -> None:
    tokenizer = to_transformers(train_bpe(["ab 中 ab"], 300))
    ids = tokenizer("ab 中é😀", add_special_tokens=False)["input_ids"]
    (pieces,) = spell_each_token(tokenizer, [[*ids, tokenizer.eos_token_id]])
    assert "".join(pieces[:-1]) == "ab 中<0xC3><0xA9><0xF0><0x9F><0x98><0x80>"
    assert pieces[-1] == tokenizer.eos_token
    assert "\ufffd" in "".join(decode_each_token(tokenizer, [ids])[0])


def test_bytes_of_a_letter_are_spelt_out_by_byte_fallback(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "models" / "stories260K")
    ids = tokenizer("中", add_special_tokens=False)["input_ids"]
    (pieces,) = spell_each_token(tokenizer, [ids])
    assert "".join(pieces).endswith("<0xE4><0xB8><0xAD>")


def test_names_that_hold_no_bytes_are_no_bytes() -> None:
    assert spell_bytes("中") == ""
    assert spell_bytes("ĠÐ") == " <0xD0>"
    assert spell_bytes("ÃŃA") == "íA"  # 0xC3 0xAD: the second is not printable, and has a letter of its own
