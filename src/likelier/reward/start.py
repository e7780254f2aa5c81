"""The start of each member of a reward run: a base model with a new head, or a trained reward model."""

from pathlib import Path
from typing import NamedTuple

import torch

from likelier.config import Config, RewardModelConfig
from likelier.errors import ConfigError
from likelier.files import read_object
from likelier.runs.folder import adapter_folders, find_base, is_adapter, member_folders
from likelier.text.reward_heads import HEADS, load_heads
from likelier.text.reward_model import RewardModel, load_reward_model, new_reward_model


class Start(NamedTuple):
    """Where a member begins."""

    base: str
    """Folder or hub name of the model whose weights are trained, or frozen under an adapter; an adapter's, if that is
    merged and trained whole."""
    folder: str | None = None
    """Of the trained reward model that goes on: `base` itself, or an adapter on it; None: `base` gets a new head."""

    @property
    def adapter(self) -> Path | None:
        """Folder of the adapter that goes on, if it is one."""
        return Path(self.folder) if self.folder is not None and self.folder != self.base else None

    @property
    def card(self) -> dict[str, object]:
        """The `card.json` of the trained reward model; empty without one."""
        return read_object(Path(self.folder) / "card.json") if self.folder else {}


def find_start(config: Config, number: int = 0) -> Start:
    """Return where a member begins. ConfigError: `reward_model.from` has other models than the run will have."""
    settings, setting = config.reward_model, f"reward_model.from: {config.reward_model.from_}"
    if settings.from_ is None:
        return Start(config.model)
    run, wants_adapter = Path(settings.from_), settings.lora_rank is not None
    adapters = adapter_folders(run) if wants_adapter else []
    folders = adapters or member_folders(run) or [settings.from_]
    num_members = 1 if settings.ensemble == "heads" else settings.ensemble_size
    if len(folders) != num_members:
        raise ConfigError(
            f"{setting} has {len(folders)} models to go on with, and reward_model.ensemble_size is "
            f"{settings.ensemble_size}; give as many"
        )
    if (settings.ensemble == "heads") != (Path(folders[0]) / HEADS).is_file():
        raise ConfigError(
            f"{setting}: reward_model.ensemble: heads goes on with a run of several heads, and only that with it"
        )
    if adapters:
        return Start(find_base(Path(folders[number])), folders[number])
    return Start(folders[number], folders[number])


def load_start(
    start: Start, settings: RewardModelConfig, device: torch.device | str, generator: torch.Generator
) -> RewardModel:
    """Load a trained reward model with all of its heads, or a base with a new one drawn by `generator`.

    Of an adapter that goes on its base, see `continue_adapter`. ConfigError: other heads than `ensemble_size`.
    """
    if start.folder is None or start.adapter:
        sizes = settings.max_length, generator, settings.from_scratch
        return new_reward_model(start.base, device, *sizes, tokenizer_folder=start.folder)
    if is_adapter(Path(start.base)):
        from likelier.text.reward_adapters import load_merged_reward  # peft takes a second to import

        return load_merged_reward(start.base, device, settings.max_length)
    reward = load_reward_model(start.base, device, settings.max_length)
    load_heads(reward, Path(start.base))
    if settings.ensemble == "heads" and reward.head.out_features != settings.ensemble_size:
        raise ConfigError(
            f"reward_model.ensemble_size: {settings.ensemble_size}, and {start.base} has "
            f"{reward.head.out_features} heads; set ensemble_size to that"
        )
    return reward
