"""Made-up metrics of a PPO run that is well, and ways to spoil them: one number or one array for each column."""

import numpy as np

from likelier.config import build_config
from likelier.doctor.findings.history import History

BATCH, LENGTH = 64, 40


def lines(num_steps=40, seed=0, **spoilt):
    """A run whose score rises by one standard deviation while it goes 3 nats away; `spoilt` replaces columns.

    None takes a column away.
    """
    draw, done = np.random.default_rng(seed), np.linspace(0, 1, num_steps)

    def noisy(mean, deviation):
        return mean + deviation * draw.standard_normal(num_steps)

    kl = 3 * done
    columns = {
        "step": np.arange(1, num_steps + 1),
        "episodes": BATCH * np.arange(1, num_steps + 1),
        "optimizer_steps": 8 * np.arange(1, num_steps + 1),
        "score": noisy(done, 0.125),
        "score_std": noisy(1.0, 0.05),
        "score_top_share": np.full(num_steps, 1 / BATCH),
        "score_bottom_share": np.full(num_steps, 1 / BATCH),
        "reward": noisy(done - 0.05 * kl, 0.125),
        "kl": np.where(done > 0, noisy(kl, np.sqrt(2 * kl / BATCH)), 0.0),
        "kl_std": np.sqrt(2 * kl),
        "response_length": noisy(25.0, 1.0),
        "ended_rate": np.clip(noisy(0.95, 0.02), 0, 1),
        "entropy": noisy(1.6 - 0.4 * done, 0.03),
        "repetition": noisy(0.05, 0.01),
        "approx_kl": np.abs(noisy(0.004, 0.001)),
        "clipfrac": np.abs(noisy(0.03, 0.01)),
        "ratio": noisy(1.0, 0.001),
        "first_ratio_deviation": np.zeros(num_steps),
        "grad_norm": noisy(0.6, 0.1),
        "grad_clipped": np.zeros(num_steps),
        "explained_variance": noisy(0.6 * done, 0.05),
        "explained_variance_mc": noisy(0.4 * done, 0.05),
        "value_clipfrac": np.zeros(num_steps),
        "advantage_std": np.ones(num_steps),
        "sampling_gap": noisy(0.0, 0.02),
        "sampling_gap_error": np.full(num_steps, 0.02),
        "sampler_difference": np.full(num_steps, 3e-7),
        "sampler_difference_max": np.full(num_steps, 3e-6),
        "sampler_difference_unpadded": np.full(num_steps, 3e-7),
        "sampler_kl": np.zeros(num_steps),
        "learning_rate": 1e-4 * (1 - done),
    }
    columns |= {name: np.broadcast_to(value, num_steps) for name, value in spoilt.items() if value is not None}
    known = {name: values for name, values in columns.items() if name not in spoilt or spoilt[name] is not None}
    return [{name: values[at].item() for name, values in known.items()} for at in range(num_steps)]


def history(ppo=None, before=None, num_steps=40, seed=0, **spoilt):
    """The same as the doctor reads it, with settings."""
    settings = {"batch_size": BATCH, "total_episodes": BATCH * num_steps, "response_length": LENGTH, **(ppo or {})}
    return History(lines(num_steps, seed, **spoilt), build_config({"ppo": settings}), before or {})


def ramp(first, last, num_steps=40):
    return np.linspace(first, last, num_steps)
