"""Reward models as a source of scores: a single one, or the ensemble of a reward run."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likelier.config import ModelDtype
from likelier.distributed import gather_parts, split_shard
from likelier.errors import ConfigError, DataError
from likelier.files import read_json
from likelier.records import Text
from likelier.reward.out_of_distribution import Distribution, load_distribution
from likelier.reward.responses import ResponseBatch, SourceScores, score_all
from likelier.runs.folder import adapter_folders, member_folders
from likelier.text.adapters import FrozenModels
from likelier.text.attribution import Attribution
from likelier.text.frozen_weights import store_weights
from likelier.text.reward_heads import load_heads
from likelier.text.reward_model import Reading, RewardModel, load_reward_model
from likelier.text.sharding import pick_loading_device, shard_reward_model
from likelier.training.setup import pick_device

Combination = Literal["mean", "min", "uncertainty_weighted"]


@runtime_checkable
class Reader(Protocol):
    """A reward model of one head or several, or an adapter of one."""

    def read(self, prompts: Sequence[Text], responses: Sequence[str]) -> Reading:
        """Return the scores, one row for each head, and the hidden states that they read."""
        ...

    def score(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        """Return the mean score of the heads."""
        ...

    def features(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "B D"]:
        """Return the hidden states that the heads read."""
        ...

    def attribute(self, prompt: Text, response: str) -> Attribution:
        """Return the part of each token in the mean score of the heads."""
        ...


class Ensemble:
    """An ensemble of reward models, or a single one, whose scores are combined to one (see `combine_scores`).

    Bradley-Terry determines scores only up to a constant. Each model's mean over its training responses (in its
    `card.json`) is subtracted, so that models are comparable and 0 is an average response. A constant for each prompt
    is as free, and stays: it is the part of the models' disagreement that PPO cannot act on.
    """

    def __init__(
        self,
        members: Sequence[Reader],
        means: Sequence[float],
        caution: float = 0.0,
        combination: Combination = "mean",
        distribution: Distribution | None = None,
    ) -> None:
        """`means`: one for each row that the members' `read` gives. `distribution`: of the first member's features."""
        self.members, self.means, self.caution, self.combination = members, list(means), caution, combination
        self.distribution = distribution

    @property
    def modules(self) -> list[nn.Module]:
        """The members as modules; of adapters the model that they share."""
        found = [getattr(member, "reward", member) for member in self.members]
        return [module for module in found if isinstance(module, nn.Module)]

    def score_each(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, "K B"]:
        """Score with each model, [models, B]. Several processes score a shard each; all return the whole batch."""
        return self.read_shard(prompts, responses)[0]

    def read_shard(
        self, prompts: Sequence[Text], responses: Sequence[str]
    ) -> tuple[Float[Tensor, "K B"], dict[str, Float[Tensor, " B"]]]:
        """Return scores and signs of the whole batch, of which each of several processes reads a shard."""
        parts, num_rows = split_shard(len(responses), len(responses)), len(responses)
        rows = [row for part in parts for row in part.rows]
        scores, features = self.read([prompts[row] for row in rows], [responses[row] for row in rows])
        signs: dict[str, Tensor] = {}
        if self.distribution is not None:
            signs = self.distribution.find_signs(features, std_between_models(scores) if len(scores) > 1 else None)
        together = torch.stack([gather_parts([each], parts, num_rows) for each in scores])
        return together, {name: gather_parts([sign], parts, num_rows) for name, sign in signs.items()}

    def read(self, prompts: Sequence[Text], responses: Sequence[str]) -> Reading:
        """Return the centred scores of each model, and the hidden states of the first."""
        readings = [member.read(prompts, responses) for member in self.members]
        scores = torch.cat([reading.scores for reading in readings])
        return Reading(
            torch.stack([row - mean for row, mean in zip(scores, self.means, strict=True)]), readings[0].features
        )

    def score(self, prompts: Sequence[Text], responses: Sequence[str]) -> Float[Tensor, " B"]:
        """Return one score for each response, [B]."""
        return self.combine(self.score_each(prompts, responses))

    def combine(self, scores: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
        """Combine the models' scores as the settings ask for."""
        return combine_scores(scores, self.combination, self.caution)

    def __call__(self, batch: ResponseBatch) -> SourceScores:
        """Score a batch as a `Source`; with several models, also return their disagreement."""
        scores, signs = self.read_shard([prompt.text for prompt in batch.prompts], batch.texts)
        return score_all(self.combine(scores), std_between_models(scores) if len(scores) > 1 else None, signs)


