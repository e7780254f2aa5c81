"""A run that several processes share: the first owns its folder, the others only work with it."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from likelier.config import Config
from likelier.runs.run import Run
from likelier.runs.torchrun import torchrun_rank
from likelier.stages import STAGES


class DistributedRun(Run):
    """The run as each of several processes has it: a signal to one stops all of them after the same step."""

    def end_step(self, step: int, total: int, write: Callable[[Path], None]) -> None:
        """Agree on a signal among all processes, then as `Run`."""
        from likelier.distributed import all_reduce_max

        self.signal_received = all_reduce_max(self.signal_received or 0) or None
        super().end_step(step, total, write)


class WorkerRun(DistributedRun):
    """The run as a process other than the first has it: in a folder of its own, without trackers and checkpoints."""

    def __init__(self, folder: Path, verb: str, config: Config, checkpoint: str) -> None:
        block = STAGES[verb].block
        silent = getattr(config, block).model_copy(update={"report_to": []})
        super().__init__(folder, verb, config.model_copy(update={block: silent}), checkpoint or "never")

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Only rank 0 saves."""


def train_stage(verb: str, config: Config, folder: Path, resume: str) -> dict[str, Any]:
    """Train a stage in `folder`; returns its result. ConfigError, DataError: see `Run`."""
    trainer = STAGES[verb].load_trainer()
    with shared_run(folder, verb, config, resume) as run:
        return trainer(config, run)


@contextlib.contextmanager
def shared_run(folder: Path, verb: str, config: Config, resume: str) -> Iterator[Run]:
    """The run in `folder`, for each of the processes that torchrun started; all go on from the first one's checkpoint.

    ConfigError, DataError: see `Run`. LostProcess: the others do not come.
    """
    rank, size = torchrun_rank()
    if size == 1:
        with Run(folder, verb, config, resume) as alone:
            yield alone
        return
    from likelier.distributed import broadcast_text, process_group

    with process_group(), contextlib.ExitStack() as held:
        if rank == 0:
            run = held.enter_context(DistributedRun(folder, verb, config, resume))
            broadcast_text(str(run.checkpoint or ""))
        else:
            own = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="likelier-")))
            run = held.enter_context(WorkerRun(own, verb, config, broadcast_text("")))
        yield run
