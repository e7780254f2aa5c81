"""Reward functions: which columns they are given, and functions written for TRL's GRPO trainer."""

import asyncio
import functools
import re

import pytest

from batches import batch_of
from likelier.errors import ConfigError, LikelierError
from likelier.reward.user_functions import FunctionContext, TrainerState, UserFunction

ASKED = {"role": "user", "content": "2 + 2?"}


def source_of(function, context=None, per_token=False):
    return UserFunction(function, "mine.py:it", context or FunctionContext(), per_token)


def score(function, batch, context=None):
    return source_of(function, context)(batch).values.tolist()


COLUMNS = batch_of(["p", "q"], ["a", "b"], reference=["a", "c"], points=[2.0, None])


def test_a_column_by_name():
    assert score(
        lambda prompts, responses, reference: [float(a == b) for a, b in zip(responses, reference, strict=True)],
        COLUMNS,
    ) == [1, 0]
    assert score(lambda p, r, *, points: [value or 0.5 for value in points], COLUMNS) == [2.0, 0.5]


def test_all_columns():
    seen = {}

    def every(prompts, responses, **columns):
        seen.update(columns)
        return [0.0, 0.0]

    score(every, COLUMNS)
    assert seen == {"reference": ["a", "c"], "points": [2.0, None]}


def test_a_parameter_with_a_default_needs_no_column():
    def scaled(prompts, responses, points=(1.0, 1.0), factor=2.0):
        return [factor * (value or 0.0) for value in points]

    assert score(scaled, COLUMNS) == [4.0, 0.0]
    assert score(scaled, batch_of(["p", "q"], ["a", "b"])) == [2.0, 2.0]
    source_of(scaled).check_columns([])


def test_texts_are_never_taken_for_columns():
    batch = batch_of(["p"], ["a"], responses=["column"], prompts=["column"], mine=[3.0])

    def reward(prompts, responses, **columns):
        assert (prompts, responses) == (["p"], ["a"])
        return columns["mine"]

    assert score(reward, batch) == [3.0]


def test_columns_beside_tokens():
    def per_token(prompts, responses, tokens, points):
        return [[each] * len(row) for row, each in zip(tokens, points, strict=True)]

    source = source_of(per_token, per_token=True)
    batch = batch_of(["p", "q"], ["a b", "c"], [["a", " b"], ["c"]], points=[2.0, 3.0])
    assert source(batch).values.tolist() == [[2.0, 2.0], [3.0, 0.0]]
    with pytest.raises(ConfigError, match="`points` is no column of the prompts; known columns: other"):
        source.check_columns(["other"])


class Callable:
    """An object as a reward function."""

    def __call__(self, prompts, responses, points):
        return points


@pytest.mark.parametrize("function", [Callable(), functools.partial(Callable().__call__), Callable().__call__])
def test_whatever_can_be_called(function):
    assert score(function, batch_of(["p"], ["a"], points=[4.0])) == [4.0]
    with pytest.raises(ConfigError, match="`points`"):
        source_of(function).check_columns([])


def test_a_function_without_signature_is_given_prompts_and_responses():
    without = source_of(dict.fromkeys)  # written in C: what it takes cannot be looked up
    assert (without.named, without.takes_all, without.for_trl) == ([], False, False)


# Functions as TRL's documentation has them, unchanged in spirit: called by keyword, text or messages.


def longest_in_tokens(completion_ids, **kwargs):
    return [float(len(ids)) for ids in completion_ids]


def old_name_of_the_tokens(completions_ids, **kwargs):
    return [float(len(ids)) for ids in completions_ids]


def well_formed(completions, **kwargs):
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(r"^<think>.*?</think><answer>.*?</answer>$", text) else 0.0 for text in contents]


def boxed(completions, ground_truth, **kwargs):
    found = [re.search(r"\\boxed\{(.*?)\}", completion) for completion in completions]
    return [1.0 if match and match.group(1) == truth else 0.0 for match, truth in zip(found, ground_truth, strict=True)]


def arithmetic_only(prompts, completions, task, **kwargs):
    return [
        len(prompt) / len(text) if kind == "sum" else None
        for prompt, text, kind in zip(prompts, completions, task, strict=True)
    ]


def truth_values(completions, ground_truth):
    return [completion == truth for completion, truth in zip(completions, ground_truth, strict=True)]


