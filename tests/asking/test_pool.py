"""What a project asks and was answered, and what each strategy makes of it."""

import numpy as np
import pytest

from likelier.asking.pool import Pool


class Run:
    """Features of a response by its text; scores of two models."""

    def __init__(self, features):
        self.features, self.asked = features, []

    def describe(self, prompts, texts):
        self.asked += texts
        rows = np.array([self.features.get(text, [0.0, 0.0]) for text in texts])
        return rows, np.stack([rows @ [1.0, 0.0], rows @ [-1.0, 0.0]])


FEATURES = {"a": [3.0, 0.0], "b": [0.0, 0.0], "c": [0.0, 1.0], "d": [0.0, 0.0]}


def make_pool():
    pool = Pool()
    texts = [["a", "p", "a"], ["b", "p", "b"], ["c", "q", "c"], ["d", "q", "d"], ["m", "q", None]]
    comparisons = [["ab", "a", "b"], ["cd", "c", "d"], ["cm", "c", "m"]]
    pool.add({"responses": texts, "comparisons": comparisons, "answers": []})
    return pool


def answer(pool, *answers):
    pool.add({"responses": [], "comparisons": [], "answers": [list(each) for each in answers]})


def test_disagreement_takes_the_pair_on_which_the_models_differ():
    assert make_pool().choose("disagreement", 1, Run(FEATURES)) == ["ab"]


def test_a_determinant_takes_the_widest_pair_and_then_the_direction_that_is_left():
    run = Run(FEATURES)
    assert make_pool().choose("d_optimality", 2, run) == ["ab", "cd"]  # no media file: it has no features
    pool = make_pool()
    pool.add({"responses": [["e", "p", "e"]], "comparisons": [["ae", "a", "e"]], "answers": []})
    answer(pool, ("ann", "ab", "a"))
    run.asked.clear()
    assert pool.choose("d_optimality", 1, Run(FEATURES | {"e": [2.0, 0.0]})) == ["cd"]


def test_a_response_is_read_once_until_the_run_changes():
    pool, run = make_pool(), Run(FEATURES)
    pool.choose("disagreement", 1, run)
    pool.choose("disagreement", 1, run)
    assert run.asked == ["a", "b", "c", "d", ""]
    pool.forget_run()
    pool.choose("disagreement", 1, run)
    assert len(run.asked) == 10


def test_what_was_answered_is_not_chosen_and_a_changed_answer_replaces_the_first():
    pool = make_pool()
    answer(pool, ("ann", "ab", "a"), ("bob", "ab", None), ("ann", "ab", "b"))
    assert pool.answers == {("ann", "ab"): -1.0, ("bob", "ab"): 0.0}
    assert set(pool.choose("entropy", 5, None)) == {"cd", "cm"}
    answer(pool, ("ann", "cd", "c"), ("ann", "cm", "c"))
    assert pool.choose("entropy", 5, None) == []


@pytest.mark.parametrize("size", [1, 3])
def test_entropy_asks_first_about_prompts_of_which_nothing_is_known(size):
    pool = Pool()
    ids = [f"{prompt}{each}" for prompt in "xyz" for each in "123"]
    pairs = [[f"{p}{i}{j}", f"{p}{i}", f"{p}{j}"] for p in "xyz" for i, j in ("12", "13", "23")]
    pool.add({"responses": [[each, each[0], each] for each in ids], "comparisons": pairs, "answers": []})
    answer(pool, *[("ann", f"{p}12", f"{p}1") for p in "xy"], ("ann", "x13", "x1"))
    chosen = pool.choose("entropy", size, None)
    assert chosen[0][0] == "z"
    assert "x23" not in chosen
