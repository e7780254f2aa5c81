"""The model over a growing cache, with padding and dropped rows, against the whole text at once."""

import pytest
import torch

from families import SIZES, tiny_model
from likelier.text.step import Stepper


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("padded", [False, True])
def test_steps_add_up_to_the_whole_text(family: str, padded: bool) -> None:
    model, draw = tiny_model(family), torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 64, (4, 12), generator=draw)
    mask = (
        torch.arange(5).flip(0) < torch.tensor([[5], [2], [1], [4]]) if padded else torch.ones(4, 5, dtype=torch.bool)
    )
    rows = torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        stepper = Stepper(model, mask, room=7, bf16=False)
        logits = stepper.start(tokens[:, :5])
        for at in range(5, 12):
            if at == 8:
                kept = torch.tensor([3, 1])
                stepper.keep(kept)
                rows = rows[kept]
            logits = stepper.next(tokens[rows, at])
        for row, found in zip(rows.tolist(), logits, strict=True):
            real = torch.cat([mask[row], torch.ones(7, dtype=torch.bool)])
            assert torch.allclose(found, model(input_ids=tokens[row][real][None]).logits[0, -1], atol=1e-3)
