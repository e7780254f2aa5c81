"""Random prompts with responses of different lengths, and the same with more padding."""

import torch
from torch import Tensor

Texts = tuple[Tensor, Tensor, Tensor, Tensor]


def texts(vocabulary: int = 64, rows: int = 5, prompt: int = 6, length: int = 9, seed: int = 0) -> Texts:
    """Random prompts and responses of different lengths: tokens and masks."""
    draw = torch.Generator().manual_seed(seed)
    prompt_mask = torch.arange(prompt).flip(0) < torch.randint(1, prompt + 1, (rows, 1), generator=draw)
    mask = torch.arange(length) < torch.randint(1, length + 1, (rows, 1), generator=draw)
    prompts = torch.randint(0, vocabulary, (rows, prompt), generator=draw)
    return prompts, prompt_mask, torch.randint(0, vocabulary, (rows, length), generator=draw), mask


def padded(of: Texts, left: int, right: int, filler: int) -> Texts:
    def wider(tensor: Tensor, sides: tuple[int, int], value: int) -> Tensor:
        return torch.nn.functional.pad(tensor, sides, value=value)

    prompts, prompt_mask, tokens, mask = of
    return (wider(prompts, (left, 0), filler), wider(prompt_mask, (left, 0), 0),
            wider(tokens, (0, right), filler), wider(mask, (0, right), 0))  # fmt: skip
