"""Simulated annotators with a known utility, noise and bad habits; their judgements are always marked as simulated.

They test the feedback check against ground truth, and let the demo run without people.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from likelier.files import stable_id
from likelier.records import Choice, Comparison, Judgement, Prompt, Response, to_plain_text

Floats = NDArray[np.float64]
Taste = Callable[[str, str], float]
"""Utility: (prompt, response) -> how much the response is liked. Of a media file it gets the SHA-256."""
Vice = Literal["random", "left", "right", "longer", "shorter", "fast", "reversed"]

VICE_RATE = 0.95
"""Probability that an annotator with a vice follows it; otherwise they answer honestly."""
TIE_THRESHOLD = 0.3
"""Perceived differences below this are ties, in units of the annotator's noise."""
FAST_GUESS_RATE = 0.5
"""Probability that a fast annotator guesses."""
WORDS_PER_SECOND, SECONDS_TO_DECIDE, FAST_SECONDS = 4.5, 3.0, 0.9


@dataclass(frozen=True)
class Annotator:
    """A simulated annotator.

    `accuracy`: probability that an honest non-tie answer is right, averaged over the comparisons (lower for close
    ones). `share`: relative number of judgements.
    """

    id: str
    taste: Taste
    accuracy: float = 0.9
    vice: Vice | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 < self.accuracy < 1:
            raise ValueError(f"annotator {self.id}: accuracy must lie between 0.5 and 1, got {self.accuracy}")


@dataclass(frozen=True)
class AnnotatorTraits:
    """Per-annotator constants: scale of the logistic noise, in units of the taste, and reading pace (1 is average)."""

    noise: float
    pace: float


def simulate_judgements(
    comparisons: Sequence[Comparison],
    prompts: Mapping[str, Prompt],
    responses: Mapping[str, Response],
    panel: Sequence[Annotator],
    generator: np.random.Generator,
    per_comparison: int = 3,
) -> list[Judgement]:
    """Have `per_comparison` different annotators judge each comparison with random sides; all are marked `simulated`.

    `prompts` and `responses` are keyed by id. Judgements are deterministic given the generator state. Their keys hash
    the panel, the generator state and a running number, not the comparison, so repeating a panel (for instance after
    resampling responses) adds nothing to a store. ValueError: the panel is smaller than `per_comparison`.
    """
    if len(panel) < per_comparison:
        raise ValueError(f"{per_comparison} judges for each comparison, but the panel has only {len(panel)}")
    identity = [[person.id, person.accuracy, person.vice, person.share] for person in panel]
    origin = stable_id("simulated", identity, generator.bit_generator.state)
    margins = {person.taste: taste_margins(person.taste, comparisons, prompts, responses) for person in panel}
    traits = [
        AnnotatorTraits(solve_noise(margins[person.taste], person.accuracy), float(np.exp(generator.normal(0, 0.25))))
        for person in panel
    ]
    assignments = assign_annotators(len(comparisons), [person.share for person in panel], per_comparison, generator)
    judgements = []
    for number, (comparison, judges) in enumerate(zip(comparisons, assignments, strict=True)):
        first, second = responses[comparison.response_a], responses[comparison.response_b]
        for judge in judges:
            swapped = bool(generator.random() < 0.5)
            left, right = (second, first) if swapped else (first, second)
            margin = float(margins[panel[judge].taste][number]) * (-1 if swapped else 1)
            judgements.append(judge_comparison(panel[judge], traits[judge], comparison, left, right, margin, generator))
    return [replace(judgement, key=stable_id(origin, number)) for number, judgement in enumerate(judgements)]


def taste_margins(
    taste: Taste, comparisons: Sequence[Comparison], prompts: Mapping[str, Prompt], responses: Mapping[str, Response]
) -> Floats:
    """Return the taste's utility of `response_a` minus that of `response_b`, [comparisons]."""

    def utility(response_id: str) -> float:
        response = responses[response_id]
        content = response.media.sha256 if response.media else response.text
        return taste(to_plain_text(prompts[response.prompt_id].text), content)

    utilities = {name: utility(name) for pair in comparisons for name in (pair.response_a, pair.response_b)}
    return np.array([utilities[pair.response_a] - utilities[pair.response_b] for pair in comparisons])


