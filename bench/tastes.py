"""Panels of people with one taste or two, with the truth known: are the groups found, and is anybody wrongly flagged?

`python bench/tastes.py groups [--seeds 20]` prints for panels of two tastes how many have the groups claimed, the
adjusted Rand index beside that of an oracle who knows both tastes, and which members of the minority are flagged.
`python bench/tastes.py alike [--seeds 100]` prints how many panels of one taste have two groups claimed.
`python bench/tastes.py real --data ../shared/data` prints what comes out on ukp-convarg1 and Auto-J's comparisons.
"""

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from likelier.feedback.check import check_annotators, check_people
from likelier.feedback.expected import expect_answers, expect_within_groups
from likelier.feedback.taste_report import MIN_JUDGED
from likelier.feedback.tastes import Finding, adjusted_rand, find_tastes, list_responses
from likelier.feedback.votes import Votes, arrange_votes
from likelier.records import Choice, Comparison, JudgedComparison, Judgement, Prompt, Response

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Design:
    """A panel: 20 people with 100 judgements each by default, `per_pair` people to a pair."""

    share: float = 0.0
    """Of people with the second taste."""
    responses: int = 80
    """As many as judged sides: each is seen in one comparison only, and a reward of features is learned."""
    correlation: float = 0.5
    spread: float = 1.5
    """Standard deviation of the scores."""
    features: int = 0
    people: int = 20
    each: int = 100
    per_pair: int = 5
    skill: tuple[float, float] = (1.0, 1.0)
    """Bounds of the uniform distribution of skills."""
    clickers: int = 0
    """People at random, of the majority's."""
    vices: tuple[str, ...] = ()
    """Of further people: left, longer, reversed, copied; in 95 of 100 answers."""
    constant: float = 0.0
    """If above 0, people are right with this probability on every pair."""
    fatigue: float = 0.0
    """Share of their skill that people lose towards the end."""
    indifferent: float = 0.0
    """Differences below this are ties."""


@dataclass(frozen=True)
class Drawn:
    """A simulated panel with its truth."""

    votes: Votes
    group: Indices
    responses: list[Response]
    features: Floats | None
    logits: Floats
    """[N, 2]: of left by each taste."""


def draw(design: Design, seed: int) -> Drawn:
    """Draw a panel; scores are normal, of the given spread and correlation, or linear in standard normal features."""
    generator = np.random.default_rng(seed)
    people, pairs = design.people, design.people * design.each // design.per_pair
    group = np.zeros(people, np.int64)
    group[: round(design.share * people)] = 1
    mixing = np.array([[1, design.correlation], [0, np.sqrt(1 - design.correlation**2)]])
    features = None
    if design.features:
        features = generator.normal(size=(design.responses, design.features))
        basis = np.linalg.qr(generator.normal(size=(design.features, 2)))[0]
        scores = design.spread * features @ basis @ mixing
    else:
        scores = design.spread * generator.normal(size=(design.responses, 2)) @ mixing
    annotator = np.concatenate([generator.permutation(people)[: design.per_pair] for _ in range(pairs)])
    pair, count = np.repeat(np.arange(pairs), design.per_pair), pairs * design.per_pair
    if design.responses >= 2 * pairs:
        sides = np.arange(2 * pairs).reshape(-1, 2)
    else:
        sides = np.stack([generator.choice(design.responses, 2, replace=False) for _ in range(pairs)])
    swapped = generator.integers(2, size=count)
    left, right = sides[pair, swapped], sides[pair, 1 - swapped]
    skill = generator.uniform(*design.skill, people)
    vice_of = dict(enumerate(("random",) * design.clickers + design.vices, int(group.sum())))
    logits = scores[left] - scores[right]
    progress = np.zeros(count)
    for person in range(people):
        progress[annotator == person] = np.linspace(0, 1, int((annotator == person).sum()))
    own = skill[annotator] * (1 - design.fatigue * progress) * logits[np.arange(count), group[annotator]]
    p = expit(own)
    if design.constant:
        p = np.where(own > 0, design.constant, 1 - design.constant)
    choice = generator.random(count) < p
    sign = np.where(choice, 1.0, -1.0)
    sign = np.where(np.abs(own) < design.indifferent, 0.0, sign)
    length = np.round(generator.lognormal(5, 0.4, design.responses))
    longer = np.sign(length[left] - length[right])
    for person, vice in vice_of.items():
        mine = (annotator == person) & (generator.random(count) < 0.95)
        habit = {
            "random": generator.choice([-1.0, 1.0], count),
            "left": np.ones(count),
            "longer": np.where(longer == 0, sign, longer),
            "reversed": -sign,
            "copied": copy_answers(int(people - 1), annotator, pair, left, sign),
        }[vice]
        sign = np.where(mine, habit, sign)
    responses = [Response("p", f"{number:06d}") for number in range(design.responses)]
    votes = Votes(
        annotator, pair, left, right, sign, np.where(left < right, 1.0, -1.0), longer, np.full(count, np.nan),
        np.ones(count, bool),
    )  # fmt: skip
    return Drawn(votes, group, responses, features, logits)


