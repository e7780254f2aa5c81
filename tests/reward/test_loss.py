"""The preference loss against numbers worked out by hand, and at the edges where logarithms break."""

import math

import pytest
import torch

from likelier.records import Preference
from likelier.reward.loss import AnswerIntervals, preference_loss, strength_log_likelihood


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_bradley_terry():
    # d = 2 and -1: -log sigmoid(2) = 0.126928011042973, -log sigmoid(-1) = 1.313261687518223; their mean
    loss = preference_loss(doubles(1.5, 0.0), doubles(-0.5, 1.0))
    assert loss.item() == pytest.approx(0.720094849280598, abs=1e-12)


def test_margin_is_taken_off_the_difference():
    # d = 2 - 0.5 = 1.5: log(1 + e^-1.5)
    loss = preference_loss(doubles(2.0), doubles(0.0), margin=doubles(0.5))
    assert loss.item() == pytest.approx(0.201413277982752, abs=1e-12)


def test_tie_pulls_the_scores_together_and_ignores_the_margin():
    # target 1/2 at d = 1: (0.313261687518223 + 1.313261687518223) / 2, whatever the margin
    chosen = doubles(1.0).requires_grad_()
    loss = preference_loss(chosen, doubles(0.0), margin=doubles(7.0), target=doubles(0.5))
    loss.backward()
    assert loss.item() == pytest.approx(0.813261687518223, abs=1e-12)
    assert chosen.grad.item() == pytest.approx(0.231058578630005, abs=1e-12)  # sigmoid(1) - 1/2


def test_margin_of_other_pairs_stays_beside_a_tie():
    loss = preference_loss(doubles(1.0, 2.0), doubles(0.0, 0.0), margin=doubles(7.0, 0.5), target=doubles(0.5, 1.0))
    assert loss.item() == pytest.approx((0.813261687518223 + 0.201413277982752) / 2, abs=1e-12)


def test_flip_mixes_in_the_other_answer():
    # d = log 3, so sigmoid = 3/4; flip 0.2: q = 0.8 * 0.75 + 0.2 * 0.25 = 0.65
    loss = preference_loss(doubles(math.log(3.0)), doubles(0.0), flip=doubles(0.2))
    assert loss.item() == pytest.approx(0.430782916092454, abs=1e-12)  # -log 0.65


def test_flip_of_one_half_teaches_nothing():
    chosen = doubles(3.0).requires_grad_()
    loss = preference_loss(chosen, doubles(0.0), flip=doubles(0.5))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2.0), abs=1e-12)
    assert chosen.grad.item() == pytest.approx(0.0, abs=1e-15)


def test_flip_with_a_tie():
    # q = 0.65 as above: -(log 0.65 + log 0.35) / 2
    loss = preference_loss(doubles(math.log(3.0)), doubles(0.0), target=doubles(0.5), flip=doubles(0.2))
    assert loss.item() == pytest.approx(0.740302520295566, abs=1e-12)


def test_the_guess_of_who_leans_to_a_side():
    # sigmoid(log 3) = 3/4, a share of 0.4 without reading, 0.9 of it this side: q = 0.6 * 0.75 + 0.4 * 0.9 = 0.81
    one = doubles(math.log(3.0)), doubles(0.0)
    assert preference_loss(*one, flip=0.2, guess=0.9).item() == pytest.approx(-math.log(0.81), abs=1e-12)
    assert preference_loss(*one, flip=0.2, guess=0.5) == preference_loss(*one, flip=0.2)
    # a tie, and people who answer the reverse, for whom there is no guess
    assert preference_loss(*one, target=0.0, flip=0.2, guess=0.9).item() == pytest.approx(-math.log(0.19), abs=1e-12)
    assert preference_loss(*one, flip=1.0, guess=0.5).item() == pytest.approx(-math.log(0.25), abs=1e-12)
    chosen = doubles(700.0, -700.0, 0.0).requires_grad_()
    preference_loss(
        chosen, doubles(0.0, 0.0, 0.0), flip=doubles(0.5, 0.5, 1.0), guess=doubles(0.9, 0.1, 0.5)
    ).backward()
    assert chosen.grad.tolist() == pytest.approx([0.0, 0.0, 1 / 6], abs=1e-12)


def test_weights_multiply_and_the_divisor_stays_the_number_of_pairs():
    # (2 * 0.126928011042973 + 0 * ...) / 2
    loss = preference_loss(doubles(2.0, 5.0), doubles(0.0, 0.0), weight=doubles(2.0, 0.0))
    assert loss.item() == pytest.approx(0.126928011042973, abs=1e-12)


def test_one_number_for_all_pairs_keeps_all_its_digits():
    # read in fp32 on the way, 0.2 would be 0.20000000298
    loss = preference_loss(doubles(math.log(3.0)), doubles(0.0), flip=0.2)
    assert loss.item() == pytest.approx(0.430782916092454, abs=1e-14)


