"""The RLHF algorithms as data, one record each. No other code compares an algorithm's name.

To add one, write its advantage function and a record here; settings, training, the doctor and `likelier prove` use it.
This module does not import torch, so that settings can be checked without it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

CRITIC_SETTINGS = (
    "critic",
    "critic_model",
    "critic_learning_rate",
    "critic_warmup_steps",
    "whiten_rewards",
    "lam",
    "critic_lam",
    "lam_by_length",
    "vf_coef",
    "cliprange_value",
)
"""Settings of `ppo` that act only through a critic."""


@dataclass(frozen=True)
class Algorithm:
    """An algorithm: its advantage function and its properties."""

    name: str
    summary: str
    """One line for the reference of settings."""
    advantages: str
    """`module:function` from `AdvantageInputs` to (advantages, returns), each [B, T]; returns is None without a critic.

    The function leaves 0 outside the mask. `whiten_advantages` is applied to its result.
    """
    has_critic: bool = False
    needs_groups: bool = False
    """Responses are compared with others to the same prompt, so there must be at least two of them."""
    discounts: bool = True
    """Reads `gamma`; whole responses are compared undiscounted."""
    spread: Literal["responses", "tokens"] | None = None
    """Advantages are divided by the standard deviation of returns over responses, or over tokens; None: they are not.

    A KL penalty in the loss is then worth `kl_coef` times that deviation, which decides where training ends
    (prove/fixed_points.py).
    """
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `ppo` whose default is another one with this algorithm."""

    @property
    def title(self) -> str:
        """The name as papers write it."""
        return {"dr_grpo": "Dr. GRPO", "reinforce_pp": "REINFORCE++"}.get(self.name, self.name.upper())

    def describe(self) -> str:
        """Return the summary and the algorithm's own defaults, for the reference of settings."""
        defaults = ", ".join(f"{name} {str(value).lower()}" for name, value in self.defaults.items())
        return f"`{self.name}`: {self.summary}" + (f" (default {defaults})" if defaults else "")

    def idle_settings(self) -> Iterator[tuple[Sequence[str], str]]:
        """Settings of `ppo` without effect under this algorithm, and why."""
        if not self.has_critic:
            yield CRITIC_SETTINGS, f"{self.name} has no critic"
        if not self.discounts:
            yield ("gamma",), f"{self.name} compares whole responses, undiscounted"

    def load_advantages(self) -> Callable[..., Any]:
        """Import the advantage function, which may import torch."""
        module, _, function = self.advantages.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(module), function)
        return loaded


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "ppo",
            "generalised advantage estimation, with a critic",
            "likelier.ppo.advantages:critic_advantages",
            has_critic=True,
        ),
        Algorithm(
            # Ahmadian et al. 2024, "Back to basics": the others are a baseline independent of the response itself.
            "rloo",
            "a response's reward minus the mean of the others to its prompt",
            "likelier.ppo.advantages:rloo_advantages",
            needs_groups=True,
            discounts=False,
        ),
        Algorithm(
            # Shao et al. 2024, "DeepSeekMath", 4.1.2: the mean includes the response itself.
            "grpo",
            "minus the mean of all responses to its prompt, divided by their standard deviation",
            "likelier.ppo.advantages:grpo_advantages",
            needs_groups=True,
            discounts=False,
            spread="responses",
        ),
        Algorithm(
            # Liu et al. 2025, "Understanding R1-Zero-like training": dividing by the deviation favours prompts
            # that are nearly solved or hopeless, and the mean of each response favours long wrong ones.
            "dr_grpo",
            "as `grpo` without the division",
            "likelier.ppo.advantages:dr_grpo_advantages",
            needs_groups=True,
            discounts=False,
            defaults={"loss_aggregation": "fixed", "whiten_advantages": False},
        ),
        Algorithm(
            # Hu 2025, "REINFORCE++": one baseline for the whole batch instead of one for each prompt.
            "reinforce_pp",
            "REINFORCE++: the rewards from each token on, whitened over the batch",
            "likelier.ppo.advantages:reinforce_pp_advantages",
            spread="tokens",
            defaults={"whiten_advantages": False},
        ),
    )
}
