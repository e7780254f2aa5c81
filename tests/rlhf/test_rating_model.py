"""The model of people's ratings: ridge by hand, left-out errors by leaving out, features of a response alone."""

import numpy as np
import pytest
import torch

from likelier.rlhf import rating_model
from likelier.rlhf.rating_model import MIN_VARIANCE, HiddenStates, fit_rating_model, match_variance, regress
from likelier.text.models import load_causal_lm, load_tokenizer
from tiny import save_tiny_model


def test_few_or_equal_ratings_give_their_weighted_mean():
    """Of weights 1 / (variance + 4); a rated response is between that mean and its own rating."""
    features = np.eye(3)
    model = fit_rating_model(features, np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 6.0]))
    assert model.predict(features) == pytest.approx([2.0] * 3)  # (2 * 1 + 2 * 2 + 1 * 4) / 5
    assert model.rated == pytest.approx(
        [1.2, 2.0, 2.8]
    )  # (1 / 1 + 2 / 4) / (1 / 1 + 1 / 4), ..., (4 / 6 + 2 / 4) / ...
    equal = fit_rating_model(np.eye(5), np.full(5, 2.0), np.ones(5))
    assert equal.predict(np.eye(5)) == pytest.approx([2.0] * 5)


def test_one_feature_by_hand(monkeypatch):
    """x standardised is -1, -1, 1, 1 and y - 1 the same times 2: the slope is 2 * 4 / (4 + 4 * penalty) = 1."""
    monkeypatch.setattr(rating_model, "PENALTIES", np.array([1.0]))
    features, scores = np.array([[3.0], [3.0], [5.0], [5.0]]), np.array([-1.0, -1.0, 3.0, 3.0])
    model = fit_rating_model(features, scores, np.ones(4))
    assert model.predict(np.array([[3.0], [4.0], [6.0]])) == pytest.approx([0.0, 1.0, 3.0])
    assert model.correlation is None


def test_the_own_variance_explains_the_errors_that_the_ratings_leave():
    """Errors of variance 1 with a known variance of 0.4 leave 0.6; with one of 2 they leave the least."""
    errors = np.array([1.0, -1.0, 1.0, -1.0])
    assert match_variance(errors, np.full(4, 0.4)) == pytest.approx(0.6)
    assert match_variance(errors, np.full(4, 2.0)) == MIN_VARIANCE


def test_left_out_predictions_are_those_of_models_without_the_response(monkeypatch):
    """The same weights and penalty, fitted without one row at a time, as the formula of PRESS has it."""
    monkeypatch.setattr(rating_model, "PENALTIES", np.array([0.3]))
    monkeypatch.setattr(rating_model, "ROUNDS", 1)
    generator = np.random.default_rng(0)
    features, scores = generator.normal(size=(12, 3)), generator.normal(size=12)
    model = fit_rating_model(features, scores, np.ones(12))
    x = np.column_stack([np.ones(12), (features - model.mean) / model.scale])
    penalty = np.diag([0.0, *[0.3 * 12] * 3])
    left_out = []
    for row in range(12):
        rest = np.arange(12) != row
        left_out.append(x[row] @ np.linalg.solve(x[rest].T @ x[rest] + penalty, x[rest].T @ scores[rest]))
    found = regress((features - model.mean) / model.scale, scores - model.offset, np.ones(12))
    assert found.predictions + model.offset == pytest.approx(np.array(left_out))
    assert model.correlation == pytest.approx(max(0.0, np.corrcoef(left_out, scores)[0, 1]))


def test_many_ratings_find_the_slope_and_noise_finds_none():
    generator = np.random.default_rng(1)
    features = generator.normal(size=(300, 20))
    truth = features @ generator.normal(size=20)
    model = fit_rating_model(features, truth + 0.5 * generator.normal(size=300), np.full(300, 0.25))
    assert model.correlation > 0.95
    new = generator.normal(size=(100, 20))
    assert np.corrcoef(model.predict(new), new @ np.linalg.lstsq(features, truth, rcond=None)[0])[0, 1] > 0.99
    noise = fit_rating_model(features, generator.normal(size=300), np.ones(300))
    assert np.std(noise.predict(new)) < 0.35


def test_hidden_states_are_of_the_response_and_do_not_depend_on_the_batch(tmp_path):
    save_tiny_model(tmp_path / "model", words=["a", "b"])
    model, tokenizer = load_causal_lm(tmp_path / "model"), load_tokenizer(tmp_path / "model")
    hidden = HiddenStates(model, tokenizer)
    both = hidden.describe(["a b", "b"], ["a a", "b"])
    assert np.array_equal(HiddenStates(model, tokenizer).describe(["b"], ["b"])[0], both[1])
    tokens = tokenizer("a b a a", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        states = model.base_model(input_ids=torch.tensor([[*hidden_begin(tokenizer), *tokens]])).last_hidden_state[0]
    assert np.allclose(both[0], states[-1].numpy() / 2 + states[-2].numpy() / 2, atol=1e-6)
    assert hidden.describe(["a"], [""], keep=False).shape == (1, 16)  # nothing was said
    assert len(hidden.known) == 2


def hidden_begin(tokenizer):
    from likelier.text.tokens import find_begin

    return find_begin(tokenizer)
