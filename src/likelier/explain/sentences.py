"""Findings of `likelier explain` in sentences; `report/languages` translates them."""

from collections.abc import Iterator, Mapping
from typing import Any


def describe(found: Mapping[str, Any]) -> list[str]:
    """Return the sentences about a reward run, from what `explain_run` found."""
    keys = [*describe_keys(found["keys"])] if "keys" in found else []
    return keys + ([*describe_curve(found["curve"])] if "curve" in found else [])


def describe_keys(keys: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each sign that goes with the score, and each change that moves it."""
    for each in keys["signs"]:
        if each["interval"] is not None:
            low, high = each["interval"]
            yield (
                f"Within pairs the score goes with {each['sign']} at {each['correlation']:+.2f} ({low:+.2f} to "
                f"{high:+.2f}), people's choices at {each['people']:+.2f}."
            )
    for each in keys["swaps"]:
        if each["interval"] is not None:
            low, high = each["interval"]
            yield (
                f"A response {each['swap']} scores {each['change']:+.2f} ({low:+.2f} to {high:+.2f}) standard "
                "deviations more."
            )


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
