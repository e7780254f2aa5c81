"""Findings that follow from the settings alone."""

from likelier.config import PPOConfig
from likelier.doctor.findings.history import Finding, History, fmt
from likelier.ppo.algorithms import ALGORITHMS


def gamma_with_kl(run: History) -> Finding | None:
    """A discount below 1 together with a KL penalty."""
    return find_discount(run.ppo, run.last)


def estimator_misplaced(run: History) -> Finding | None:
    """A KL penalty that does not optimise score - kl_coef * KL."""
    return find_misplaced_penalty(run.ppo, run.last)


def find_discount(ppo: PPOConfig, step: int) -> Finding | None:
    """A discount below 1 together with a KL penalty: early tokens hardly see the score, and the optimum changes."""
    if ppo.gamma == 1.0 or ppo.loss is not None or not (ppo.kl_coef or ppo.kl_target):
        return None
    weight = ppo.gamma ** (ppo.response_length - 1)
    return Finding(
        "gamma_with_kl",
        "warning",
        step,
        f"gamma {ppo.gamma}, kl_coef {fmt(ppo.kl_coef)}: from the first of {ppo.response_length} tokens the score "
        f"counts {100 * weight:.0f} % (step {step})",
        "The score stands on the last token, so a discount takes it off early tokens and leaves their own KL penalty "
        "whole: score - kl_coef x KL is no longer what is optimised",
        "Set ppo.gamma=1",
    )


def find_misplaced_penalty(ppo: PPOConfig, step: int) -> Finding | None:
    """A KL penalty that does not optimise score - kl_coef * KL."""
    wrong = explain_misplaced_penalty(ppo)
    if wrong is None:
        return None
    return Finding(
        "estimator_misplaced",
        "warning",
        step,
        f"kl_estimator {ppo.kl_estimator}, kl_place {ppo.kl_place}, kl_coef {fmt(ppo.kl_coef)} (step {step})",
        wrong.partition(": ")[2].partition(". ")[0],
        "Set ppo.kl_estimator=k1 and ppo.kl_place=reward, which optimise score - kl_coef x KL",
    )


def explain_misplaced_penalty(config: PPOConfig) -> str | None:
    """Explain in one line how the KL penalty departs from score - kl_coef * KL; None if it does not."""
    if config.kl_coef == 0:
        return None
    reasons = {
        ("reward", "k2"): "k2 in the reward pushes down tokens that are rarer than in the reference",
        ("reward", "k3"): "k3 in the reward pushes down tokens that are rarer than in the reference",
        ("loss", "k1"): "k1 in the loss has no gradient on average, so there is no penalty at all",
        ("loss", "k3"): "k3 in the loss penalises KL(reference || policy), not KL(policy || reference)",
        ("loss_ratio", "k2"): "k2 with the ratio penalises the mean of squared log-ratios, which is not the KL",
    }
    departures = [reason] if (reason := reasons.get((config.kl_place, config.kl_estimator))) else []
    if config.kl_place != "reward":
        if config.kl_level == "token":
            departures.append("kl_level token leaves out the KL that a token leads to")
        if ALGORITHMS[config.algorithm].spread or config.whiten_advantages:
            departures.append(
                "advantages are divided by their spread and the penalty is not, so kl_coef is multiplied by it"
            )
        if config.loss_aggregation == "sequence":
            departures.append("loss_aggregation sequence divides by length, so that long responses are charged less")
    if not departures:
        return None
    setting = f"ppo.kl_estimator {config.kl_estimator}, ppo.kl_place {config.kl_place}"
    return (
        f"{setting}: {'; '.join(departures)}. Score - kl_coef * KL is optimised by k1 in the reward (see docs/prove.md)"
    )
