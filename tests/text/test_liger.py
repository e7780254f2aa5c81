"""Liger's fused loss: taken where it is installed and agrees, with its own kernels where Triton interprets them."""

import os
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from likelier.config import SFTConfig
from likelier.finetune.examples import TokenizedExample
from likelier.finetune.sft import pad_examples, token_sums
from likelier.text import liger, logprobs
from likelier.text.liger import is_fused
from model_families import tiny_model

NAME = "liger_kernel.ops.fused_linear_cross_entropy"


class Fake:
    """Liger's function by PyTorch, with its places; `factor` is a bug of its gradients."""

    calls = 0
    factor = 1.0

    @classmethod
    def apply(cls, hidden, weight, tokens, bias, *settings):
        cls.calls += 1
        assert settings[:6] == (None, -100, 0.0, 0.0, "sum", None)
        loss, _ = liger.sum_losses_plainly(hidden, weight, tokens, bias)
        predicted = torch.nn.functional.linear(hidden, weight, bias).argmax(1)
        return loss.detach() + cls.factor * (loss - loss.detach()), None, None, predicted


@pytest.fixture
def fake(monkeypatch):
    """A Liger that is installed and runs on this CPU."""
    for name in ("liger_kernel", "liger_kernel.ops", NAME):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[NAME], "LigerFusedLinearCrossEntropyFunction", Fake, raising=False)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(logprobs, "MAX_LOGITS", 100)
    monkeypatch.setattr(Fake, "calls", 0)
    monkeypatch.setattr(Fake, "factor", 1.0)


def compute_losses(model) -> list[Tensor]:
    """Loss, hits and gradients of three texts."""
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 60, (length,), generator=draw).tolist() for length in (30, 25, 20)]
    model.zero_grad()
    loss, hits = token_sums(model, pad_examples([TokenizedExample(row, 4) for row in rows]), SFTConfig())
    loss.backward()
    return [loss.detach(), hits, *[weight.grad.clone() for weight in model.parameters()]]


@pytest.mark.parametrize(("family", "fits"), [("llama", True), ("gemma2", False), ("granite", False)])
def test_it_is_taken_for_a_layer_that_it_knows_and_changes_nothing(family, fits, fake):
    ours = compute_losses(tiny_model(family))
    assert bool(Fake.calls) == fits
    sys.modules.pop(NAME)
    with pytest.MonkeyPatch.context() as without:
        without.setitem(sys.modules, NAME, None)
        plain = compute_losses(tiny_model(family))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_is_left_where_its_gradients_are_others_and_a_note_says_so(fake, monkeypatch, capsys):
    monkeypatch.setattr("likelier.progress.plain_lines", True)
    monkeypatch.setattr(Fake, "factor", 1.01)
    assert not is_fused(tiny_model())
    assert "its loss is another than PyTorch's" in capsys.readouterr().err
    calls = Fake.calls
    compute_losses(model := tiny_model())
    assert not is_fused(model)
    assert Fake.calls == calls + 1  # what was found is remembered


def test_it_is_not_asked_for_on_a_cpu(fake, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    assert not is_fused(tiny_model())
    assert Fake.calls == 0


@pytest.mark.engine
def test_its_own_kernels_agree(monkeypatch):
    """Interpreted on a CPU: `TRITON_INTERPRET=1 pytest -m engine tests/text/test_liger.py`."""
    if os.environ.get("TRITON_INTERPRET") != "1" or liger.import_loss() is None:
        pytest.skip("needs liger-kernel, and TRITON_INTERPRET=1")
    monkeypatch.setattr(logprobs, "MAX_LOGITS", 100)
    model = tiny_model()
    assert is_fused(model)
    fused = compute_losses(model)
    monkeypatch.setattr("likelier.finetune.sft.is_fused", lambda model: False)
    for one, other in zip(fused, compute_losses(model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