async def slow_service(prompts, completions, **kwargs):
    await asyncio.sleep(0.001)
    return [1.0 if completion else 0.0 for completion in completions]


def test_trl_functions_on_text():
    batch = batch_of(
        ["p", "qq"], [r"so \boxed{2}", "no"], None, [[5, 6, 2], [7]], ground_truth=["2", "3"], task=["other", "sum"]
    )
    assert score(longest_in_tokens, batch) == [3.0, 1.0]
    assert score(old_name_of_the_tokens, batch) == [3.0, 1.0]
    assert score(boxed, batch) == [1.0, 0.0]
    left_out = source_of(arithmetic_only)(batch)
    assert (left_out.values.tolist(), left_out.scored.tolist()) == ([0.0, 1.0], [False, True])
    assert score(slow_service, batch) == score(slow_service, batch) == [1.0, 1.0]
    assert score(lambda **kwargs: [float(kwargs["task"][0] == "other"), 0.0], batch) == [1.0, 0.0]


def test_trl_functions_on_messages():
    right = "<think>easy</think><answer>4</answer>"
    batch = batch_of([[ASKED], [ASKED]], [right, "4"])
    assert score(well_formed, batch) == [1.0, 0.0]

    def shapes(prompts, completions, **kwargs):
        assert prompts == [[ASKED], [ASKED]]
        assert completions[0] == [{"role": "assistant", "content": right}]
        return [0.0, 0.0]

    score(shapes, batch)
    with pytest.raises(LikelierError, match="raises TypeError"):
        score(well_formed, batch_of(["plain", "plain"], [right, "4"]))


def test_trl_functions_may_return_truth_values_and_ours_may_not():
    assert score(truth_values, batch_of(["p", "q"], ["a", "b"], ground_truth=["a", "a"])) == [1.0, 0.0]
    with pytest.raises(LikelierError, match="returned True at index 0"):
        score(lambda prompts, responses: [True], batch_of(["p"], ["a"]))


def test_columns_that_trl_keeps_to_itself():
    def reward(completions, **kwargs):
        assert "completion" not in kwargs
        assert kwargs["answer"] == ["x"]
        return [float(completion == "a") for completion in completions]

    assert score(reward, batch_of(["p"], ["a"], completion=["gold"], completions=["gold"], answer=["x"])) == [1.0]


def test_the_state_of_the_trainer():
    def curriculum(completions, trainer_state, **kwargs):
        return [trainer_state.global_step / trainer_state.max_steps for _ in completions]

    context = FunctionContext()
    assert score(curriculum, batch_of(["p"], ["a"]), context) == [0.0]
    context.state = TrainerState(3, 4)
    assert score(curriculum, batch_of(["p"], ["a"]), context) == [0.75]


def test_what_functions_log():
    context = FunctionContext()

    def logs(prompts, completions, log_metric, log_extra, **kwargs):
        log_metric("hits", 1)
        log_metric("hits", 0.5)
        log_extra("read as", [completion.upper() for completion in completions])
        log_extra("odd", [float("nan"), {1, 2}])
        return [0.0 for _ in completions]

    batch = batch_of(["p", "q"], ["a", "b"])
    context.clear(2)
    score(logs, batch, context)
    assert context.logged().metrics == {"hits": 0.75}
    assert context.logged().columns == {"read as": ["A", "B"], "odd": ["nan", "{1, 2}"]}
    context.clear(2)
    assert (context.logged().metrics, context.logged().columns) == ({}, {})

    def logs_too_few(completions, log_extra, **kwargs):
        log_extra("some", [1])

    with pytest.raises(LikelierError, match="log_extra.'some'.: 1 values for 2 responses"):
        score(logs_too_few, batch, context)


@pytest.mark.parametrize(
    ("function", "column"),
    [(boxed, "ground_truth"), (arithmetic_only, "task"), (lambda completions, environments: [], "environments")],
)
def test_a_column_that_a_trl_function_requires(function, column):
    with pytest.raises(ConfigError, match=f"`mine.py:it`: its parameter `{column}` is no column of the prompts"):
        source_of(function).check_columns(["prompt", "other"])
    source_of(function).check_columns([column])
    source_of(longest_in_tokens).check_columns([])


def test_a_trl_function_gives_no_scores_per_token():
    with pytest.raises(ConfigError, match="scores whole responses; leave per: token out"):
        source_of(boxed, per_token=True)
