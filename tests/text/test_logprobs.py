"""Log-probabilities and entropy, against plain computations."""

from typing import Any

import pytest
import torch
from torch import Tensor

from likelier.text import logprobs as logprobs_file
from likelier.text.logprobs import compute_response_logprobs, compute_token_statistics
from model_families import SIZES, tiny_model
from random_texts import Texts, texts


def plain(model: Any, of: Texts, temperature: float) -> tuple[Tensor, Tensor]:
    """Row by row without any padding, from the model's own logits."""
    logprobs, entropy = (torch.zeros(of[3].shape, dtype=model.dtype) for _ in range(2))
    for row, (prompt, prompt_mask, tokens, mask) in enumerate(zip(*of, strict=True)):
        whole = torch.cat([prompt[prompt_mask], tokens[mask]])[None]
        scaled = model(whole).logits[0, int(prompt_mask.sum()) - 1 : -1] / temperature
        p = scaled.softmax(-1)
        size = int(mask.sum())
        logprobs[row, :size] = p[torch.arange(size), tokens[mask]].log()
        entropy[row, :size] = -(p * p.log()).sum(-1)
    return logprobs, entropy


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("chunk", [10**9, 64 * 7, 1])
def test_values_and_gradients_are_those_of_the_plain_computation(
    family: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs_file, "MAX_LOGITS", chunk)
    model, of, weights = tiny_model(family).double(), texts(), torch.rand(5, 9, dtype=torch.double)
    gradients = []
    for found in (compute_response_logprobs(model, *of, temperature=0.7), plain(model, of, 0.7)):
        model.zero_grad()
        ((found[0] + 0.3 * found[1]) * weights).sum().backward()
        gradients.append([*found, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def test_statistics_by_hand() -> None:
    """p = (1/2, 1/4, 1/4, 0): entropy 1.5 ln 2; of the impossible token nothing comes, nor does it spoil a gradient."""
    logits = torch.tensor([[2.0, 1.0, 1.0, 0.0]], dtype=torch.double).mul(torch.log(torch.tensor(2.0)).double())
    logits[0, 3] = -torch.inf
    logits = (logits + 5.0).requires_grad_()
    logprobs, entropy = compute_token_statistics(logits, torch.tensor([1]), temperature=1.0)
    assert logprobs.item() == pytest.approx(-1.3862943611)
    assert entropy.item() == pytest.approx(1.0397207708)
    logprobs.sum().backward(retain_graph=True)
    assert logits.grad.tolist()[0] == pytest.approx([-0.5, 0.75, -0.25, 0.0])
    logits.grad = None
    entropy.sum().backward()  # -p (ln p + H): ln p = -0.6931, -1.3863
    assert logits.grad.tolist()[0] == pytest.approx([-0.1732867951, 0.0866433976, 0.0866433976, 0.0])


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_statistics_pass_the_numeric_check_of_gradients(temperature: float) -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 7, generator=draw, dtype=torch.double).mul(3).requires_grad_()
    tokens = torch.tensor([0, 3, 6, 3])
    assert torch.autograd.gradcheck(lambda z: compute_token_statistics(z, tokens, temperature), logits)


def test_unknown_logits_fall_back_on_the_models_own_forward() -> None:
    model, of = tiny_model("llama"), texts()

    def steeper(module: torch.nn.Module, inputs: object, output: Any) -> None:
        output.logits = output.logits * 1.7

    model.register_forward_hook(steeper)
    for ours, theirs in zip(compute_response_logprobs(model, *of, temperature=1.0), plain(model, of, 1.0), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
