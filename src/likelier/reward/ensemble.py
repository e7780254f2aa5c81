"""Reward models as a source of scores: one, or all those of a reward run."""

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
    """The reward models of one run, or a single one: their mean minus `caution` times their standard deviation.

    Bradley-Terry fixes a score up to a constant. Each model's mean over its training responses (in its `card.json`) is
    subtracted, so that 0 is a usual response and models can be compared; no preference changes by that.
    """

    def __init__(self, members: Sequence[RewardModel], means: Sequence[float], caution: float = 0.0) -> None:
        self.members, self.means, self.caution = members, means, caution

    def each(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "K B"]:
        """Score by each model, [models, B]. With several processes each scores a shard, and all get the whole batch."""
        rows, num_rows = shard(len(responses)), len(responses)
        prompts, responses = list(prompts)[rows], list(responses)[rows]
        pairs = zip(self.members, self.means, strict=True)
        return torch.stack(
            [all_gather_rows(member.score(prompts, responses), num_rows) - mean for member, mean in pairs]
        )

    def score(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        """The mean of the models, minus `caution` times their standard deviation."""
        return self.combine(self.each(prompts, responses))

    def combine(self, each: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
        """One score from those of the models. Coste et al. 2024, "Reward model ensembles help mitigate
        overoptimization": subtracting the spread keeps a policy off responses that the models score by chance."""
        return each.mean(0) - self.caution * std_between_models(each) if self.caution else each.mean(0)

    def __call__(self, batch: ResponseBatch) -> SourceScores:
        """Score a batch as a `Source`; with several models, also return their disagreement."""
        each = self.each([prompt.text for prompt in batch.prompts], batch.texts)
        return score_all(self.combine(each), std_between_models(each) if len(self.members) > 1 else None)


def std_between_models(each: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Standard deviation between models, of the population."""
    return each.std(0, unbiased=False)


def load_ensemble(path: str, device: str = "auto", caution: float = 0.0) -> Ensemble:
    """A reward model's folder or hub name, or the folder of a reward run with all its models."""
    folders = member_folders(Path(path)) or [path]
    members = [load_reward_model(folder, pick_device(device)) for folder in folders]
    return Ensemble(members, [mean_score(Path(folder)) for folder in folders], caution)


def mean_score(folder: Path) -> float:
    """Return the mean score on the training responses, from the model's card; 0 for a model without one."""
    card = folder / "card.json"
    if not card.is_file():
        return 0.0
    mean = read_json(card).get("score_mean", 0.0)
    if not isinstance(mean, int | float) or not math.isfinite(mean):
        raise DataError(f"{card}: score_mean is {mean!r}, not a number; train the reward model again")
    return float(mean)
