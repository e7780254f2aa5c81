"""Findings that stand in the settings already."""

from likelier.config import PPOConfig
from likelier.ppo import kl as ppo_kl
from likelier.rlhf.findings.history import Finding, History, short


def gamma_with_kl(run: History) -> Finding | None:
    return discounted(run.ppo, run.last)


def estimator_misplaced(run: History) -> Finding | None:
    return misplaced(run.ppo, run.last)


def discounted(ppo: PPOConfig, step: int) -> Finding | None:
    """A discount beside a KL penalty: early tokens hardly see the score, and the optimum is no longer the known one."""
    if ppo.gamma == 1.0 or not (ppo.kl_coef or ppo.kl_target):
        return None
    seen = ppo.gamma ** (ppo.response_length - 1)
    return Finding(
        "gamma_with_kl",
        "warning",
        step,
        f"gamma {ppo.gamma}, kl_coef {short(ppo.kl_coef)}: from the first of {ppo.response_length} tokens the score "
        f"counts {100 * seen:.0f} % (step {step})",
        "The score stands on the last token, so a discount takes it off early tokens and leaves their own KL penalty "
        "whole: score - kl_coef x KL is no longer what is optimised",
        "Set ppo.gamma=1",
    )


def misplaced(ppo: PPOConfig, step: int) -> Finding | None:
    """A KL penalty that does something else than its settings state."""
    wrong = ppo_kl.estimator_misplaced(ppo)
    if wrong is None:
        return None
    return Finding(
        "estimator_misplaced",
        "warning",
        step,
        f"kl_estimator {ppo.kl_estimator}, kl_place {ppo.kl_place}, kl_coef {short(ppo.kl_coef)} (step {step})",
        wrong.partition(": ")[2].partition(". ")[0],
        "Set ppo.kl_estimator=k1 and ppo.kl_place=reward, which optimise score - kl_coef x KL",
    )
