"""The doctor: named findings about a run, from its metrics and settings alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from likelier.config import Config, build_config, read_yaml
from likelier.doctor.findings import kl, sampling, score, settings, update
from likelier.doctor.findings import overoptimisation as drift
from likelier.doctor.findings import responses as text
from likelier.doctor.findings.history import Finding, History
from likelier.errors import DataError
from likelier.files import read_log, read_object
from likelier.reward.verdict import read_reward_results
from likelier.runs.logs import faults_as_data_errors, read_metrics
from likelier.stages import STAGES
from likelier.text.words import split_words

FINDINGS: tuple[Callable[[History], Finding | None], ...] = (
    score.reward_flat,
    score.scorer_saturated,
    score.scorer_at_chance,
    score.advantage_zero,
    drift.gold_drift,
    drift.out_of_distribution,
    kl.kl_negative,
    kl.kl_explodes,
    sampling.sampler_mismatch,
    update.ratio_not_one,
    update.clipfrac_high,
    update.clipfrac_zero,
    update.gradients_clipped,
    update.value_not_learning,
    text.length_collapse,
    text.length_blowup,
    text.never_ends,
    text.often_cut,
    text.entropy_collapse,
    text.repetition,
    settings.gamma_with_kl,
    settings.estimator_misplaced,
)
"""All findings; each is named for its function."""
SEVERITIES = ("error", "warning", "info")
MAX_EXAMINATIONS = 100
"""Examinations in one run, at most: each reads the whole log."""


def examine(run: History) -> list[Finding]:
    """Return all findings about a run so far, most severe first."""
    return sort_by_severity(finding for look in FINDINGS if (finding := look(run)) is not None)


def sort_by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings: errors, warnings, infos."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def examine_run(folder: Path) -> list[dict[str, Any]]:
    """Findings about a run, finished or not. DataError: no such run, no step yet, or a stage without an examiner."""
    if not (folder / "metrics.jsonl").is_file():
        raise DataError(f"{folder}: no metrics.jsonl; give the folder of a run, or a config to look at before a run")
    about, result = (read_object(folder / name) for name in ("run.json", "result.json"))
    verb = about.get("verb", "ppo")
    examined = [stage.verb for stage in STAGES.values() if stage.examiner]
    if verb not in examined:
        raise DataError(f"{folder}: a run of `{verb}`; the doctor reads runs of {join_words(examined)}")
    path = folder / "config.yaml"
    config = build_config(read_yaml(path), source=str(path)) if path.is_file() else Config()
    examine_stage = STAGES[verb].load_examiner()
    with faults_as_data_errors(f"{folder}: its logs or result.json"):
        return examine_stage(folder, config, result)


def join_words(words: Sequence[str]) -> str:
    """Return words as `a, b and c`.

    >>> join_words(["reward", "ppo", "gym"])
    'reward, ppo and gym'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def examine_reward(folder: Path, config: Config, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Findings about a reward run: how well it ranks held-out pairs."""
    finding = score.check_heldout_pairs(History(read_metrics(folder), config, rewards={folder.name: dict(result)}))
    return [asdict(finding)] if finding else []


def examine_gym(folder: Path, config: Config, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Findings about a run on an environment: whether a reward learned from comparisons of clips ranks others."""
    learned = result.get("preferences")
    if not learned:
        return []
    rewards = {"gym.preferences": {**learned, "pairs": learned["measured"]}}
    finding = score.check_heldout_pairs(History(read_metrics(folder), config, rewards=rewards))
    return [asdict(finding)] if finding else []


def examine_ppo(folder: Path, config: Config, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Findings about a PPO run."""
    return find_problems(folder, config, result.get("before") or {})


def find_problems(folder: Path, config: Config, before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Findings about a PPO run as records. `before`: the evaluation before the first step."""
    return [asdict(finding) for finding in examine(read_history(folder, config, before))]


def read_history(folder: Path, config: Config, before: Mapping[str, Any]) -> History:
    """Read the logs of a run. DataError: it has no step yet."""
    lines = read_metrics(folder)
    if not lines:
        raise DataError(f"{folder / 'metrics.jsonl'}: no step yet")
    samples = folder / "samples.jsonl"
    if "repetition" not in lines[-1] and samples.is_file():
        lines = fill_in_from_samples(lines, read_log(samples))
    return History(lines, config, before, read_reward_results(config.reward))


def fill_in_from_samples(lines: Sequence[dict[str, Any]], samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in metrics that log lines lack, computed from `samples.jsonl`."""
    of_step: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        of_step.setdefault(sample["step"], []).append(sample)
    return [metrics_of_samples(of_step[line["step"]]) | line if line["step"] in of_step else line for line in lines]


def metrics_of_samples(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Estimate the metrics of a step from its logged samples."""
    words = [split_words(str(sample["response"])) for sample in samples]
    pairs = [list(pairwise(row)) for row in words]
    count = sum(map(len, pairs))
    return {
        "repetition": sum(len(row) - len(set(row)) for row in pairs) / count if count else 0.0,
        "ended_rate": fmean(sample["stop_reason"] != "length" for sample in samples),
        "score_std": pstdev(sample["score"] for sample in samples),
        "kl_std": pstdev(sample["kl"] for sample in samples),
    }


class Watch:
    """Prints findings during training when they first appear. Stateless: a resumed run rereads its log."""

    def __init__(self, config: Config, folder: Path, print_line: Callable[[str], None]) -> None:
        self.config, self.folder, self.say = config, folder, print_line
        self.every = max(1, config.ppo.steps // MAX_EXAMINATIONS)
        self.seen = {"estimator_misplaced"} | {
            finding.name for finding in self.find_problems_so_far()
        }  # the former is said at the start

    def find_problems_so_far(self) -> list[Finding]:
        """Findings on the log so far."""
        lines = read_metrics(self.folder)
        return examine(History(lines, self.config, {}, read_reward_results(self.config.reward))) if lines else []

    def examine_step(self, step: int, is_evaluated: bool = False) -> list[Finding]:
        """Examine the run after a step if it is due or ended with an evaluation; returns the findings so far."""
        if step % self.every and not is_evaluated:
            return []
        findings = self.find_problems_so_far()
        for finding in findings:
            if finding.name not in self.seen:
                self.seen.add(finding.name)
                self.say(f"doctor: {finding}")
        return findings
