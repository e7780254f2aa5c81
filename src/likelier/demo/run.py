"""The demo: the whole circle with an embedded model and a simulated panel, with three control arms.

Four arms share prompts, seeds and budget: with the feedback check, without it, with a panel in which nobody
misbehaves, and with the check but no KL penalty. Every arm is the second half of the circle, as a user would run it.
"""

import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from likelier.circle import (
    Result,
    check_feedback,
    collect_feedback,
    run_once,
    train_and_evaluate,
)
from likelier.config import build_config
from likelier.demo import tastes
from likelier.demo.corpus import sample_openings
from likelier.demo.panel import Panel, draw_panel, leave_out_planted
from likelier.errors import ConfigError, LikelierError, Stopped, exit_code
from likelier.evaluation.result import EvaluationResult
from likelier.feedback.check import FeedbackCheck
from likelier.files import read_json, read_log, write_json, write_jsonl
from likelier.jobs import run_jobs
from likelier.progress import progress
from likelier.report.circle_round import summarise_stages, write_round_report
from likelier.report.page import write_report
from likelier.runs.curve import read_curve
from likelier.runs.lock import lock_folder
from likelier.runs.record import refuse_other_verb
from likelier.runs.round import Round
from likelier.runs.settings import list_differences
from likelier.text import variety

NUM_PROMPTS = 720
UNPENALISED_ARM = "no KL penalty"
"""The arm that shares the first one's reward model."""
REWARD_WORK, EVALUATION_WORK = 13, 3
"""Cost of training a reward model and of an evaluation, in PPO steps."""
SETTINGS: dict[str, Any] = {
    "reward": [{"function": f"{variety.__file__}:variety", "weight": 30.0, "name": "variety"}],
    "circle": {"num_eval_prompts": 144, "responses_per_prompt": 4},
    "reward_model": {"learning_rate": 1e-3, "num_epochs": 3, "batch_size": 64},
    "ppo": {
        "total_episodes": 128 * 20,
        "batch_size": 128,
        "num_mini_batches": 4,
        "num_ppo_epochs": 3,
        "response_length": 48,
        "learning_rate": 6e-4,
        "kl_coef": 0.2,
        "critic": "shared",
        "critic_learning_rate": 1e-2,
        "cliprange_value": None,
        "missing_eos_penalty": 1.0,
        "num_eval_prompts": 112,
        "eval_steps": 2,
        "save_steps": 20,
    },
    "eval": {"responses_per_prompt": 2, "response_length": 48},
}


@dataclass(frozen=True)
class Arm:
    """One variant of the second half of the circle."""

    name: str
    circle_round: Round
    done: dict[str, Result]
    """Results of the stages shared with the other arms."""


Pair = tuple[Arm, Arm]


def run_demo(
    out: Path, seed: int = 0, taste: str | None = None, people: bool = False, accept_changes: bool = False
) -> Result:
    """Run all arms and write `report.html`; returns the JSON of `likelier demo`. ConfigError: an unknown taste."""
    if taste is not None and taste not in tastes.TASTES:
        raise ConfigError(f"--taste {taste}: allowed: {', '.join(tastes.TASTES)}")
    name = None if people else taste or draw_taste(seed)
    with lock_folder(out):
        record_options(out, {"seed": seed, "taste": name, "people": people})
        if people:
            return run_with_visitor(start_round(out, seed, None, accept_changes))
        return run_with_panel(start_round(out, seed, name, accept_changes), name or "")


def record_options(out: Path, options: Result) -> None:
    """Write the demo's options. ConfigError: the folder was started with different ones, or by another command."""
    refuse_other_verb(out, "demo")
    file = out / "demo.json"
    for name, old, new in list_differences(read_json(file), options) if file.exists() else ():
        raise ConfigError(f"{file}: this demo was started with --{name} {old}, not {new}; use another --out")
    write_json(file, options)


