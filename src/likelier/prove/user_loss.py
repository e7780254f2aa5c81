"""A user's own loss on the tabular language model: where does it end?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from likelier.errors import LikelierError
from likelier.ppo.batch import minibatches
from likelier.prove.fixed_points import Table, fixed_point, fixed_point_key
from likelier.prove.matrix import REACHED_KL, Row, make_config, make_matrix, make_row
from likelier.prove.tabular_lm import kl_divergence, sample_batch
from likelier.training.setup import make_optimizer, schedule, seeded_generator, set_learning_rate
from likelier.userfile import find_function, users_code

OwnLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]
"""loss(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef) -> scalar; tensors [B, T], True counts."""


def prove_own(table: Table, where: str, seed: int = 0) -> Row:
    """Train with the loss of `file.py:function` or `package.module:function`, which is to reach the optimum.

    Advantages are the score of a response minus the mean score of the others, without a KL penalty: that is the loss's
    own affair. Two optimizer steps are made on each batch, so that the ratio leaves 1.
    """
    loss, config = find_function(where, "loss function"), make_config(table, "rloo", "k2", "loss")
    policy = table.reference.copy(critic=False)
    optimizer = make_optimizer([(policy.parameters(), config.learning_rate)], config)
    for step in range(config.steps):
        set_learning_rate(optimizer, schedule(step, config.steps, config))
        batch = sample_batch(policy, table.reference, table.rewards, config, seeded_generator(seed, step, "tabular"))
        for rows in minibatches(len(batch), config.num_mini_batches, None):
            part = batch.rows(rows)
            assert part.ref_logprobs is not None
            logprobs = policy.evaluate({}, part.actions, part.mask).logprobs
            others = (part.old_logprobs, part.ref_logprobs, part.advantages, part.mask)
            optimizer.zero_grad()
            called(loss, where, (logprobs, *others), table.beta).backward()
            nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()
    ended = policy.log_distribution().double()
    name, nearest = nearest_fixed_point(table, ended)
    return make_row(table, ended, ("own", None, None), name, nearest, expected=True)


def nearest_fixed_point(table: Table, ended: Tensor) -> tuple[str, Tensor]:
    """Of all that the matrix leads to, what is nearest to where a policy ended; the optimum where that was reached."""
    named = {fixed_point_key(config): config for config in make_matrix(table)}
    points = [(key[0], fixed_point(table, config)) for key, config in named.items()]
    near = [point for point in points if point[0] == "optimum" and kl_divergence(ended, point[1]) <= REACHED_KL]
    return min(near or points, key=lambda point: kl_divergence(point[1], ended))


def called(loss: OwnLoss, where: str, tensors: tuple[Tensor, ...], kl_coef: float) -> Tensor:
    """What the user's loss says. LikelierError: it raises, or does not return a finite scalar with a gradient."""
    with users_code(f"loss function `{where}`", LikelierError):
        found = loss(*tensors, kl_coef)  # type: ignore[call-arg, arg-type]
    if not isinstance(found, Tensor) or found.shape != ():
        shape = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise LikelierError(f"loss function `{where}` returned {shape}; return a scalar tensor, such as a mean")
    if not torch.isfinite(found):
        raise LikelierError(f"loss function `{where}` returned {found.item()}, which is not finite")
    if not found.requires_grad:
        raise LikelierError(f"loss function `{where}` returned a tensor without gradient; compute it from logprobs")
    return found