def copy_answers(model: int, annotator: Indices, pair: Indices, left: Indices, sign: Floats) -> Floats:
    """Return for each vote the answer of one person to the same pair, where there is one; else the own answer."""
    answered = {int(pair[row]): int(row) for row in np.flatnonzero(annotator == model)}
    rows = np.array([answered.get(each, -1) for each in pair.tolist()])
    return np.where(rows >= 0, np.where(left == left[rows], 1, -1) * sign[rows], sign)


def find(drawn: Drawn) -> Finding:
    """Look for tastes in a drawn panel."""
    votes = drawn.votes
    return find_tastes(votes, [f"{number:02d}" for number in range(len(drawn.group))], drawn.responses, drawn.features)


def assign_by_oracle(drawn: Drawn) -> Indices:
    """Return everybody's likelier group by somebody who knows both tastes and all skills to be 1."""
    rows = drawn.votes.sign != 0
    signed = drawn.votes.sign[rows, None] * drawn.logits[rows]
    people = len(drawn.group)
    loglik = np.stack([np.bincount(drawn.votes.annotator[rows], log_expit(each), people) for each in signed.T])
    return np.asarray(loglik.argmax(axis=0))


def flag(drawn: Drawn, group: Indices | None) -> list[tuple[str, ...]]:
    """Return the flags of each person, as the check gives them with groups, or as it gave them without."""
    people = len(drawn.group)
    names = [f"{number:02d}" for number in range(people)]
    votes = drawn.votes
    expected = expect_answers(votes, people) if group is None else expect_within_groups(votes, people, group)
    return [each.flags for each in check_annotators(votes, names, expected, votes.count_repeats(people))]


def spare(drawn: Drawn) -> tuple[int | None, list[tuple[str, ...]]]:
    """Return the number of tastes, and each person's flags as the whole check gives them."""
    names = [f"{number:02d}" for number in range(len(drawn.group))]
    found = check_people(drawn.votes, names, drawn.responses, drawn.votes.count_repeats(len(names)))
    return found.tastes.number, [person.flags for person in found.people]


SUSPECTS = {
    "4 of 20 by another taste": Design(0.2, 66, -0.3, each=58),
    "the same beside 2 at random": Design(0.2, 66, -0.3, each=58, clickers=2),
    "3 of 12 at random, 58 each": Design(0, 64, each=58, people=12, clickers=3),
    "3 of 12 at random, 100 each": Design(0, 80, people=12, clickers=3),
    "2 of 12 reversed, 100 each": Design(0, 80, people=12, vices=("reversed", "reversed")),
}


def print_suspects(seeds: int) -> None:
    """Print how many are flagged `random` or `reversed` of a minority, of people with a vice, and of others."""
    for name, design in SUSPECTS.items():
        counts: Counter[str] = Counter()
        for seed in range(seeds):
            drawn = draw(design, seed)
            number, flags = spare(drawn)
            told = "cannot tell" if number is None else f"{number} found"
            counts[f"panels: {told}"] += 1
            bad = int(drawn.group.sum()) + design.clickers + len(design.vices)
            for person, own in enumerate(flags):
                who = "minority" if drawn.group[person] else "vice" if person < bad else "others"
                counts[f"{who}, {told}: flagged"] += bool({"random", "reversed"}.intersection(own))
                counts[f"{who}, {told}: of"] += 1
        print(name, dict(sorted(counts.items())), flush=True)