def test_flip_of_zero_is_no_flip_to_the_last_bit():
    chosen, rejected = doubles(-800.0, -3.0, 0.0, 0.25, 800.0), doubles(0.0, 0.0, 0.0, 0.0, 0.0)
    assert preference_loss(chosen, rejected, flip=torch.zeros(5).double()) == preference_loss(chosen, rejected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flip", [0.0, 1e-12, 0.3, 1.0])
@pytest.mark.parametrize("target", [1.0, 0.5])
@pytest.mark.parametrize("difference", [-1e30, -1e4, -1.0, 0.0, 1.0, 1e4, 1e30])
def test_loss_and_gradient_are_finite_at_the_edges(dtype, flip, target, difference):
    chosen = torch.tensor([difference], dtype=dtype, requires_grad=True)
    rejected = torch.zeros(1, dtype=dtype, requires_grad=True)
    loss = preference_loss(chosen, rejected, target=torch.tensor([target]), flip=torch.tensor([flip]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert math.isfinite(chosen.grad.item())
    assert math.isfinite(rejected.grad.item())


def test_a_flip_bounds_the_loss_of_a_hopeless_pair():
    # d = -1e4: sigmoid(d) = 0, so q = flip and the loss is -log 0.1
    loss = preference_loss(doubles(-1e4), doubles(0.0), flip=doubles(0.1))
    assert loss.item() == pytest.approx(2.302585092994046, abs=1e-12)


def test_gradient_agrees_with_finite_differences():
    chosen, rejected = (torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    more = {
        "weight": torch.rand(6).double(),
        "margin": torch.rand(6).double(),
        "target": doubles(1.0, 0.5, 1.0, 1.0, 0.5, 1.0),
        "flip": doubles(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    }
    assert torch.autograd.gradcheck(lambda c, r: preference_loss(c, r, **more), (chosen, rejected))


def test_no_pairs_give_zero():
    assert preference_loss(torch.zeros(0), torch.zeros(0)).item() == 0.0


def intervals(*rows: tuple[float, float, float]) -> AnswerIntervals:
    return AnswerIntervals(*doubles(*(number for row in rows for number in row)).view(-1, 3).T)


def test_the_interval_of_an_answer_with_a_strength():
    # d = log 3: sigmoid(log 3) = 3/4, sigmoid(log 3 - log 12) = 1/5: "slightly" 0.55, "much" 0.2, a tie 1/4 to 3/4
    top, d = math.log(12.0), (doubles(math.log(3.0)), doubles(0.0))
    assert preference_loss(*d, intervals=intervals((0.0, top, 0.3))).item() == pytest.approx(-math.log(0.55))
    assert preference_loss(*d, intervals=intervals((top, math.inf, 0.3))).item() == pytest.approx(-math.log(0.2))
    level = intervals((-math.log(3.0), math.log(3.0), 0.3))  # sigmoid(log 9) - sigmoid(0) = 0.9 - 0.5
    assert preference_loss(*d, target=doubles(0.5), intervals=level).item() == pytest.approx(-math.log(0.4))
    # 2 flip = 0.4 careless, of which 0.3 are this answer: 0.6 * 0.55 + 0.4 * 0.3 = 0.45; a guess has no say
    mixed = preference_loss(*d, flip=doubles(0.2), guess=doubles(0.9), intervals=intervals((0.0, top, 0.3)))
    assert mixed.item() == pytest.approx(-math.log(0.45))
    # who answers the reverse: sigmoid(-log 3) - sigmoid(-log 3 - log 12) = 1/4 - 1/37
    turned = preference_loss(*d, flip=doubles(1.0), intervals=intervals((0.0, top, 0.3)))
    assert turned.item() == pytest.approx(-math.log(1 / 4 - 1 / 37))


def test_the_sum_over_strengths_is_bradley_terry():
    d = torch.linspace(-40, 40, 81, dtype=torch.float64)
    ends = [(0.0, 0.7, 0.5), (0.7, 2.5, 0.3), (2.5, math.inf, 0.2)]
    total = sum(strength_log_likelihood(d, intervals(each), 0.0).exp() for each in ends)
    assert torch.allclose(total, torch.sigmoid(d), rtol=1e-12, atol=0)


def test_answers_without_a_strength_keep_their_bits():
    chosen, flip = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([0.0, 0.1, 0.2])
    plain = preference_loss(chosen, -chosen, flip=flip)
    mixed = AnswerIntervals(*torch.tensor([[0.0, math.inf, 0.5], [0.0, math.inf, 0.5], [0.4, 2.0, 0.1]]).T)
    assert preference_loss(chosen[:2], -chosen[:2], flip=flip[:2]) == preference_loss(
        chosen[:2], -chosen[:2], flip=flip[:2], intervals=AnswerIntervals(*(each[:2] for each in mixed))
    )
    assert preference_loss(chosen, -chosen, flip=flip, intervals=mixed) != plain
    pairs = [Preference("p", "a", "b"), Preference("p", "a", "b", flip=0.1, guess=0.9, target=0.5)]
    assert AnswerIntervals.from_rows([pair.interval for pair in pairs], chosen) is None
    more = [*pairs, Preference("p", "a", "b", lower=0.5, chance=0.1)]
    found = AnswerIntervals.from_rows([pair.interval for pair in more], chosen)
    assert found is not None
    assert found.has_strength.tolist() == [False, False, True]
    assert found.upper.tolist() == [math.inf] * 3


def test_gradients_of_intervals_are_right_and_finite():
    rows = intervals((0.0, 0.7, 0.2), (0.7, 2.0, 0.1), (2.0, math.inf, 0.1), (-0.5, 0.5, 0.1), (0.0, math.inf, 0.5))
    chosen, rejected = doubles(1.0, -0.5, 3.0, 0.2, 0.1).requires_grad_(), doubles(0.3, 0.4, -1.0, 0.1, 0.9)
    for flip in (doubles(0.0, 0.0, 0.0, 0.0, 0.0), doubles(0.1, 0.5, 1.0, 0.8, 0.3)):
        torch.autograd.gradcheck(lambda c, f=flip: preference_loss(c, rejected, flip=f, intervals=rows), chosen)
    far = doubles(700.0, -700.0, 700.0, -700.0, 700.0).requires_grad_()
    loss = preference_loss(far, rejected, flip=doubles(0.5, 0.0, 1.0, 0.0, 0.0), intervals=rows)
    loss.backward()
    assert math.isfinite(loss.item())
    assert far.grad.isfinite().all()
