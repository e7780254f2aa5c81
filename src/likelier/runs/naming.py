"""Which folder a run is written to, and from which checkpoint it goes on."""

from pathlib import Path

from likelier.errors import ConfigError

RUNS = Path("runs")


def run_folder(name: str, out: Path | None, resume: str) -> Path:
    """`out`; the folder of the checkpoint to resume; the newest run of that name with `auto`; else a new one.

    ConfigError: `resume` is a path where nothing stands.
    """
    if resume not in ("auto", "never") and not Path(resume).is_dir():
        raise ConfigError(f"--resume {resume}: neither `auto`, `never` nor a checkpoint folder")
    if out is not None:
        return out
    if resume not in ("auto", "never"):
        return Path(resume).resolve().parent
    numbers = run_numbers(name)
    if resume == "auto" and numbers:
        return RUNS / f"{name}-{numbers[-1]}"
    return RUNS / f"{name}-{numbers[-1] + 1 if numbers else 1}"


def run_numbers(name: str) -> list[int]:
    """The n of every `runs/<name>-<n>`, in order."""
    tails = [folder.name.removeprefix(f"{name}-") for folder in RUNS.glob(f"{name}-*") if folder.is_dir()]
    return sorted(int(tail) for tail in tails if tail.isdecimal())
