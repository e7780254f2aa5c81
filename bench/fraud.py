"""People who do not judge: whom of them does `likelier check` flag, and whom of the honest with them (BATTERY X19)?

`python bench/fraud.py [--crowds 20] [--honest 200] [--people 12] [--pairs 240] [--per-pair 5] [--frauds 3]` simulates
crowds in which some cheat, all in the same way, runs `likelier check --json` on each, and prints a row of a table for
each way. The honest have accuracies of 0.7 to 0.9 and one taste; scores are spread by 1.5.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from likelier.__main__ import main as run_likelier
from likelier.feedback.simulate import Annotator, Vice, simulate_judgements
from likelier.feedback.store import Store
from likelier.records import Choice, Comparison, Judgement, Prompt, Response

SPREAD = 1.5
WORDS = ["a", "fox", "and", "the", "hare", "walked", "on", "through", "snow", "to", "share", "some", "bread"]
Judgements = list[Judgement]


def taste(prompt: str, response: str) -> float:
    """Return the utility, which stands at the end of a response."""
    return float(response.rpartition(" ")[2])


@dataclass(frozen=True)
class Fraud:
    """A way to cheat: a vice of `simulate`, and what is done to the answers afterwards."""

    vice: Vice | None
    expected: frozenset[str]
    """Flags that name it."""
    change: Callable[[Judgements, Sequence[str], np.random.Generator], Judgements] = lambda judged, frauds, _: judged


def hurry(judged: Judgements, frauds: Sequence[str], generator: np.random.Generator) -> Judgements:
    """A bot answers within a second."""
    return [
        replace(each, duration_seconds=float(generator.uniform(0.2, 1.0))) if each.annotator in frauds else each
        for each in judged
    ]


def collude(judged: Judgements, frauds: Sequence[str], generator: np.random.Generator) -> Judgements:
    """All who cheat give one answer to each comparison, agreed among them without looking."""
    agreed: dict[str, bool] = {}
    changed = []
    for each in judged:
        if each.annotator in frauds:
            first = agreed.setdefault(each.comparison_id, bool(generator.random() < 0.5))
            is_left = (each.left < each.right) == first
            each = replace(each, choice="left" if is_left else "right")
        changed.append(each)
    return changed


def copy(judged: Judgements, frauds: Sequence[str], generator: np.random.Generator) -> Judgements:
    """All who cheat copy one honest person's answers where that person has answered, and guess elsewhere."""
    model = next(each.annotator for each in judged if each.annotator not in frauds)
    copied = {each.comparison_id: each for each in judged if each.annotator == model}
    changed = []
    for each in judged:
        if each.annotator in frauds:
            other = copied.get(each.comparison_id)
            guess: Choice = "left" if generator.random() < 0.5 else "right"
            turned: dict[Choice, Choice] = {"left": "right", "right": "left", "tie": "tie"}
            choice = guess if other is None else other.choice if other.left == each.left else turned[other.choice]
            each = replace(each, choice=choice)
        changed.append(each)
    return changed


FRAUDS = {
    "honest, all": Fraud(None, frozenset()),
    "random": Fraud("random", frozenset({"random"})),
    "a bot: random, within a second": Fraud("random", frozenset({"random", "fast"}), hurry),
    "always left": Fraud("left", frozenset({"left"})),
    "always the longer": Fraud("longer", frozenset({"longer"})),
    "reversed": Fraud("reversed", frozenset({"reversed"})),
    "half of the answers guessed, fast": Fraud("fast", frozenset({"fast"})),
    "collusion: one agreed answer, blindly": Fraud("random", frozenset({"random", "reversed", "copied"}), collude),
    "copied from one honest person, else guessed": Fraud("random", frozenset({"random", "copied"}), copy),
}


