"""The demo: once around the circle with an embedded model and a simulated panel, and what would have been otherwise.

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

from likelier.circle import Result, Round, finish, gather, held, learn, picture
from likelier.config import build_config
from likelier.demo import tastes
from likelier.demo.corpus import openings
from likelier.demo.panel import Panel, draw_panel
from likelier.errors import ConfigError, LikelierError, Stopped, exit_code
from likelier.files import read_json, read_log, write_json, write_jsonl
from likelier.jobs import run_jobs
from likelier.progress import progress
from likelier.report.page import write_report
from likelier.runs.run import differences
from likelier.text import variety

PROMPTS = 720
UNHELD = "no KL penalty"
"""The arm that takes over the first one's reward model."""
REWARD, EVALUATION = 13, 3
"""Training a reward model, and an evaluation, take about as long as so many steps of PPO."""
SETTINGS: dict[str, Any] = {
    "reward": [{"function": f"{variety.__file__}:variety", "weight": 25.0, "name": "variety"}],
    "circle": {"num_eval_prompts": 144, "responses_per_prompt": 4},
    "reward_model": {"learning_rate": 1e-3, "num_epochs": 3, "batch_size": 64},
    "ppo": {
        "total_episodes": 128 * 20,
        "batch_size": 128,
        "num_mini_batches": 4,
        "num_ppo_epochs": 3,
        "response_length": 48,
        "learning_rate": 6e-4,
        "kl_coef": 0.4,
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
    """One way that it could have gone."""

    name: str
    at: Round
    done: dict[str, Result]
    """Stages that it shares with the others."""


Pair = tuple[Arm, Arm]


def run_demo(out: Path, seed: int = 0, taste: str | None = None, people: bool = False) -> Result:
    """Go round, write `report.html`, return what `likelier demo --json` prints. ConfigError: an unknown taste."""
    if taste is not None and taste not in tastes.TASTES:
        raise ConfigError(f"--taste {taste}: allowed: {', '.join(tastes.TASTES)}")
    name = None if people else taste or draw_taste(seed)
    with held(out):
        remember(out, {"seed": seed, "taste": name, "people": people})
        if people:
            return with_visitor(out, seed)
        return with_panel(out, seed, name or "")


def remember(out: Path, asked: Result) -> None:
    """Write down what was asked for. ConfigError: this folder was begun with something else."""
    file = out / "demo.json"
    for name, old, new in differences(read_json(file), asked) if file.exists() else ():
        raise ConfigError(f"{file}: this demo was started with --{name} {old}, not {new}; use another --out")
    write_json(file, asked)


def with_visitor(out: Path, seed: int) -> Result:
    from likelier.demo.people import ask_visitor

    at = start(out, seed, None)
    return finish(at, learn(at, gather(at, ask_visitor)), "Small stories, your taste")


def with_panel(out: Path, seed: int, name: str) -> Result:
    """The four arms, held against one another."""
    began = time.monotonic()
    at = start(out, seed, name)
    panel, honest = draw_panel(seed, name), draw_panel(seed, name, honest=True)
    done = gather(at, panel.judge)
    arms = [Arm("check on", at, done), without_check(at, done), with_honest_panel(at, done, honest)]
    arms.append(Arm(UNHELD, elsewhere(at, "no-kl", ppo={"kl_coef": 0.0}), done))
    results = run_arms(arms)
    comparison = compare_arms(arms, results)
    found = [person["id"] for person in done["check"]["annotators"] if person["flags"]]
    seconds = round(time.monotonic() - began, 1)
    draw_report(at, results[0], comparison, panel, name, seconds)
    evaluation = results[0]["evaluation"]
    return {
        "seconds": seconds,
        "annotators": len(panel.annotators),
        "spammers_planted": panel.planted,
        "spammers_found": found,
        "reward_accuracy": results[0]["reward"]["accuracy"],
        "true_score_before": evaluation["score_a"],
        "true_score_after": evaluation["score_b"],
        "kl": evaluation["kl"],
        "win_rate": evaluation["win_rate"],
        "win_rate_interval": evaluation["interval"],
        "arms": comparison["arms"],
        "recovered": comparison["recovered"],
        "report": str(out / "report.html"),
    }


def draw_taste(seed: int) -> str:
    """The taste that is hidden where none is asked for."""
    return random.Random(seed).choice(list(tastes.TASTES))


def start(out: Path, seed: int, taste: str | None) -> Round:
    """The round of the demo: embedded model, prompts from the seed, the hidden taste as judge of the evaluation."""
    write_jsonl(out / "prompts.jsonl", ({"prompt": text} for text in openings(seed, PROMPTS)))
    model = str(files("likelier.demo") / "model")
    settings = {**SETTINGS, "seed": seed, "model": model, "prompts": str(out / "prompts.jsonl")}
    if taste:
        judge = {"function": f"{tastes.__file__}:{taste}_scores", "name": "true taste"}
        settings["eval"] = {**SETTINGS["eval"], "scorer": [judge], "best_of": [2, 4, 8, 16]}
    config = build_config(settings)
    return Round(config, out, str(out / "feedback.db"), model, out / "prompts")


def elsewhere(at: Round, name: str, db: str | None = None, **blocks: dict[str, Any]) -> Round:
    """The same round in a folder of its own, with some settings changed; only the first arm measures best-of-n."""
    blocks = {"eval": {"best_of": []}, **blocks}
    changed = {block: getattr(at.config, block).model_copy(update=changes) for block, changes in blocks.items()}
    return replace(at, config=at.config.model_copy(update=changed), folder=at.folder / "arms" / name, db=db or at.db)


def without_check(at: Round, done: dict[str, Result]) -> Arm:
    return Arm("check off", elsewhere(at, "check-off", circle={"check_feedback": False}), done)


def with_honest_panel(at: Round, done: dict[str, Result], panel: Panel) -> Arm:
    """The same comparisons, judged by the same panel on a day when all twelve mean it."""
    db = at.folder / "honest.db"
    arm = elsewhere(at, "honest", db=str(db))
    if not (at.folder / "honest.json").exists():
        write_json(at.folder / "honest.json", panel.judge_copy(at.db, db))
    return Arm("nobody misbehaves", arm, {**done, "feedback": read_json(at.folder / "honest.json")})


def run_arms(arms: Sequence[Arm]) -> list[dict[str, Result]]:
    """Two processes of two arms each; the last arm takes the reward model of the first, so they share a process.

    What the arms found is read from their folders: a stage that is done is not done again. LikelierError: one failed.
    Stopped: after a signal.
    """
    total, shown = sum(map(work_of, arms)), 0
    pairs = ((arms[0], arms[3]), (arms[1], arms[2]))
    with progress("four arms: reward, PPO", total) as job:

        def look() -> None:
            nonlocal shown
            done = sum(map(work_done, arms))
            job.advance(done - shown)
            shown = done

        stopped = run_jobs(pairs, run_both, log_of, see_it_ended, len(pairs), ["likelier.rlhf.train"], look)
        if stopped:
            raise Stopped("stopped", stopped)
        job.advance(total - shown)
    return [learn(arm.at, arm.done) for arm in arms]


def log_of(pair: Pair) -> Path:
    return pair[0].at.folder / "log.txt"


def see_it_ended(pair: Pair, code: int) -> None:
    """LikelierError: a pair of arms ended by itself, and not well."""
    if code not in (0, exit_code(signal.SIGTERM), -signal.SIGTERM):
        raise LikelierError(f"an arm of the demo failed; {log_of(pair)} says why")


def run_both(pair: Pair) -> None:
    """What a worker process does; its messages go to a file."""
    import torch

    torch.set_num_threads(1)
    one, other = pair
    try:
        learn(one.at, one.done)
        if other.name == UNHELD:
            share_reward(one.at.folder, other.at.folder)
        learn(other.at, other.done)
    except Stopped as error:
        sys.exit(error.exit_code)


def share_reward(source: Path, folder: Path) -> None:
    """Put the preferences and the reward model of one arm, with their marks, where another looks for them."""
    for stage in ("preferences", "reward"):
        if not (folder / f"{stage}.json").exists():
            shutil.copytree(source / stage, folder / stage, dirs_exist_ok=True)
            for suffix in (".key", ".json"):
                shutil.copyfile(source / f"{stage}{suffix}", folder / f"{stage}{suffix}")


def work_of(arm: Arm) -> int:
    """What an arm has to do, in steps of PPO and what takes as long."""
    return arm.at.config.ppo.steps + EVALUATION + REWARD * (arm.name != UNHELD)


def work_done(arm: Arm) -> int:
    """How much of it is done, by the logs. The reward model that the last arm takes over is no work of its own."""
    folder, learned = arm.at.folder, 0.0
    if arm.name != UNHELD and (folder / "preferences.json").exists():
        pairs, settings = read_json(folder / "preferences.json")["train"], arm.at.config.reward_model
        steps = settings.num_epochs * -(-pairs // settings.batch_size)
        learned = count_lines(folder / "reward" / "metrics.jsonl") / steps
    evaluated = EVALUATION * (folder / "evaluation.json").exists()
    return int(REWARD * learned) + count_lines(folder / "policy" / "metrics.jsonl") + evaluated


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def compare_arms(arms: Sequence[Arm], results: Sequence[dict[str, Result]]) -> Result:
    """The counterfactual in numbers: what each arm reached, and how much of the loss the check made good."""
    rows = [arm_row(arm, result) for arm, result in zip(arms, results, strict=True)]
    on, off, honest = (row["true_score"] for row in rows[:3])
    recovered = (on - off) / (honest - off) if honest - off > 0.01 else None
    return {
        "arms": rows,
        "start_score": results[0]["evaluation"]["score_a"],
        "recovered": recovered,
        "sentence": recovery(recovered),
        "turning_point": turning_point(rows[3]),
        "best_of": [
            {"n": control["n"], "kl": control["kl_bound"], "true_score": control["score"]}
            for control in results[0]["evaluation"]["best_of"]
        ],
    }


def recovery(share: float | None) -> str:
    """What the check was worth, in a sentence; `share` of what the spammers cost, None if they cost nothing."""
    if share is None:
        return "With this seed the three spammers cost nothing that could be measured."
    if share > 1:
        return f"The check recovered all of what three spammers cost ({100 * share:.0f} %: chance was kind to it)."
    return f"The check recovered {100 * share:.0f} % of what three spammers cost."


def arm_row(arm: Arm, result: dict[str, Result]) -> Result:
    """One arm's results, and its path of true score over KL."""
    policy, evaluation = result["policy"], result["evaluation"]
    lines = [line for line in read_log(arm.at.folder / "policy" / "metrics.jsonl") if "eval_kl" in line]
    measured = [{"step": 0, **policy["before"]}, *lines]
    curve = [
        {"step": at["step"], "kl": at["eval_kl"], "true_score": at["eval/true taste"], "score": at["eval_score"]}
        for at in measured
    ]
    return {
        "name": arm.name,
        "win_rate": evaluation["win_rate"],
        "interval": evaluation["interval"],
        "true_score": evaluation["score_b"],
        "kl": evaluation["kl"],
        "curve": curve,
    }


def turning_point(row: Result) -> str:
    """Where the true taste turns down while the learned score goes on rising."""
    curve = row["curve"]
    best, last = max(curve, key=lambda at: at["true_score"]), curve[-1]
    if best is last:
        return "Without a KL penalty the true taste had not yet turned down when the budget was spent."
    return (
        f"Without a KL penalty the true taste peaked at {best['true_score']:.2f}, {best['kl']:.1f} nats away, "
        f"and fell to {last['true_score']:.2f} at {last['kl']:.1f} nats, while the learned score "
        f"went from {best['score']:.2f} to {last['score']:.2f}."
    )


def draw_report(
    at: Round, done: dict[str, Result], comparison: Result, panel: Panel, taste: str, seconds: float
) -> None:
    """`circle.json`, `check.json` with who was planted, `arms.json`, and the page."""
    description = (tastes.TASTES[taste].__doc__ or "").rstrip(".")
    about = {"simulated": True, "taste": {"name": taste, "description": description}, "seconds": seconds}
    about["command"] = f"likelier demo --seed {at.config.seed} --taste {taste}"
    write_json(at.folder / "circle.json", picture(at, done) | about | {"title": "Small stories, a hidden taste"})
    write_json(at.folder / "check.json", done["check"] | {"planted": panel.planted})
    write_json(at.folder / "arms.json", comparison)
    write_report([at.folder], at.folder / "report.html")
