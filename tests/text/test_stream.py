"""A response that is shown while it is sampled."""

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from likelier.errors import DataError
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.sampler import Sampling
from likelier.text.stream import TextStream, stream_response
from tiny import save_tiny_model

WORDS = ["the", "fox", "END", "bird"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = save_tiny_model(tmp_path_factory.mktemp("stream") / "m", WORDS, context=16)
    return load_causal_lm(folder), load_tokenizer(folder)


@pytest.fixture(scope="module")
def byte_tokenizer():
    """A token for each byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def feed(stream, text):
    stream.put(torch.tensor([[1, 2]]))  # the prompt
    for token in stream.tokenizer(text)["input_ids"]:
        stream.put(torch.tensor([token]))
    stream.end()


def test_letters_are_shown_once_they_are_whole(byte_tokenizer):
    shown = []
    feed(TextStream(byte_tokenizer, (), shown.append), "a你b")
    assert shown == ["a", "你", "b"]


def test_nothing_of_a_stop_string_is_shown(byte_tokenizer):
    shown = []
    stream = TextStream(byte_tokenizer, ("END", "!"), shown.append)
    feed(stream, "fine EN route ENDED")
    assert "".join(shown) == stream.text == "fine EN route "


def test_tokens_follow_the_model_s_distribution_at_the_temperature(loaded):
    model, tokenizer = loaded
    tokens = tokenizer("the fox", return_tensors="pt")["input_ids"]
    expected = (model(tokens).logits[0, -1].detach() / 2.0).softmax(-1)
    torch.manual_seed(0)
    count, draws = 0, 300
    for _ in range(draws):
        text = stream_response(model, tokenizer, "the fox", Sampling(1, 2.0, end_token=False), lambda piece: None)
        count += text.strip() == "bird"
    share = float(expected[tokenizer.convert_tokens_to_ids("bird")])
    assert abs(count / draws - share) < 4 * math.sqrt(share * (1 - share) / draws)


def test_a_response_ends_where_the_model_can_read_no_more_and_a_prompt_beyond_that_is_refused(loaded):
    model, tokenizer = loaded
    shown = []
    text = stream_response(model, tokenizer, "the " * 10, Sampling(100, end_token=False), shown.append)
    assert "".join(shown) == text
    assert len(text.split()) <= 5
    with pytest.raises(DataError, match="the prompt|prompt 1 has 17 tokens"):
        stream_response(model, tokenizer, "the " * 16, Sampling(1), shown.append)
