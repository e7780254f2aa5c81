"""How near one PPO iteration comes to what this machine can do, by phase, on the sizes of `bench/ppo.py`.

`python bench/roofline.py [S] [M] [--bf16] [--repeats 5] [--threads 2] [--trl SECONDS] [--json FILE]`. Measured: the
machine's rate of large matrix products, of products of few rows, and its bandwidth (`likelier plan`'s, four seconds).
Counted: the products of each phase by `likelier plan`, which runs the same code without data. `products` is the least
time of these alone, each as long as its arithmetic or its memory, whichever is more; `all` adds what every other
operation reads and writes, as if none were fused with another. An iteration is then timed, and its share of both
printed. With the seconds of another trainer's iteration (`bench/trl_ppo.py`), also the ratio to it that four fifths
of `all` would be. Seconds are only worth reading if nothing else runs on the machine.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from likelier.config import build_config
from likelier.plan.lengths import measure_prompts
from likelier.plan.machine import Machine, Rates, calibrate_cpu
from likelier.plan.models import build_actors, count_trained
from likelier.plan.ppo import find_sizes, time_phases, trace_passes
from likelier.plan.trace import Operation
from plan import write_run
from ppo import measure

SHARE = 0.8


class ProductsAlone(Rates):
    """Rates by which nothing takes time but matrix products."""

    def time_one(self, operation: Operation) -> float:
        """Return the seconds of one operation."""
        return super().time_one(operation) if operation.flops else 0.0


def count_bounds(size: str, bf16: bool, rates: Rates) -> dict[str, dict[str, float]]:
    """Return the least seconds of each phase of an iteration, by products alone and by all operations."""
    with tempfile.TemporaryDirectory() as name:
        settings = json.loads(write_run(size, Path(name), None).read_text())
        # The steps that write_run takes are few, so that the prompts are; an iteration is the same.
        config = build_config(settings, [f"ppo.bf16={str(bf16).lower()}", "ppo.num_ppo_epochs=4"])
        machine = Machine("CPU", 0, rates, is_cpu=True)
        actors = build_actors(config, machine.device)
        sizes = find_sizes(config.ppo, measure_prompts(config), 1)
        passes, trained = trace_passes(actors, config.ppo, sizes, machine), count_trained([actors.policy])
    bounds = {
        "products": ProductsAlone(**asdict(rates) | {"kernel": 0.0}),
        "all": Rates(**asdict(rates) | {"kernel": 0.0}),
    }
    return {kind: time_phases(passes, config.ppo, sizes, trained, bound) or {} for kind, bound in bounds.items()}


def compare(size: str, bf16: bool, repeats: int, rates: Rates) -> dict[str, Any]:
    """Return measured and least seconds of an iteration by phase."""
    bounds = count_bounds(size, bf16, rates)
    found = measure(size, bf16, repeats)["seconds"]
    assert isinstance(found, dict)
    measured = {name.removesuffix("_seconds"): each["median"] for name, each in found.items()}
    rows = {
        name: {"measured": measured[name], **{kind: bound[name] for kind, bound in bounds.items()}}
        for name in bounds["all"]
        if name in measured
    }
    whole = {kind: sum(row[kind] for row in rows.values()) for kind in ("measured", "products", "all")}
    return {"size": size, "precision": "bf16" if bf16 else "fp32", "phases": rows | {"iteration": whole}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["S", "M"])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--trl", type=float, metavar="SECONDS", help="of an iteration of TRL, for one size")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rates = calibrate_cpu()
    print(
        f"products {rates.single / 1e9:.0f} GFLOP/s in float32, {rates.half / 1e9:.0f} in bfloat16, "
        f"{rates.thin / 1e9:.0f} of 16 rows; {rates.bandwidth / 1e9:.1f} GB/s"
    )
    results = []
    for size in given.sizes:
        results.append(compare(size, given.bf16, given.repeats, rates))
        print(f"{size} {results[-1]['precision']}: seconds measured, least by products alone, by all operations")
        for name, row in results[-1]["phases"].items():
            shares = [f"{row[kind]:7.2f} ({row[kind] / row['measured']:.0%})" for kind in ("products", "all")]
            print(f"  {name:<14}{row['measured']:7.2f} {'  '.join(shares)}")
        if given.trl:
            reachable = given.trl * SHARE / results[-1]["phases"]["iteration"]["all"]
            print(
                f"  {given.trl:.1f} s of TRL: {SHARE:.0%} of what the machine can do is {reachable:.2f} times as fast"
            )
    if given.json:
        given.json.write_text(json.dumps({"rates": asdict(rates), "sizes": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
