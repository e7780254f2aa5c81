"""Reward functions for tasks with a known answer: by hand, and against sacrebleu and rouge-score."""

import re
import sys
from pathlib import Path

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from likelier.config import RewardSource
from likelier.errors import ConfigError, DataError
from likelier.files import write_jsonl
from likelier.records import Prompt, read_prompts
from likelier.reward import functions
from likelier.reward.columns import check_values
from likelier.reward.functions import (
    accuracy,
    bleu,
    chrf,
    exact_match,
    format_match,
    length,
    number_match,
    rouge_l,
    token_f1,
)
from likelier.reward.responses import ResponseBatch
from likelier.reward.sources import check_columns, check_scored, make_scorer
from likelier.reward.user_functions import FunctionContext, UserFunction

ROOT = Path(__file__).parents[2]
NAMES = [
    name for name, value in vars(functions).items() if callable(value) and "columns" in getattr(value, "__dict__", {})
]


def score(function, responses, column=None, **arguments):
    columns = [] if column is None else [column]
    return function(["?"] * len(responses), responses, *columns, **arguments)


def test_exact_match():
    column = ["Paris", ["the Seine", "Seine"], None, "Paris"]
    responses = [" Paris\n", "Seine", "x", "paris."]
    assert score(exact_match, responses, column) == [1.0, 1.0, None, 0.0]
    assert score(exact_match, responses, column, normalise=True) == [1.0, 1.0, None, 1.0]
    assert score(exact_match, ["<a>Paris</a>", "Paris"], ["Paris"] * 2, tag="a") == [1.0, 0.0]


def test_token_f1_takes_the_best_reference():
    assert score(token_f1, ["the big cat", "x"], [["a dog", "a big dog"], None]) == [0.5, None]


def test_accuracy():
    assert score(accuracy, [" Positive.", "negative", "x"], ["positive", "positive", None]) == [1.0, 0.0, None]
    labels = ["bad", "good", "very good"]
    responses = ["The sentence is good.", "very good", "good or bad", "fine", "Very good!"]
    assert score(accuracy, responses, ["good", 2, "good", 1, 1], labels=labels) == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert score(accuracy, ["这句话是正面的。"], ["正面"], labels=["正面", "负面"]) == [1.0]
    for wrong in (["one"], "good", ["a", "A"], []):
        with pytest.raises(ConfigError, match="two or more different names"):
            score(accuracy, [], [], labels=wrong)


TEXTS = [
    ("the cat sat on the mat", ["the cat is on the mat", "there is a cat on the mat"]),
    ("the the the", ["the cat"]),
    ("It was 3:45 p.m.", ["It was a quarter to four."]),
    ("", ["something"]),
    ("exactly the same", ["exactly the same"]),
]


def test_bleu_and_chrf_are_sacrebleus():
    responses, references = [text for text, _ in TEXTS], [each for _, each in TEXTS]
    expected = [sacrebleu.sentence_bleu(text, each).score / 100 for text, each in TEXTS]
    assert score(bleu, responses, references) == pytest.approx(expected)
    expected = [sacrebleu.sentence_chrf(text, each).score / 100 for text, each in TEXTS]
    assert score(chrf, responses, references) == pytest.approx(expected)
    expected = [sacrebleu.sentence_chrf(text, each, word_order=2).score / 100 for text, each in TEXTS]
    assert score(chrf, responses, references, word_order=2) == pytest.approx(expected)
    chinese = sacrebleu.sentence_bleu("猫坐在垫子上", ["一只猫坐在垫子上"], tokenize="zh").score / 100
    assert score(bleu, ["猫坐在垫子上"], ["一只猫坐在垫子上"], tokenize="zh") == [pytest.approx(chinese)]
    assert chinese > 0.5 > score(bleu, ["猫坐在垫子上"], ["一只猫坐在垫子上"])[0]
    with pytest.raises(ConfigError, match="tokenize: 'ja-mecab'; give one of 13a"):
        score(bleu, [], [], tokenize="ja-mecab")


def test_chrf_by_hand():
    # Characters: 3 of 3 and 3 of 4; pairs: 2 of 2 and 2 of 3; threes: 1 of 1 and 1 of 2. P = 1, R = 23/36.
    assert score(chrf, ["abc"], ["abcd"]) == [pytest.approx(5 * (23 / 36) / (4 + 23 / 36))]


def test_rouge_is_rouge_scores():
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    responses, references = [text for text, _ in TEXTS], [each for _, each in TEXTS]
    expected = [max(scorer.score(one, text)["rougeL"].fmeasure for one in each) for text, each in TEXTS]
    assert score(rouge_l, responses, references) == pytest.approx(expected)
    # "police killed gunman" in "police kill the gunman": police, gunman of 3 and of 4 words.
    assert score(rouge_l, ["police kill the gunman"], ["police killed the gunmen"]) == [pytest.approx(0.5)]
    assert score(rouge_l, ["police kill the gunman"], ["police killed the gunmen"], stem=True) == [pytest.approx(0.75)]


def test_number_match():
    assert score(number_match, ["= 12", "12 or 13", "1,200", "x"], ["12", 13, 1200.0, None]) == [1.0, 0.0, 1.0, None]
    assert score(number_match, ["3.14"], [3.14159], tolerance=0.001) == [1.0]
    assert score(number_match, ["3.14"], [3.14159]) == [0.0]
    assert score(number_match, ["7 + 5 <a>12</a>", "12"], [12, 12], tag="a") == [1.0, 0.0]
    with pytest.raises(ConfigError, match="tolerance: 1.5"):
        score(number_match, [], [], tolerance=1.5)


