"""How well do small reward models foretell real human preferences? Held-out accuracy, beside length and single words.

    python examples/human_preferences.py ../shared/data --out runs/human

Three public sets, each imported into a store of its own: Anthropic's `hh-rlhf` (MIT), `ukp-convarg1` (CC BY 4.0, by
`ukp_convarg1.py` beside this file) and, too small to train on, two batches of OpenAI's `summarize-from-feedback`.
The folder given holds one folder for each set, with the files as published, gzip'ed.

Folds are made of whole conversations (`likelier.preferences.conversation_groups`; in ukp a conversation is a debate),
so no conversation is in both train and test. A comparison with several judgements is one pair, whose target is
the share of them that were for the response most people chose; a pair without such a response counts in the log loss
only. Intervals are bootstraps that draw whole conversations. Every base model is new: random weights, and
the words of its training pairs. A fold's validation part, out of its training folds, decides the epoch.
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ukp_convarg1 import judgements as ukp_judgements

from likelier.config import build_config
from likelier.errors import DataError, LikelierError
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.intervals import Floats, mean_interval, rate_interval
from likelier.preferences import conversation_groups, preference
from likelier.records import JudgedComparison, Preference, stable_id, write_json, write_jsonl
from likelier.reward.check import check_scores, clusters, fit_length, fit_words, hits, most_equal_in_length
from likelier.reward.sources import load_ensemble
from likelier.reward.train import score_pairs, train_reward
from likelier.runs import Run
from likelier.text.models import save_model
from likelier.text.scratch import new_causal_lm, new_tokenizer

Differences = dict[str, Floats]
"""By what predicts: its score of the chosen response minus that of the rejected one, for each pair."""
Predict = Callable[[Sequence[Preference]], Differences]
Judged = list[tuple[JudgedComparison, str]]
"""Judgements with their conversation."""

FILES = {
    "hh-rlhf": ("anthropic", "*.jsonl.gz"),
    "ukp-convarg1": ("likelier", "*.xml.gz"),
    "summarize-from-feedback": ("openai-summaries", "batch1[38].jsonl.gz"),
}
TRAINED = ("hh-rlhf", "ukp-convarg1")
VOCABULARY = 8000
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
SETTINGS = {
    "from_scratch": True,
    "learning_rate": 1e-3,
    "num_epochs": 2,
    "batch_size": 32,
    "ensemble_size": 4,
    "max_length": 256,
    "device": "cpu",
    "save_steps": 1_000_000,
}
VALID_SHARE = 10
"""One in so many training pairs chooses the epoch."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help=f"folder that holds {', '.join(FILES)}")
    parser.add_argument("-o", "--out", type=Path, required=True, help="new folder for stores, models and results.json")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the folds, the people kept apart and the models")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of `reward_model`")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        results = measure(options.data, options.out, options.folds, options.seed, options.set)
    except LikelierError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(results, indent=2) if options.json else table(results))
    return 0


