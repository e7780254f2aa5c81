"""The score as the weighted sum of its sources, and one line for each way a function can fail."""

from pathlib import Path

import pytest

from batches import batch_of
from likelier.config import RewardSource
from likelier.errors import ConfigError, LikelierError, Terminated
from likelier.reward.sources import check_columns, make_scorer

FUNCTIONS = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Setting:
    factor: float = 2.0

def length(prompts, responses):
    return [Setting().factor * len(text) for text in responses]

def prompt_length(prompts, responses):
    print("seen", len(prompts))
    return [len(text) for text in prompts]

def raises(prompts, responses):
    return [1 / 0 for text in responses]

def not_a_number(prompts, responses):
    return [1.0, float("nan")]

def short(prompts, responses):
    return [1.0]

def single(prompts, responses):
    return 1.0

def texts(prompts, responses):
    return ["1.0" for text in responses]

def booleans(prompts, responses):
    return [True for text in responses]

def huge(prompts, responses):
    return [0, 10 ** 5000]

def leaves(prompts, responses):
    raise SystemExit(3)

def two_axes(prompts, responses):
    import numpy
    return numpy.zeros((len(responses), 1))

def shouting(prompts, responses, task):
    return [float(text.isupper()) if kind == "shout" else None for text, kind in zip(responses, task)]

def whispering(prompts, responses, *, task):
    return [float(text.islower()) if kind == "whisper" else None for text, kind in zip(responses, task)]

def some_tokens(prompts, responses, tokens, task):
    return [[1.0] * len(row) if kind == "shout" else None for row, kind in zip(tokens, task)]

def at_tokens(prompts, responses, tokens):
    assert isinstance(tokens, list) and isinstance(tokens[0], list)
    return [[float(len(token)) for token in row] for row in tokens]

def too_few(prompts, responses, tokens):
    return [row[1:] and [1.0] for row in tokens]

def flat(prompts, responses, tokens):
    return [1.0 for row in tokens]

def not_finite(prompts, responses, tokens):
    return [[1.0, float("inf")] for row in tokens]

constant = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS, encoding="utf-8")
    return path


def scorer_of(file: Path, *names: str):
    return make_scorer([RewardSource(function=f"{file}:{name}") for name in names], "cpu")


def test_a_python_function(file: Path, capsys: pytest.CaptureFixture[str]):
    assert scorer_of(file, "length")(batch_of(["p", "p"], ["abc", ""])).tolist() == [6.0, 0.0]
    assert scorer_of(file, "prompt_length")(batch_of(["four", "p"], ["", ""])).tolist() == [4.0, 1.0]
    assert capsys.readouterr() == ("", "seen 2\n")  # stdout belongs to results


def test_a_weighted_sum_and_what_each_source_says(file: Path):
    given = [
        RewardSource(function=f"{file}:length", weight=0.5),
        RewardSource(function=f"{file}:prompt_length", weight=-2.0, name="prompt"),
        RewardSource(function=f"{file}:length", weight=0.0),
    ]
    scorer = make_scorer(given, "cpu")
    each = scorer.judge(batch_of(["ab"], ["abc"])).unweighted
    assert {name: scores.tolist() for name, scores in each.items()} == {
        "mine.py:length": [6.0],
        "prompt": [2.0],
        "mine.py:length 3": [6.0],
    }
    assert scorer(batch_of(["ab"], ["abc"])).tolist() == [0.5 * 6.0 - 2.0 * 2.0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "raises ZeroDivisionError: division by zero"),
        ("leaves", "raises SystemExit: 3"),
        ("two_axes", "returned list at index 0; return finite floats"),
        ("not_a_number", "returned nan at index 1"),
        ("short", "returned 1 scores for 2 responses"),
        ("single", "returned float; return a list of floats"),
        ("texts", "returned str at index 0"),
        ("booleans", "returned True at index 0"),
        ("huge", "returned int at index 1"),
    ],
)
def test_a_function_that_fails_is_named_in_one_line(file: Path, name: str, said: str):
    with pytest.raises(LikelierError) as caught:
        scorer_of(file, name)(batch_of(["p", "p"], ["a", "b"]))
    assert said in str(caught.value)
    assert f"mine.py:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_numbers_at_tokens_beside_whole_scores(file: Path):
    given = [
        RewardSource(function=f"{file}:length", weight=0.5),
        RewardSource(function=f"{file}:at_tokens", per="token", weight=3.0, name="shape"),
        RewardSource(function=f"{file}:at_tokens", per="token", weight=-1.0),
    ]
    scorer = make_scorer(given, "cpu")
    assert scorer.reads_tokens
    batch = batch_of(["p", "p"], ["abc d", "e"], [["abc", " d"], ["e"]])
    judged = scorer.judge(batch)
    assert {name: scores.tolist() for name, scores in judged.unweighted.items()} == {
        "mine.py:length": [10.0, 2.0],
        "shape": [5.0, 1.0],
        "mine.py:at_tokens": [5.0, 1.0],
    }
    assert judged.at_tokens is not None
    assert judged.at_tokens.tolist() == [[6.0, 4.0], [2.0, 0.0]]  # 3 - 1 times the lengths, 0 behind the last
    assert scorer(batch).tolist() == [15.0, 3.0]
    assert scorer_of(file, "length").judge(batch_of(["p"], ["abc"])).at_tokens is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("too_few", "response 0, returned 1 numbers for 2 tokens"),
        ("flat", "response 0, returned float; return a list of floats"),
        ("not_finite", "response 0, returned inf at index 1"),
        ("length", "raises TypeError: length() takes 2 positional arguments but 3 were given"),
    ],
)
def test_a_token_function_that_fails_is_named_in_one_line(file: Path, name: str, said: str):
    scorer = make_scorer([RewardSource(function=f"{file}:{name}", per="token")], "cpu")
    with pytest.raises(LikelierError) as caught:
        scorer.judge(batch_of(["p"], ["a b"], [["a", " b"]]))
    assert said in str(caught.value)
    assert f"mine.py:{name}" in str(caught.value)


