"""One round of a circle: its settings, its folder, its database and the models that it begins with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likelier.config import Config
from likelier.stages import STAGES


@dataclass(frozen=True)
class Round:
    """One round of the circle: its settings, folder, database and initial model."""

    config: Config
    folder: Path
    db: str
    model: str
    prompts: Path
    """Folder with `train.jsonl` and `kept_out.jsonl`."""
    made_from: str = ""
    """Key of the last round's policy, from which `model` was made; empty for the model of the config."""
    accept_changes: bool = False
    """Resume runs although their inputs have changed."""
    repeats: int = 0
    """Rounds before this one that left `model` as it was: their policy was not accepted, or there was none."""

    @property
    def candidates(self) -> Path:
        """The file of this round's responses."""
        return self.folder / "candidates" / "candidates.jsonl"

    @property
    def before(self) -> Path | None:
        """The folder of the round before this one; None of the first, or of a round alone."""
        name, _, turn = self.folder.name.rpartition("-")
        is_later = name == "round" and turn.isdecimal() and int(turn) > 1
        return self.folder.with_name(f"round-{int(turn) - 1}") if is_later else None

    @property
    def start(self) -> str:
        """The model that this round trains, as `circle.start` says."""
        return {"last": self.model, "start": self.config.model}.get(self.config.circle.start, self.config.circle.start)

    @property
    def reference(self) -> str | None:
        """The model that KL is measured from: the circle's first, unless the config names one or it is the start."""
        own = self.config.ppo.reference
        return own or (self.config.model if self.start != self.config.model else None)

    def stage(self, **settings: Any) -> Config:
        """Return the config with other settings, for one stage of this round."""
        return self.config.model_copy(update=settings)

    def run_folder(self, verb: str) -> Path:
        """Return the run folder of a training stage."""
        return self.folder / STAGES[verb].circle_folder
