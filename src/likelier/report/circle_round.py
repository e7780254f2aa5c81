"""The report of one round of a circle: its stages in figures, and what the command returns."""

from pathlib import Path
from typing import Any

from likelier.evaluation.result import EvaluationResult
from likelier.files import write_json
from likelier.report.page import number, percent, span, write_report
from likelier.reward.verdict import assess_reward_model

Result = dict[str, Any]


def write_round_report(
    folder: Path,
    results: dict[str, Result],
    responses_per_prompt: int,
    title: str = "",
    language: str = "en",
    accepted: bool = True,
) -> Result:
    """Write `circle.json` and the report of a round in `folder`; returns the result of the command.

    `accepted`: the next round begins with this round's policy, and `serve --policy` of the circle answers with it.
    """
    title = title or folder.name.replace("-", " ").capitalize()
    stages = summarise_stages(results, responses_per_prompt) | {"title": title, "accepted": accepted}
    write_json(folder / "circle.json", stages, private=True)
    report = folder / "report.html"
    write_report([folder], report, language=language)
    evaluation = results.get("evaluation", {})
    judge = EvaluationResult.from_json(evaluation).first if evaluation else None
    first = EvaluationResult.from_json(results["against_first"]).first if "against_first" in results else None
    verdict = assess_reward_model(results["reward"])
    return {
        "verdict": evaluation.get("verdict") or ("reward_at_chance" if not verdict.is_usable else None),
        "in_words": evaluation.get("in_words") or verdict.sentence,
        "reward_accuracy": results["reward"]["accuracy"],
        "reward_at_chance": not verdict.is_usable,
        "taste_in_words": find_taste(results),
        "win_rate": judge.win_rate if judge else None,
        "win_rate_interval": judge.interval if judge else None,
        "win_rate_first": first.win_rate if first else None,
        "win_rate_first_interval": first.interval if first else None,
        "report": str(report),
    }


def summarise_stages(results: dict[str, Result], responses_per_prompt: int) -> Result:
    """Return each stage's figures for the report."""
    from likelier.feedback.check import FeedbackCheck

    check, pairs, reward = FeedbackCheck.from_json(results["check"]), results["preferences"], results["reward"]
    num_people = len(check.annotators)
    stages = {
        "prompts": (f"{results['prompts']['prompts']:,}", f"{results['prompts']['kept_out']:,} held out"),
        "candidates": (
            f"{results['candidates']['responses']:,} responses",
            f"{responses_per_prompt} to a prompt",
        ),
        "feedback": (f"{check.judgements:,} judgements", f"{num_people} annotator{'s' * (num_people != 1)}"),
        "check": (f"{len(check.flagged)} flagged", ", ".join(check.flagged)),
        "preferences": (f"{pairs['train']:,} pairs", f"{pairs['dropped']:,} dropped"),
        "reward": (f"{percent(reward['accuracy'])} right", f"length alone {percent(reward['length_only_accuracy'])}"),
        **summarise_policy(results),
    }
    verdict = assess_reward_model(reward)
    return {
        "stages": [{"name": name, "value": value, "note": note} for name, (value, note) in stages.items()],
        "reward_at_chance": not verdict.is_usable,
        "taste_in_words": find_taste(results),
    }


def find_taste(results: dict[str, Result]) -> str | None:
    """Return the sentence on whose taste the round learned; None where `circle.taste` is `all`."""
    followed = results["preferences"].get("followed_taste")
    return followed["in_words"] if followed else None


def summarise_policy(results: dict[str, Result]) -> dict[str, tuple[str, str]]:
    """Return the figures of PPO and the evaluation; of a round that skipped them, that it did."""
    if "policy" not in results:
        return {"ppo": ("skipped", "the reward model is at chance"), "evaluation": ("none", "the model is as it was")}
    policy, evaluation = results["policy"], EvaluationResult.from_json(results["evaluation"])
    scores = f"score {number(policy['score_before'])} → {number(policy['score_after'])}"
    figures = {
        "ppo": (f"{policy['steps']:,} steps", scores),
        "evaluation": (f"{percent(evaluation.first.win_rate)} preferred", span(evaluation.first.interval)),
    }
    if "against_first" in results:
        first = EvaluationResult.from_json(results["against_first"]).first
        figures["against the first model"] = (f"{percent(first.win_rate)} preferred", span(first.interval))
    return figures
