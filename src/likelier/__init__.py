"""People compare a language model's answers; Likelier makes the answers they prefer likelier."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likelier.api.load import load
    from likelier.api.train import train_dpo, train_gym, train_ppo, train_reward, train_sft

__version__ = "0.1.0"
__all__ = ["load", "train_dpo", "train_gym", "train_ppo", "train_reward", "train_sft"]


def __getattr__(name: str) -> Any:
    """Import the Python interface on first access (PEP 562), so that `import likelier` does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module 'likelier' has no attribute {name!r}")
    module = importlib.import_module("likelier.api.load" if name == "load" else "likelier.api.train")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