RICH = {
    "scores 60:40, each seen 10 times": Design(0.4, 160),
    "scores 80:20, each seen 10 times": Design(0.2, 80),
    "scores 60:40, each seen 20 times": Design(0.4, 80),
    "scores 60:40, correlation 0": Design(0.4, 160, 0.0),
    "scores 80:20, correlation 0": Design(0.2, 80, 0.0),
    "scores 80:20, correlation -0.5": Design(0.2, 80, -0.5),
    "scores 60:40, spread 3": Design(0.4, 160, 0.5, 3.0),
    "scores 80:20, spread 3": Design(0.2, 80, 0.5, 3.0),
    "features 60:40": Design(0.4, 800, features=6),
    "features 80:20": Design(0.2, 800, features=6),
    "features 80:20, correlation 0": Design(0.2, 800, 0.0, features=6),
    "features 80:20, 16 features": Design(0.2, 800, features=16),
    "scores 60:40, skills 0.5 to 1.5": Design(0.4, 160, skill=(0.5, 1.5)),
    "scores 80:20, 3 of 16 at random": Design(0.2, 80, clickers=3),
    "features 60:40, 3 of 12 at random": Design(0.4, 800, features=6, clickers=3),
}
POOR = {
    "scores 60:40, each seen 4 times": Design(0.4, 400),
    "scores 80:20, each seen 4 times": Design(0.2, 200),
    "scores 80:20, each seen 2 times": Design(0.2, 400),
    "scores 60:40, spread 0.8": Design(0.4, 160, 0.5, 0.8),
    "scores 60:40, 30 judgements each": Design(0.4, 160, each=30),
}
ALIKE = {
    "scores": Design(),
    "scores, 160 responses": Design(responses=160),
    "scores, 400 responses": Design(responses=400),
    "scores, spread 4": Design(spread=4.0),
    "features": Design(responses=800, features=6),
    "skills 0.3 to 1.5": Design(skill=(0.3, 1.5)),
    "4 at random": Design(clickers=4),
    "features, 4 at random": Design(responses=800, features=6, clickers=4),
    "constant error 0.8": Design(constant=0.8),
    "constant error 0.8, 4 at random": Design(constant=0.8, clickers=4),
    "fatigue": Design(fatigue=0.8),
    "ties": Design(indifferent=0.5),
    "left, longer, 2 reversed": Design(vices=("left", "longer", "reversed", "reversed")),
    "features, left, longer, 2 reversed": Design(
        responses=800, features=6, vices=("left", "longer", "reversed", "reversed")
    ),
    "3 longer": Design(vices=("longer",) * 3),
    "2 copy one": Design(vices=("copied",) * 2),
    "40 judgements each": Design(each=40),
    "60 people": Design(people=60, responses=160),
}


def print_groups(seeds: int, kinds: dict[str, Design]) -> None:
    """Print a row of a table for each kind of panel with two tastes."""
    print("| panel | two claimed | cannot tell | one claimed | Rand index if claimed | oracle | "
          "minority flagged, before | after | others flagged, before | after |")  # fmt: skip
    print("|---" * 10 + "|")
    for name, design in kinds.items():
        begun, answers = time.monotonic(), Counter[str]()
        index, oracle, flagged = [], [], Counter[str]()
        for seed in range(seeds):
            drawn = draw(design, seed)
            found = find(drawn)
            claimed = found.tastes.number
            answers["cannot tell" if claimed is None else str(claimed)] += 1
            honest = np.ones(len(drawn.group), bool)
            honest[int(drawn.group.sum()) : int(drawn.group.sum()) + design.clickers + len(design.vices)] = False
            oracle.append(adjusted_rand(assign_by_oracle(drawn)[honest], drawn.group[honest]))
            if found.tastes.groups:
                index.append(adjusted_rand(label_groups(found, len(drawn.group))[honest], drawn.group[honest]))
            for when, group in (("before", None), ("after", found.group)):
                for person, flags in enumerate(flag(drawn, group)):
                    if flags and honest[person]:
                        flagged[f"{'minority' if drawn.group[person] else 'others'} {when}"] += 1
        shares = {
            "minority": seeds * int(drawn.group.sum()),
            "others": seeds * int((honest & (drawn.group == 0)).sum()),
        }
        rates = [
            f"{flagged[f'{who} {when}']} of {count}" for who, count in shares.items() for when in ("before", "after")
        ]
        shown = f"{np.mean(index):.2f} (least {min(index):.2f})" if index else "–"
        claimed_more = answers["2"] + answers["3"]
        three = f" ({answers['3']} three)" if answers["3"] else ""
        print(f"| {name} | {claimed_more}{three} | {answers['cannot tell']} | "
              f"{answers['1']} | {shown} | {np.mean(oracle):.2f} | {' | '.join(rates)} |", flush=True)  # fmt: skip
        print(f"{name}: {(time.monotonic() - begun) / seeds:.1f} s a panel", file=sys.stderr)


