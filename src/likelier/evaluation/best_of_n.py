"""Best-of-n sampling from the old model: a baseline that training should beat at equal KL."""

from collections.abc import Sequence

import numpy as np

from likelier.config import EvalConfig
from likelier.errors import LikelierError
from likelier.evaluation.length_control import LengthControlled, control_length
from likelier.evaluation.responses import Respondent, ScoredResponses, respond_and_score
from likelier.evaluation.result import BestOfN, BestOfNScore
from likelier.evaluation.statistics import best_of_n_kl, best_of_n_weights, compute_wins
from likelier.intervals import Floats, mean_interval, rate_interval
from likelier.records import Prompt
from likelier.reward.sources import Scorer


def evaluate_best_of_n(
    a: Respondent,
    prompts: Sequence[Prompt],
    judges: Scorer,
    selector: Scorer,
    opponents: ScoredResponses,
    config: EvalConfig,
    seed: int,
) -> tuple[BestOfN, ...]:
    """Evaluate the best of n responses of model a, selected by `selector`, for each n of `eval.best_of`.

    Opponents are single responses of a to the same prompts, outside the pool.
    """
    pool_size = max(config.best_of)
    repeated = [prompt for prompt in prompts for _ in range(pool_size)]
    pool = respond_and_score(a, repeated, judges, config, seed, "evaluate best of n")
    selected = selector(pool.responses.batch)
    selector_scores = selected.double().cpu().numpy().reshape(-1, pool_size)
    opponent_scores = {name: scores.reshape(len(prompts), -1) for name, scores in opponents.scores.items()}
    clusters = [prompt.conversation or prompt.id for prompt in prompts]
    lengths, opponent_lengths = (
        np.array([len(text) for text in texts], float) for texts in (pool.responses.texts, opponents.responses.texts)
    )
    longer = lengths.reshape(-1, pool_size, 1) - opponent_lengths.reshape(len(prompts), 1, -1)
    results = []
    for n in sorted(set(config.best_of)):
        weights = best_of_n_weights(selector_scores, n)
        by_judge = {
            name: score_best_of_n(weights, pool.scores[name], scores, clusters, longer)
            for name, scores in opponent_scores.items()
        }
        results.append(BestOfN(n, best_of_n_kl(n), float((weights * selector_scores).sum(1).mean()), by_judge))
    return tuple(results)


def score_best_of_n(
    weights: Floats, scores: Floats, opponents: Floats, clusters: Sequence[str], longer: Floats
) -> BestOfNScore:
    """Return one judge's result for the best of n.

    `weights` [prompts, N]: probability that a response of the pool is selected; `scores` [prompts, N]; `opponents`
    [prompts, K]; `longer` [prompts, N, K]: how many characters longer the pool's is. Prompts with an unscored response
    are left out. LikelierError: none is left.
    """
    pool = scores.reshape(weights.shape)
    is_scored = ~np.isnan(np.concatenate([pool, opponents], axis=1)).any(axis=1)
    if not is_scored.any():
        raise LikelierError("eval.best_of: a judge of eval.scorer returned None for a response to each prompt")
    weights, pool, opponents = weights[is_scored], pool[is_scored], opponents[is_scored]
    clusters = [cluster for cluster, counts in zip(clusters, is_scored, strict=True) if counts]
    wins = compute_wins(opponents[:, None, :], pool[:, :, None])
    win_rates = (weights * wins.mean(2)).sum(1)
    controlled = control_selected_length(weights, wins, longer[is_scored], clusters)
    differences = (weights * pool).sum(1) - opponents.mean(1)
    std = float(opponents.std())
    return BestOfNScore(
        win_rate=float(win_rates.mean()),
        interval=rate_interval(win_rates, clusters),
        length_controlled=controlled and controlled.rate,
        length_controlled_interval=controlled and controlled.interval,
        score=float((weights * pool).sum(1).mean()),
        difference=float(differences.mean()),
        difference_interval=mean_interval(differences, clusters),
        in_stds=float(differences.mean()) / std if std else None,
    )


def control_selected_length(
    weights: Floats, wins: Floats, longer: Floats, clusters: Sequence[str]
) -> LengthControlled | None:
    """Return the win rate at equal length of what is selected, from `wins` and `longer` [prompts, N, K]."""
    drawn = np.broadcast_to(weights[:, :, None] / wins.shape[2], wins.shape)
    is_drawn = drawn > 0
    names = np.broadcast_to(np.asarray(clusters)[:, None, None], wins.shape)[is_drawn]
    return control_length(wins[is_drawn], longer[is_drawn], names.tolist(), drawn[is_drawn])
