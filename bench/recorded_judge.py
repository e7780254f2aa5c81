"""A language model's recorded verdicts beside people's on the same pairs: agreement, and corrected win rates.

`python bench/recorded_judge.py --data ../shared/data --verdicts pandalm-7b-testset-v1.json [--draws 1000] [--seed 0]`.
People are the three annotators of PandaLM's test set (999 pairs, 170 instructions), the verdicts those of PandaLM-7B
in one order, from the file `data/pandalm-7b-testset-v1.json` of its authors' repository. Prints the agreement by length
and topic, and for the win rate of the second responses, and of each model against the others, how often the intervals
from 100 pairs that people judged hold people's rate over all pairs. Pairs are drawn in two ways: 100 of those there are
get people's answers, or the instructions are drawn with replacement first, as if there were more of their kind.
"""

import argparse
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from likelier.evaluation.compare import correct_judges
from likelier.evaluation.corrected import correct_win_rate
from likelier.evaluation.people import HumanPreferences, ResponsePair, compute_people_result
from likelier.intervals import Floats
from likelier.records import Prompt, Response

JUDGED = 100
WINS = {1: 0.0, 2: 1.0, 0: 0.5}


@dataclass(frozen=True)
class Recorded:
    """Pairs with people's share for the second response and the judge's verdict, [N] each."""

    pairs: list[ResponsePair]
    models: list[tuple[str, str]]
    people: Floats
    judge: Floats


def read(data: Path, verdicts: Path) -> Recorded:
    """Read PandaLM's test set and the verdicts on it."""
    with gzip.open(data / "pandalm-human" / "testset-v1.json.gz", "rt") as file:
        lines = json.load(file)
    said = {line["idx"]: line["pandalm_result"] for line in json.loads(verdicts.read_text())}
    pairs, models = [], []
    for line in lines:
        prompt = Prompt("\n\n".join(filter(None, (line["instruction"], str(line["input"] or "")))))
        first, second = line["cmp_key"].split("_")
        models.append((first, second))
        texts = [str(line[name]) for name in ("response1", "response2")]
        pairs.append(ResponsePair(prompt, *(Response(prompt.id, text) for text in texts)))
    people = [np.mean([WINS[line[f"annotator{number}"]] for number in (1, 2, 3)]) for line in lines]
    return Recorded(pairs, models, np.array(people), np.array([WINS[said[line["idx"]]] for line in lines]))


def print_agreement(recorded: Recorded) -> None:
    """Print what `likelier eval` says of the judge from all pairs but one, which is left to the judge alone."""
    shares = [*recorded.people[:-1].tolist(), None]
    result = compute_people_result(recorded.pairs, shares, [])
    found = correct_judges(recorded.pairs, HumanPreferences(result, shares), {"judge": recorded.judge})["judge"]
    for name in ("agreement", "agreement_longer", "agreement_shorter"):
        print_share(name, found[name])
    for name, each in sorted(found["agreement_by_topic"].items(), key=lambda item: -item[1]["rate"]):
        print_share(f"  {name}", each)


def print_share(name: str, share: dict) -> None:
    low, high = share["interval"]
    print(f"{name:40} {share['rate']:.3f} ({low:.3f} to {high:.3f})  {share['n']}")


def measure_coverage(people: Floats, judge: Floats, prompts: list[str], draws: int, anew: bool, generator) -> str:
    """Return coverage and width of corrected and of people's own intervals, over draws of 100 judged pairs."""
    truth, names = people.mean(), sorted(set(prompts))
    rows_of = {name: np.flatnonzero(np.array(prompts) == name) for name in names}
    holds, alone, ratios, errors = [], [], [], []
    for _ in range(draws):
        if anew:
            chosen = generator.choice(len(names), len(names))
            rows = np.concatenate([rows_of[names[each]] for each in chosen])
            clusters = [f"{turn}" for turn, each in enumerate(chosen) for _ in rows_of[names[each]]]
        else:
            rows, clusters = np.arange(len(people)), prompts
        shares = np.full(len(rows), np.nan)
        asked = generator.permutation(len(rows))[:JUDGED]
        shares[asked] = people[rows[asked]]
        found = correct_win_rate(shares, judge[rows], clusters, np.zeros(len(rows)))
        assert found
        assert found.interval
        assert found.people_alone_interval
        holds.append(found.interval[0] <= truth <= found.interval[1])
        alone.append(found.people_alone_interval[0] <= truth <= found.people_alone_interval[1])
        ratios.append(1 - (found.gain or 0.0))
        errors.append((found.win_rate - truth, found.people_alone - truth))
    corrected, plain = np.sqrt(np.mean(np.square(errors), axis=0))
    wider = np.mean(np.array(ratios) > 1.02)
    return (
        f"coverage {np.mean(holds):.3f} ({np.mean(alone):.3f} people alone)  width {np.mean(ratios):.3f} of theirs "
        f"(5 to 95 %: {np.quantile(ratios, 0.05):.3f} to {np.quantile(ratios, 0.95):.3f}; over 1.02 in {wider:.1%})  "
        f"error {corrected:.4f} ({plain:.4f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--verdicts", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recorded, generator = read(given.data, given.verdicts), np.random.default_rng(given.seed)
    print_agreement(recorded)
    prompts = np.array([pair.prompt.id for pair in recorded.pairs])
    parts = {"second response": (np.ones(len(prompts), bool), np.zeros(len(prompts), bool))}
    for name in sorted({model for pair in recorded.models for model in pair}):
        first, second = (np.array([pair[side] == name for pair in recorded.models]) for side in (0, 1))
        parts[name] = (first | second, first)
    for name, (rows, is_first) in parts.items():
        people = np.where(is_first, 1 - recorded.people, recorded.people)[rows]
        judge = np.where(is_first, 1 - recorded.judge, recorded.judge)[rows]
        print(f"{name}: {rows.sum()} pairs, people {people.mean():.3f}, judge {judge.mean():.3f}")
        for anew in (False, True):
            line = measure_coverage(people, judge, prompts[rows].tolist(), given.draws, anew, generator)
            print(f"  {'instructions anew' if anew else 'these pairs'}: {line}", flush=True)


if __name__ == "__main__":
    main()