def run_with_visitor(circle_round: Round) -> Result:
    """Run one round of the circle with the visitor's own judgements."""
    from likelier.demo.people import ask_visitor

    results = train_and_evaluate(circle_round, collect_feedback(circle_round, ask_visitor))
    k = circle_round.config.circle.responses_per_prompt
    return write_round_report(circle_round.folder, results, k, "Small stories, your taste")


def run_with_panel(circle_round: Round, name: str) -> Result:
    """Run the four arms with the simulated panel and compare them."""
    started, seed = time.monotonic(), circle_round.config.seed
    panel, honest = draw_panel(seed, name), draw_panel(seed, name, honest=True)
    done = collect_feedback(circle_round, panel.judge)
    done["check"] = leave_out_planted(done["check"])
    arms = [
        Arm("check on", circle_round, done),
        make_unchecked_arm(circle_round, done),
        make_honest_arm(circle_round, done, honest),
    ]
    arms.append(Arm(UNPENALISED_ARM, derive_round(circle_round, "no-kl", ppo={"kl_coef": 0.0}), done))
    results = run_arms(arms)
    comparison = compare_arms(arms, results)
    flagged = FeedbackCheck.from_json(done["check"]).flagged
    seconds = round(time.monotonic() - started, 1)
    write_demo_report(circle_round, results[0], comparison, panel, name, seconds)
    evaluation = EvaluationResult.from_json(results[0]["evaluation"])
    return {
        "seconds": seconds,
        "annotators": len(panel.annotators),
        "spammers_planted": panel.planted,
        "spammers_found": flagged,
        "reward_accuracy": results[0]["reward"]["accuracy"],
        "true_score_before": evaluation.score_a,
        "true_score_after": evaluation.score_b,
        "kl": evaluation.kl,
        "win_rate": evaluation.first.win_rate,
        "win_rate_interval": evaluation.first.interval,
        "arms": comparison["arms"],
        "recovered": comparison["recovered"],
        "report": str(circle_round.folder / "report.html"),
    }


def draw_taste(seed: int) -> str:
    """Draw the hidden taste if none was chosen."""
    return random.Random(seed).choice(list(tastes.TASTES))


def start_round(out: Path, seed: int, taste: str | None, accept_changes: bool = False) -> Round:
    """Return the demo's round: embedded model, prompts drawn with the seed, the hidden taste as an evaluation judge."""
    write_jsonl(out / "prompts.jsonl", ({"prompt": text} for text in sample_openings(seed, NUM_PROMPTS)))
    model = str(files("likelier.demo") / "model")
    settings = {**SETTINGS, "seed": seed, "model": model, "prompts": str(out / "prompts.jsonl")}
    if taste:
        judge = {"function": f"{tastes.__file__}:{taste}_scores", "name": "true taste"}
        settings["eval"] = {**SETTINGS["eval"], "scorer": [judge], "best_of": [2, 4, 8, 16]}
        settings["ppo"] = {**SETTINGS["ppo"], "anyway": True}  # every arm is compared, however bad its reward model
    config = build_config(settings)
    return Round(config, out, str(out / "feedback.db"), model, out / "prompts", accept_changes=accept_changes)


def derive_round(circle_round: Round, name: str, db: str | None = None, **blocks: dict[str, Any]) -> Round:
    """Return the round with its own folder and changed settings; only the first arm measures best-of-n."""
    blocks = {"eval": {"best_of": []}, **blocks}
    changed = {
        block: getattr(circle_round.config, block).model_copy(update=changes) for block, changes in blocks.items()
    }
    return replace(
        circle_round,
        config=circle_round.config.model_copy(update=changed),
        folder=circle_round.folder / "arms" / name,
        db=db or circle_round.db,
    )


def make_unchecked_arm(circle_round: Round, done: dict[str, Result]) -> Arm:
    """Return the arm that trains on all judgements, without the feedback check."""
    return Arm("check off", derive_round(circle_round, "check-off", circle={"check_feedback": False}), done)


