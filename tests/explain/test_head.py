"""The last layer as a ridge logistic regression: its derivatives, its fit, and what removing rows does."""

import numpy as np
import pytest
import torch

from likelier.explain.head import Answers, Influence, fit_head, make_basis
from likelier.records import Preference
from likelier.reward.loss import AnswerIntervals, preference_loss


def make_answers(count: int, target: float = 1.0, **numbers: float) -> Answers:
    return Answers.from_pairs([Preference("p", "a", "b", target=target, **numbers)] * count)


@pytest.mark.parametrize(
    "label", [{}, {"flip": 0.1}, {"flip": 0.9}, {"flip": 0.2, "guess": 0.8}, {"margin": 0.5}, {"target": 0.5}]
)
def test_loss_and_derivatives_are_those_of_the_preference_loss(label: dict[str, float]) -> None:
    answers = make_answers(3, weight=2.0, **label)
    difference = torch.tensor([-1.5, 0.2, 3.0], dtype=torch.float64, requires_grad=True)
    named = {name: torch.full((3,), value, dtype=torch.float64) for name, value in label.items()}
    loss = 6.0 * preference_loss(difference, torch.zeros(3, dtype=torch.float64), **named)
    (first,) = torch.autograd.grad(loss, difference, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), difference)
    found = answers.derive(difference.detach().numpy())
    assert found[0].sum() == pytest.approx(loss.item())
    np.testing.assert_allclose(found[1], first.detach().numpy(), atol=1e-9)
    np.testing.assert_allclose(found[2], second.numpy(), atol=1e-9)


def test_what_length_adds_is_in_the_likelihood_of_ties_too() -> None:
    for target in (1.0, 0.5):
        pairs = [Preference("p", "a", "b", target=target)] * 2
        longer = Answers.from_pairs(pairs, length=np.array([0.7, -0.4])).derive(np.array([0.1, 0.2]))
        plain = Answers.from_pairs(pairs).derive(np.array([0.8, -0.2]))
        np.testing.assert_allclose(longer, plain)


def test_who_reverses_says_the_opposite() -> None:
    reversed_loss, first, second = make_answers(1, flip=1.0).derive(np.array([0.7]))
    loss, other_first, other_second = make_answers(1).derive(np.array([-0.7]))
    assert (reversed_loss, first, second) == (
        pytest.approx(loss),
        pytest.approx(-other_first),
        pytest.approx(other_second),
    )


def test_a_fit_has_the_log_odds_of_the_answers() -> None:
    head = fit_head(np.ones((4, 1)), make_answers(4, target=0.75), ridge=1e-9)
    assert head.differences(np.array([[1.0], [2.0]])) == pytest.approx([np.log(3), 2 * np.log(3)])


def test_with_fewer_rows_than_features_the_fit_is_the_same() -> None:
    features = np.random.default_rng(0).normal(size=(12, 40))
    answers, scale = make_answers(12), np.sqrt((features**2).sum(axis=1).mean())
    narrow = fit_head(features, answers, 0.5)
    wide = fit_head(features, answers, 0.5, np.eye(40) / scale)
    assert narrow.basis.shape == (40, 12)
    np.testing.assert_allclose(narrow.differences(features), wide.differences(features), rtol=1e-6)


@pytest.fixture(scope="module")
def fitted() -> tuple[np.ndarray, Answers, Influence]:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(400, 20))
    flip = np.where(np.arange(400) < 100, 0.15, 0.0)
    features *= np.where(features @ generator.normal(size=20) + generator.logistic(size=400) > 0, 1, -1)[:, None]
    answers = Answers.from_pairs([Preference("p", "a", "b", flip=each) for each in flip])
    return features, answers, Influence.from_fit(fit_head(features, answers, 1.0), features, answers)


def test_removal_predicts_the_head_fitted_again(fitted: tuple[np.ndarray, Answers, Influence]) -> None:
    features, answers, influence = fitted
    generator, predicted, actual = np.random.default_rng(2), [], []
    asked = generator.normal(size=(50, 20))
    for size in range(5, 155, 5):
        removed = generator.choice(400, size, replace=False)
        kept = np.delete(np.arange(400), removed)
        again = fit_head(features[kept], answers.select(kept), 1.0, influence.head.basis)
        predicted.append(asked @ influence.remove(removed))
        actual.append(again.differences(asked) - influence.head.differences(asked))
    assert np.corrcoef(np.ravel(predicted), np.ravel(actual))[0, 1] > 0.99


def test_few_and_many_removed_rows_take_the_same_step(fitted: tuple[np.ndarray, Answers, Influence]) -> None:
    features, _, influence = fitted
    removed = np.arange(19)  # below the 20 directions: by Woodbury's identity
    rows, kept = features @ influence.head.basis, np.arange(19, 400)
    hessian = (rows[kept].T * influence.curvature[kept]) @ rows[kept] + np.eye(20)
    step = influence.head.basis @ np.linalg.solve(hessian, rows[removed].T @ influence.gradient[removed])
    np.testing.assert_allclose(influence.remove(removed), step, rtol=1e-8)
    more = np.arange(20)
    assert np.abs(influence.remove(more) - step).max() < 0.2 * np.abs(step).max()


def test_each_comparison_alone_is_removed_as_a_set_of_one_is(fitted: tuple[np.ndarray, Answers, Influence]) -> None:
    features, answers, _ = fitted
    features = np.concatenate([features, -features[:100]])  # the first hundred are judged twice, the other way round
    answers = Answers(*(np.concatenate([column, column[:100]]) for column in vars(answers).values()))
    influence = Influence.from_fit(fit_head(features, answers, 1.0), features, answers)
    groups, asked = np.r_[np.arange(400), np.arange(100)], np.arange(20.0)
    found = influence.remove_each(groups, asked)
    for group in (0, 99, 250):
        assert found[group] == pytest.approx(influence.remove(np.flatnonzero(groups == group)) @ asked)


def test_answers_with_a_strength_are_those_of_the_loss() -> None:
    """Loss, gradient and curvature against torch's, plain, careless, reversed and tied."""
    ends = [(0.0, 0.7), (0.7, 2.0), (2.0, None), (-0.5, 0.5), (0.0, None)]
    pairs = [
        Preference("p", "a", "b", flip=flip, flip_kind="careless", lower=lower, upper=upper, chance=0.15)
        for lower, upper in ends
        for flip in (0.0, 0.2, 1.0)
    ]
    scores = torch.linspace(-3, 3, len(pairs), dtype=torch.float64, requires_grad=True)
    flip = torch.tensor([pair.flip for pair in pairs], dtype=torch.float64)
    intervals = AnswerIntervals.from_rows([pair.interval for pair in pairs], scores)
    loss = preference_loss(scores, 0 * scores, flip=flip, intervals=intervals) * len(pairs)
    (gradient,) = torch.autograd.grad(loss, scores)
    answers, at = Answers.from_pairs(pairs), scores.detach().numpy()
    found, step = answers.derive(at), 1e-5
    assert found[0].sum() == pytest.approx(loss.item())
    np.testing.assert_allclose(found[1], gradient.numpy(), atol=1e-12)
    slope = (answers.derive(at + step)[1] - answers.derive(at - step)[1]) / (2 * step)
    np.testing.assert_allclose(found[2], slope, atol=1e-8)


def test_rows_have_a_mean_squared_length_of_one() -> None:
    features = np.random.default_rng(0).normal(size=(30, 4)) * 7
    assert ((features @ make_basis(features)) ** 2).sum(axis=1).mean() == pytest.approx(1.0)
