"""Does a pretrained trunk foretell real people's preferences better than words, length and a model from scratch?

    python examples/pretrained_preferences.py ../shared/data hh-rlhf MODEL --out runs/real --set learning_rate=5e-5

The sets, folds, pairs and figures of `human_preferences.py`, with a reward model that starts from the folder MODEL: an
encoder, or a decoder with `--set lora_rank=16`. `--features` trains nothing in it: a logistic regression on the mean of
a layer's states, whose layer and penalty a tenth of the training folds decides (`--set bf16=true`: half the time).
`--fold N` learns that fold alone; folds that are done stand in `--out`, and the same command goes on with those that
are not.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from human_preferences import TRAINED, Differences, figures, fold_of, import_set, keep_apart, table, train, votes

from likelier.cli import run_script
from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.files import read_json, write_json, write_jsonl
from likelier.intervals import Floats
from likelier.records import Preference, Text
from likelier.reward.check import PENALTIES, fit_logistic
from likelier.reward.ensemble import load_ensemble
from likelier.reward.judged import log_losses, targets, weights
from likelier.reward.train import score_pairs, train_reward
from likelier.runs.run import Run
from likelier.text.reward_model import RewardModel, new_reward_model

Pairs = Sequence[Preference]
Learn = Callable[[Pairs, Pairs, Path], Callable[[Pairs], Floats]]
"""From pairs to learn from, pairs to choose between epochs or penalties by, and a folder, to differences of scores."""
DEPTHS = (0.5, 2 / 3, 1.0)
"""Layers whose states are features, as shares of all."""
SETTINGS = ("device=cpu", "max_length=200", "save_steps=1000000", "num_epochs=1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder of the sets, as human_preferences.py reads it")
    parser.add_argument("data_set", choices=TRAINED)
    parser.add_argument("model", help="folder of a pretrained model")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for folds that are done and results.json")
    parser.add_argument("--features", action="store_true", help="train no layer of the model")
    parser.add_argument("--fold", type=int, nargs="+", help="learn these folds alone; default: all")
    for name, default in (("--folds", 5), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as in a run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {name: str(value) for name, value in sorted(vars(options).items()) if name not in ("out", "fold")}
    print(table({options.data_set: measure(options, settings)}))


def measure(options: argparse.Namespace, settings: dict[str, str]) -> dict[str, Any]:
    """Return the figures of the folds that are done, those of `options.fold` learned first; also in `results.json`."""
    known = options.out / "settings.json"
    if known.is_file() and read_json(known) != settings:
        raise ConfigError(f"{options.out}: folds of other settings; give a new folder")
    write_json(known, settings)
    shutil.rmtree(options.out / "imported", ignore_errors=True)
    answers = import_set(options.data_set, options.data / options.data_set, options.out)
    fold, learn = fold_of(answers, options.folds, options.seed), choose_learner(options)
    for number in options.fold if options.fold is not None else range(options.folds):
        if not (options.out / f"fold-{number}.json").is_file():
            learn_fold(options, answers, fold, number, learn)
    pairs: list[Preference] = []
    parts = []
    for number in range(options.folds):
        if (done := options.out / f"fold-{number}.json").is_file():
            parts.append(read_json(done))
            pairs += votes([each for each in answers if fold[each.conversation] == number])
    found = figures(pairs, {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]})
    write_json(options.out / "results.json", found | {"folds_done": len(parts)})
    return found


def learn_fold(options: argparse.Namespace, answers: Pairs, fold: dict[str, int], number: int, learn: Learn) -> None:
    """Learn from all folds but one and write each method's differences of scores on that one."""
    learned = votes([each for each in answers if fold[each.conversation] != number])
    test = votes([each for each in answers if fold[each.conversation] == number])
    shutil.rmtree(folder := options.out / f"work-{number}", ignore_errors=True)
    part, valid = ([shorten(pair) for pair in pairs] for pairs in keep_apart(learned, options.seed))
    found: Differences = {"reward model": learn(part, valid, folder / "pretrained")([shorten(pair) for pair in test])}
    simple = train(folder / "scratch", *TRAINED[options.data_set], learned, options.seed, [])(test)
    found |= {"from scratch" if name == "reward model" else name: each for name, each in simple.items()}
    write_json(options.out / f"fold-{number}.json", {name: each.tolist() for name, each in found.items()})
    shutil.rmtree(folder)


