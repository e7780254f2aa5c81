"""Who taught a reward model a score: the predicted change without some judgements beside that of training without them.

`python bench/taught.py RUN [--sets 30] [--responses 100] [--seeds 5]` draws removal sets (a person, two people, a tenth
of the comparisons, in turn) and prints the correlation, over sets and held-out responses, of the change that
`likelier explain RUN` predicts with that of the last layer fitted again, and, with --seeds, of the whole model trained
again (mean over seeds). RUN is a finished run of `likelier reward`, such as the demo's.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from likelier.explain.curve import train_again
from likelier.explain.head import Answers, Influence, fit_head
from likelier.explain.run import RewardRun, load_reward_run
from likelier.explain.taught import Taught, fit_taught, number_comparisons, read_features
from likelier.intervals import Floats, correlation
from likelier.records import Preference
from likelier.reward.pairs import columns
from likelier.reward.train import distinct_texts
from likelier.text.reward_model import RewardModel


def draw_sets(pairs: Sequence[Preference], count: int, seed: int) -> list[tuple[str, Floats]]:
    """Return (kind, rows to remove) of `count` sets."""
    generator = np.random.default_rng(seed)
    people, groups = np.array([pair.annotator for pair in pairs]), number_comparisons(pairs)
    names, sets = np.unique(people), []
    for number in range(count):
        kind = ("one person", "two people", "a tenth of comparisons")[number % 3]
        if number % 3 < 2:
            removed = np.isin(people, generator.choice(names, number % 3 + 1, replace=False))
        else:
            removed = np.isin(groups, generator.choice(groups.max() + 1, (groups.max() + 1) // 10, replace=False))
        sets.append((kind, np.flatnonzero(removed)))
    return sets


def predict(taught: Taught, sets: Sequence[tuple[str, Floats]], places: Floats) -> Floats:
    """Return the predicted changes, [sets, responses]."""
    return np.stack([places @ taught.influence.remove(rows) for _, rows in sets])


def predict_plainly(influence: Influence, sets: Sequence[tuple[str, Floats]], places: Floats) -> Floats:
    """Return the same by the influence function alone, with the Hessian of all rows."""
    rows, basis = influence.rows, influence.head.basis
    return np.stack([
        places @ basis @ influence.inverse @ (rows[removed].T @ influence.gradient[removed]) for _, removed in sets
    ])  # fmt: skip


def fit_again(run: RewardRun, taught: Taught, sets: Sequence[tuple[str, Floats]], places: Floats) -> Floats:
    """Return the changes with the last layer fitted again, [sets, responses]."""
    train, head = run.pairs.train, taught.influence.head
    features = np.subtract(*read_features(run.ensemble.members[0], train))
    answers, changes = Answers.from_pairs(train, run.config.reward_model.use_flip), []
    for _, removed in sets:
        kept = np.delete(np.arange(len(train)), removed)
        again = fit_head(features[kept], answers.select(kept), head.ridge, head.basis)
        changes.append(places @ head.basis @ (again.weights - head.weights))
    return np.stack(changes)


def score_centred(reward: RewardModel, run: RewardRun, asked: Sequence[Preference]) -> Floats:
    """Return the scores of the asked pairs' chosen responses, 0 being the mean of training responses."""
    some = run.pairs.train[::4]
    prompts, responses, _ = distinct_texts(some)
    texts, chosen, _ = columns(asked)
    scores: Floats = reward.score(texts, chosen).double().numpy()
    return scores - float(reward.score(prompts, responses).double().mean())


def print_correlations(name: str, predicted: Floats, changes: Floats, sets: Sequence[tuple[str, Floats]]) -> None:
    """Print the correlation over all sets and responses, and for each kind of sets."""
    kinds = {kind: [number for number, each in enumerate(sets) if each[0] == kind] for kind, _ in sets}
    by_kind = ", ".join(
        f"{kind} {correlation(predicted[rows].ravel(), changes[rows].ravel()):.3f}" for kind, rows in kinds.items()
    )
    size = float(np.sqrt((changes**2).mean()))
    slope = float((predicted * changes).sum() / (predicted**2).sum())
    whole = correlation(predicted.ravel(), changes.ravel())
    print(f"{name}: correlation {whole:.3f} ({by_kind}); typical change {size:.3f}, slope {slope:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sets", type=int, default=30)
    parser.add_argument("--responses", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=0)
    options = parser.parse_args()
    run = load_reward_run(options.run)
    train, asked = run.pairs.train, (run.pairs.test or run.pairs.valid)[: options.responses]
    sets = draw_sets(train, options.sets, 0)
    began = time.monotonic()
    taught = fit_taught(run.ensemble.members[0], train, run.pairs.valid, run.config.reward_model.use_flip)
    places = read_features(run.ensemble.members[0], asked)[0] - taught.centre
    predicted = predict(taught, sets, places)
    print(f"{len(train)} pairs, {len(places[0])} features, {time.monotonic() - began:.1f} s", flush=True)
    changes = fit_again(run, taught, sets, places)
    print_correlations("last layer fitted again, one Newton step", predicted, changes, sets)
    print_correlations(
        "last layer fitted again, influence function", predict_plainly(taught.influence, sets, places), changes, sets
    )
    if not options.seeds:
        return
    whole = []
    before = [
        score_centred(train_again(run.config, train, run.pairs.valid, seed), run, asked)
        for seed in range(options.seeds)
    ]
    print(f"spread of a score between seeds {np.std(before, axis=0).mean():.3f}", flush=True)
    for number, (_, removed) in enumerate(sets):
        kept = [train[row] for row in np.delete(np.arange(len(train)), removed)]
        after = [
            score_centred(train_again(run.config, kept, run.pairs.valid, seed), run, asked)
            for seed in range(options.seeds)
        ]
        whole.append(np.mean(after, axis=0) - np.mean(before, axis=0))
        if number % 3 == 2:
            print_correlations(
                f"whole model, {number + 1} sets", predicted[: number + 1], np.stack(whole), sets[: number + 1]
            )


if __name__ == "__main__":
    main()
