"""The numeric guard: skips updates with non-finite numbers and stops the run after too many in a row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from safetensors.torch import save_file
from torch import Tensor

from likelier.errors import NumericError
from likelier.files import write_json

MAX_SKIPPED_UPDATES = 5
"""Updates in a row that may be skipped where no setting says how many."""
MAX_SAVED_BATCHES = 5
"""Bad batches kept in a run."""


class Guard:
    """Counts updates skipped for non-finite numbers, and stops the run after too many in a row.

    With a `folder`, the first batch of each series of skips is saved there: its tensors in
    `bad-batch-<step>.safetensors`, the numbers computed from it in `bad-batch-<step>.json`; at most `MAX_SAVED_BATCHES`
    in a run.
    """

    def __init__(self, max_in_a_row: int, folder: Path | None = None) -> None:
        self.max_in_a_row, self.folder = max_in_a_row, folder
        self.step, self.in_a_row, self.skipped = 0, 0, 0

    def begin_step(self, step: int) -> Self:
        """Start step number `step`; returns the guard itself."""
        self.step = step
        return self

    def accept(self) -> None:
        """Record a successful update, which ends a series of skipped ones."""
        self.in_a_row = 0

    def skip(self, reason: str, batch: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Record a skipped update. NumericError (exit 4) at the last one allowed; it names the first batch's file."""
        self.in_a_row, self.skipped = self.in_a_row + 1, self.skipped + 1
        if self.in_a_row == 1:
            self.save_batch(reason, batch, numbers)
        if self.in_a_row >= self.max_in_a_row:
            kept = self.list_saved_batches()
            where = f"; a batch that led to this is in {kept[-1]}" if kept else ""
            raise NumericError(
                f"{reason} {self.in_a_row} updates in a row; lower the learning rate or check the rewards{where}"
            )

    def save_batch(self, reason: str, batch: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Save the batch in the run folder, unless `MAX_SAVED_BATCHES` have been saved."""
        if self.folder is None or len(self.list_saved_batches()) >= MAX_SAVED_BATCHES:
            return
        name = self.folder / f"bad-batch-{self.step}"
        save_file({key: value.detach().cpu().contiguous() for key, value in batch.items()}, f"{name}.safetensors")
        # Numbers as text: JSON has no NaN.
        values = {key: str(float(value)) if isinstance(value, Tensor) else value for key, value in numbers.items()}
        write_json(Path(f"{name}.json"), {"step": self.step, "reason": f"{reason} this update", **values})

    def list_saved_batches(self) -> list[Path]:
        """The saved batches, in the order of their steps."""
        files = self.folder.glob("bad-batch-*.safetensors") if self.folder else []
        return sorted(files, key=lambda path: int(path.stem.rpartition("-")[2]))

    def counts(self) -> dict[str, int]:
        """The counts saved in a checkpoint."""
        return {"in_a_row": self.in_a_row, "skipped": self.skipped}

    def restore(self, counts: Mapping[str, int]) -> None:
        """Restore the output of `counts`."""
        self.in_a_row, self.skipped = counts["in_a_row"], counts["skipped"]
