"""The folder of a run: chosen from the command line, and the command that resumes it."""

import shlex
import sys
from pathlib import Path

from likelier.errors import ConfigError

RUNS = Path("runs")


def run_folder(name: str, out: Path | None, resume: str) -> Path:
    """Return `out`, the folder of the checkpoint to resume, with `auto` the newest run of that name, or a new one.

    `resume` may also be the folder of a run. ConfigError: it is a path where nothing is.
    """
    if resume not in ("auto", "never") and not Path(resume).is_dir():
        raise ConfigError(f"--resume {resume}: neither `auto`, `never` nor a checkpoint folder")
    if out is not None:
        return out
    if resume not in ("auto", "never"):
        is_checkpoint = Path(resume).resolve().name.startswith("checkpoint-")
        return Path(resume).resolve().parent if is_checkpoint else Path(resume)
    numbers = list_run_numbers(name)
    if resume == "auto" and numbers:
        return RUNS / f"{name}-{numbers[-1]}"
    return RUNS / f"{name}-{numbers[-1] + 1 if numbers else 1}"


def refuse_idle_acceptance(resume: str, accept_changes: bool) -> None:
    """ConfigError: changes are accepted where nothing is resumed."""
    if accept_changes and resume == "never":
        raise ConfigError(
            "--accept-changes: has no effect, since nothing is resumed; add --resume auto, or leave it out"
        )


def list_run_numbers(name: str) -> list[int]:
    """Return the n of every `runs/<name>-<n>`, in order."""
    tails = [folder.name.removeprefix(f"{name}-") for folder in RUNS.glob(f"{name}-*") if folder.is_dir()]
    return sorted(int(tail) for tail in tails if tail.isdecimal())


def resume_command(folder: Path) -> str:
    """Return the command of this process, changed so that it resumes the run in `folder`."""
    # Changes that were accepted stand in the checkpoint: only later ones would be accepted unseen.
    words = [word for word in sys.argv[1:] if not word.startswith("--resume=") and word != "--accept-changes"]
    if "--resume" in words:
        place = words.index("--resume")
        del words[place : place + 2]
    out = [] if any(word.startswith("--out") for word in words) else ["--out", str(folder)]
    return shlex.join(["likelier", *words, *out, "--resume", "auto"])