def label_groups(found: Finding, people: int) -> Indices:
    """Return everybody's group as the report shows it; who is unclear is a group of their own."""
    group_of = found.tastes.group_of()
    return np.array([group_of.get(f"{number:02d}", len(found.tastes.groups)) for number in range(people)])


def print_alike(seeds: int, kinds: dict[str, Design]) -> None:
    """Print a row of a table for each kind of panel with one taste."""
    print("| panel of one taste | two or more claimed | cannot tell | one claimed | largest z |\n|---|---|---|---|---|")
    claims = total = 0
    for name, design in kinds.items():
        begun, answers, scores = time.monotonic(), Counter[str](), []
        for seed in range(seeds):
            tastes = find(draw(design, 1000 + seed)).tastes
            answers["cannot tell" if tastes.number is None else "one" if tastes.number == 1 else "more"] += 1
            scores.append(tastes.z or 0.0)
        claims, total = claims + answers["more"], total + seeds
        print(f"| {name} | {answers['more']} of {seeds} | {answers['cannot tell']} | {answers['one']} | "
              f"{max(scores):.2f} |", flush=True)  # fmt: skip
        print(f"{name}: {(time.monotonic() - begun) / seeds:.1f} s a panel", file=sys.stderr)
    print(f"| all | {claims} of {total} | | | |")


def read_arguments(data: Path) -> list[JudgedComparison]:
    """Read ukp-convarg1: about five workers a pair, each debate and side with some thirty arguments."""
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    import ukp_convarg1

    judged = []
    for record in ukp_convarg1.judgements(data / "ukp-convarg1"):
        prompt = Prompt(record["prompt"])
        left, right = (Response(prompt.id, **record[side]) for side in ("left", "right"))
        pair = Comparison(prompt.id, left.id, right.id)
        judgement = Judgement(pair.id, record["annotator"], left.id, right.id, record["choice"])
        judged.append(JudgedComparison(judgement, prompt, left, right))
    return judged


def read_scenarios(data: Path) -> list[JudgedComparison]:
    """Read Auto-J's comparisons, which name nobody: each of its scenarios, judged by several, stands for a person."""
    with gzip.open(data / "autoj-human-pairs/testdata_pairwise.jsonl.gz", "rt") as file:
        records = [json.loads(line) for line in file]
    judged = []
    for record in records:
        prompt = Prompt(record["prompt"])
        left, right = (Response(prompt.id, record[f"response {side}"], str(side)) for side in (1, 2))
        choice: Choice = ("left", "right", "tie")[record["label"]]  # type: ignore[assignment]
        judgement = Judgement(
            Comparison(prompt.id, left.id, right.id).id, record["scenario"], left.id, right.id, choice
        )
        judged.append(JudgedComparison(judgement, prompt, left, right))
    return judged


def print_real(data: Path) -> None:
    """Print what comes out on real judgements."""
    for name, judged in (("ukp-convarg1", read_arguments(data)), ("autoj, scenarios as people", read_scenarios(data))):
        everything, names = arrange_votes(judged)
        votes = everything.select(everything.is_vote)
        enough = int((np.bincount(votes.annotator[votes.sign != 0]) >= MIN_JUDGED).sum())
        begun = time.monotonic()
        tastes = find_tastes(votes, names, list_responses(judged, everything)).tastes
        print(f"{name}: {len(names)} people, {enough} of them with {MIN_JUDGED} or more; by {tastes.model}; "
              f"{time.monotonic() - begun:.1f} s")  # fmt: skip
        print("\n".join(tastes.describe()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, default in (("groups", 20), ("alike", 100)):
        verb = verbs.add_parser(name)
        verb.add_argument("--seeds", type=int, default=default, help="panels of each kind")
        verb.add_argument("--only", default="", help="kinds whose name holds this")
    verbs.add_parser("suspects").add_argument("--seeds", type=int, default=12)
    real = verbs.add_parser("real")
    real.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    if given.verb == "groups":
        print_groups(given.seeds, {name: each for name, each in (RICH | POOR).items() if given.only in name})
    elif given.verb == "suspects":
        print_suspects(given.seeds)
    elif given.verb == "alike":
        print_alike(given.seeds, {name: each for name, each in ALIKE.items() if given.only in name})
    else:
        print_real(given.data)


if __name__ == "__main__":
    main()
