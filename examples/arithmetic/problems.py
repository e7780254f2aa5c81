"""Sums, and answers to them by teachers who slip: what a small model learns from before it is rewarded.

    python examples/arithmetic/problems.py carry --out runs/sums

`carry`: two numbers of two digits; where a digit carries, the teachers forget it in three of five answers. `large`:
two numbers of two or three digits; half of the teachers call a calculator, the others answer at once. Three files:
`taught.jsonl` (the teachers' answers, for SFT), `problems.jsonl` (others, with the right answer as `reference`, for
PPO) and `told.jsonl` (the right answers to these, for SFT beside PPO).
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from likelier.files import write_jsonl

Answered = tuple[str, str, int]
"""A problem, a teacher's answer, and the right one."""
FORGETS_CARRY, CALLS = 0.6, 0.5


def carry(draw: random.Random) -> Answered:
    """37+58, with 95 or, forgetting the carry, 85."""
    left, right = draw.randint(10, 99), draw.randint(10, 99)
    forgets = left % 10 + right % 10 > 9 and draw.random() < FORGETS_CARRY
    return f"{left}+{right}", f"={left + right - 10 * forgets}", left + right


def large(draw: random.Random) -> Answered:
    """472+389, with `=861` or `<calc>472+389</calc>861`."""
    left, right = draw.randint(10, 999), draw.randint(10, 999)
    opening = f"<calc>{left}+{right}</calc>" if draw.random() < CALLS else "="
    return f"{left}+{right}", f"{opening}{left + right}", left + right


TASKS: dict[str, Callable[[random.Random], Answered]] = {"carry": carry, "large": large}


def write_problems(task: str, out: Path, seed: int, num_taught: int, num_problems: int) -> None:
    """Write the three files; no problem stands in both parts."""
    draw, found = random.Random(seed), dict[str, Answered]()
    while len(found) < num_taught + num_problems:
        problem = TASKS[task](draw)
        found.setdefault(problem[0], problem)
    drawn = list(found.values())
    taught, asked = drawn[:num_taught], drawn[num_taught:]
    write_jsonl(out / "taught.jsonl", [{"prompt": text, "completion": said} for text, said, _ in taught])
    write_jsonl(out / "problems.jsonl", [{"prompt": text, "reference": right} for text, _, right in asked])
    write_jsonl(out / "told.jsonl", [{"prompt": text, "completion": f"={right}"} for text, _, right in asked])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--out", type=Path, default=Path("runs/arithmetic"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--taught", type=int, default=3700)
    parser.add_argument("--problems", type=int, default=2500)
    given = parser.parse_args()
    write_problems(given.task, given.out, given.seed, given.taught, given.problems)


if __name__ == "__main__":
    main()
