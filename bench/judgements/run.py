"""From judgements to policy: what is a human judgement worth, through one pipeline and another?

Simulated people (some of them careless, tired, of two minds, or as good as real workers were) compare responses of a
language model; a pipeline spends a budget of judgements and returns a policy, at most 4 nats from the start. Its score
is the true value of what the policy writes to fresh prompts: the mean of what the people honestly like.

`python bench/judgements/run.py [--world demo] [--panels careless] [--budgets 100 300 1000 3000] [--seeds 5]` runs the
pipelines of pipelines.py (`--only NAME`), goes on where it was stopped (`--out`), and prints a table. A pipeline of
your own: `--pipeline FILE.py:NAME`, a function of a `Task` (task.py) that returns a reward source, of which PPO and the
best of 16 responses make a policy (`--by`), or the folder of a policy. `--table` prints what is there.
docs/judgements.md has the results.
"""

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from os import environ
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from pipelines import BEST_OF, OPTIMISERS, PIPELINES, trl
from task import Respond, Task, make_task, measure_kl, sample, trace
from worlds import PANELS, WORLDS, Panel, World, draw_panel

from likelier.evaluation.statistics import best_of_n_kl
from likelier.files import read_log
from likelier.intervals import t_interval
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.userfile import find_function

MAX_KL, FRESH_PROMPTS, FRESH_SEED = 4.0, 256, 90_000
Pipeline = Callable[[Task], Path | Respond | dict[str, Any]]
OWN = "its own"
"""Optimiser of a pipeline that returns a policy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=WORLDS, default="demo")
    parser.add_argument("--panels", nargs="+", choices=PANELS, default=["careless"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[100, 300, 1000, 3000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="names of the pipelines to run; default: all of pipelines.py")
    parser.add_argument("--pipeline", metavar="FILE.py:NAME", help="a pipeline of your own, beside those of --only")
    parser.add_argument("--by", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS), help="makers of policies")
    parser.add_argument("--out", type=Path, default=Path("runs/judgements"))
    parser.add_argument("--table", action="store_true", help="print what is there and run nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "runs.jsonl"
    if not given.table:
        cells = [(panel, budget) for panel in given.panels for budget in given.budgets]
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            for panel, budget in cells:
                run_cell(given.out, log, (given.world, panel, budget, seed), choose_pipelines(given), given.by)
    print_table(read_log(log))


def choose_pipelines(given: argparse.Namespace) -> dict[str, Pipeline]:
    """Return the pipelines to run, by name."""
    known: dict[str, Pipeline] = dict(PIPELINES)
    if "LIKELIER_TRL" in environ:
        known["TRL's DPO"] = partial(trl, script="trl_dpo.py", python=environ["LIKELIER_TRL"])
    if unknown := set(given.only or ()) - set(known):
        raise SystemExit(f"no pipeline is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    names = given.only if given.only is not None else [] if given.pipeline else known
    own = {given.pipeline: find_function(given.pipeline, "--pipeline")} if given.pipeline else {}
    return {name: known[name] for name in names} | own


def run_cell(
    out: Path,
    log: Path,
    cell: tuple[str, str, int, int],
    pipelines: Mapping[str, Pipeline],
    optimisers: Sequence[str],
) -> None:
    """Run those pipelines that have no line yet in this cell: world, panel, budget, seed."""
    names = ("world", "panel", "budget", "seed")
    rows = read_log(log) if log.exists() else []
    there = {(row["pipeline"], row["by"]) for row in rows if cell == tuple(row[name] for name in names)}
    world, panel = WORLDS[cell[0]](), draw_panel(cell[1], WORLDS[cell[0]](), cell[3])
    for name, pipeline in pipelines.items():
        missing = [by for by in optimisers if (name, by) not in there]
        if not missing or (name, OWN) in there:
            continue
        shutil.rmtree(out / "work", ignore_errors=True)
        task = make_task(out / "work", world, panel, cell[2], MAX_KL, cell[3])
        made, spent = timed(pipeline, task)
        for by in missing if isinstance(made, dict) else [OWN]:
            policy, more = timed(OPTIMISERS[by], task, made) if isinstance(made, dict) else (made, 0.0)
            row = {"pipeline": name, "by": by, **dict(zip(names, cell, strict=True)), "asked": task.spent}
            row |= {"cpu_seconds": round(spent + more, 1), **score(policy, task, world, panel)}
            with open(log, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def timed(function: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    """Call a function; its result and the seconds of processor, with those of the child processes that have ended."""
    started = count_seconds()
    return function(*given), count_seconds() - started


def count_seconds() -> float:
    """Return the seconds of processor of this process and of its children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def score(policy: Path | Respond, task: Task, world: World, panel: Panel) -> dict[str, Any]:
    """Return the true value of policy and start on fresh prompts, the KL between them in nats, and KL and value of each
    checkpoint on the way."""
    prompts = world.draw_prompts(FRESH_SEED + task.seed, FRESH_PROMPTS)
    start, tokenizer = load_causal_lm(task.model), load_tokenizer(task.model)
    draw = partial(sample, tokenizer=tokenizer, prompts=prompts, length=task.length, seed=task.seed, purpose="fresh")
    before = panel.value(prompts, draw(start)).mean()
    if isinstance(policy, Path):
        model = load_causal_lm(policy)
        texts, kl = draw(model), measure_kl(model, start, tokenizer, task)
        curve = trace(task, lambda model: float(panel.value(prompts, draw(model)).mean()))
    else:
        texts, kl, curve = policy(prompts), best_of_n_kl(BEST_OF), []
    found = {"start": round(float(before), 4), "value": round(float(panel.value(prompts, texts).mean()), 4), "kl": kl}
    return found | {"curve": [[round(each, 4) for each in point] for point in curve]}


