"""Tuned settings that ship with the package for well-known environments."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from likelier.config import parse_yaml, read_yaml
from likelier.mdp.file import read_mdp

SETTINGS = files("likelier.control") / "settings"


def known_environments() -> list[str]:
    """Ids of the environments with tuned settings."""
    return sorted(path.name.removesuffix(".yaml") for path in SETTINGS.iterdir() if path.name.endswith(".yaml"))


def known_settings(env_id: str) -> dict[str, Any]:
    """The tuned `gym` block of an environment; only the id if there is none."""
    if env_id not in known_environments():
        return {"env_id": env_id}
    path = SETTINGS / f"{env_id}.yaml"
    settings: dict[str, Any] = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    return {"env_id": env_id} | settings


def mdp_settings(path: Path) -> dict[str, Any]:
    """The `gym` block for a tabular MDP file, with the MDP's discount. DataError: see `read_mdp`."""
    return {"env_id": str(path), "gamma": read_mdp(path).mdp.gamma}


def gym_settings(target: str) -> tuple[dict[str, Any], str]:
    """Settings from a config file, an MDP file or an environment id, and the name of the run.

    ConfigError, DataError: the file cannot be read.
    """
    if not target.endswith((".yaml", ".yml")):
        name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in target)
        return {"gym": known_settings(target)}, name
    path = Path(target)
    settings = read_yaml(path)
    return ({"gym": mdp_settings(path)} if "states" in settings else settings), path.stem
