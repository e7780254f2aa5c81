"""How well do small reward models foretell real human preferences? Held-out accuracy, beside length and single words.

    python examples/human_preferences.py ../shared/data --out runs/human

Three public sets, each imported into a store of its own: Anthropic's `hh-rlhf` (MIT), `ukp-convarg1` (CC BY 4.0, by
`ukp_convarg1.py` beside this file) and, too small to train on, two batches of OpenAI's `summarize-from-feedback`.
The folder given holds a folder for each, with the files as published, gzip'ed.

Folds are made of whole conversations (`likelier.preferences.make.conversation_groups`; in ukp a
conversation is a debate).
A comparison that several people judged is one pair, whose target is the share of answers for the response that most
chose; where no response has more, the pair counts in log loss and calibration only. Intervals count whole
conversations. Models start from random weights; a tenth of the training folds decides between epochs.
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ukp_convarg1 import judgements as ukp_judgements

from likelier.cli import run_script
from likelier.config import build_config
from likelier.errors import ConfigError, DataError
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.files import stable_id, write_json, write_jsonl
from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
from likelier.intervals import Floats, mean_interval, rate_interval
from likelier.preferences.make import conversation_groups, make_preference
from likelier.records import Preference, to_plain_text
from likelier.reward.check import (
    check_scores,
    compute_hits,
    fit_bag_of_words,
    fit_length,
    select_equal_length,
)
from likelier.reward.judged import clusters
from likelier.reward.sources import load_ensemble
from likelier.reward.train import score_pairs, train_reward
from likelier.runs.run import Run
from likelier.text.models import save_model

Differences = dict[str, Floats]
"""For each of `METHODS`: its score of the chosen response minus that of the rejected one, pair by pair."""
Predict = Callable[[Sequence[Preference]], Differences]

FILES = {
    "hh-rlhf": ("anthropic", "*.jsonl.gz"),
    "ukp-convarg1": ("likelier", "*.xml.gz"),
    "summarize-from-feedback": ("openai-summaries", "batch1[38].jsonl.gz"),
}
TRAINED = {"hh-rlhf": (3000, 3), "ukp-convarg1": (8000, 1)}
"""Words known, and models in the ensemble. Like `SETTINGS` chosen within training folds; LOG.md says what was tried."""
METHODS = ("reward model", "length only", "bag of words")
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}
SETTINGS = ["from_scratch=true", "learning_rate=2e-3", "max_length=200", "save_steps=1000000"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help=f"folder that holds {', '.join(FILES)}")
    parser.add_argument("-o", "--out", type=Path, required=True, help="new folder for stores, models and results.json")
    for name, default in (("--folds", 5), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of `reward_model`")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(options.data, options.out, options.folds, options.seed, options.set)
    print(json.dumps(results, indent=2) if options.json else table(results))


def measure(data: Path, out: Path, folds: int, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """All figures, also written to `results.json`."""
    if out.exists():
        raise ConfigError(f"{out}: exists; give a new folder")
    sets = {name: import_set(name, data / name, out) for name in FILES}
    results: dict[str, Any] = {"folds": folds, "seed": seed, "overrides": list(overrides)}
    for name, size in TRAINED.items():
        learn = partial(train, out / name, *size, seed=seed, overrides=overrides)
        results[name] = in_folds(sets[name], fold_of(sets[name], folds, seed), learn)
        if people := some_people(sets[name], seed):
            learn = partial(train, out / f"{name}-people", *size, seed=seed, overrides=overrides)
            results[f"{name}, unseen people"] = in_folds(sets[name], fold_of(sets[name], folds, seed), learn, people)
        write_json(out / "results.json", results)
    pairs = [pair for pair in sets["summarize-from-feedback"] if pair.target != 0.5]
    both = train(out / "both", 8000, 1, [pair for name in TRAINED for pair in votes(sets[name])], seed, overrides)
    results["summarize-from-feedback"] = figures(pairs, both(pairs))
    results["cpu_seconds"] = round(time.process_time())
    write_json(out / "results.json", results)
    return results


def import_set(name: str, source: Path, out: Path) -> list[Preference]:
    """Copy the files, import them into a new store, and read from it one pair an answer."""
    kind, pattern = FILES[name]
    files = sorted(source.glob(pattern))
    if not files:
        raise DataError(f"{source}: no {pattern} here")
    (work := out / "imported" / name).mkdir(parents=True)
    copies = [Path(shutil.copy(file, work)) for file in files]
    if name == "ukp-convarg1":
        copies = [work / "ukp.jsonl"]
        write_jsonl(copies[0], ukp_judgements(source))
    with Store.open(work / "feedback.db", create=True) as store:
        for copy in copies:
            import_file(copy, kind, store, skip_bad=True)
        judged = [item for item in store.judged() if item.left.text != item.right.text]
    groups, _ = conversation_groups(judged)
    return [make_preference(item, group, 1.0, {}) for item, group in zip(judged, groups, strict=True)]


def votes(answers: Sequence[Preference]) -> list[Preference]:
    """One pair a comparison: the response most people chose first, the share of answers for it as target.

    A tie is half an answer for each. The weight is the number of answers, 1 in the mean.
    """
    asked = defaultdict(list)
    for answer in answers:
        asked[answer.comparison].append(answer)
    pairs = []
    for several in asked.values():
        pair = several[0]
        share = sum(0.5 if each.target == 0.5 else each.chosen == pair.chosen for each in several) / len(several)
        if share < 0.5:
            pair = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
        weight = len(several) * len(asked) / len(answers)
        pairs.append(replace(pair, target=max(share, 1 - share), weight=weight, annotator=""))
    return pairs


def some_people(answers: Sequence[Preference], seed: int) -> set[str]:
    """Half of the annotators, drawn from the seed; nobody where there are no ids."""
    people = {answer.annotator for answer in answers} - {""}
    return set(sorted(people, key=lambda name: stable_id("people", seed, name))[: len(people) // 2])


def fold_of(pairs: Sequence[Preference], folds: int, seed: int) -> dict[str, int]:
    """The fold of each conversation: in an order drawn from the seed, each into the smallest fold."""
    sizes, filled, found = Counter(pair.conversation for pair in pairs), [0] * folds, {}
    if len(sizes) < folds:
        raise DataError(f"{len(sizes)} conversations cannot make {folds} folds")
    for group in sorted(sizes, key=lambda group: stable_id("fold", seed, group)):
        found[group] = min(range(folds), key=filled.__getitem__)
        filled[found[group]] += sizes[group]
    return found


def in_folds(
    answers: Sequence[Preference], fold: dict[str, int], learn: Callable[..., Predict], apart: Collection[str] = ()
) -> dict[str, Any]:
    """Each conversation is judged by a model that never saw it; on the answers of people kept `apart` if there are."""
    pairs, parts = [], []
    for number in range(max(fold.values()) + 1):
        learned = [each for each in answers if fold[each.conversation] != number and each.annotator not in apart]
        asked = [each for each in answers if fold[each.conversation] == number]
        test = [each for each in asked if each.annotator in apart and each.target != 0.5] if apart else votes(asked)
        parts.append(learn(votes(learned))(test))
        pairs += test
    return figures(pairs, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def train(
    out: Path, words: int, models: int, pairs: Sequence[Preference], seed: int, overrides: Sequence[str]
) -> Predict:
    """A reward model, the length and the words of `pairs`, as one function of other pairs; files in a new folder."""
    learned, kept = ([short(pair) for pair in part] for part in keep_apart(pairs, seed))
    folder = out / str(len(list(out.glob("*"))) + 1)
    for name, rows in (("train", learned), ("valid", kept)):
        write_jsonl(folder / "pairs" / f"{name}.jsonl", rows)
    texts = [text for pair in learned for text in (to_plain_text(pair.prompt), pair.chosen, pair.rejected)]
    tokenizer = new_tokenizer("words", texts, words)
    base = new_causal_lm({"model_type": "llama"} | SIZES, tokenizer, seed)
    save_model(folder / "base", base, tokenizer, "Random weights: only its architecture and tokenizer are used.")
    settings = ("device=cpu", f"ensemble_size={models}", *SETTINGS, *overrides)
    files = {"model": str(folder / "base"), "data": str(folder / "pairs")}
    config = build_config(files | {"seed": seed}, [f"reward_model.{setting}" for setting in settings])
    with Run(folder / "run", "reward", config) as run:
        train_reward(config, run)
    scorer = load_ensemble(str(folder / "run"), "cpu")
    by_length, by_words = fit_length(learned), fit_bag_of_words(learned, kept)

    def predict(others: Sequence[Preference]) -> Differences:
        chosen, rejected = score_pairs(scorer.score, [short(pair) for pair in others])
        return dict(zip(METHODS, (chosen - rejected, by_length(others), by_words.differences(others)), strict=True))

    return predict


def keep_apart(pairs: Sequence[Preference], seed: int) -> tuple[list[Preference], list[Preference]]:
    """Pairs to learn from, and those of a tenth of the conversations to decide between epochs by."""
    part = fold_of(pairs, min(10, max(2, len({pair.conversation for pair in pairs}))), seed)
    learned, kept = ([pair for pair in pairs if (part[pair.conversation] == 0) == valid] for valid in (False, True))
    return learned, kept


def short(pair: Preference) -> Preference:
    """Of a dialogue only the last turn (300 characters); a plain prompt is dropped: no debate's title comes again."""
    last = "" if isinstance(pair.prompt, str) else f"Human: {pair.prompt[-1]['content'][-300:]}"
    return replace(pair, prompt=last and f"{last}\n\nAssistant:")


