"""Shaping of scores: centring, normalising, scaling, clipping, and the penalty for a missing end token.

The order, for each response; names in quotes are settings of `ppo`:

1. the score: the weighted sum of the reward sources
2. "reward_center": minus the mean score of the reference's own responses
3. "reward_norm": minus the mean, divided by the standard deviation, of this batch or of all scores so far
4. "reward_scale": multiplied by it
5. "reward_clip": clipped to [-clip, clip]
6. truncated responses: minus "missing_eos_penalty", or replaced by "missing_eos_score"

The result is the reward of the response's last token: the end token, the token that completed a stop string, or the
last one within the length limit. The KL penalty is added in rlhf/rewards.py.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import PPOConfig


class ScoreMoments(NamedTuple):
    """Number of scores, their mean, and the sum of squared deviations from it.

    `RunningMoments` of control/normalise.py does the same per element in numpy, and explains why it is separate.
    """

    num: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def merge(self, scores: Float[Tensor, " B"]) -> "ScoreMoments":
        """Return the moments with more scores merged in (Chan, Golub & LeVeque 1983), exact for any split into batches.

        n = n_a + n_b,  d = mean_b - mean_a,  mean = mean_a + d n_b / n,  M = M_a + M_b + d^2 n_a n_b / n
        """
        # Doubles: in float32 the mean of a long run would stop moving, its increments d n_b / n being rounded away.
        new = scores.double()
        size, mean = len(new), float(new.mean())
        squares = float((new - mean).square().sum())
        num, distance = self.num + size, mean - self.mean
        merged_mean = self.mean + distance * size / num
        return ScoreMoments(num, merged_mean, self.squares + squares + distance**2 * self.num * size / num)

    def inverse_std(self, eps: float = 1e-8) -> float:
        """1 / sqrt(variance + eps), with the population variance."""
        return float((self.squares / max(self.num, 1) + eps) ** -0.5)


def transform_scores(
    scores: Float[Tensor, " B"], mean: float, factor: float, clip: float | None
) -> Float[Tensor, " B"]:
    """clamp((score - mean) * factor, -clip, clip)."""
    # The difference is taken in doubles: equal scores then come out as equal numbers, and 0 where they are the mean.
    scaled = (scores.double() - mean) * factor
    return (scaled if clip is None else scaled.clamp(-clip, clip)).to(scores)


def penalise_missing_end(
    scores: Float[Tensor, " B"], stop_reasons: Sequence[str], penalty: float | None, replacement: float | None
) -> Float[Tensor, " B"]:
    """Penalise truncated responses: subtract `penalty`, or replace their score by `replacement`.

    Subtracted: TRL's `missing_eos_penalty`. Replaced: -1 in OpenAI's code (Huang et al. 2024, "The N+ implementation
    details of RLHF with PPO", detail 19: no person ever scored what lies beyond a missing end).
    """
    # By the stop reason, not by the last token: a tokenizer may use one id for padding and for the end.
    cut = torch.tensor([reason == "length" for reason in stop_reasons], device=scores.device)
    if penalty is not None:
        return scores - penalty * cut
    return scores if replacement is None else torch.where(cut, replacement, scores)


class Shaper:
    """Steps 2 to 5 of shaping, with their running statistics."""

    def __init__(self, config: PPOConfig) -> None:
        self.norm, self.scale, self.clip = config.reward_norm, config.reward_scale, config.reward_clip
        self.centers = config.reward_center
        self.center = 0.0
        """Mean score of the reference's responses, once `set_reference_mean` was called."""
        self.moments = ScoreMoments()
        """Of all scores so far, with `reward_norm: running`."""

    def set_reference_mean(self, reference_mean: float) -> None:
        """Set the mean score of the reference's responses, to be subtracted if `reward_center`.

        Ziegler et al. 2019 and Stiennon et al. 2020 do this for reward models; it works for any source.
        """
        if self.centers:
            self.center = reference_mean

    def __call__(self, scores: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], float]:
        """Return the shaped scores and the factor that they were multiplied by.

        Dividing by a running standard deviation: Engstrom et al. 2020, "Implementation matters in deep policy
        gradients" (they divide returns; with a single score at the end of a response that is the same).
        """
        mean, factor = self.center, self.scale
        if self.norm is not None:
            # With this batch's scores: dividing the first batch by the moments of none would leave its scale unknown.
            moments = (self.moments if self.norm == "running" else ScoreMoments()).merge(scores)
            self.moments = moments if self.norm == "running" else self.moments
            mean, factor = moments.mean, self.scale * moments.inverse_std()
        return transform_scores(scores, mean, factor, self.clip), factor

    def state(self) -> dict[str, Any]:
        """State for a checkpoint; JSON stores doubles exactly."""
        return {"center": self.center, "moments": list(self.moments)}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the output of `state`."""
        self.center, self.moments = state["center"], ScoreMoments(*state["moments"])
