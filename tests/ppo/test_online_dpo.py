"""Online DPO as a loss of one's own: the pairs are found again among shuffled rows."""

from math import exp, log

import pytest
import torch
from online_dpo import loss

MASK = torch.ones(4, 2, dtype=torch.bool)
DIFFERENCES = torch.tensor([[2.0, 2.0], [0.5, 0.5], [-0.5, -0.5], [-2.0, -2.0]])
# log pi / pi_ref of the four responses: 0, -1, 0, -2
LOGPROBS = torch.tensor([[-1.0, -1.0], [-2.0, 0.0], [-1.0, 0.0], [-3.0, -1.0]])
REFERENCE = torch.tensor([[-1.0, -1.0], [-1.0, 0.0], [-1.0, 0.0], [-1.0, -1.0]])


def test_the_loss_by_hand_in_any_order():
    # Margins 0.5 * (0 + 2) and 0.5 * (-1 - 0).
    wanted = (log(1 + exp(-1)) + log(1 + exp(0.5))) / 2
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        given = LOGPROBS[order], LOGPROBS[order], REFERENCE[order], DIFFERENCES[order]
        assert loss(*given, MASK, 0.5).item() == pytest.approx(wanted)


def test_a_tie_teaches_nothing():
    logprobs = LOGPROBS.clone().requires_grad_()
    differences = torch.tensor([[2.0, 2.0], [0.0, 0.0], [0.0, 0.0], [-2.0, -2.0]])
    loss(logprobs, LOGPROBS, REFERENCE, differences, MASK, 0.5).backward()
    assert logprobs.grad[1:3].abs().sum() == 0
    assert logprobs.grad[0, 0] < 0 < logprobs.grad[3, 0]


def test_rows_without_partners_are_refused():
    with pytest.raises(ValueError, match=r"ppo.num_mini_batches=1"):
        loss(LOGPROBS, LOGPROBS, REFERENCE, torch.tensor([[2.0], [1.0], [-0.5], [-2.0]]), MASK, 0.5)