def make_honest_arm(circle_round: Round, done: dict[str, Result], panel: Panel) -> Arm:
    """Return the arm whose comparisons are judged by the same panel without vices."""
    db = circle_round.folder / "honest.db"
    arm = derive_round(circle_round, "honest", db=str(db))
    if not (circle_round.folder / "honest.json").exists():
        write_json(circle_round.folder / "honest.json", panel.judge_copy(circle_round.db, db))
    judged = {**done, "feedback": read_json(circle_round.folder / "honest.json")}
    del judged["check"]  # of the other panel's judgements
    return Arm("nobody misbehaves", arm, judged | {"check": run_once(arm, "check", judged, check_feedback)})


def run_arms(arms: Sequence[Arm]) -> list[dict[str, Result]]:
    """Run two processes of two arms each; the last arm uses the reward model of the first, so they share a process.

    Results are read from the arms' folders: finished stages are not repeated. LikelierError: an arm failed. Stopped:
    after a signal.
    """
    total, reported = sum(map(total_work, arms)), 0
    pairs = ((arms[0], arms[3]), (arms[1], arms[2]))
    with progress("four arms: reward, PPO", total) as bar:

        def report_progress() -> None:
            nonlocal reported
            completed = sum(map(completed_work, arms))
            bar.advance(completed - reported)
            reported = completed

        stopped = run_jobs(
            pairs, run_pair, log_path, check_exit_code, len(pairs), ["likelier.rlhf.train"], report_progress
        )
        if stopped:
            raise Stopped("stopped", stopped)
        bar.advance(total - reported)
    return [train_and_evaluate(arm.circle_round, arm.done) for arm in arms]


def log_path(pair: Pair) -> Path:
    """Return the file for a worker's messages."""
    return pair[0].circle_round.folder / "log.txt"


def check_exit_code(pair: Pair, code: int) -> None:
    """Raise LikelierError if a worker failed, other than by a stop signal."""
    if code not in (0, exit_code(signal.SIGTERM), -signal.SIGTERM):
        raise LikelierError(f"an arm of the demo failed; {log_path(pair)} says why")


def run_pair(pair: Pair) -> None:
    """Run a pair of arms in a worker process."""
    import torch

    torch.set_num_threads(1)
    first, second = pair
    try:
        train_and_evaluate(first.circle_round, first.done)
        if second.name == UNPENALISED_ARM:
            copy_reward_model(first.circle_round.folder, second.circle_round.folder)
        train_and_evaluate(second.circle_round, second.done)
    except Stopped as error:
        sys.exit(error.exit_code)


def copy_reward_model(source: Path, folder: Path) -> None:
    """Copy one arm's preferences and reward model, with their completion marks, into another arm's folder."""
    for stage in ("preferences", "reward"):
        if not (folder / f"{stage}.json").exists():
            shutil.copytree(source / stage, folder / stage, dirs_exist_ok=True)
            for suffix in (".key", ".json"):
                shutil.copyfile(source / f"{stage}{suffix}", folder / f"{stage}{suffix}")


def total_work(arm: Arm) -> int:
    """Return an arm's total work, in PPO steps."""
    return arm.circle_round.config.ppo.steps + EVALUATION_WORK + REWARD_WORK * (arm.name != UNPENALISED_ARM)


