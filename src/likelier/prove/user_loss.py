"""A user's own loss on the tabular language model: where does it end?"""

from torch import Tensor

from likelier.prove.fixed_points import Table, fixed_point, fixed_point_key, small_group
from likelier.prove.matrix import REACHED_KL, Row, make_config, make_matrix, make_row
from likelier.prove.tabular_lm import kl_divergence, train_tabular


def prove_own(table: Table, where: str, seed: int = 0) -> Row:
    """Train with the loss of `file.py:function` or `package.module:function`, which is to reach the optimum.

    As `ppo.loss` trains a language model, by RLOO: its advantages are the score of a response minus the mean score of
    the others, without a KL penalty, which is the loss's own affair. Each batch gets two optimizer steps, so that the
    ratio leaves 1.
    """
    config = make_config(table, "rloo", "k1", "reward").model_copy(update={"loss": where})
    policy, _ = train_tabular(table.reference, table.rewards, config, seed)
    ended = policy.log_distribution().double()
    name, nearest = nearest_fixed_point(table, ended)
    return make_row(table, ended, ("own", None, None, config.responses_per_prompt), name, nearest, expected=True)


def nearest_fixed_point(table: Table, ended: Tensor) -> tuple[str, Tensor]:
    """Of all that the matrix leads to, what is nearest to where a policy ended; the optimum where that was reached."""
    named = {fixed_point_key(config): config for config in make_matrix(table) if not small_group(config)}
    points = [(key[0], fixed_point(table, config)) for key, config in named.items()]
    near = [point for point in points if point[0] == "optimum" and kl_divergence(ended, point[1]) <= REACHED_KL]
    return min(near or points, key=lambda point: kl_divergence(point[1], ended))