def write_crowd(
    folder: Path, fraud: Fraud, people: int, frauds: int, pairs: int, per_pair: int, seed: int
) -> list[str]:
    """Write a database with a crowd; returns the ids of those who cheat."""
    generator = np.random.default_rng(seed)
    prompts = [Prompt(f"Story {number}") for number in range(pairs)]
    responses = {
        each.id: each
        for prompt in prompts
        for _ in range(2)
        for each in [Response(prompt.id, f"{write(generator)} {generator.normal(0, SPREAD):.6f}")]
    }
    sides: dict[str, list[str]] = {}
    for each in responses.values():
        sides.setdefault(each.prompt_id, []).append(each.id)
    comparisons = [Comparison(prompt, *pair) for prompt, pair in sides.items()]
    names = [f"p{number:02d}" for number in range(people)]
    cheats = [] if fraud.vice is None else names[:frauds]
    panel = [
        Annotator(name, taste, float(generator.uniform(0.7, 0.9)), fraud.vice if name in cheats else None)
        for name in names
    ]
    known = {prompt.id: prompt for prompt in prompts}
    judged = simulate_judgements(comparisons, known, responses, panel, generator, per_pair)
    with Store.open(folder / "f.db", create=True) as store, store.transaction() as writer:
        writer.add_prompts(prompts)
        writer.add_responses(list(responses.values()))
        writer.add_comparisons(comparisons)
        writer.add_judgements(fraud.change(judged, cheats, generator))
    return cheats


def write(generator: np.random.Generator) -> str:
    """Return a text of 5 to 40 words."""
    return " ".join(generator.choice(WORDS, int(generator.integers(5, 41))))


def check(db: Path) -> dict[str, list[str]]:
    """Return the flags of each person, by the command line."""
    printed = io.StringIO()
    sys.argv = ["likelier", "check", "--db", str(db), "--json"]
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        run_likelier()
    return {each["id"]: each["flags"] for each in json.loads(printed.getvalue())["annotators"]}


def run(name: str, crowds: int, people: int, frauds: int, pairs: int, per_pair: int) -> str:
    """Return the row of one way to cheat."""
    fraud, counts, flags, stained = FRAUDS[name], Counter[str](), Counter[str](), 0
    for seed in range(crowds):
        with tempfile.TemporaryDirectory() as folder:
            cheats = write_crowd(Path(folder), fraud, people, frauds, pairs, per_pair, seed)
            flagged = {person: own for person, own in check(Path(folder) / "f.db").items() if own}
        honest = [person for person in flagged if person not in cheats]
        counts["found"] += len(flagged) - len(honest)
        counts["named"] += sum(bool(fraud.expected.intersection(flagged.get(person, ()))) for person in cheats)
        counts["false"] += len(honest)
        counts["cheats"] += len(cheats)
        stained += bool(honest)
        flags.update(flag for person in flagged for flag in flagged[person])
    num_honest = crowds * people - counts["cheats"]
    found = counts["found"] + counts["false"]
    recall = f"{counts['found']} of {counts['cheats']}" if counts["cheats"] else "–"
    named = f"{counts['named']}" if counts["cheats"] else "–"
    precision = f"{counts['found'] / found:.2f}" if found and counts["cheats"] else "–"
    shown = ", ".join(f"{flag} {count}" for flag, count in flags.most_common())
    stains = f"{counts['false']} of {num_honest}, in {stained} of {crowds} crowds"
    return f"| {name} | {recall} | {named} | {precision} | {stains} | {shown or '–'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crowds", type=int, default=20)
    parser.add_argument("--honest", type=int, default=200, help="crowds without anybody who cheats")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--frauds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=240)
    parser.add_argument("--per-pair", type=int, default=5)
    given = parser.parse_args()
    print("| who cheats, and how | flagged | by the flag that names it | precision | honest people flagged | flags |")
    print("|---|---|---|---|---|---|")
    for name, fraud in FRAUDS.items():
        crowds = given.honest if fraud.vice is None else given.crowds
        print(run(name, crowds, given.people, given.frauds, given.pairs, given.per_pair), flush=True)


if __name__ == "__main__":
    main()
