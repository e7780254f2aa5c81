"""Six simulated people compare the answers in a database 600 times; each comparison once, a fifth of them twice.

    python examples/instruct/judge.py runs/instruct/feedback.db

They share the taste of `taste.py` and answer as it says in nine of ten comparisons.
"""

import sys

import numpy as np
from taste import simulated

from likelier.feedback.simulate import Annotator, simulate_judgements
from likelier.feedback.store import Store

ONCE, TWICE = 400, 100
"""Comparisons that one person judges, and that two judge: agreement cannot be measured from one."""
PEOPLE = [Annotator(name, simulated, accuracy=0.9) for name in ("Anna", "Bela", "Chen", "Dora", "Emil", "Finn")]


def main() -> None:
    generator = np.random.default_rng(0)
    with Store.open(sys.argv[1]) as store:
        prompts, responses = ({each.id: each for each in some} for some in (store.prompts(), store.responses()))
        pairs = store.comparisons()
        chosen = [pairs[row] for row in generator.permutation(len(pairs))[: ONCE + TWICE]]
        for part, people in ((chosen[:ONCE], 1), (chosen[ONCE:], 2)):
            store.add_judgements(simulate_judgements(part, prompts, responses, PEOPLE, generator, people))


if __name__ == "__main__":
    main()