def completed_work(arm: Arm) -> int:
    """Return an arm's completed work, from its logs. A shared reward model does not count."""
    folder, fraction = arm.circle_round.folder, 0.0
    if arm.name != UNPENALISED_ARM and (folder / "preferences.json").exists():
        pairs, settings = read_json(folder / "preferences.json")["train"], arm.circle_round.config.reward_model
        steps = (settings.num_epochs or 1) * -(-pairs // settings.batch_size)
        fraction = count_lines(folder / "reward" / "metrics.jsonl") / steps
    evaluated = EVALUATION_WORK * (folder / "evaluation.json").exists()
    return int(REWARD_WORK * fraction) + count_lines(folder / "policy" / "metrics.jsonl") + evaluated


def count_lines(path: Path) -> int:
    """Count a file's lines; 0 if it does not exist."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def compare_arms(arms: Sequence[Arm], results: Sequence[dict[str, Result]]) -> Result:
    """Summarise each arm, and the share of the spammers' damage that the check recovered."""
    evaluation = EvaluationResult.from_json(results[0]["evaluation"])
    rows = [summarise_arm(arm, result) for arm, result in zip(arms, results, strict=True)]
    on, off, honest = (row["true_score"] for row in rows[:3])
    recovered = (on - off) / (honest - off) if honest - off > 0.01 else None
    return {
        "arms": rows,
        "start_score": evaluation.score_a,
        "recovered": recovered,
        "sentence": describe_recovery(recovered),
        "turning_point": describe_turning_point(rows[3]),
        "best_of": [
            {"n": control.n, "kl": control.kl_bound, "true_score": control.first.score}
            for control in evaluation.best_of
        ],
    }


def describe_recovery(share: float | None) -> str:
    """Describe the recovered share of the spammers' damage in a sentence; None: there was no damage."""
    if share is None:
        return "With this seed the three spammers cost nothing that could be measured."
    if share > 1:
        return f"The check recovered all of what three spammers cost ({100 * share:.0f} %: chance was kind to it)."
    return f"The check recovered {100 * share:.0f} % of what three spammers cost."


def summarise_arm(arm: Arm, result: dict[str, Result]) -> Result:
    """Return one arm's results, and its trajectory of true score over KL."""
    policy, evaluation = result["policy"], EvaluationResult.from_json(result["evaluation"])
    curve = [
        {"step": point.step, "kl": point.kl, "true_score": point.judges["true taste"], "score": point.score}
        for point in read_curve(read_log(arm.circle_round.folder / "policy" / "metrics.jsonl"), policy["before"])
    ]
    return {
        "name": arm.name,
        "win_rate": evaluation.first.win_rate,
        "interval": evaluation.first.interval,
        "true_score": evaluation.score_b,
        "kl": evaluation.kl,
        "curve": curve,
    }


def describe_turning_point(row: Result) -> str:
    """Describe where the true score turns down while the learned score keeps rising."""
    curve = row["curve"]
    best, last = max(curve, key=lambda point: point["true_score"]), curve[-1]
    if best is last:
        return "Without a KL penalty the true taste had not yet turned down when the budget was spent."
    return (
        f"Without a KL penalty the true taste peaked at {best['true_score']:.2f}, {best['kl']:.1f} nats away, "
        f"and fell to {last['true_score']:.2f} at {last['kl']:.1f} nats, while the learned score "
        f"went from {best['score']:.2f} to {last['score']:.2f}."
    )


def write_demo_report(
    circle_round: Round, done: dict[str, Result], comparison: Result, panel: Panel, taste: str, seconds: float
) -> None:
    """Write `circle.json`, `check.json` with the planted annotators, `arms.json`, and the report."""
    description = (tastes.TASTES[taste].__doc__ or "").rstrip(".")
    metadata = {"simulated": True, "taste": {"name": taste, "description": description}, "seconds": seconds}
    metadata["command"] = f"likelier demo --seed {circle_round.config.seed} --taste {taste}"
    stages = summarise_stages(done, circle_round.config.circle.responses_per_prompt)
    title = {"title": "Small stories, a hidden taste"}
    write_json(circle_round.folder / "circle.json", stages | metadata | title, private=True)
    write_json(circle_round.folder / "check.json", done["check"] | {"planted": panel.planted}, private=True)
    write_json(circle_round.folder / "arms.json", comparison)
    write_report([circle_round.folder], circle_round.folder / "report.html")
