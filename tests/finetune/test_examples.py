"""TRL's shapes and plain text as examples: what is to be predicted, and what lines are refused."""

import gzip
import json

import pytest

from likelier.errors import DataError
from likelier.finetune.examples import Example, TokenizedExample, read_examples, tokenize_examples
from likelier.text.models import load_tokenizer
from tiny import save_tiny_model

A, B, C = 4, 5, 6


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(save_tiny_model(tmp_path_factory.mktemp("model"), words=["a", "b", "c"]))


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_three_shapes(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = write(
        tmp_path / "data.jsonl",
        {"prompt": "a", "completion": "b"},
        {"prompt": turns[:1], "completion": turns[1:]},
        {"messages": turns},
        {"text": "a b"},
    )
    assert read_examples(path) == [
        Example("a", "b"),
        Example(turns[:1], "b"),
        Example(turns[:1], "b"),
        Example(None, "a b"),
    ]


def test_the_chosen_side_of_preferences_but_for_ties(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]
    path = write(
        tmp_path / "train.jsonl",
        {"prompt": "a", "chosen": "b", "rejected": "c", "target": 1.0},
        {"prompt": "a", "chosen": "b", "rejected": "c", "target": 0.5},
        {"prompt": turns[:1], "chosen": turns[1:], "rejected": turns[1:]},
        {"prompt": "a", "chosen": "", "rejected": "c"},
        {"prompt": "", "chosen": "b", "rejected": "c"},
        {"prompt": "", "chosen": "", "rejected": "c"},
    )
    assert read_examples(path) == [Example("a", "b"), Example(turns[:1], "c"), Example("a", ""), Example(None, "b")]
    assert read_examples(tmp_path) == read_examples(path)
    write(path, {"chosen": turns, "rejected": turns})
    with pytest.raises(DataError, match=r"train.jsonl:1: `chosen` must be a text or one message of the assistant"):
        read_examples(path)


def test_each_turn_of_the_assistant_is_an_example(tmp_path):
    turns = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    path = write(tmp_path / "data.jsonl", {"messages": turns})
    assert read_examples(path) == [Example(turns[:1], "b"), Example(turns[:3], "d")]


def test_stories_of_a_text_file_keep_their_paragraphs(tmp_path):
    (tmp_path / "plain.txt").write_text("One.\n\nTwo.\n<|endoftext|>\nThree.\n")
    with gzip.open(tmp_path / "packed.txt.gz", "wt") as file:
        file.write("\nOne.\n")
    assert [example.response for example in read_examples(tmp_path / "plain.txt")] == ["One.\n\nTwo.", "Three."]
    assert read_examples(tmp_path / "packed.txt.gz") == [Example(None, "One.")]


def test_only_the_response_and_the_end_are_learned(tokenizer):
    tokenized, num_cut = tokenize_examples(tokenizer, [Example("a b", " c")], max_length=8)
    assert tokenized == [TokenizedExample([1, A, B, C, 2], start=3)]
    assert num_cut == 0


def test_a_text_is_learned_from_its_first_token_and_goes_on_in_the_next_sequence(tokenizer):
    tokenized, num_cut = tokenize_examples(tokenizer, [Example(None, "a b c a b")], max_length=3)
    assert tokenized == [
        TokenizedExample([1, A, B], 1),
        TokenizedExample([C, A, B], 1),
    ]  # the end token alone would predict nothing
    assert num_cut == 0


def test_long_responses_lose_their_end_and_are_counted(tokenizer):
    tokenized, num_cut = tokenize_examples(tokenizer, [Example("a", " b c"), Example("a b c", " a")], max_length=4)
    assert tokenized == [TokenizedExample([1, A, B, C], 2)]
    assert num_cut == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"completion": "x"}', "no field `prompt`"),
        ('{"prompt": "x"}', "expected `prompt` with `completion`"),
        ('{"prompt": "x", "completion": 3}', "`completion`"),
        ('{"prompt": "x", "completion": [{"role": "user", "content": "y"}]}', "one message of the assistant"),
        ('{"messages": "x"}', "list of messages"),
        ('{"messages": [{"role": "user", "content": "y"}]}', "no answer of the assistant"),
        ('{"text": [{"role": "user", "content": "y"}]}', "expected"),
        ("{", "broken JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    (tmp_path / "data.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"data\.jsonl:2: .*" + words):
        read_examples(tmp_path / "data.jsonl")


@pytest.mark.parametrize("name", ["data.jsonl", "data.txt"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).write_text("\n")
    with pytest.raises(DataError, match="nothing to learn from"):
        read_examples(tmp_path / name)