def combine_scores(
    scores: Float[Tensor, "K B"], combination: Combination = "mean", caution: float = 0.0
) -> Float[Tensor, " B"]:
    """Combine the scores of K models that lie on one scale; m and s are their mean and population deviation.

        mean                  m - caution s
        min                   min_k r_k                (worst-case optimisation)
        uncertainty_weighted  m - caution s^2          (uncertainty-weighted optimisation)

    All but the mean keep a policy away from responses on which the models disagree. Source: Coste et al. 2024, "Reward
    model ensembles help mitigate overoptimization", section 3.3, for the last two; their lambda is `caution`.
    """
    if combination == "min":
        return scores.min(0).values
    if not caution:
        return scores.mean(0)
    spread = std_between_models(scores)
    return scores.mean(0) - caution * (spread if combination == "mean" else spread.square())


def std_between_models(scores: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Population standard deviation between models, [B]."""
    return scores.std(0, unbiased=False)


def load_ensemble(
    path: str,
    device: str = "auto",
    caution: float = 0.0,
    combination: Combination = "mean",
    frozen: FrozenModels = FrozenModels(),  # noqa: B008 - frozen
) -> Ensemble:
    """Load a reward model from a folder or the hub, or all models in the folder of a reward run.

    Adapters share the weights of their base if it is among those of `frozen`.

    DataError: it cannot be loaded. ConfigError: `combination` of a single model.
    """
    folders, where = adapter_folders(Path(path)), pick_device(device)
    loading = pick_loading_device(frozen.shard, where)
    if folders:
        from likelier.text.reward_adapters import load_reward_adapters  # peft takes a second to import

        adapters = load_reward_adapters(folders, loading, frozen)
        if frozen.shard:
            shard_reward_model(adapters[0].reward, where)  # their common base
        members: list[Reader] = [*adapters]
    else:
        folders, members = member_folders(Path(path)) or [path], []
        for folder in folders:
            reward = load_member(folder, loading, frozen.dtype)
            if frozen.shard:
                shard_reward_model(reward, where)
            members.append(reward)
    means = [mean for folder in folders for mean in read_means(Path(folder))]
    if combination != "mean" and len(means) == 1:
        raise ConfigError(f"combine: {combination} needs several models, and {path} has one; remove it")
    model = Path(folders[0]).with_name("model") if Path(folders[0]).name == "adapter" else Path(folders[0])
    return Ensemble(members, means, caution, combination, load_distribution(model))


def load_member(folder: str, device: torch.device, dtype: ModelDtype | None = None) -> RewardModel:
    """Load a reward model with all of its heads, which stay in float32; its other weights are stored in `dtype`."""
    reward = load_reward_model(folder, device)
    store_weights(reward.model, dtype or "float32", [reward.head_name.partition(".")[0]])
    load_heads(reward, Path(folder))
    return reward


def read_means(folder: Path) -> list[float]:
    """Return the mean score on the training responses of each head, from the model's card; 0 without a card."""
    card = folder / "card.json"
    if not card.is_file():
        return [0.0]
    about = read_json(card)
    name = "score_means" if "score_means" in about else "score_mean"
    means: Any = about.get(name, 0.0)
    for mean in means if isinstance(means, list) else [means]:
        if not isinstance(mean, int | float) or not math.isfinite(mean):
            raise DataError(f"{card}: {name} is {means!r}, not a number; train the reward model again")
    return [float(mean) for mean in (means if isinstance(means, list) else [means])]
