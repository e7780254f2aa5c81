"""Whom the demo's check flags, seed by seed: the circle's first half alone, as `likelier demo --seed N` runs it.

`python bench/panel.py [--seeds 20] [--out runs/panel]` prints a line for each seed, and at the end for how many the
three who were planted were flagged and no one else.
"""

import argparse
from pathlib import Path

from likelier.circle import collect_feedback
from likelier.demo.panel import draw_panel
from likelier.demo.run import draw_taste, start_round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many, from 0 on")
    parser.add_argument("--out", type=Path, default=Path("runs/panel"))
    given = parser.parse_args()
    right = sum(found_all(given.out / str(seed), seed) for seed in range(given.seeds))
    print(f"{right} of {given.seeds} seeds: the three planted and no one else")


def found_all(out: Path, seed: int) -> bool:
    """Whether the check flags the three planted and no one else; prints who was planted, how, and what was flagged."""
    taste = draw_taste(seed)
    panel = draw_panel(seed, taste)
    checked = collect_feedback(start_round(out, seed, taste), panel.judge)["check"]["annotators"]
    flagged = {person["id"]: "+".join(person["flags"]) for person in checked if person["flags"]}
    vices = {person.id: person.vice for person in panel.annotators if person.vice}
    right = sorted(flagged) == panel.planted
    print(f"seed {seed}  {taste}  planted {vices}  flagged {flagged}  {'all three' if right else 'WRONG'}", flush=True)
    return right


if __name__ == "__main__":
    main()
