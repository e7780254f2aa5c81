"""The comparisons and people who taught a reward model a score: those whose removal changes it most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from likelier.explain.head import Answers, Head, Influence, Rows, fit_head, make_basis
from likelier.explain.run import RewardRun
from likelier.intervals import Floats, correlation
from likelier.records import Preference, Text, to_plain_text
from likelier.reward.ensemble import Reader
from likelier.reward.length import add_length, read_length_weights
from likelier.reward.pairs import columns

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Penalties that are tried, for rows of a mean squared length of 1."""
PAIRS_AT_ONCE = 1024


@dataclass(frozen=True)
class Taught:
    """The last layer of one reward model, fitted again to its training pairs, with their influence."""

    influence: Influence
    centre: Floats
    """Mean features of the training responses, [D]: their mean score is 0."""
    agreement: float
    """Correlation of the fitted head's score differences with the model's own, on the training pairs."""

    def score(self, features: Floats) -> Floats:
        """Return scores of the fitted head, [N], for features [N, D]."""
        return self.influence.head.differences(features - self.centre)


def fit_taught(
    reward: Reader,
    train: Sequence[Preference],
    valid: Sequence[Preference],
    use_flip: bool,
    length_weights: Floats | None = None,
) -> Taught:
    """Fit the last layer of a model to its training pairs; the penalty is chosen by the log loss on `valid`.

    `length_weights`: of a run with `length_debias`; they stay as they are.
    """
    chosen, rejected = read_features(reward, train)
    answers = Answers.from_pairs(train, use_flip, add_length(train, length_weights))
    held_out = None
    if valid:
        judged = Answers.from_pairs(valid, length=add_length(valid, length_weights))
        held_out = np.subtract(*read_features(reward, valid)), judged
    head = choose_ridge(chosen - rejected, answers, held_out)
    prompts, better, worse = columns(train)
    own = reward.score(prompts, better) - reward.score(prompts, worse)
    return Taught(
        Influence.from_fit(head, chosen - rejected, answers),
        (chosen.mean(axis=0) + rejected.mean(axis=0)) / 2,
        correlation(own.double().numpy(), head.differences(chosen - rejected)),
    )


def choose_ridge(
    features: Floats,
    answers: Answers,
    held_out: tuple[Floats, Answers] | None,
    ridges: Sequence[float] = RIDGES,
) -> Head:
    """Fit with each penalty and return the fit of the lowest log loss on the held-out pairs, 1 without any.

    `held_out`: their feature differences [M, D] and answers.
    """
    if held_out is None:
        return fit_head(features, answers, 1.0)
    basis = make_basis(features)
    heads, (rows, judged) = [fit_head(features, answers, ridge, basis) for ridge in ridges], held_out
    return min(heads, key=lambda head: float(judged.derive(head.differences(rows))[0].sum()))


def read_features(reward: Reader, pairs: Sequence[Preference]) -> tuple[Floats, Floats]:
    """Return the last layer's inputs for the chosen and for the rejected responses, [N, D] each."""
    found = []
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        prompts, chosen, rejected = columns(pairs[start : start + PAIRS_AT_ONCE])
        both = reward.features([*prompts, *prompts], [*chosen, *rejected]).double().numpy()
        found.append(both.reshape(2, len(prompts), -1))
    chosen_features, rejected_features = np.concatenate(found, axis=1)
    return chosen_features, rejected_features


def explain_score(run: RewardRun, prompt: Text, response: str, top: int = 5) -> dict[str, Any]:
    """Return the score of a response, and the comparisons and people without whom it would be another.

    `change` of a comparison or person: what the score would change by if the last layer were fitted again without
    them, one Newton step from the fit to all; of several models the mean. 0 is the mean score of training responses.
    """
    train, members = run.pairs.train, run.ensemble.members
    groups = number_comparisons(train)
    rows_by_person = {
        name: np.flatnonzero([pair.annotator == name for pair in train])
        for name in sorted({pair.annotator for pair in train} - {""})
    }
    by_comparison, by_person, agreements = [], [], []
    length_weights = read_length_weights(run.folder)
    for member in members:
        taught = fit_taught(member, train, run.pairs.valid, run.config.reward_model.use_flip, length_weights)
        features = member.features([prompt], [response]).double().numpy()[0] - taught.centre
        by_comparison.append(taught.influence.remove_each(groups, features))
        by_person.append([float(taught.influence.remove(rows) @ features) for rows in rows_by_person.values()])
        agreements.append(taught.agreement)
    score = float(run.ensemble.score([prompt], [response])[0])
    people = dict(zip(rows_by_person, np.mean(by_person, axis=0).tolist(), strict=True))
    return {
        "prompt": to_plain_text(prompt),
        "response": response,
        "score": score,
        "agreement": float(np.mean(agreements)),
        "comparisons": list_comparisons(train, groups, np.mean(by_comparison, axis=0), top),
        "annotators": [
            {
                "id": name,
                "judgements": len(rows_by_person[name]),
                "change": people[name],
                "without": score + people[name],
            }
            for name in sorted(people, key=lambda name: -abs(people[name]))[:top]
        ],
    }


def number_comparisons(pairs: Sequence[Preference]) -> Rows:
    """Return the number of the comparison of each pair, from 0 on: the same prompt and the same two responses."""
    keys = [(str(pair.prompt), *sorted((pair.chosen, pair.rejected))) for pair in pairs]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def list_comparisons(pairs: Sequence[Preference], groups: Rows, changes: Floats, top: int) -> list[dict[str, Any]]:
    """Return the `top` comparisons whose removal changes the score most, with who preferred what."""
    found = []
    for group in np.argsort(-np.abs(changes), kind="stable")[:top].tolist():
        judged = [pairs[row] for row in np.flatnonzero(groups == group).tolist()]
        better, worse = judged[0].chosen, judged[0].rejected
        found.append({
            "comparison": judged[0].comparison,
            "change": float(changes[group]),
            "prompt": to_plain_text(judged[0].prompt),
            "chosen": better,
            "rejected": worse,
            "annotators": [{"id": pair.annotator, "chose": name_choice(pair, better)} for pair in judged],
        })  # fmt: skip
    return found


def name_choice(pair: Preference, chosen: str) -> str:
    """Return `chosen`, `rejected` or `tie`, of a comparison whose response `chosen` is called so."""
    if pair.target == 0.5:
        return "tie"
    return "chosen" if pair.chosen == chosen else "rejected"
