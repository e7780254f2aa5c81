"""Tokenizers made from text give the text back, also once saved; models from nothing depend on the seed alone."""

import pytest
import torch

from likelier.errors import ConfigError, DataError
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.text.models import load_tokenizer, save_model
from likelier.text.tokens import decode, encode

TEXTS = ['Once upon a time, Lily didn\'t go.\n\nShe said: "no!" 123 — ok', "Ünïcode 文字 time time"]
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.mark.parametrize("kind", ["words", "characters", "bpe"])
def test_text_comes_back_and_the_saved_tokenizer_is_the_same(kind, tmp_path):
    tokenizer = new_tokenizer(kind, TEXTS, 400)
    rows = encode(tokenizer, TEXTS)
    assert decode(tokenizer, rows) == TEXTS
    save_model(tmp_path / "model", new_causal_lm(LLAMA, tokenizer, 0), tokenizer, "A test.")
    loaded = load_tokenizer(tmp_path / "model")
    assert encode(loaded, TEXTS) == rows == loaded(TEXTS)["input_ids"]
    assert all(row[0] == loaded.bos_token_id for row in rows)
    assert decode(loaded, rows) == TEXTS
    assert (loaded.pad_token, loaded.bos_token, loaded.eos_token) == ("<pad>", "<s>", "</s>")


def test_a_word_takes_the_blank_before_it_along():
    tokenizer = new_tokenizer("words", ["the cat, the cats"], 100)
    assert tokenizer.tokenize("the cats, the cat") == ["the", " cats", ",", " the", " cat"]


def test_the_commonest_entries_stay():
    tokenizer = new_tokenizer("characters", ["aaabbc"], 6)
    assert tokenizer.get_vocab() == {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "a": 4, "b": 5}
    assert tokenizer.tokenize("abc") == ["a", "b", "<unk>"]


def test_bytes_make_nothing_unknown():
    tokenizer = new_tokenizer("bpe", ["abc"], 270)
    assert decode(tokenizer, encode(tokenizer, ["ж🙂"])) == ["ж🙂"]


@pytest.mark.parametrize(("kind", "size"), [("words", 4), ("bpe", 259)])
def test_too_small_a_vocabulary_is_refused(kind, size):
    with pytest.raises(ConfigError, match=f"sft.vocab_size.*{size}"):
        new_tokenizer(kind, TEXTS, size)


def test_an_absent_tokenizer_is_refused(tmp_path):
    with pytest.raises(DataError, match="absent"):
        new_tokenizer(str(tmp_path / "absent"), TEXTS, 400)


def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone():
    tokenizer = new_tokenizer("characters", ["abc"], 100)
    state = torch.get_rng_state()
    first, same, other = (new_causal_lm(LLAMA, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_vocabulary_is_the_tokenizers_and_dropout_is_off():
    tokenizer = new_tokenizer("characters", ["abc"], 100)
    model = new_causal_lm({"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}, tokenizer, 0)
    assert model.config.vocab_size == 7
    assert model.config.eos_token_id == 3
    assert model.config.resid_pdrop == 0.0


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("她看见了月亮。", ["她", "看", "见", "了", "月", "亮", "。"]),
        ("ネコが寝る", ["ネ", "コ", "が", "寝", "る"]),
        ("เสื้อ ดี", ["เ", "สื้", "อ", " ดี"]),
        ("I saw 猫 2 times", ["I", " saw", " 猫", " 2", " times"]),
        ("दिन का", ["दिन", " का"]),
        ("It's here, he said.", ["It's", " here", ",", " he", " said", "."]),
    ],
)
def test_words_of_scripts_without_blanks_are_characters(text, pieces):
    """A Chinese, Japanese or Thai sentence was one word, unknown wherever else it stood."""
    tokenizer = new_tokenizer("words", [text], 64)
    assert [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)] == pieces
    assert decode(tokenizer, encode(tokenizer, [text])) == [text]


def test_an_architecture_that_sees_the_tokens_to_come_is_refused():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = new_tokenizer("characters", TEXTS, 64)
    with pytest.raises(ConfigError, match="^sft.architecture: bert reads texts in both directions and cannot write"):
        new_causal_lm({"model_type": "bert", **sizes}, tokenizer, 0)
    new_causal_lm({"model_type": "bert", "is_decoder": True, **sizes}, tokenizer, 0)
