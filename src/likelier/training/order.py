"""The order of training rows: epochs are shuffled by the seed alone."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from likelier.training.setup import seeded_generator


@dataclass(frozen=True)
class EpochOrder:
    """Endless epochs over `count` rows; positions continue from one epoch to the next.

    A resumed run needs no saved state: the order follows from these three fields.
    """

    count: int
    seed: int
    purpose: str
    """Keeps the orders of one seed apart; it goes into the random stream, so that renaming it changes all runs."""

    def rows(self, start: int, stop: int) -> list[int]:
        """Return the row indices at positions `start` to `stop` - 1, counted from the start of training."""
        places = (divmod(place, self.count) for place in range(start, stop))
        return [shuffle_epoch(self, epoch)[within] for epoch, within in places]


@lru_cache(maxsize=4)
def shuffle_epoch(order: EpochOrder, epoch: int) -> list[int]:
    """Return the row indices of one epoch. Cached, since every step asks for its rows and may span two epochs."""
    return torch.randperm(order.count, generator=seeded_generator(order.seed, epoch, order.purpose)).tolist()
