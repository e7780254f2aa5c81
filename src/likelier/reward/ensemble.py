"""Reward models as a source of scores: a single one, or the ensemble of a reward run."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.distributed import all_gather_rows, shard
from likelier.errors import DataError
from likelier.files import read_json
from likelier.records import Text
from likelier.reward.responses import ResponseBatch, SourceScores, score_all
from likelier.runs.folder import member_folders
from likelier.text.reward_model import RewardModel, load_reward_model
from likelier.training.setup import pick_device


class Ensemble:
    """An ensemble of reward models, or a single one: the mean score minus `caution` times the standard deviation.

    Bradley-Terry determines scores only up to a constant. Each model's mean over its training responses (in its
    `card.json`) is subtracted, so that models are comparable and 0 is an average response.
    """

    def __init__(self, members: Sequence[RewardModel], means: Sequence[float], caution: float = 0.0) -> None:
        self.members, self.means, self.caution = members, means, caution

    def score_each(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "K B"]:
        """Score with each model, [models, B]. Several processes score a shard each; all return the whole batch."""
        rows, num_rows = shard(len(responses)), len(responses)
        prompts, responses = list(prompts)[rows], list(responses)[rows]
        pairs = zip(self.members, self.means, strict=True)
        return torch.stack(
            [all_gather_rows(member.score(prompts, responses), num_rows) - mean for member, mean in pairs]
        )

    def score(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        """Return the models' mean score minus `caution` times their standard deviation, [B]."""
        return self.combine(self.score_each(prompts, responses))

    def combine(self, scores: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
        """Subtract the spread from the mean, to keep a policy away from responses on which the models disagree (Coste
        et al. 2024, "Reward model ensembles help mitigate overoptimization")."""
        return scores.mean(0) - self.caution * std_between_models(scores) if self.caution else scores.mean(0)

    def __call__(self, batch: ResponseBatch) -> SourceScores:
        """Score a batch as a `Source`; with several models, also return their disagreement."""
        scores = self.score_each([prompt.text for prompt in batch.prompts], batch.texts)
        return score_all(self.combine(scores), std_between_models(scores) if len(self.members) > 1 else None)


def std_between_models(scores: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Population standard deviation between models, [B]."""
    return scores.std(0, unbiased=False)


def load_ensemble(path: str, device: str = "auto", caution: float = 0.0) -> Ensemble:
    """Load a reward model from a folder or the hub, or all models in the folder of a reward run."""
    folders = member_folders(Path(path)) or [path]
    members = [load_reward_model(folder, pick_device(device)) for folder in folders]
    return Ensemble(members, [mean_score(Path(folder)) for folder in folders], caution)


def mean_score(folder: Path) -> float:
    """Return the mean score on the training responses from the model's card; 0 without a card."""
    card = folder / "card.json"
    if not card.is_file():
        return 0.0
    mean = read_json(card).get("score_mean", 0.0)
    if not isinstance(mean, int | float) or not math.isfinite(mean):
        raise DataError(f"{card}: score_mean is {mean!r}, not a number; train the reward model again")
    return float(mean)
