"""A reward run as a strategy reads it: the input of its last layer, and the scores of its models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likelier.files import list_file_states
from likelier.records import Text
from likelier.reward.ensemble import load_ensemble
from likelier.runs.folder import adapter_folders, member_folders

Floats = NDArray[np.float64]


class LoadedRun:
    """All models of a reward run, as they were when they were loaded."""

    def __init__(self, folder: str, device: str = "auto") -> None:
        self.folder = folder
        self.state = read_state(folder)
        self.ensemble = load_ensemble(folder, device)

    def has_changed(self) -> bool:
        """True if the run's models were written anew."""
        return read_state(self.folder) != self.state

    def describe(self, prompts: Sequence[Text], texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Return the input of the first model's last layer, [N, D], and each model's scores, [K, N]."""
        reading = self.ensemble.read(prompts, texts)
        return reading.features.double().numpy(), reading.scores.double().numpy()


def read_state(folder: str) -> list[object]:
    """Return what changes whenever a model of a run is written."""
    run = Path(folder)
    models = [*member_folders(run), *adapter_folders(run)] or [folder]
    return [list_file_states(Path(each)) for each in models]
