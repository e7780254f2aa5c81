"""The order in which training takes its rows: each pass shuffled anew, by the seed alone."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from likelier.training.setup import seeded_generator


@dataclass(frozen=True)
class EpochOrder:
    """Endless passes over `count` rows, one after another without a gap.

    A resumed run needs no state for it: any place of any pass follows from these three fields.
    """

    count: int
    seed: int
    purpose: str
    """Keeps the orders of one seed apart; it goes into the random stream, so that renaming it changes all runs."""

    def rows(self, start: int, stop: int) -> list[int]:
        """Row numbers at the places `start` to `stop` - 1, counted from the first pass on."""
        places = (divmod(place, self.count) for place in range(start, stop))
        return [shuffle_epoch(self, epoch)[within] for epoch, within in places]


@lru_cache(maxsize=4)
def shuffle_epoch(order: EpochOrder, epoch: int) -> list[int]:
    """Row numbers of one pass. Cached, since a step asks for each of its rows and may lie in two passes."""
    return torch.randperm(order.count, generator=seeded_generator(order.seed, epoch, order.purpose)).tolist()
