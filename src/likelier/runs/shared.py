"""A run of several processes: rank 0 owns its folder, the other ranks only compute."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from likelier.config import Config, PPOConfig
from likelier.config.text import Memory
from likelier.runs.older import go_on_from, keep_former_defaults
from likelier.runs.record import RunRecord
from likelier.runs.run import Run
from likelier.runs.torchrun import torchrun_rank
from likelier.stages import CLIP_PAGE, PRECISION, RATING_PAGE, STAGES, import_object


class DistributedRun(Run):
    """The run in each of several processes: a signal to one stops all of them after the same step."""

    def end_step(self, step: int, total: int, write: Callable[[Path], None]) -> None:
        """Agree on a signal among all processes, then as `Run`."""
        from likelier.distributed import all_reduce_max

        self.signal_received = all_reduce_max(self.signal_received or 0) or None
        super().end_step(step, total, write)


class WorkerRun(DistributedRun):
    """The run in a process other than rank 0: in a temporary folder, without trackers and checkpoints."""

    def __init__(self, folder: Path, verb: str, config: Config, checkpoint: str) -> None:
        block = STAGES[verb].block
        silent = getattr(config, block).model_copy(update={"report_to": []})
        self.hands_over = isinstance(silent, Memory) and silent.shard
        self.hands_over |= isinstance(silent, PPOConfig) and silent.async_steps > 0
        """True if a checkpoint holds what this process has a part of."""
        super().__init__(folder, verb, config.model_copy(update={block: silent}), checkpoint or "never")

    def check_record(self) -> list[dict[str, Any]]:
        """Rank 0 has compared the inputs."""
        self.record = RunRecord("", 0, {}, {})
        return []

    def check_logs(self) -> dict[str, int]:
        """Rank 0 has the logs."""
        return {}

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Only rank 0 saves; the others hand it their parts, if there are any."""
        if self.hands_over:
            with tempfile.TemporaryDirectory(dir=self.folder) as nowhere:
                write(Path(nowhere))


def train_stage(verb: str, config: Config, folder: Path, resume: str, accept_changes: bool = False) -> dict[str, Any]:
    """Train a stage in `folder`; returns its result. ConfigError, DataError: see `Run`."""
    trainer = STAGES[verb].load_trainer()
    if resume != "never":
        config = keep_former_defaults(config, folder)
    config = import_object(PRECISION)(verb, config)
    more = {"open_page": import_object(RATING_PAGE)} if verb == "ppo" and config.people else {}
    if verb == "gym" and config.gym.preferences and config.gym.preferences.db:
        more = {"open_page": import_object(CLIP_PAGE)}
    with shared_run(folder, verb, config, resume, accept_changes) as run, go_on_from(run.checkpoint):
        return trainer(config, run, **more)


@contextlib.contextmanager
def shared_run(folder: Path, verb: str, config: Config, resume: str, accept_changes: bool = False) -> Iterator[Run]:
    """Open the run in `folder` in each process that torchrun started; all continue from rank 0's checkpoint.

    ConfigError, DataError: see `Run`. LostProcess: another process does not join.
    """
    rank, size = torchrun_rank()
    if size == 1:
        with Run(folder, verb, config, resume, accept_changes) as alone:
            yield alone
        return
    from likelier.distributed import broadcast_text, lost_process_errors, process_group

    with process_group(), contextlib.ExitStack() as stack:
        if rank == 0:
            run = stack.enter_context(DistributedRun(folder, verb, config, resume, accept_changes))
            broadcast_text(str(run.checkpoint or ""))
        else:
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likelier-")))
            run = stack.enter_context(WorkerRun(own, verb, config, broadcast_text("")))
        with lost_process_errors(every=False):
            yield run
