"""Held-out quality by hand, and the two baselines against scikit-learn."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from likelier.records import Preference
from likelier.reward.check import (
    BagOfWords,
    check_baselines,
    check_scores,
    compute_hits,
    fit_bag_of_words,
    fit_length,
    fit_logistic,
    make_vocabulary,
    select_equal_length,
    word_counts,
)
from likelier.reward.judged import clusters, judgement_logits, log_losses


def pair(chosen: str, rejected: str, **more) -> Preference:
    return Preference("p", chosen, rejected, **more)


def test_hits_count_ties_half_on_either_side():
    pairs = [pair("a", "b"), pair("a", "b"), pair("a", "b"), pair("a", "b", target=0.5)]
    assert compute_hits(np.array([2.0, -1.0, 0.0, 5.0]), pairs).tolist() == [1.0, 0.0, 0.5, 0.5]


def test_someone_who_answers_the_wrong_way_round_is_read_the_other_way_round():
    assert compute_hits(np.array([2.0, -2.0]), [pair("a", "b", flip=0.9), pair("a", "b", flip=0.9)]).tolist() == [
        0.0,
        1.0,
    ]


def test_error_rates_enter_the_chances():
    # sigmoid(log 3) = 3/4; flip 0.2: q = 0.65; no flip: the difference itself, however large
    pairs = [pair("a", "b", flip=0.2), pair("a", "b"), pair("a", "b", flip=0.5)]
    found = judgement_logits(np.array([math.log(3), -900.0, 4.0]), pairs)
    assert found == pytest.approx([math.log(0.65 / 0.35), -900.0, 0.0], abs=1e-12)
    assert check_scores(np.array([math.log(3)]), pairs[:1])["log_loss"] == pytest.approx(0.430782916092454, abs=1e-12)


def test_the_guess_of_who_leans_enters_the_chances():
    # as in test_loss: q = 0.6 * 0.75 + 0.4 * 0.9 = 0.81
    found = judgement_logits(np.array([math.log(3)]), [pair("a", "b", flip=0.2, guess=0.9)])
    assert found == pytest.approx([math.log(0.81 / 0.19)], abs=1e-12)


def test_log_loss_by_hand():
    found = log_losses(np.array([2.0, -1.0, 1.0]), np.array([1.0, 1.0, 0.5]))
    assert found == pytest.approx([0.126928011042973, 1.313261687518223, 0.813261687518223], abs=1e-12)


def test_check_scores_clusters_by_conversation():
    pairs = [pair("a", "b", conversation=str(at // 10)) for at in range(100)]
    difference = np.array([1.0 if at // 10 < 7 else -1.0 for at in range(100)])
    found = check_scores(difference, pairs)
    assert found["accuracy"] == 0.7
    assert found["accuracy_interval"] == pytest.approx([0.28, 0.96], abs=0.01)  # 10 clusters, not 100 pairs
    assert found["pairs"] == 100


def test_pairs_without_conversation_are_grouped_by_prompt():
    found = clusters([Preference("p", "a", "b"), Preference("p", "c", "d"), Preference("q", "a", "b")])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("longer_wins", [True, False])
def test_length_alone_learns_which_way_length_counts(longer_wins):
    texts = [("x" * (5 + at % 7), "x" * (1 + at % 4)) for at in range(40)]
    train = [pair(*both) if longer_wins else pair(*both[::-1]) for both in texts]
    difference = fit_length(train)([pair("long text", "short"), pair("short", "long text"), pair("same", "size")])
    assert np.sign(difference).tolist() == ([1, -1, 0] if longer_wins else [-1, 1, 0])


def test_logistic_regression_agrees_with_scikit_learn():
    random = np.random.default_rng(0)
    columns = np.round(random.normal(size=(300, 6)), 1)
    labels = (columns @ [1.0, -2.0, 0.5, 0.0, 0.0, 1.0] + random.normal(size=300) > 0).astype(float)
    importance = random.random(300)
    oracle = LogisticRegression(C=1 / 3, fit_intercept=False, tol=1e-10, max_iter=1000)
    oracle.fit(columns, labels, sample_weight=importance)
    found = fit_logistic(csr_matrix(columns), labels, importance, penalty=3.0)
    assert found == pytest.approx(oracle.coef_[0], abs=1e-4)


def test_a_tie_in_training_is_half_a_win():
    columns = csr_matrix(np.ones((4, 1)))
    found = fit_logistic(columns, [1.0, 1.0, 0.5, 0.5], np.ones(4), penalty=1e-9)
    assert found == pytest.approx([math.log(3)], abs=1e-4)  # mean target 3/4


def test_word_counts_and_vocabulary():
    vocabulary = make_vocabulary(["Good, good dog", "good cat"], min_texts=2)
    assert vocabulary == {"good": 0}
    assert word_counts(["GOOD good dog", "cat"], vocabulary).toarray()[:, 0] == pytest.approx([math.log(3), 0.0])


def test_words_find_the_word_that_decides():
    random = np.random.default_rng(0)
    fillers = ["cat", "dog", "sun", "sea"]

    def draw(word: str) -> str:
        return " ".join([*random.choice(fillers, 3), word])

    pairs = [pair(draw("kind"), draw("cruel")) for _ in range(60)]
    words = fit_bag_of_words(pairs[:40], pairs[40:])
    kind, cruel, dog = words.scores(["kind", "cruel", "dog"])
    assert kind > 0.2
    assert cruel < -0.2
    assert abs(dog) < 0.1
    assert (words.differences(pairs) > 0).all()


def test_words_score_differences_change_sign_with_the_sides():
    words = BagOfWords({"a": 0, "b": 1}, np.array([1.0, -2.0]))
    assert words.differences([pair("a b", "b b")]) == -words.differences([pair("b b", "a b")])


def test_third_most_equal_in_length():
    pairs = [pair("aaaa", "a"), pair("aa", "a"), pair("a", "a"), pair("a", "aaa"), pair("a", "bb"), pair("aaaaaa", "a")]
    assert select_equal_length(pairs) == [1, 2]


def test_baselines_of_a_score_that_knows_more_than_length():
    random = np.random.default_rng(0)

    def draw(good: bool) -> str:
        return ("kind " if good else "cruel ") + "so " * int(random.integers(1, 9))

    pairs = [pair(draw(True), draw(False), conversation=str(at)) for at in range(120)]
    found = check_baselines(np.ones(40), pairs[:60], pairs[60:80], pairs[80:])
    assert found["bag_of_words_accuracy"] == 1.0
    assert 0.3 < found["length_only_accuracy"] < 0.7
    assert found["over_length_only_interval"][0] > 0.1
    assert found["over_length_only"] == pytest.approx(1.0 - found["length_only_accuracy"])
    assert found["over_bag_of_words_interval"] is None  # no pair differs
    assert found["equal_length_accuracy"] == 1.0
    assert found["equal_length_interval"][0] == pytest.approx(0.025 ** (1 / 13), abs=1e-9)


def test_words_of_other_scripts_have_columns():
    assert make_vocabulary(["我爱猫", "猫。", "दिन राम", "दान राम"]) == {"राम": 0, "猫": 1}