def figures(pairs: Sequence[Preference], differences: Differences) -> dict[str, Any]:
    """Accuracy on pairs that have a winner, on all and on the third most equal in length; log loss on all pairs."""
    decided = [at for at, pair in enumerate(pairs) if pair.target != 0.5]
    won = [pairs[at] for at in decided]
    alike, groups = select_equal_length(won), clusters(won)
    found: dict[str, Any] = {"pairs": len(won), "undecided": len(pairs) - len(won), "conversations": len(set(groups))}
    right = {name: compute_hits(each[decided], won) for name, each in differences.items()}
    for name, each in right.items():
        loss = check_scores(differences[name], pairs)
        found[name] = {
            "accuracy": float(each.mean()),
            "interval": rate_interval(each, groups),
            "equal_length_accuracy": float(each[alike].mean()),
            "equal_length_interval": rate_interval(each[alike], [groups[at] for at in alike]),
            "log_loss": loss["log_loss"],
            "calibration_error": loss["calibration_error"],
        }
    for name in right.keys() - {"reward model"}:
        gain = right["reward model"] - right[name]
        found[f"over {name}"] = {"difference": float(gain.mean()), "interval": mean_interval(gain, groups)}
    return found


def table(results: dict[str, Any]) -> str:
    """The same for people: one block a set."""
    lines = []
    for name, found in results.items():
        if not isinstance(found, dict):
            continue
        lines.append(f"{name}: {found['pairs']} pairs, {found['conversations']} conversations")
        methods = [method for method in found if isinstance(found[method], dict) and "accuracy" in found[method]]
        for method in methods:
            row = found[method]
            rates = [shown(row[f"{kind}accuracy"], row[f"{kind}interval"]) for kind in ("", "equal_length_")]
            more = f"log loss {row['log_loss']:.3f}, calibration error {row['calibration_error']:.3f}"
            lines.append(f"  {method:12}  accuracy {rates[0]}, equal length {rates[1]}, {more}")
        for method in methods[1:]:
            gain = found[f"over {method}"]
            lines.append(f"  reward model over {method}: {shown(gain['difference'], gain['interval'])}")
    return "\n".join(lines)


def shown(value: float, interval: Sequence[float] | None) -> str:
    if interval is None:  # of one conversation, or the same in all of them
        return f"{value:.3f}"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


if __name__ == "__main__":
    sys.exit(run_script(main))