def solve_noise(margins: Floats, accuracy: float) -> float:
    """Solve for the logistic noise scale at which non-tie answers are right with mean probability `accuracy`.

    With m = |margin| / noise and h the tie threshold: P(right) = sigmoid(m - h) / (sigmoid(m - h) + sigmoid(-m - h)).
    """
    sizes = np.abs(margins[margins != 0])
    if not len(sizes):
        return 1.0

    def excess_accuracy(log_noise: float) -> float:
        m = sizes / np.exp(log_noise)
        right, wrong = expit(m - TIE_THRESHOLD), expit(-m - TIE_THRESHOLD)
        return float((right / (right + wrong)).mean()) - accuracy

    low, high = np.log(sizes.min()) - 5, np.log(sizes.max()) + 10
    return float(np.exp(brentq(excess_accuracy, low, high)))


def assign_annotators(
    num_comparisons: int, shares: Sequence[float], per_comparison: int, generator: np.random.Generator
) -> list[list[int]]:
    """Draw different annotators for each comparison, with totals roughly proportional to the shares.

    Weighted sampling without replacement (Efraimidis and Spirakis 2006), weighted by each annotator's remaining
    judgements. Returns indices into `shares`, [comparisons][per_comparison].
    """
    weights = np.asarray(shares, dtype=float)
    remaining = np.minimum(weights / weights.sum() * num_comparisons * per_comparison, num_comparisons)
    assignments = []
    for _ in range(num_comparisons):
        keys = generator.exponential(size=len(weights)) / np.maximum(remaining, 1e-9)
        drawn = np.argsort(keys)[:per_comparison]
        remaining[drawn] -= 1
        assignments.append(sorted(drawn.tolist()))
    return assignments


def judge_comparison(
    person: Annotator,
    traits: AnnotatorTraits,
    comparison: Comparison,
    left: Response,
    right: Response,
    margin: float,
    generator: np.random.Generator,
) -> Judgement:
    """Simulate one judgement; `margin` is the annotator's utility of the left response minus that of the right one."""
    return Judgement(
        comparison_id=comparison.id,
        annotator=person.id,
        left=left.id,
        right=right.id,
        choice=choose(person.vice, margin / traits.noise, len(left.text) - len(right.text), generator),
        duration_seconds=round(simulate_seconds(person.vice, traits.pace, left.text, right.text, generator), 2),
        simulated=True,
    )


def choose(vice: Vice | None, margin: float, longer_by: int, generator: np.random.Generator) -> Choice:
    """Draw a choice; `margin` is in units of noise, `longer_by` the left length minus the right one in characters."""
    # Drawn whatever the vice, so that a panel and its honest twin share their random numbers (`fast` draws one more).
    perceived = margin + generator.logistic()
    honest: Choice = "tie" if abs(perceived) < TIE_THRESHOLD else "left" if perceived > 0 else "right"
    guess: Choice = "left" if generator.random() < 0.5 else "right"
    answers_honestly = generator.random() > VICE_RATE
    if vice is None or answers_honestly:
        return honest
    if vice == "fast":
        return guess if generator.random() < FAST_GUESS_RATE else honest
    if vice == "random":
        return guess
    if vice == "reversed":
        opposite: dict[Choice, Choice] = {"left": "right", "right": "left", "tie": "tie"}
        return opposite[honest]
    if vice in ("longer", "shorter"):
        preference = longer_by if vice == "longer" else -longer_by
        return guess if preference == 0 else "left" if preference > 0 else "right"
    return "left" if vice == "left" else "right"


def simulate_seconds(vice: Vice | None, pace: float, left: str, right: str, generator: np.random.Generator) -> float:
    """Draw the seconds to read both responses and decide (log-normal); about one second for fast annotators."""
    spread = float(np.exp(generator.normal(0, 0.35)))
    if vice == "fast":
        return FAST_SECONDS * spread
    return (SECONDS_TO_DECIDE + (len(left.split()) + len(right.split())) / WORDS_PER_SECOND) * pace * spread
