"""Annotators with a known hidden taste, noise and vices, always marked as simulated: to test what cannot be tested on
people, and to show the circle without them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from likelier.files import stable_id
from likelier.records import Choice, Comparison, Judgement, Prompt, Response, plain

Floats = NDArray[np.float64]
Taste = Callable[[str, str], float]
"""(prompt, response) -> how much it is liked."""
Vice = Literal["random", "left", "right", "longer", "shorter", "fast", "reversed"]

STEADINESS = 0.95
"""How often someone with a vice follows it; else they answer honestly."""
TIE_WIDTH = 0.3
"""Said to be a tie: what seems less different than this, in units of the annotator's own noise."""
GUESSED_IN_HASTE = 0.5
WORDS_PER_SECOND, SECONDS_TO_DECIDE, SECONDS_IN_HASTE = 4.5, 3.0, 0.9


@dataclass(frozen=True)
class Annotator:
    """One simulated person. `accuracy`: how often an honest answer that is no tie is right, over the comparisons at
    hand (close calls go wrong more often than clear ones). `share`: how much they judge, relative to the others."""

    id: str
    taste: Taste
    accuracy: float = 0.9
    vice: Vice | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 < self.accuracy < 1:
            raise ValueError(f"annotator {self.id}: accuracy must lie between 0.5 and 1, got {self.accuracy}")


@dataclass(frozen=True)
class Habits:
    """What is drawn once for an annotator: the noise of their judgement, in units of the taste, and their pace."""

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
    """`per_comparison` different annotators judge each comparison, all marked `simulated`; sides are drawn each time.

    `prompts` and `responses` go by id. The same generator state gives the same judgements. Their keys say which panel
    and generator they are of and count them, whatever they are about: a panel that judges a second time, say since
    other responses were sampled, adds nothing to a store. ValueError: the panel is smaller than `per_comparison`.
    """
    if len(panel) < per_comparison:
        raise ValueError(f"{per_comparison} judges for each comparison, but the panel has only {len(panel)}")
    people = [[person.id, person.accuracy, person.vice, person.share] for person in panel]
    origin = stable_id("simulated", people, generator.bit_generator.state)
    margins = {person.taste: taste_margins(person.taste, comparisons, prompts, responses) for person in panel}
    habits = [
        Habits(find_noise(margins[person.taste], person.accuracy), float(np.exp(generator.normal(0, 0.25))))
        for person in panel
    ]
    judgements = []
    for place, judges in enumerate(
        assign(len(comparisons), [person.share for person in panel], per_comparison, generator)
    ):
        comparison = comparisons[place]
        first, second = responses[comparison.response_a], responses[comparison.response_b]
        for judge in judges:
            swapped = bool(generator.random() < 0.5)
            left, right = (second, first) if swapped else (first, second)
            margin = float(margins[panel[judge].taste][place]) * (-1 if swapped else 1)
            judgements.append(answer(panel[judge], habits[judge], comparison, left, right, margin, generator))
    return [replace(each, key=stable_id(origin, number)) for number, each in enumerate(judgements)]


def taste_margins(
    taste: Taste, comparisons: Sequence[Comparison], prompts: Mapping[str, Prompt], responses: Mapping[str, Response]
) -> Floats:
    """[comparisons]: how much more the taste likes `response_a` than `response_b`."""

    def liking(response_id: str) -> float:
        response = responses[response_id]
        return taste(plain(prompts[response.prompt_id].text), response.text)

    likings = {name: liking(name) for pair in comparisons for name in (pair.response_a, pair.response_b)}
    return np.array([likings[pair.response_a] - likings[pair.response_b] for pair in comparisons])


def find_noise(margins: Floats, accuracy: float) -> float:
    """The scale of logistic noise with which answers that are no tie are right with probability `accuracy` on average.

    With m = |margin| / noise and h the tie width: P(right) = sigmoid(m - h) / (sigmoid(m - h) + sigmoid(-m - h)).
    """
    sizes = np.abs(margins[margins != 0])
    if not len(sizes):
        return 1.0

    def excess(log_noise: float) -> float:
        m = sizes / np.exp(log_noise)
        right, wrong = expit(m - TIE_WIDTH), expit(-m - TIE_WIDTH)
        return float((right / (right + wrong)).mean()) - accuracy

    low, high = np.log(sizes.min()) - 5, np.log(sizes.max()) + 10
    return float(np.exp(brentq(excess, low, high)))


def assign(
    num_comparisons: int, shares: Sequence[float], per_comparison: int, generator: np.random.Generator
) -> list[list[int]]:
    """For each comparison its different judges, so that in the end each has judged about in proportion to their share.

    Drawn without replacement with weights that are what each still has to do (Efraimidis and Spirakis 2006).
    """
    weights = np.asarray(shares, dtype=float)
    left_to_do = np.minimum(weights / weights.sum() * num_comparisons * per_comparison, num_comparisons)
    judges = []
    for _ in range(num_comparisons):
        keys = generator.exponential(size=len(weights)) / np.maximum(left_to_do, 1e-9)
        drawn = np.argsort(keys)[:per_comparison]
        left_to_do[drawn] -= 1
        judges.append(sorted(drawn.tolist()))
    return judges


def answer(
    person: Annotator,
    habits: Habits,
    comparison: Comparison,
    left: Response,
    right: Response,
    margin: float,
    generator: np.random.Generator,
) -> Judgement:
    """What one person says of one comparison; `margin`: how much more their taste likes the left response."""
    return Judgement(
        comparison_id=comparison.id,
        annotator=person.id,
        left=left.id,
        right=right.id,
        choice=choose(person.vice, margin / habits.noise, len(left.text) - len(right.text), generator),
        duration_seconds=round(time_taken(person.vice, habits.pace, left.text, right.text, generator), 2),
        simulated=True,
    )


def choose(vice: Vice | None, margin: float, longer_by: int, generator: np.random.Generator) -> Choice:
    """The choice, given the margin in units of noise and by how many characters the left response is longer."""
    seen = margin + generator.logistic()
    honest: Choice = "tie" if abs(seen) < TIE_WIDTH else "left" if seen > 0 else "right"
    guess: Choice = "left" if generator.random() < 0.5 else "right"
    slips = generator.random() > STEADINESS
    if vice is None or slips:
        return honest
    if vice == "fast":
        return guess if generator.random() < GUESSED_IN_HASTE else honest
    if vice == "random":
        return guess
    if vice == "reversed":
        opposite: dict[Choice, Choice] = {"left": "right", "right": "left", "tie": "tie"}
        return opposite[honest]
    if vice in ("longer", "shorter"):
        wanted = longer_by if vice == "longer" else -longer_by
        return guess if wanted == 0 else "left" if wanted > 0 else "right"
    return "left" if vice == "left" else "right"


def time_taken(vice: Vice | None, pace: float, left: str, right: str, generator: np.random.Generator) -> float:
    """Seconds: reading both responses and deciding, log-normally spread; in haste about one second for any text."""
    spread = float(np.exp(generator.normal(0, 0.35)))
    if vice == "fast":
        return SECONDS_IN_HASTE * spread
    return (SECONDS_TO_DECIDE + (len(left.split()) + len(right.split())) / WORDS_PER_SECOND) * pace * spread
