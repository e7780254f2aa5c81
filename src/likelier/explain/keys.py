"""Features that a reward model keys on: signs of a text that go with its score, and changes of a text that move it."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from likelier.explain.run import RewardRun
from likelier.feedback.style import count_style
from likelier.intervals import Floats, Interval, jackknife_deviations, mean_interval, sum_clusters
from likelier.reward.judged import clusters
from likelier.reward.pairs import columns
from likelier.reward.train import score_pairs
from likelier.text.words import is_word, split_words

PLEASANT = frozenset({
    "good", "great", "happy", "nice", "best", "better", "love", "loved", "wonderful", "beautiful", "kind", "glad",
    "fun", "thank", "thanks", "please", "enjoy", "excellent", "perfect", "smile", "smiled", "helpful", "welcome",
    "sure",
})  # fmt: skip
UNPLEASANT = frozenset({
    "bad", "sad", "sorry", "worse", "worst", "hate", "hated", "terrible", "awful", "ugly", "angry", "afraid", "fear",
    "wrong", "never", "unfortunately", "cannot", "problem", "hurt", "cry", "cried", "dark", "dead", "difficult",
})  # fmt: skip
"""English words alone: in other languages this sign never varies, and is left out."""


def measure_sentiment(text: str) -> float:
    """Return pleasant less unpleasant words, as a share of all."""
    words = [word for word in split_words(text.lower()) if is_word(word)]
    return sum((word in PLEASANT) - (word in UNPLEASANT) for word in words) / max(1, len(words))


SIGNS: dict[str, Callable[[str], float]] = {
    "length": lambda text: np.log1p(len(text)),
    "punctuation": lambda text: sum(not is_word(word) for word in split_words(text)) / max(1, len(split_words(text))),
    "pleasant words": measure_sentiment,
    "lists and bold words": lambda text: np.log1p(sum(count_style(text)[:3])),
}
PUNCTUATION = re.compile(r"[^\w\s]+")
SWAPS: dict[str, Callable[[str], str]] = {
    "said twice": lambda text: f"{text} {text.strip()}",
    "with a polite sentence more": lambda text: f"{text.rstrip()} I hope this helps!",
    "without punctuation": lambda text: PUNCTUATION.sub("", text),
}
MAX_PAIRS = 200
"""Held-out pairs whose responses are changed."""


def measure_keys(run: RewardRun) -> dict[str, Any]:
    """Return, on the held-out pairs, what the score goes with (`signs`) and what moves it (`swaps`).

    `signs`: the correlation of differences within pairs, of the score and of a sign, and of people's choices and the
    sign; None for a sign that never differs. `swaps`: the mean change of a response's score when its text is changed,
    in standard deviations of scores. With 95 % intervals over prompts.
    """
    pairs = run.pairs.test or run.pairs.valid
    if not pairs:
        return {"signs": [], "swaps": []}
    names, score = clusters(pairs), run.ensemble.score
    difference = np.subtract(*score_pairs(score, pairs))
    signs = []
    for name, measure in SIGNS.items():
        by_sign = np.array([measure(pair.chosen) - measure(pair.rejected) for pair in pairs])
        correlation, interval = correlate_within(difference, by_sign, names)
        people, _ = correlate_within(np.array([2 * pair.target - 1 for pair in pairs]), by_sign, names)
        signs.append({"sign": name, "correlation": correlation, "interval": interval, "people": people})
    some = pairs[:MAX_PAIRS]
    prompts, chosen, rejected = columns(some)
    texts, asked = [*chosen, *rejected], [*prompts, *prompts]
    before = score(asked, texts).double().numpy()
    spread, twice = float(before.std()) or 1.0, [*names[: len(some)]] * 2
    swaps = []
    for name, change in SWAPS.items():
        moved = (score(asked, [change(text) for text in texts]).double().numpy() - before) / spread
        swaps.append({"swap": name, "change": float(moved.mean()), "interval": mean_interval(moved, twice)})
    return {"signs": signs, "swaps": swaps, "pairs": len(pairs)}


def correlate_within(x: Floats, y: Floats, names: Sequence[str]) -> tuple[float | None, Interval | None]:
    """Return the correlation of differences within pairs, sum(x y) / sqrt(sum(x^2) sum(y^2)), with its interval.

    Not centred: which response of a pair stands first is a convention, and turning a pair round changes nothing. The
    interval is Student's by the linearised statistic over clusters. None where either never differs.
    """
    norm = float(np.sqrt((x**2).sum() * (y**2).sum()))
    if norm == 0:
        return None, None
    r = float(x @ y) / norm
    # The derivative of r by each row's weight, whose sum over all rows is 0.
    influence = len(x) * (x * y / norm - r * (x**2 / (x**2).sum() + y**2 / (y**2).sum()) / 2)
    sums, sizes = sum_clusters(influence, names)
    if len(sizes) < 2:
        return r, None
    half = float(stdtrit(len(sizes) - 1, 0.975)) * float(np.sqrt((jackknife_deviations(sums, sizes) ** 2).sum()))
    return r, [max(-1.0, r - half), min(1.0, r + half)]
