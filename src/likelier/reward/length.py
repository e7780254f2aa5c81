"""A length term beside the score: what length by itself adds to a response's chances, learned and then left out.

    P(a is preferred to b) = sigmoid(score(a) - score(b) + f(ln(length of a / length of b)))
    f(x) = sum over k of w_k tanh(k x)

As length-controlled win rates (Dubois et al. 2024) take length out of a comparison of models, and the length head of
ODIN (Chen et al. 2024) out of a reward model. Lengths are in characters, with one more so that none is 0. f is odd, and
its parts reach from responses that are a tenth longer to ones that are three times as long.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit
from torch import Tensor, nn

from likelier.files import read_json
from likelier.intervals import Floats
from likelier.records import Preference
from likelier.runs.folder import adapter_folders, member_folders

STEEPNESS = (0.5, 2.0, 8.0)
LEARNING_RATE = 0.05
"""Peak, far above a model's: the term must have what length explains before the score has learned it."""


class LengthTerm(nn.Module):
    """f for the pairs of a reward model in training; its weights begin at 0, or where those in a card ended."""

    def __init__(self, card: Mapping[str, Any] = {}) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(card.get("length_weights", [0.0] * len(STEEPNESS))))

    def forward(self, pairs: Sequence[Preference]) -> Float[Tensor, " N"]:
        """Return the log-odds that length adds for `chosen`, [N]."""
        parts = torch.tensor(length_parts(pairs), dtype=torch.float32, device=self.weights.device)
        log_odds: Tensor = parts @ self.weights
        return log_odds


def length_parts(pairs: Sequence[Preference]) -> Floats:
    """Return tanh(k ln(length of chosen / length of rejected)) of each pair, [N, number of k]."""
    ratios = np.array([math.log((1 + len(pair.chosen)) / (1 + len(pair.rejected))) for pair in pairs])
    parts: Floats = np.tanh(ratios[:, None] * np.array(STEEPNESS))
    return parts


def read_length_weights(run: Path) -> Floats | None:
    """Return the weights w of a finished reward run, the mean over its models; None without `length_debias`."""
    cards = [read_json(Path(folder) / "card.json") for folder in adapter_folders(run) or member_folders(run)]
    found = [card["length_weights"] for card in cards if "length_weights" in card]
    return np.mean(found, axis=0) if found else None


def add_length(pairs: Sequence[Preference], weights: Floats | None) -> Floats:
    """Return the log-odds that length adds for `chosen`, [N]: 0 without weights."""
    return np.zeros(len(pairs)) if weights is None else length_parts(pairs) @ weights


def describe_length(weights: Floats) -> dict[str, Any]:
    """Return how often people choose the longer of two responses with the same score, where it is twice as long."""
    share = float(expit(np.tanh(math.log(2) * np.array(STEEPNESS)) @ weights))
    return {
        "double_length_share": share,
        "length_in_words": f"Of two responses with the same score, people choose the one that is twice as long in "
        f"{100 * share:.1f}%: that is left out of the score.",
    }