def measure(data: Path, out: Path, folds: int, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """All figures, also written to `results.json`."""
    if out.exists():
        raise DataError(f"{out}: exists; give a new folder")
    sets = {name: import_set(name, data / name, out) for name in FILES}
    results: dict[str, Any] = {"folds": folds, "seed": seed, "overrides": list(overrides)}
    for name in TRAINED:
        trainer = Trainer(out / name, seed, overrides)
        results[name] = in_folds(sets[name], trainer, folds, strangers=frozenset())
        if people := strangers(sets[name], seed):
            results[f"{name}, unseen annotators"] = in_folds(sets[name], trainer, folds, people)
        write_json(out / "results.json", results)
    trainer = Trainer(out / "both", seed, overrides)
    predict = trainer.train(*divided([pair for name in TRAINED for pair in votes(sets[name])], seed))
    pairs = single(sets["summarize-from-feedback"])
    results["summarize-from-feedback"] = figures(pairs, predict(pairs)) | {"cpu_seconds": trainer.seconds}
    write_json(out / "results.json", results)
    return results


def import_set(name: str, source: Path, out: Path) -> Judged:
    """Copy the files, import them into a new store, and read the judgements back with their conversations."""
    kind, pattern = FILES[name]
    files = sorted(source.glob(pattern))
    if not files:
        raise DataError(f"{source}: no {pattern} here")
    work = out / "imported" / name
    work.mkdir(parents=True)
    if name == "ukp-convarg1":
        copies = [work / "ukp.jsonl"]
        write_jsonl(copies[0], ukp_judgements(source))
    else:
        copies = [Path(shutil.copy(file, work)) for file in files]
    with Store.open(work / "feedback.db", create=True) as store:
        for copy in copies:
            import_file(copy, kind, store, skip_bad=True)
        judged = store.judged()
    return list(zip(judged, conversation_groups(judged)[0], strict=True))


def votes(judged: Judged) -> list[Preference]:
    """One pair a comparison: the response most people chose first, the share of answers for it as target.

    A tie is half an answer for each. The weight is the number of answers, 1 in the mean.
    """
    answers = defaultdict(list)
    for item, group in judged:
        answers[item.judgement.comparison_id].append((item, group))
    mean = len(judged) / len(answers)
    pairs = []
    for several in answers.values():
        first = preference(*several[0], 1.0, {})
        share = sum(for_first(item, first) for item, _ in several) / len(several)
        if share < 0.5:
            first = replace(first, chosen=first.rejected, rejected=first.chosen)
        pairs.append(replace(first, target=max(share, 1 - share), weight=len(several) / mean, annotator=""))
    return pairs


def for_first(item: JudgedComparison, pair: Preference) -> float:
    """1 if this answer was for the pair's `chosen`, 0 if for the other, 0.5 for a tie."""
    chosen = {"left": item.left.text, "right": item.right.text, "tie": None}[item.judgement.choice]
    return 0.5 if chosen is None else float(chosen == pair.chosen)


def single(judged: Judged) -> list[Preference]:
    """One pair an answer that names a side."""
    return [preference(item, group, 1.0, {}) for item, group in judged if item.judgement.choice != "tie"]


def strangers(judged: Judged, seed: int) -> frozenset[str]:
    """Half of the annotators, drawn from the seed; none where there are no ids."""
    people = {item.judgement.annotator for item, _ in judged} - {""}
    return frozenset(sorted(people, key=lambda name: stable_id("stranger", seed, name))[: len(people) // 2])


def fold_of(pairs: Sequence[Preference], folds: int, seed: int) -> dict[str, int]:
    """The fold of each conversation: in an order drawn from the seed, each into the smallest fold."""
    sizes, filled, found = Counter(pair.conversation for pair in pairs), [0] * folds, {}
    if len(sizes) < folds:
        raise DataError(f"{len(sizes)} conversations cannot make {folds} folds")
    for group in sorted(sizes, key=lambda group: stable_id("fold", seed, group)):
        found[group] = min(range(folds), key=filled.__getitem__)
        filled[found[group]] += sizes[group]
    return found


def divided(pairs: Sequence[Preference], seed: int) -> tuple[list[Preference], list[Preference]]:
    """Pairs to learn from, and those that choose the epoch: other conversations."""
    part = fold_of(pairs, min(VALID_SHARE, max(2, len({pair.conversation for pair in pairs}))), seed)
    return [p for p in pairs if part[p.conversation]], [p for p in pairs if not part[p.conversation]]


def in_folds(judged: Judged, trainer: "Trainer", folds: int, strangers: frozenset[str]) -> dict[str, Any]:
    """Each conversation is judged by a model that never saw it; with `strangers`, on their answers, never learned."""
    fold = fold_of(votes(judged), folds, trainer.seed)
    pairs: list[Preference] = []
    parts: list[Differences] = []
    before = trainer.seconds
    for number in range(folds):
        learned = [pair for pair in judged if fold[pair[1]] != number and pair[0].judgement.annotator not in strangers]
        asked = [pair for pair in judged if fold[pair[1]] == number]
        test = (
            single([pair for pair in asked if pair[0].judgement.annotator in strangers]) if strangers else votes(asked)
        )
        parts.append(trainer.train(*divided(votes(learned), trainer.seed))(test))
        pairs += test
    differences = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return figures(pairs, differences) | {"cpu_seconds": round(trainer.seconds - before, 1)}


class Trainer:
    """Trains one reward run after another, each in its own folder below `out`, and counts CPU seconds."""

    def __init__(self, out: Path, seed: int, overrides: Sequence[str]) -> None:
        self.out, self.seed, self.overrides = out, seed, [f"reward_model.{setting}" for setting in overrides]
        self.runs, self.seconds = 0, 0.0

    def train(self, train: Sequence[Preference], valid: Sequence[Preference]) -> Predict:
        """A reward model, the length and the words of `train`, as one function of other pairs."""
        began, self.runs = time.process_time(), self.runs + 1
        folder = self.out / str(self.runs)
        write_jsonl(folder / "pairs" / "train.jsonl", [replace(pair, prompt="") for pair in train])
        write_jsonl(folder / "pairs" / "valid.jsonl", [replace(pair, prompt="") for pair in valid])
        tokenizer = new_tokenizer("words", [text for p in train for text in (p.chosen, p.rejected)], VOCABULARY)
        base = new_causal_lm(ARCHITECTURE, tokenizer, self.seed)
        save_model(folder / "base", base, tokenizer, "Random weights: only its architecture and tokenizer are used.")
        settings = {"model": str(folder / "base"), "data": str(folder / "pairs"), "seed": self.seed}
        config = build_config(settings | {"reward_model": SETTINGS}, self.overrides)
        with Run(folder / "run", "reward", config) as run:
            train_reward(config, run)
        self.seconds += time.process_time() - began
        scorer, by_length, words = load_ensemble(str(folder / "run"), "cpu"), fit_length(train), fit_words(train, valid)

        def predict(pairs: Sequence[Preference]) -> Differences:
            chosen, rejected = score_pairs(scorer, [replace(pair, prompt="") for pair in pairs])
            return {
                "reward model": chosen - rejected,
                "length only": by_length(pairs),
                "bag of words": words.differences(pairs),
            }

        return predict


def figures(pairs: Sequence[Preference], differences: Differences) -> dict[str, Any]:
    """Accuracy on pairs that have a winner, on all and on the third most equal in length; log loss on all pairs."""
    decided = [at for at, pair in enumerate(pairs) if pair.target != 0.5]
    won = [pairs[at] for at in decided]
    alike, groups = most_equal_in_length(won), clusters(won)
    found: dict[str, Any] = {"pairs": len(won), "undecided": len(pairs) - len(won), "conversations": len(set(groups))}
    right = {name: hits(each[decided], won) for name, each in differences.items()}
    for name, each in right.items():
        loss = check_scores(differences[name], pairs)
        found[name] = {
            "accuracy": float(each.mean()),
            "accuracy_interval": rate_interval(each, groups),
            "equal_length_accuracy": float(each[alike].mean()),
            "equal_length_interval": rate_interval(each[alike], [groups[at] for at in alike]),
            "log_loss": loss["log_loss"],
            "calibration_error": loss["calibration_error"],
        }
    for name in ("length only", "bag of words"):
        gain = right["reward model"] - right[name]
        found[f"over {name}"] = {"difference": float(gain.mean()), "interval": mean_interval(gain, groups)}
    return found


def table(results: dict[str, Any]) -> str:
    """The same for people: one block a set."""
    lines = []
    for name, found in results.items():
        if not isinstance(found, dict):
            continue
        size = f"{found['pairs']} pairs, {found['conversations']} conversations"
        lines.append(f"{name}: {size}, {found['cpu_seconds']:.0f} s of CPU")
        for method in ("reward model", "length only", "bag of words"):
            row = found[method]
            lines.append(
                f"  {method:13} accuracy {shown(row['accuracy'], row['accuracy_interval'])}, equal length "
                f"{shown(row['equal_length_accuracy'], row['equal_length_interval'])}, "
                f"log loss {row['log_loss']:.3f}, calibration error {row['calibration_error']:.3f}"
            )
        for method in ("length only", "bag of words"):
            gain = found[f"over {method}"]
            lines.append(f"  reward model over {method}: {shown(gain['difference'], gain['interval'])}")
    return "\n".join(lines)


def shown(value: float, interval: Sequence[float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
