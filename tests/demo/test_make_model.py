"""The script that makes the embedded model, and the model that it made."""

import json
import math
import random
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from likelier.config import build_config
from likelier.demo.corpus import Opening, draw_response, draw_story, openings
from likelier.demo.make_model import SETTINGS, Surprise, entropy, main, measure
from likelier.finetune.examples import Example, tokenize_examples
from likelier.finetune.sft import mean_loss
from likelier.text.models import check_model_folder, load_causal_lm, load_tokenizer
from likelier.text.tokens import decode, encode

MODEL = Path(str(files("likelier.demo") / "model"))
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_surprise_counts_the_choices_it_makes():
    draw = Surprise(0)
    draw.choice("abcd")
    draw.choices(["often"], [3])
    assert draw.nats == pytest.approx(math.log(4))
    draw.choices(["once", "never"], [1, 0])
    assert draw.nats == pytest.approx(math.log(4))


def test_surprise_draws_the_same_stories():
    mia = Opening("Mia", "fox", "small", "goat", "found", "shiny", "bell", "on the hill")
    assert draw_response(Surprise(5), mia) == draw_response(random.Random(5), mia)


def test_entropy_of_the_stories():
    assert 18 < entropy(300) < 21


def test_the_script_makes_a_model_and_says_what_it_is(tmp_path):
    small = {"architecture": SETTINGS["architecture"] | TINY, "max_steps": 3, "batch_size": 8}
    found = main(tmp_path / "model", stories=60, sft=small, measured=4)
    assert found["stories"] == 60
    assert 4 < found["valid_loss"] < 7
    card = (tmp_path / "model" / "README.md").read_text()
    assert json.loads(card.split("```json")[1].split("```")[0]) == found
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


def test_the_embedded_model_is_small_and_safe_to_load():
    check_model_folder(MODEL)
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 2_000_000
    assert load_causal_lm(MODEL).dtype == torch.float32


def test_every_word_of_the_stories_is_known():
    tokenizer, draw = load_tokenizer(MODEL), random.Random(9)
    texts = ["".join(draw_story(draw)) for _ in range(300)] + openings(9, 300)
    rows = encode(tokenizer, texts)
    assert decode(tokenizer, rows) == texts
    assert tokenizer.unk_token_id not in {token for row in rows for token in row}
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 4


def test_the_embedded_model_has_learned_the_stories():
    """Its loss on stories it has not read is within 5 % of their entropy; a wrong corpus or a damaged file is not."""
    model, tokenizer, draw = load_causal_lm(MODEL), load_tokenizer(MODEL), random.Random(10)
    examples, cut = tokenize_examples(tokenizer, [Example(*draw_story(draw)) for _ in range(256)], 128)
    assert cut == 0
    tokens = sum(len(example.tokens) - example.start for example in examples) / len(examples)
    loss = mean_loss(model, tokenizer, examples, build_config({}).sft)
    assert loss is not None
    assert loss * tokens < 1.05 * entropy(1000)


def test_the_embedded_model_tells_whole_and_varied_stories():
    found = measure(load_causal_lm(MODEL), load_tokenizer(MODEL), 128)
    assert found["ended"] > 0.97
    assert 24 < found["mean_tokens"] < 34
    assert found["distinct_2"] > 0.15
    assert all(0.15 < score < 0.45 for score in found["tastes"].values())
