"""A finished reward run with the pairs it was trained on."""

from dataclasses import dataclass
from pathlib import Path

from likelier.config import Config, load_config
from likelier.errors import ConfigError, DataError
from likelier.files import read_json, read_object
from likelier.reward.careless import learn_flips
from likelier.reward.ensemble import Ensemble, load_ensemble
from likelier.reward.pairs import Pairs, load_pairs
from likelier.runs.folder import adapter_folders, member_folders


@dataclass(frozen=True)
class RewardRun:
    """A reward run: its settings, the pairs it was trained on, and its models."""

    folder: Path
    config: Config
    pairs: Pairs
    ensemble: Ensemble


def find_members(folder: Path) -> list[str]:
    """Return the folders of the models of a finished reward run. ConfigError: it is none."""
    verb = read_object(folder / "run.json").get("verb")
    members = adapter_folders(folder) or member_folders(folder)
    if verb != "reward" or not (folder / "result.json").is_file() or not members:
        raise ConfigError(f"{folder}: no finished run of `likelier reward`; give the folder of one")
    return members


def load_reward_run(folder: Path, data: Path | None = None) -> RewardRun:
    """Load a finished reward run and its pairs, from `data` if they have moved.

    ConfigError: the folder holds no reward run, or one that has not ended. DataError: the pairs are no longer those
    that it was trained on.
    """
    members = find_members(folder)
    config = load_config(folder / "config.yaml")
    if data is not None:
        config = config.model_copy(update={"data": str(data)})
    pairs = load_pairs(config)
    card = Path(members[0]) / "card.json"
    if read_json(card).get("made_from") != pairs.made_from:
        raise DataError(
            f"{config.data}: these are not the pairs that {folder} was trained on ({card}: made_from differs); give "
            "their folder with --data, or train again"
        )
    pairs = pairs.drop_equal_after_cut(config)
    if config.reward_model.use_flip:
        pairs = learn_flips(pairs)
    return RewardRun(folder, config, pairs, load_ensemble(str(folder), config.reward_model.device))
