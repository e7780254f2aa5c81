"""The acquisition strategies by name, as `likelier serve --ask STRATEGY[:FLOOR]` gives them."""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from likelier.errors import ConfigError
from likelier.feedback.draws import FLOOR, Priorities
from likelier.runs.folder import adapter_folders, member_folders

WITHOUT_WEIGHTS = {"random": Priorities(floor=1.0), "least_judged": Priorities(floor=1.0, started_first=False)}
"""Strategies that need nothing but how often each comparison was judged."""
BY_REWARD = {"disagreement": 2, "d_optimality": 1}
"""Strategies that need a reward run, and how many models of it."""
NAMES = (*WITHOUT_WEIGHTS, "entropy", *BY_REWARD)


@dataclass(frozen=True)
class Strategy:
    """An acquisition strategy, which chooses the next comparison."""

    name: str = "random"
    floor: float = FLOOR
    """Share of new comparisons that are drawn at random."""
    reward: str = ""
    """Folder of a reward run; empty where the strategy needs none."""

    @property
    def begins_with(self) -> Priorities:
        """Priorities until the first weights are known."""
        return WITHOUT_WEIGHTS.get(self.name, Priorities(floor=self.floor))

    @property
    def has_weights(self) -> bool:
        """True if a process computes weights while people judge."""
        return self.name not in WITHOUT_WEIGHTS


def read_strategy(text: str, reward: str = "", option: str = "--ask", reward_option: str = "--reward") -> Strategy:
    """Return the strategy `NAME` or `NAME:FLOOR`.

    ConfigError: see `parse_strategy`; or a reward run that is not there, has too few models or is not needed.
    """
    strategy = parse_strategy(text, option)
    check_reward(strategy.name, reward, f"{option} {text}", reward_option)
    return replace(strategy, reward=reward)


def parse_strategy(text: str, option: str) -> Strategy:
    """Return the strategy `NAME` or `NAME:FLOOR`, without a reward run.

    ConfigError: an unknown name, or a floor that is no share.
    """
    name, has_floor, given = text.partition(":")
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, 1)
        hint = f"; did you mean {close[0]}?" if close else f"; there is {', '.join(NAMES)}"
        raise ConfigError(f"{option} {text}: no such strategy{hint}")
    floor = FLOOR
    if has_floor:
        if name in WITHOUT_WEIGHTS:
            raise ConfigError(f"{option} {text}: {name} asks by chance alone; leave :{given} out")
        try:
            floor = float(given)
        except ValueError:
            floor = 0.0
        if not 0 < floor <= 1:
            line = "the share asked at random must be above 0, so that what is measured can be corrected, and at most 1"
            raise ConfigError(f"{option} {text}: {line}")
    return Strategy(name, floor)


def check_reward(name: str, reward: str, option: str, reward_option: str) -> None:
    """ConfigError: a strategy without the reward run that it needs, or with one that it does not."""
    if name not in BY_REWARD:
        if reward:
            raise ConfigError(f"{reward_option} {reward}: {option} needs no reward run; leave it out")
        return
    if not reward:
        raise ConfigError(f"{option}: needs the folder of a reward run; give {reward_option} DIR")
    num_models = count_models(Path(reward))
    if not num_models:
        raise ConfigError(f"{reward_option} {reward}: no reward run there; `likelier reward --out {reward}` makes one")
    if num_models < BY_REWARD[name]:
        line = "has one model, and one cannot disagree; train with reward_model.ensemble_size=3"
        raise ConfigError(f"{reward_option} {reward}: {line}")


def count_models(run: Path) -> int:
    """Return how many models a reward run has, or a model's folder; 2 for the several heads of one."""
    folders = member_folders(run) or adapter_folders(run) or [str(run)] * (run / "config.json").is_file()
    has_heads = len(folders) == 1 and (Path(folders[0]) / "heads.safetensors").is_file()
    return 2 if has_heads else len(folders)