def shorten(pair: Preference) -> Preference:
    """As `human_preferences.short`, the last turn as a message: a pretrained model has a form of its own for it."""
    if isinstance(pair.prompt, str):
        return replace(pair, prompt="")
    return replace(pair, prompt=[pair.prompt[-1] | {"content": pair.prompt[-1]["content"][-300:]}])


def choose_learner(options: argparse.Namespace) -> Learn:
    """Return what learns from the pairs of a fold."""
    if options.features:
        reader = new_reward_model(options.model, max_length=200)
        return partial(learn_head, FrozenFeatures(reader, "bf16=true" in options.settings))
    return partial(learn_all, options)


def learn_all(options: argparse.Namespace, learned: Pairs, valid: Pairs, folder: Path) -> Callable[[Pairs], Floats]:
    """Train the whole model, or its adapter."""
    for name, rows in (("train", learned), ("valid", valid)):
        write_jsonl(folder / "pairs" / f"{name}.jsonl", rows)
    values = {"model": options.model, "data": str(folder / "pairs"), "seed": options.seed}
    config = build_config(values, [f"reward_model.{setting}" for setting in (*SETTINGS, *options.settings)])
    with Run(folder / "run", "reward", config) as run:
        train_reward(config, run)
    scorer = load_ensemble(str(folder / "run"), "cpu")
    return lambda pairs: np.subtract(*score_pairs(scorer.score, pairs))


class FrozenFeatures:
    """Hidden states of a model that stays as it is, at `DEPTHS`, as means over a text's tokens.

    Each text is read once, whatever pairs and folds it is in.
    """

    def __init__(self, model: RewardModel, bf16: bool) -> None:
        self.model, self.bf16 = model, bf16
        self.known: dict[str, Floats] = {}

    def subtract(self, pairs: Pairs) -> Floats:
        """Return features of chosen minus features of rejected responses, [N, depths, D]."""
        chosen = self.read([(pair.prompt, pair.chosen) for pair in pairs])
        return chosen - self.read([(pair.prompt, pair.rejected) for pair in pairs])

    def read(self, texts: Sequence[tuple[Text, str]]) -> Floats:
        """Return the features of responses after their prompts, [N, depths, D]."""
        keys = [json.dumps(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.known}
        shortest_first = sorted(new, key=len)
        for start in range(0, len(new), 16):
            batch = shortest_first[start : start + 16]
            self.known |= dict(zip(batch, self.read_batch([new[key] for key in batch]), strict=True))
        return np.stack([self.known[key] for key in keys])

    @torch.no_grad()
    def read_batch(self, texts: Sequence[tuple[Text, str]]) -> Floats:
        """Return the features of texts that are read at once, [N, depths, D]."""
        tokens, mask = self.model.encode([prompt for prompt, _ in texts], [response for _, response in texts])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            read = self.model.model.base_model(tokens, attention_mask=mask.long(), output_hidden_states=True)
        layers = [read.hidden_states[round(depth * (len(read.hidden_states) - 1))].float() for depth in DEPTHS]
        shown = mask[:, :, None].float()
        return torch.stack([(states * shown).sum(1) / shown.sum(1) for states in layers], 1).double().numpy()


def learn_head(features: FrozenFeatures, learned: Pairs, valid: Pairs, folder: Path) -> Callable[[Pairs], Floats]:
    """Fit a logistic regression on differences of features, in units of their spread, at the best depth for `valid`."""
    del folder
    columns, kept = features.subtract(learned), features.subtract(valid)
    columns, kept = columns / (spread := columns.std(0) + 1e-9), kept / spread
    fits = [
        (depth, fit_logistic(columns[:, depth], targets(learned), weights(learned), penalty))
        for depth in range(len(DEPTHS))
        for penalty in (*PENALTIES, 3000.0, 10000.0)
    ]
    depth, best = min(fits, key=lambda fit: log_losses(kept[:, fit[0]] @ fit[1], targets(valid)).mean())
    return lambda pairs: (features.subtract(pairs) / spread)[:, depth] @ best


if __name__ == "__main__":
    sys.exit(run_script(main))
