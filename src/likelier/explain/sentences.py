"""What `likelier explain` finds, in sentences; `report/languages` translates them."""

from collections.abc import Iterator, Mapping
from typing import Any


def describe(found: Mapping[str, Any]) -> list[str]:
    """Return the sentences about a reward run, from what `explain_run` found."""
    return [*describe_curve(found["curve"])] if "curve" in found else []


def describe_curve(curve: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each forecast."""
    for each in curve["forecasts"]:
        low, high = (100 * bound for bound in each["gain_interval"])
        yield (
            f"{each['more']:,} more judgements to train on: {low:+.1f} to {high:+.1f} points of accuracy (80 % "
            f"interval) from {curve['accuracy']:.1%}."
        )
        if each["more"] > curve["pairs"]:
            yield "That is more than twice what there is, further than forecasts were checked."
