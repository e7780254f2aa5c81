"""A user's own policy loss, for `ppo.loss` and `prove --loss`: loading, calling, checking and aggregating."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.errors import ConfigError, LikelierError
from likelier.ppo.batch import Batch
from likelier.ppo.losses import Aggregate, aggregate_terms
from likelier.userfile import find_function, user_code_errors

LossFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]
"""loss(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef), to be minimised; tensors [B, T], True in the
mask counts, elsewhere they hold 0. It returns the terms of the tokens, [B, T], or one number."""


def load_loss(import_string: str | None) -> LossFunction | None:
    """Load the function `file.py:function` or `package.module:function`. ConfigError: there is none."""
    return None if import_string is None else find_function(import_string, "loss function")


@dataclass(frozen=True)
class UserLoss:
    """A user's policy loss, in place of the clipped loss and any KL term."""

    import_string: str
    """Its name in messages."""
    function: LossFunction
    kl_coef: float

    def compute(
        self,
        logprobs: Float[Tensor, "B T"],
        batch: Batch,
        aggregate: Aggregate,
        normalizer: Float[Tensor, ""],
        is_whole: bool,
    ) -> Float[Tensor, ""]:
        """Return the loss of a micro-batch. Per-token terms are aggregated here, so the split changes nothing.

        ConfigError: the function returns a scalar, but the micro-batch is not the whole minibatch. LikelierError: see
        `call`.
        """
        terms = self.call(logprobs, batch)
        if terms.dim():
            return aggregate_terms(terms, batch.mask, aggregate, normalizer)
        if not is_whole:
            raise ConfigError(
                f"{self.label} returned one number for a part of a minibatch, and nothing says how those of all "
                "micro-batches and processes add up: return a term for each token [B, T], or use one process without "
                "ppo.micro_batch_size"
            )
        return terms

    def call(self, logprobs: Float[Tensor, "B T"], batch: Batch) -> Float[Tensor, "B T"] | Float[Tensor, ""]:
        """Call the function and check its result.

        LikelierError: it raises, returns no tensor of a valid shape, one without gradient, or non-finite numbers for
        finite arguments. With non-finite arguments the guard skips the update.
        """
        mask, arguments = batch.mask, (logprobs, batch.old_logprobs, batch.ref_logprobs, batch.advantages)
        # Copies, so that a function that writes into its arguments spoils nothing; 0 outside the mask, so that one
        # that multiplies by the mask need not fear NaN there.
        tensors = [torch.where(mask, x, 0.0) for x in arguments if x is not None]
        assert len(tensors) == len(arguments), "a user's loss needs log-probabilities of the reference"
        with user_code_errors(self.label, LikelierError):
            terms = self.function(*tensors, mask.clone(), self.kl_coef)  # type: ignore[call-arg,arg-type]
        if not isinstance(terms, Tensor) or terms.shape not in ((), mask.shape):
            shape = f"a tensor of shape {list(terms.shape)}" if isinstance(terms, Tensor) else type(terms).__name__
            raise LikelierError(
                f"{self.label} returned {shape}; return a term for each token, a tensor of shape {list(mask.shape)}, "
                "or a scalar tensor"
            )
        if not terms.requires_grad:
            raise LikelierError(f"{self.label} returned a tensor without gradient; compute it from logprobs")
        counted = terms.detach()[mask] if terms.dim() else terms.detach()[None]
        if not counted.isfinite().all() and all(x.isfinite().all() for x in tensors):
            worst = counted[~counted.isfinite()][0].item()
            raise LikelierError(f"{self.label} returned {worst}, which is not finite, of arguments that are")
        return terms

    @property
    def label(self) -> str:
        """The start of error messages about this function."""
        return f"loss function `{self.import_string}`"

    def try_out(self, num_rows: int, num_tokens: int, is_whole: bool, device: torch.device) -> None:
        """Call the function once on random inputs of the right shapes, so that mistakes show before models are loaded.

        ConfigError, LikelierError: as `compute`.
        """
        mask = torch.ones(num_rows, num_tokens, dtype=torch.bool, device=device)
        mask[-1, 1:] = False
        logprobs = torch.full(mask.shape, -1.0, device=device)
        advantages = torch.where(torch.arange(num_rows, device=device) % 2 == 0, 1.0, -1.0)[:, None].expand_as(logprobs)
        batch = Batch({}, mask, mask, logprobs, None, advantages, None, logprobs - 0.1)
        self.compute(logprobs.clone().requires_grad_(), batch, "token", mask.sum().float(), is_whole)
