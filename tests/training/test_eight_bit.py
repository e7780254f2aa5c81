"""AdamW in 8 bits: its first step by hand, its bytes, its checkpoint, and where it is refused."""

import sys

import pytest
import torch
from safetensors.torch import load_file

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.training.eight_bit import check_optimizer
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer, set_learning_rate
from likelier.training.step import TrainingState, guarded_step

CPU = torch.device("cpu")


def make_state():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 2))
    groups = [(module[0].parameters(), 0.1), (module[1].parameters(), 0.2), ([], 0.1)]
    optimizer = make_optimizer(groups, build_config({}).sft, "adamw_8bit")
    return module, TrainingState({"model": module}, optimizer, Guard(3), loss=0.0)


def step(module, state, number):
    set_learning_rate(state.optimizer, 1 / number)
    state.optimizer.zero_grad()
    loss = module(torch.linspace(-1, 1, 64 * number).view(number, 64)).square().sum()
    loss.backward()
    return guarded_step(state, loss.detach(), 1e9, "the loss", lambda: ({}, {}))[0]


def test_the_first_step_is_adams_and_moments_take_two_bytes():
    module, state = make_state()
    before = module[0].weight.detach().clone()
    assert step(module, state, 1)
    gradient = module[0].weight.grad
    # Both moments start at 0, so the first step is the rate times g / (|g| + eps), whatever their bits.
    torch.testing.assert_close(module[0].weight, before - 0.1 * gradient / (gradient.abs() + 1e-5))
    moments = state.optimizer.state[module[0].weight]
    assert moments["state1"].dtype == moments["state2"].dtype == torch.uint8
    assert moments["absmax1"].shape == (16,)  # 4,096 weights, 256 to a scale
    assert state.optimizer.state[module[0].bias]["state1"].dtype == torch.float32


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path):
    module, state = make_state()
    for number in (1, 2):
        step(module, state, number)
    state.save(tmp_path)
    other, restored = make_state()
    restored.load(tmp_path)
    for number in (3, 4):
        step(module, state, number)
        step(other, restored, number)
    assert all(torch.equal(one, two) for one, two in zip(module.parameters(), other.parameters(), strict=True))
    saved = load_file(tmp_path / "optimizer.safetensors")
    assert saved["0/state1"].dtype == torch.uint8
    assert {int(saved[f"{number}/step"]) for number in range(4)} == {2}


def test_an_overflow_of_the_moments_stops_the_steps():
    module, state = make_state()
    step(module, state, 1)
    module[0].weight.grad.fill_(1e25)  # its square is beyond float32
    state.optimizer.step()
    before = module[1].weight.detach().clone()
    assert not step(module, state, 2)
    assert torch.equal(module[1].weight, before)


def test_where_bitsandbytes_has_none_it_is_refused(monkeypatch):
    check_optimizer("adamw_8bit", CPU, "sft")
    with pytest.raises(ConfigError, match=r"^sft.optimizer: paged_adamw_8bit needs CUDA, and this is cpu: only memory"):
        check_optimizer("paged_adamw_8bit", CPU, "sft")
    with pytest.raises(ConfigError, match=r"^ppo.optimizer: bitsandbytes has no adamw_8bit for mps; set adamw$"):
        check_optimizer("adamw_8bit", torch.device("mps"), "ppo")
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    check_optimizer("adamw", CPU, "sft")
    with pytest.raises(ConfigError, match=r"^optimizer: 8 bits need bitsandbytes: pip install 'likelier\[quantised\]'"):
        check_optimizer("adamw_8bit", CPU, "sft")