def find_value(row: Mapping[str, Any], kl: float) -> float | None:
    """Return the true value between the first checkpoint beyond a KL and the one before, linear in the root of the KL;
    None if no such is known."""
    points = row.get("curve", [])
    for (low, before), (high, after) in pairwise(points):
        if low <= kl < high:
            share = (kl**0.5 - max(low, 0.0) ** 0.5) / (high**0.5 - max(low, 0.0) ** 0.5)
            return float(before + share * (after - before))
    return None


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the gain over the start by pipeline and budget, with the difference from the default, paired by seed."""
    for world, panel in dict.fromkeys((row["world"], row["panel"]) for row in rows):
        chosen = [row for row in rows if (row["world"], row["panel"]) == (world, panel)]
        print(f"\n{world}, {panel} people: gain in true value (95 % interval); minus the default's; nats; runs")
        for budget, by in sorted({(row["budget"], row["by"]) for row in chosen}):
            print(f"  {budget} judgements, policy by {by if by != OWN else 'the pipeline'}")
            here = [row for row in chosen if row["budget"] == budget]
            rival = by if by != OWN else "PPO"
            default = {row["seed"]: row["value"] for row in here if (row["pipeline"], row["by"]) == ("default", rival)}
            here = [row for row in here if row["by"] == by]
            for name in dict.fromkeys(row["pipeline"] for row in here):
                print(f"    {name:28} {describe([row for row in here if row['pipeline'] == name], default)}")
        print_equal_kl(chosen)


def print_equal_kl(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the gain where each run is as far from the start as the best of 16, in runs whose checkpoints are known."""
    kl = best_of_n_kl(BEST_OF)
    known: dict[tuple[int, str], dict[int, float]] = {}
    for row in rows:
        if (value := find_value(row, kl)) is not None:
            known.setdefault((row["budget"], row["pipeline"]), {})[row["seed"]] = value - row["start"]
    if known:
        print(f"  gain at {kl:.2f} nats (95 % interval); minus the default's; runs that came so far")
    for (budget, name), gains in known.items():
        default = known.get((budget, "default"), {})
        behind = [gain - default[seed] for seed, gain in gains.items() if seed in default]
        said = [
            f"{np.mean(each):+.3f} {span(t_interval(each))}" if each else "–" for each in ([*gains.values()], behind)
        ]
        print(f"    {budget:5} {name:28} {'; '.join(said)}; {len(gains)}")


def describe(rows: Sequence[Mapping[str, Any]], default: Mapping[int, float]) -> str:
    """Return the figures of one pipeline."""
    gains = [row["value"] - row["start"] for row in rows]
    behind = [row["value"] - default[row["seed"]] for row in rows if row["seed"] in default]
    kl = np.mean([row["kl"] for row in rows])
    said = [f"{np.mean(each):+.3f} {span(t_interval(each))}" if each else "–" for each in (gains, behind)]
    return "; ".join([*said, f"{kl:.1f}", str(len(rows))])


def span(interval: Sequence[float] | None) -> str:
    """An interval in brackets."""
    return "" if interval is None else f"({interval[0]:+.3f} to {interval[1]:+.3f})"


if __name__ == "__main__":
    main()
