"""One guarded step: clipped by hand, skipped without a trace in the weights, saved and restored."""

import json
import math

import pytest
import torch

from likelier.config import build_config
from likelier.errors import NumericError
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer
from likelier.training.step import TrainingState, guarded_step


def make_state(folder=None, max_skipped=3):
    module = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(module.weight, 1.0)
    optimizer = make_optimizer([(module.parameters(), 0.1)], build_config({}).sft)
    return module, TrainingState({"model": module}, optimizer, Guard(max_skipped, folder), loss=0.5)


def step(module, state, loss=None):
    state.optimizer.zero_grad()
    total = (module.weight * torch.tensor([[3.0, 4.0]])).sum() if loss is None else module.weight.sum() * loss
    total.backward()
    return guarded_step(state, total.detach(), 1.0, "the loss", lambda: ({"rows": torch.ones(1)}, {"pairs": ["a"]}))


def test_clips_to_the_norm_and_counts():
    module, state = make_state()
    taken, norm = step(module, state)
    assert taken
    assert norm == pytest.approx(5.0)  # of (3, 4)
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert state.counts == {"num_tokens": 0, "optimizer_steps": 1, "loss": 0.5}
    assert (module.weight < 1).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_without_finite_numbers_is_skipped_and_kept(tmp_path, bad):
    module, state = make_state(tmp_path)
    state.guard.begin_step(7)
    assert not step(module, state, bad)[0]
    assert module.weight.tolist() == [[1.0, 1.0]]
    assert state.counts["optimizer_steps"] == 0
    kept = json.loads((tmp_path / "bad-batch-7.json").read_text())
    assert kept["reason"] == "the loss, its gradient or the optimizer was not finite in this update"
    assert kept["pairs"] == ["a"]
    step(module, state, bad)
    with pytest.raises(NumericError, match="3 updates in a row"):
        step(module, state, bad)


def test_an_optimizer_that_overflowed_is_not_stepped_with():
    module, state = make_state()
    step(module, state)
    before = module.weight.tolist()
    state.optimizer.state[module.weight]["exp_avg_sq"][0, 0] = math.inf
    assert not step(module, state)[0]
    assert module.weight.tolist() == before


def test_what_is_saved_is_restored(tmp_path):
    module, state = make_state()
    step(module, state)
    state.counts["loss"] = 0.25
    state.save(tmp_path)
    other, restored = make_state()
    restored.load(tmp_path)
    assert restored.counts == {"num_tokens": 0, "optimizer_steps": 1, "loss": 0.25}
    step(module, state)
    step(other, restored)
    assert torch.equal(module.weight, other.weight)
    restored.load(None)
    assert restored.counts["optimizer_steps"] == 2
