"""Calls of tools while a response is decoded: where the answer stands, whose tokens are whose, and what is called."""

import math

import pytest
import torch

from likelier.errors import ConfigError, LikelierError
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.text.exact_sampler import ExactSampler
from likelier.text.sampler import Sampling, join_samples
from likelier.text.tokens import encode_prompts
from likelier.text.tools import ToolCalls, Tools
from model_families import tiny_tokenizer

CALC = "likelier.text.calculator:calc"
ARCHITECTURE = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
ARCHITECTURE |= {"num_attention_heads": 2, "max_position_embeddings": 128}
TOKENIZER = new_tokenizer("characters", ["<calc>0123456789+-*/</calc> abcdefghijklmnopqrstuvwxyz=>\n#"], 100)
VOCABULARY = len(TOKENIZER)


def uniform_model():
    """Every token is as likely as any other, whatever stands before it."""
    model = new_causal_lm(ARCHITECTURE, TOKENIZER, 0)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    return model


def draws_for(*texts, length=40):
    """Numbers that make `uniform_model` write the texts, each ended; at `_` a tool writes, and none is used."""
    rows = []
    for text in texts:
        ids = [TOKENIZER.convert_tokens_to_ids(letter) if letter != "_" else 0 for letter in text]
        ids = [*ids, TOKENIZER.eos_token_id][:length]
        rows.append([1 - (token + 0.5) / VOCABULARY for token in ids] + [0.5] * (length - len(ids)))
    return torch.tensor(rows)


def write(*texts, length=40, tools=(CALC,), **sampling):
    sampler = ExactSampler(uniform_model(), TOKENIZER, tools=Tools(tools))
    return sampler.sample(["a"] * len(texts), Sampling(length, **sampling), draws_for(*texts, length=length))


def places(samples, row):
    return samples.inserted[row].nonzero()[:, 0].tolist()


def test_the_answer_stands_behind_the_call_and_is_not_the_models():
    samples = write("<calc>6*7</calc>__ so=", "no call")
    assert samples.texts == ["<calc>6*7</calc>42 so=", "no call"]
    assert samples.stop_reasons == ["end_token", "end_token"]
    assert (places(samples, 0), places(samples, 1)) == ([16, 17], [])
    assert samples.mask[0].sum() == 23
    assert samples.drawn[0].sum() == 21
    logprobs = samples.logprobs[0, samples.drawn[0]]
    assert torch.allclose(logprobs, torch.full_like(logprobs, -math.log(VOCABULARY)))
    assert samples.logprobs[samples.inserted].tolist() == [0, 0]


def test_several_turns():
    samples = write("<calc>2+3</calc>_+<calc>5*5</calc>__", length=60)
    assert samples.texts == ["<calc>2+3</calc>5+<calc>5*5</calc>25"]
    assert places(samples, 0) == [16, 34, 35]


def test_the_row_alone_decides_what_is_written():
    texts = ["x", "<calc>2+3</calc>_", "<calc>10*10</calc>___ and on", "<calc>1/0</calc>_____"]
    together = write(*texts, *["y"] * 6)
    assert together.texts[3] == "<calc>1/0</calc>error"
    for row, text in enumerate(texts):
        alone = write(text)
        assert alone.texts == together.texts[row : row + 1]
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert torch.equal(alone.inserted[0], together.inserted[row])


def test_an_answer_is_cut_at_the_length_limit():
    samples = write("<calc>99*99</calc>", length=20)
    assert samples.texts == ["<calc>99*99</calc>98"]  # of 9801
    assert samples.stop_reasons == ["length"]
    assert places(samples, 0) == [18, 19]


OWN = """
from pathlib import Path

def count(text):
    with Path(__file__).with_name("called.txt").open("a") as file:
        file.write(text + " ")
    return ""

def hash(text):
    return "1#2"

def number(text):
    return 3

def fails(text):
    raise KeyError(text)
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "called.txt").write_text("")
    return tmp_path / "mine.py"


def test_a_stop_string_ends_a_response_wherever_it_stands(mine):
    samples = write("<hash>2</hash>___ab", tools=[f"{mine}:hash"], stop_strings=("#",))
    assert samples.texts == ["<hash>2</hash>1"]
    assert samples.stop_reasons == ["stop_string"]


def test_what_is_called_and_how_often(mine):
    texts = ["<count>a</count><count>b</count>", "</count><count><count>c</count>", "<count>d</coun"]
    write(*texts, "<calc>1</calc>", length=60, tools=[f"{mine}:count"])
    assert sorted(mine.with_name("called.txt").read_text().split()) == ["a", "b", "c"]


def test_behind_the_end_nothing_is_called(mine):
    sampler = ExactSampler(uniform_model(), TOKENIZER, tools=Tools([f"{mine}:count"]))
    draws = draws_for("x_<count>a</count>", *["y" * 19] * 20, length=20)
    draws[0, 1] = 1 - (TOKENIZER.eos_token_id + 0.5) / VOCABULARY
    # One finished row of many is not worth dropping: it is decoded on, and that counts for nothing.
    assert sampler.sample(["a"] * 21, Sampling(20), draws).texts[0] == "x"
    assert mine.with_name("called.txt").read_text() == ""


def test_parts_are_joined():
    parts = [write("<calc>2+3</calc>_"), write("x")]
    joined = join_samples(parts, [1, 0])
    assert joined.texts == ["x", "<calc>2+3</calc>5"]
    assert (places(joined, 0), places(joined, 1)) == ([], [16])


def test_answers_hold_no_special_tokens():
    for tokenizer in (tiny_tokenizer(), TOKENIZER):
        calls = ToolCalls(Tools([CALC]), tokenizer, encode_prompts(tokenizer, ["abc"], 10))
        assert tokenizer.eos_token_id not in calls.encode(f"4{tokenizer.eos_token}2")
    assert TOKENIZER.decode(calls.encode("42")) == "42"
    assert calls.encode("") == []


def test_refusals(mine):
    with pytest.raises(ConfigError, match="two functions are called `calc`"):
        Tools([CALC, "mine.py:calc"])
    with pytest.raises(ConfigError, match="tool `likelier.text.calculator:cal`: .*did you mean `calc`"):
        Tools(["likelier.text.calculator:cal"])
    with pytest.raises(LikelierError, match="mine.py:number`: returned 3 for 'x'; return a text"):
        Tools([f"{mine}:number"]).answer("<number>x</number>")
    with pytest.raises(LikelierError, match="mine.py:fails` raises KeyError"):
        Tools([f"{mine}:fails"]).answer("<fails>x</fails>")
