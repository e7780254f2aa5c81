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
from likelier.demo.corpus import Opening, sample_openings, sample_response, sample_story
from likelier.demo.make_model import SETTINGS, SurprisalCounter, estimate_entropy, main, measure_samples
from likelier.finetune.examples import Example, tokenize_examples
from likelier.finetune.sft import mean_loss
from likelier.text.models import check_model_folder, load_causal_lm, load_tokenizer
from likelier.text.tokens import decode, encode

MODEL = Path(str(files("likelier.demo") / "model"))
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_surprise_counts_the_choices_it_makes():
    generator = SurprisalCounter(0)
    generator.choice("abcd")
    generator.choices(["often"], [3])
    assert generator.nats == pytest.approx(math.log(4))
    generator.choices(["once", "never"], [1, 0])
    assert generator.nats == pytest.approx(math.log(4))


def test_surprise_draws_the_same_stories():
    mia = Opening("Mia", "fox", "small", "goat", "found", "shiny", "bell", "on the hill")
    assert sample_response(SurprisalCounter(5), mia) == sample_response(random.Random(5), mia)


def test_entropy_of_the_stories():
    assert 18 < estimate_entropy(300) < 21


def test_the_script_makes_a_model_and_says_what_it_is(tmp_path):
    small = {"architecture": SETTINGS["architecture"] | TINY, "max_steps": 3, "batch_size": 8}
    measurements = main(tmp_path / "model", stories=60, sft=small, num_samples=4)
    assert measurements["stories"] == 60
    assert 4 < measurements["valid_loss"] < 7
    card = (tmp_path / "model" / "README.md").read_text()
    assert json.loads(card.split("```json")[1].split("```")[0]) == measurements
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


def test_the_embedded_model_is_small_and_safe_to_load():
    check_model_folder(MODEL)
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 2_000_000
    assert load_causal_lm(MODEL).dtype == torch.float32


def test_every_word_of_the_stories_is_known():
    tokenizer, generator = load_tokenizer(MODEL), random.Random(9)
    texts = ["".join(sample_story(generator)) for _ in range(300)] + sample_openings(9, 300)
    rows = encode(tokenizer, texts)
    assert decode(tokenizer, rows) == texts
    assert tokenizer.unk_token_id not in {token for row in rows for token in row}
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 4


def test_the_embedded_model_has_learned_the_stories():
    """Its loss on stories it has not read is within 5 % of their entropy; a wrong corpus or a damaged file is not."""
    model, tokenizer, generator = load_causal_lm(MODEL), load_tokenizer(MODEL), random.Random(10)
    examples, cut = tokenize_examples(tokenizer, [Example(*sample_story(generator)) for _ in range(256)], 128)
    assert cut == 0
    tokens = sum(len(example.tokens) - example.start for example in examples) / len(examples)
    loss = mean_loss(model, examples, build_config({}).sft)
    assert loss is not None
    assert loss * tokens < 1.05 * estimate_entropy(1000)


def test_the_embedded_model_tells_whole_and_varied_stories():
    measurements = measure_samples(load_causal_lm(MODEL), load_tokenizer(MODEL), 128)
    assert measurements["ended"] > 0.97
    assert 24 < measurements["mean_tokens"] < 34
    assert measurements["distinct_2"] > 0.15
    assert all(0.15 < score < 0.45 for score in measurements["tastes"].values())
