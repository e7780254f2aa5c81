"""Speed of PPO and of sampling beside their peers on this machine, in one run: `make bench`.

`python bench/all.py [S] [M] [--repeats 5] [--threads 2] [--out bench.json]`. Each trainer runs in a process of its
own, ours and TRL's in turns, in float32 and under autocast to bfloat16 where the CPU has instructions for it. TRL has
an environment of its own (1.12.0 is its last release with PPO): `LIKELIER_TRL` is the path of its Python; without it
its columns are empty. Prints a table and writes JSON: median, least and most of the repeats, versions, threads, and the
CPU's instruction sets. Worth reading only if nothing else runs on the machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile")
PACKAGES = ("torch", "transformers", "peft", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["S", "M"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    machine = describe_machine(given.threads)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    options = ["--repeats", str(given.repeats), "--threads", str(given.threads)]
    precisions = ["fp32", "bf16"] if {"avx512_bf16", "amx_bf16"} & set(machine["instructions"].split()) else ["fp32"]
    print("| PPO | precision | seconds an iteration | TRL | ratio | peak memory, GB | TRL | sampled tokens a second |")
    print("|---|---|---|---|---|---|---|---|")
    iterations = []
    for size in given.sizes:
        for precision in precisions:
            iterations.append(compare(size, precision, options))
            print(describe(iterations[-1]), flush=True)
    sampling = call(
        sys.executable,
        "sample.py",
        ["--sizes", *given.sizes, "--dtypes", *precisions, "--rows", "1", "8", "64", *options],
        shows=True,
    )
    found = {"machine": machine, "iterations": iterations, "sampling": sampling}
    given.out.write_text(json.dumps(found, indent=2) + "\n")


def describe_machine(threads: int) -> dict[str, Any]:
    """Return the CPU, its instruction sets, and versions."""
    info = Path("/proc/cpuinfo")
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line) if info.exists() else {}
    known = {name.strip(): value.strip() for name, value in lines.items()}
    flags = known.get("flags", "").split()
    return {
        "CPU": known.get("model name", "unknown"),
        "instructions": " ".join(name for name in INSTRUCTIONS if name in flags),
        "threads": threads,
        "python": sys.version.split()[0],
        **{name: version(name) for name in PACKAGES},
    }


def call(python: str, script: str, words: list[str], shows: bool = False) -> Any:
    """Run a script in a process of its own, and return the JSON that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [python, str(HERE / script), *words, "--json", str(path)]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}  # a peer's environment lacks us
        output = None if shows else subprocess.DEVNULL
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{script}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(path.read_text())


def compare(size: str, precision: str, options: list[str]) -> dict[str, Any]:
    """Return an iteration of ours, and of TRL where it is there."""
    words = [size, *options, *(["--bf16"] if precision == "bf16" else [])]
    (ours,) = call(sys.executable, "ppo.py", words)
    python = os.environ.get("LIKELIER_TRL")
    (theirs,) = call(python, "trl_ppo.py", words) if python else (None,)
    return {"size": size, "precision": precision, "likelier": ours, "trl": theirs}


def describe(found: dict[str, Any]) -> str:
    """Return a row of the table."""
    ours, theirs = found["likelier"], found["trl"]
    ratio = theirs["seconds"]["iteration"]["median"] / ours["seconds"]["iteration"]["median"] if theirs else None
    cells = [
        found["size"],
        found["precision"],
        show_spread(ours["seconds"]["iteration"]),
        show_spread(theirs["seconds"]["iteration"]) if theirs else "–",
        f"{ratio:.2f}" if ratio else "–",
        f"{ours['peak_memory_gb']:.1f}",
        f"{theirs['peak_memory_gb']:.1f}" if theirs else "–",
        f"{ours['sampled_tokens_per_second']:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def show_spread(seconds: dict[str, float]) -> str:
    """Return a median with the least and the most."""
    return f"{seconds['median']:.1f} ({seconds['min']:.1f} to {seconds['max']:.1f})"


if __name__ == "__main__":
    main()