def test_length():
    responses = ["", "one", "one two", "one two three four"]
    assert score(length, responses, at_most=2) == [1.0, 1.0, 1.0, 0.5]
    assert score(length, responses, at_least=2) == [0.0, 0.5, 1.0, 1.0]
    assert score(length, responses, at_least=2, at_most=3) == [0.0, 0.5, 1.0, 0.75]
    assert score(length, ["one two"], at_most=3, unit="characters") == [pytest.approx(3 / 7)]
    assert score(length, ["I don't know, 猫."], at_most=2) == [0.5]
    for wrong in ({}, {"at_least": 3, "at_most": 2}, {"at_most": 0}, {"at_most": 2, "unit": "tokens"}):
        with pytest.raises(ConfigError):
            score(length, [], **wrong)


def test_format_match():
    assert score(format_match, [" ab\nc ", "abx"], pattern="a.*c") == [1.0, 0.0]
    assert score(format_match, ["<t>x</t> <a>1</a>", "<a>1</a>"], tags=["t", "a"]) == [1.0, 0.0]
    for wrong in ({}, {"pattern": "("}, {"pattern": "x", "tags": ["a"]}):
        with pytest.raises(ConfigError):
            score(format_match, [], **wrong)


def scorer_of(name, **arguments):
    return make_scorer([RewardSource(function=f"likelier.reward.functions:{name}", arguments=arguments)])


def test_named_in_a_config():
    scorer = scorer_of("number_match", tag="a")
    assert list(scorer.sources) == ["number_match"]
    # Columns of other names than its own are none of its arguments.
    prompts = [Prompt("?", extra={"reference": "12", "tag": "b", "tolerance": "x"})] * 2
    judged = scorer.judge(ResponseBatch(prompts, ["<a>12</a>", "12"]))
    assert judged.by_source["number_match"].values.tolist() == [1.0, 0.0]
    twice = make_scorer([RewardSource(function="likelier.reward.functions:chrf")] * 2)
    assert list(twice.sources) == ["chrf", "chrf 2"]


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("length", {}, "`likelier.reward.functions:length`: arguments: give at_least, at_most or both"),
        ("length", {"most": 3}, "arguments: it takes no `most`; it takes at_least, at_most, unit"),
        ("chrf", {"word_order": "two"}, "arguments {'word_order': 'two'}: "),
        ("exact_match", {"reference": "x"}, "it takes no `reference`; it takes normalise, tag"),
        ("format_match", {"pattern": "["}, r"pattern: '\[' is no regular expression"),
    ],
)
def test_arguments_are_checked_when_loaded(name, arguments, line):
    with pytest.raises(ConfigError, match=line):
        scorer_of(name, **arguments)


def test_arguments_of_a_users_function():
    def scaled(prompts, responses, points, factor=1.0, **columns):
        return [factor * each for each in points]

    source = UserFunction(scaled, "mine.py:it", FunctionContext(), arguments={"factor": 2.0})
    batch = ResponseBatch([Prompt("p", extra={"points": 3.0, "factor": 5.0})], ["a"])
    assert source(batch).values.tolist() == [6.0]
    source.check_columns(["points"])
    UserFunction(scaled, "mine.py:it", FunctionContext(), arguments={"points": [1.0]}).check_columns([])
    with pytest.raises(ConfigError, match="it takes no `responses`"):
        UserFunction(scaled, "mine.py:it", FunctionContext(), arguments={"responses": ["x"]})


def test_columns_are_checked_with_file_and_line(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write_jsonl(path, [{"prompt": "a", "reference": "1"}, {"prompt": "b", "reference": 2}, {"prompt": "c"}])
    prompts = read_prompts(path)
    with pytest.raises(DataError, match=rf"{path}:2: `reference` must be a text or a list of texts, got 2; .*chrf"):
        check_columns(prompts, scorer_of("chrf"))
    numbers = scorer_of("number_match")
    check_columns(prompts, numbers)
    with pytest.raises(DataError, match=rf"{path}:3: no `reference`, which .*number_match` reads; no other source"):
        check_scored(prompts, numbers)
    check_scored(prompts[:2], numbers)
    with pytest.raises(
        ConfigError, match=rf"{path}: .*its parameter `label` is no column of the prompts; .*: reference"
    ):
        check_columns(prompts, scorer_of("accuracy"))
    both = make_scorer(
        [
            RewardSource(function="likelier.reward.functions:number_match"),
            RewardSource(function="likelier.reward.functions:length", arguments={"at_most": 3}),
        ]
    )
    check_scored(prompts, both)


def test_labels_are_checked_against_their_names():
    columns = scorer_of("accuracy", labels=["bad", "good"]).functions[0].columns
    rows = [
        Prompt("?", extra={"label": value}, source=f"p.jsonl:{at}") for at, value in enumerate(["good", 1, None, 2])
    ]
    assert check_values(rows[:3], columns, "it") == [2]
    with pytest.raises(DataError, match="p.jsonl:3: `label` must be one of the labels bad, good, or its number"):
        check_values(rows, columns, "it")


def test_references_that_rouge_cannot_count():
    prompts = [Prompt("?", extra={"reference": "一只猫"}, source="p.jsonl:4")]
    with pytest.raises(DataError, match="p.jsonl:4: `reference` must hold letters a to z or digits"):
        check_columns(prompts, scorer_of("rouge_l"))


@pytest.mark.parametrize(
    ("name", "package"), [("chrf", "sacrebleu"), ("bleu", "sacrebleu"), ("rouge_l", "rouge_score")]
)
def test_a_missing_library_is_one_line(name, package, monkeypatch):
    functions.load_rouge.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(ConfigError, match=rf"functions:{name}`: needs .*pip install 'likelier\[text\]'"):
        scorer_of(name)


def test_the_page_names_every_function():
    page = (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8")
    assert len(NAMES) == 9
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) >= set(NAMES)