def test_a_function_that_is_not_there(file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="has no function `lenght`"):
        scorer_of(file, "lenght")
    with pytest.raises(ConfigError, match="`constant` in .* is of type int, not a function"):
        scorer_of(file, "constant")
    with pytest.raises(ConfigError, match="no such file"):
        make_scorer([RewardSource(function="nowhere.py:reward")], "cpu")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="a folder, not a file"):
        make_scorer([RewardSource(function=f"{tmp_path / 'folder'}:reward")], "cpu")
    broken = tmp_path / "broken.py"
    broken.write_text("def reward(:\n")
    with pytest.raises(ConfigError, match="raises SyntaxError"):
        make_scorer([RewardSource(function=f"{broken}:reward")], "cpu")


def test_a_signal_during_a_reward_is_not_the_functions_doing(tmp_path: Path):
    (tmp_path / "slow.py").write_text("from likelier.errors import Terminated\ndef slow(p, r):\n    raise Terminated\n")
    with pytest.raises(Terminated):
        scorer_of(tmp_path / "slow.py", "slow")(batch_of(["p"], ["a"]))


def test_a_source_that_returns_none_is_left_out_of_that_rows_sum(file: Path):
    given = [RewardSource(function=f"{file}:{name}", weight=2.0, name=name) for name in ("shouting", "whispering")]
    given.append(RewardSource(function=f"{file}:some_tokens", per="token", weight=0.5, name="tokens"))
    scorer = make_scorer(given, "cpu")
    tokens = [["HE", "Y"], ["ho"], ["h", "I"]]
    batch = batch_of(["p", "q", "r"], ["HEY", "ho", "hI"], tokens, task=["shout", "whisper", "whisper"])
    judged = scorer.judge(batch)
    assert {name: scores.scored.tolist() for name, scores in judged.by_source.items()} == {
        "shouting": [True, False, False],
        "whispering": [False, True, True],
        "tokens": [True, False, False],
    }
    assert scorer.combine(judged).tolist() == [2.0 * 1.0 + 0.5 * 2.0, 2.0 * 1.0, 2.0 * 0.0]
    assert judged.at_tokens is not None
    assert judged.at_tokens.tolist() == [[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]]
    assert judged.scored_by("whispering").tolist() == [1.0, 0.0]
    assert judged.by_source["shouting"].with_nan().isnan().tolist() == [False, True, True]


def test_a_row_that_no_source_scores_is_named(file: Path):
    scorer = scorer_of(file, "shouting", "whispering")
    batch = batch_of(["p", "Sing,\nplease."], ["HEY", "la"], task=["shout", "sing"])
    with pytest.raises(LikelierError) as caught:
        scorer(batch)
    assert str(caught.value) == (
        "response 1 has no score: mine.py:shouting, mine.py:whispering returned None for it; "
        "its prompt begins 'Sing, please.'"
    )


def test_a_column_that_no_prompt_has_is_named_with_those_there_are(file: Path):
    scorer, judges = scorer_of(file, "length"), scorer_of(file, "length", "whispering")
    check_columns(batch_of(["p", "q"], ["", ""], task=["a", None]).prompts, scorer, judges, None)
    check_columns(batch_of(["p"], [""]).prompts, scorer)
    with pytest.raises(ConfigError) as caught:
        check_columns(batch_of(["p"], [""], topic=["a"], points=[1]).prompts, scorer, judges)
    line = "reward function `.*mine.py:whispering`: its parameter `task` is no column of the prompts; "
    assert caught.match(line + "known columns: topic, points$")
    with pytest.raises(ConfigError, match="known columns: none"):
        check_columns(batch_of(["p"], [""]).prompts, judges)
