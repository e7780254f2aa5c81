"""The kinds of reward models in training: whole ones, heads on one trunk, adapters on one frozen base."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from likelier.config import Config, RewardModelConfig
from likelier.errors import ConfigError
from likelier.records import Preference
from likelier.reward.judged import clusters
from likelier.reward.start import Start, find_start
from likelier.text.frozen_weights import choose_base_dtype, store_weights
from likelier.text.models import save_model
from likelier.text.reward_heads import add_heads, save_heads, set_heads
from likelier.text.reward_model import RewardModel
from likelier.text.sharding import is_sharding, shard_reward_model
from likelier.training.setup import pick_device, seeded_generator
from likelier.training.state import trained_weights


class Bootstrap:
    """Weights of the pairs for each of several heads; a single head weighs all alike.

    Heads on one trunk see the same gradients of its features, and from the same pairs they would come to agree
    wherever there are data. Weights of an exponential distribution for each conversation are the Bayesian bootstrap
    (Rubin 1981), of mean 1. They are hashed from seed, head and conversation, so that a resumed run has the same ones.
    """

    def __init__(self, seed: int, num_heads: int) -> None:
        self.seed, self.num_heads = seed, num_heads
        self.drawn: dict[str, list[float]] = {}

    def draw_weights(self, pairs: Sequence[Preference]) -> Float[Tensor, "heads N"]:
        """Return the weight of each pair for each head."""
        if self.num_heads == 1:
            return torch.ones(1, len(pairs))
        rows = []
        for cluster in clusters(pairs):
            if cluster not in self.drawn:
                self.drawn[cluster] = [self.draw(head, cluster) for head in range(self.num_heads)]
            rows.append(self.drawn[cluster])
        return torch.tensor(rows).T

    def draw(self, head: int, cluster: str) -> float:
        """Return -log(u) of a hashed uniform u: a draw from the exponential distribution."""
        digest = hashlib.sha256(f"{self.seed}/{head}/bootstrap/{cluster}".encode()).digest()
        return -math.log((int.from_bytes(digest[:6], "little") + 0.5) / 2**48)


def prepare_ensemble(
    reward: RewardModel, settings: RewardModelConfig, seed: int, number: int, start: Start
) -> tuple[nn.Module, nn.Module]:
    """Give a reward model at its start the heads or the adapter that it has not.

    Returns the module whose weights are learned, and what a checkpoint holds of it: of an adapter not the base.
    ConfigError: several adapters on a base that lacks a layer, which each would need for itself.
    """
    if settings.ensemble == "heads" and start.folder is None:
        add_heads(reward, [seeded_generator(seed, head, "reward head") for head in range(settings.ensemble_size)])
    if settings.lora_rank is not None:
        prepare_adapter(reward, settings, seed, number, start)
    if is_sharding(settings):
        shard_reward_model(reward, pick_device(settings.device), settings.bf16)
    if settings.lora_rank is None:
        return reward.model, reward
    weights = trained_weights(reward)
    return weights, weights


def prepare_adapter(reward: RewardModel, settings: RewardModelConfig, seed: int, number: int, start: Start) -> None:
    """Freeze a reward model and put an adapter on it, a new one or that of its start. ConfigError: see
    `prepare_ensemble`."""
    from likelier.text.adapter_folders import read_adapter
    from likelier.text.reward_adapters import (  # peft takes a second to import
        add_reward_adapter,
        continue_adapter,
        expect_whole_layers,
        list_whole_layers,
    )

    adapter = read_adapter(start.adapter, is_classifier=True) if start.adapter else None
    if adapter:
        expect_whole_layers(reward, adapter)
    if settings.ensemble_size > 1 and reward.new_layers:
        raise ConfigError(
            f"reward_model.ensemble: adapters share their base, and it has no weights for {reward.new_layers[0]}; set "
            "ensemble: models, without lora_rank"
        )
    dtype = choose_base_dtype(settings, pick_device(settings.device))
    store_weights(reward.model, dtype, list_whole_layers(reward))
    if adapter:
        continue_adapter(reward, settings, adapter)
    else:
        add_reward_adapter(reward, settings, seeded_generator(seed, number, "reward adapter"))


def write_reward_model(run: Path, number: int, config: Config, reward: RewardModel, card: str) -> list[Path]:
    """Write a trained member into the folder of its run; returns the folders that its card belongs to.

    With heads, `model` has their mean as its only head, which gives the mean score in any other tool, and the heads
    beside it. With adapters, `model` is the first one merged.
    """
    suffix = f"-{number}" if number else ""
    folder = run / f"model{suffix}"
    if config.reward_model.ensemble == "heads":
        weight, bias = reward.head.weight.detach(), reward.head.bias
        set_heads(reward, weight.mean(0, keepdim=True), None if bias is None else bias.detach().mean(0, keepdim=True))
        save_model(folder, reward.model, reward.tokenizer, card)
        save_heads(folder, weight, bias)
        return [folder]
    if config.reward_model.lora_rank is None:
        save_model(folder, reward.model, reward.tokenizer, card)
        return [folder]
    from likelier.text.reward_adapters import save_merged_reward, save_reward_adapter

    adapter, base = run / f"adapter{suffix}", find_start(config, number).base
    save_reward_adapter(adapter, base, reward)
    if number:
        return [adapter]
    save_merged_reward(folder, base, adapter, reward, card)
    return [folder, adapter]
