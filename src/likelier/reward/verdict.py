"""A reward model's quality in words: does it beat chance, length and single words, and should PPO train on it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from likelier.config import RewardSource
from likelier.config.rewards import name_sources
from likelier.errors import ConfigError
from likelier.files import read_json
from likelier.progress import print_note

Name = Literal["beats_baselines", "no_better_than_baselines", "unproven", "at_chance", "below_length", "unmeasured"]
UNUSABLE: tuple[Name, ...] = ("at_chance", "below_length")
"""Verdicts on which PPO and the circle do not train."""
FEW_PAIRS = 100
"""With fewer held-out pairs an accuracy of 0.6 cannot be told from chance (95 % interval of a share: ±0.1)."""


@dataclass(frozen=True)
class Verdict:
    """A name for programs and a sentence for people."""

    name: Name
    sentence: str

    @property
    def is_usable(self) -> bool:
        """False if a policy trained on this score would be trained on noise, or on the opposite of what is wanted."""
        return self.name not in UNUSABLE


def assess_reward_model(result: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a reward run, from its `result.json`: accuracy on held-out pairs beside its baselines."""
    accuracy, interval = result.get("accuracy"), result.get("accuracy_interval")
    if accuracy is None:
        return Verdict(
            "unmeasured",
            "No held-out pairs, so nothing is known of this reward model: make preferences with a test share above 0.",
        )
    ranked = f"It ranks {share(accuracy)} of {count_pairs(result)} as people did"
    if accuracy <= 0.5:
        advice = "Do not train on it: collect more comparisons, and look whether people agree (likelier check)."
        return Verdict("at_chance", f"{ranked}; a coin ranks 50 %. {advice}")
    if is_above(0.0, result.get("over_length_only_interval")):
        by_length = f"length alone ranks {share(result['length_only_accuracy'])}, and the gap is more than chance"
        return Verdict("below_length", f"{ranked}; {by_length}. Do not train on it: train longer, or with more pairs.")
    if interval is None or interval[0] <= 0.5:
        return Verdict(
            "unproven",
            f"{ranked}, and the interval holds 50 %: it may be a coin. Collect more comparisons before you go on.",
        )
    if matched := list_unbeaten(result):
        return Verdict(
            "no_better_than_baselines",
            f"{ranked}, and {' and '.join(matched)} cannot be told from that: it may have learned no more. Go on with "
            "care, and watch the length of responses.",
        )
    return Verdict("beats_baselines", f"{ranked}, more than length alone and single words do. Go on.")


def list_unbeaten(result: Mapping[str, Any]) -> list[str]:
    """Return the baselines, with their accuracies, that the model does not beat by the whole interval."""
    baselines = (
        ("length alone", "over_length_only", "length_only"),
        ("single words", "over_bag_of_words", "bag_of_words"),
    )
    return [
        f"{name} ({share(result[f'{key}_accuracy'])})"
        for name, gain, key in baselines
        if result.get(gain) is not None and not is_below(0.0, result.get(f"{gain}_interval"))
    ]


def is_above(value: float, interval: Any) -> bool:
    """True if the value lies above a known interval."""
    return interval is not None and value > interval[1]


def is_below(value: float, interval: Any) -> bool:
    """True if the value lies below a known interval."""
    return interval is not None and value < interval[0]


def share(value: float) -> str:
    """Format a share as `84 %`."""
    return f"{100 * value:.0f} %"


def count_pairs(result: Mapping[str, Any]) -> str:
    """Format the number of held-out pairs; few are called so."""
    pairs = result.get("pairs")
    if pairs is None:
        return "unseen pairs"
    return f"only {pairs} unseen pair{'s' * (pairs != 1)}" if pairs < FEW_PAIRS else f"{pairs:,} unseen pairs"


def check_reward_runs(results: Mapping[str, Mapping[str, Any]], anyway: bool) -> None:
    """Check the reward runs that PPO is about to train on, each `result.json` by the name of its source.

    ConfigError: one is at chance or below its length baseline, unless `anyway`. One that may be is a note on stderr.
    """
    for name, result in results.items():
        verdict = assess_reward_model(result)
        if not verdict.is_usable and not anyway:
            raise ConfigError(f"reward: {name}: {verdict.sentence} --anyway trains on it all the same")
        if not verdict.is_usable or verdict.name == "unproven":
            print_note(f"warning: reward {name}: {verdict.sentence}")


def read_reward_results(sources: Sequence[RewardSource]) -> dict[str, dict[str, Any]]:
    """`result.json` of the reward run behind each model, by its name in metrics; models from elsewhere have none."""
    found = {}
    for name, source in zip(name_sources(sources), sources, strict=True):
        for folder in (Path(source.model), Path(source.model).parent) if source.model else ():
            if (folder / "result.json").is_file() and "accuracy" in (result := read_json(folder / "result.json")):
                found[name] = result
                break
    return found
