"""Shares of few answers, beside other people's: of repeats that differ from the first answer, of gold items missed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import betabinom

from likelier.intervals import jackknife_deviations, share_interval

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
SPREAD = (0.05, 0.1)
"""Least and greatest standard deviation of honest people's shares: what a few people say of it is held between."""


class Share(NamedTuple):
    """Events among trials of each annotator, [annotators] each."""

    events: Counts
    trials: Counts
    clusters: Counts
    """Comparisons that the trials are of: repeats of one comparison are no independent trials."""

    def complement(self) -> "Share":
        """Return the trials that were no events."""
        return Share(self.trials - self.events, self.trials, self.clusters)

    def rates(self) -> Floats:
        """Return the share of events, NaN without trials."""
        return np.where(self.trials > 0, self.events / np.maximum(self.trials, 1), np.nan)

    def intervals(self) -> Floats:
        """Return Clopper and Pearson's 95% interval at as many trials as comparisons, [annotators, 2]; NaN for one."""
        rates, n = np.nan_to_num(self.rates()), self.clusters
        low = np.where(rates > 0, betaincinv(rates * n + (rates <= 0), (1 - rates) * n + 1, 0.025), 0.0)
        high = np.where(rates < 1, betaincinv(rates * n + 1, (1 - rates) * n + (rates >= 1), 0.975), 1.0)
        return np.where((n >= 2)[:, None], np.stack([low, high], axis=1), np.nan)

    def panel_interval(self) -> list[float] | None:
        """Return Korn and Graubard's interval of the share of all, over people; None for one person."""
        known = self.trials > 0
        sums, sizes = self.events[known].astype(float), self.trials[known].astype(float)
        if len(sizes) < 2:
            return None
        total = float(sizes.sum())
        return share_interval(float(sums.sum()) / total, jackknife_deviations(sums, sizes), sizes, int(total), total)


def compare_shares(share: Share) -> tuple[Floats, Floats]:
    """Test if each annotator's share is above the others'; returns (excess, p-values), [annotators] each.

    Honest people differ: their shares are of a beta distribution with the others' mean and spread, the latter by the
    method of moments, held within `SPREAD`. The p-value is beta-binomial, the excess one over the others' mean.
    Excess 0 and p-value 1 for those without trials or others.
    """
    events, trials = share.events.astype(float), share.trials.astype(float)
    num_others = (trials > 0).sum() - (trials > 0)
    others_events, others_trials = events.sum() - events, trials.sum() - trials
    known = (trials > 0) & (num_others > 0)
    excess, p_values = np.zeros(len(trials)), np.ones(len(trials))
    if not known.any():
        return excess, p_values
    # One pseudo-trial, half an event: nobody's errors must not make one error of somebody a finding.
    mean = (others_events + 0.5) / (others_trials + 1)
    weighted = np.divide(events**2, trials, out=np.zeros_like(events), where=trials > 0)
    squares = (
        weighted.sum()
        - weighted
        - np.divide(others_events**2, others_trials, out=np.zeros_like(events), where=others_trials > 0)
    )
    binomial = mean * (1 - mean)
    spread = (squares - binomial * (num_others - 1)) / np.maximum(others_trials, 1)
    variance = np.minimum(np.clip(spread, SPREAD[0] ** 2, SPREAD[1] ** 2), binomial / 2)
    strength = binomial / variance - 1
    tail = betabinom.sf(events[known] - 1, trials[known], (mean * strength)[known], ((1 - mean) * strength)[known])
    p_values[known] = np.minimum(tail, 1.0)
    excess[known] = events[known] / trials[known] - mean[known]
    return excess, p_values
