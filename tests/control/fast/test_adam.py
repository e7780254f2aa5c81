import pytest
import torch
from torch import nn

from likelier.control.fast.adam import FusedAdamW


def nets() -> list[nn.Linear]:
    net = nn.Linear(3, 2)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(net.state_dict())
    return [net, twin]


def adam(net: nn.Linear, weight_decay: float = 0.0) -> torch.optim.AdamW:
    return torch.optim.AdamW(net.parameters(), lr=0.1, eps=1e-5, weight_decay=weight_decay, fused=True)


def learn(net: nn.Linear, optimizer: torch.optim.AdamW, steps: torch.optim.Optimizer | FusedAdamW) -> None:
    """Six steps of a falling rate; the third has no gradient of the bias."""
    draw = torch.Generator().manual_seed(1)
    for step in range(6):
        optimizer.param_groups[0]["lr"] = 0.1 - 0.01 * step
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        if step == 2:
            net.bias.grad = None
        steps.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_steps_are_those_of_pytorch_bit_by_bit(weight_decay: float) -> None:
    ours, theirs = nets()
    optimizer, theirs_optimizer = adam(ours, weight_decay), adam(theirs, weight_decay)
    learn(ours, optimizer, FusedAdamW(optimizer))
    learn(theirs, theirs_optimizer, theirs_optimizer)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    assert optimizer.state[ours.bias]["step"] == 5
    kept, expected = optimizer.state_dict()["state"], theirs_optimizer.state_dict()["state"]
    assert all(torch.equal(kept[at][name], expected[at][name]) for at in expected for name in expected[at])


def test_a_parameter_whose_first_gradient_comes_late_gets_its_state_then() -> None:
    ours, theirs = nets()
    optimizer, theirs_optimizer = adam(ours), adam(theirs)
    for net, steps in ((ours, FusedAdamW(optimizer)), (theirs, theirs_optimizer)):
        for step in range(3):
            net.weight.grad = torch.full((2, 3), 1.0 + step)
            net.bias.grad = torch.ones(2) if step else None
            steps.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    assert FusedAdamW(optimizer).state is optimizer.state


def test_groups_of_which_one_comes_late_or_has_no_gradient() -> None:
    ours, theirs = nets()
    kept = []
    for net in (ours, theirs):
        groups = [{"params": [net.weight], "lr": 0.1}, {"params": [net.bias], "lr": 0.2}]
        kept.append(torch.optim.AdamW(groups, fused=True))
    for net, steps in ((ours, FusedAdamW(kept[0])), (theirs, kept[1])):
        for step in range(4):
            net.weight.grad = torch.full((2, 3), 1.0 + step)
            net.bias.grad = torch.ones(2) if step == 2 else None
            steps.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    assert kept[0].state[ours.weight]["step"] == 4
