"""Settings of the circle."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from likelier.config.base import NonEmpty, PageConfig, Positive, PositiveFloat, ProjectName, refuse_idle
from likelier.config.rewards import Address
from likelier.stages import BaselineName

Dial = Annotated[float, Field(ge=0, le=1)]
BALANCE_DIALS = ("balance_people", "balance_groups", "balance_prompts", "balance_topics")


class CircleConfig(PageConfig):
    """How one round collects judgements from people."""

    db: Address = ""
    """Feedback database; empty: `feedback.db` in the circle's folder."""
    project: ProjectName = None
    """Project of the database in which people judge; None: its only one."""
    num_prompts: Positive | None = None
    """Prompts shown in a round; None: all but those kept for evaluation."""
    num_eval_prompts: Positive = 128
    """Held-out prompts of every round, for evaluation (a fifth of the file at most)."""
    responses_per_prompt: Annotated[int, Field(ge=2)] = 4
    """Responses the model writes to each prompt; they are compared two by two."""
    judgements: Positive = 200
    """Judgements to wait for in a round."""
    judgements_per_comparison: Positive = 2
    """Judgements of each comparison, by different people: agreement cannot be measured from one."""
    ask: NonEmpty = "random"
    """Which comparison is begun next, `STRATEGY[:FLOOR]` as `likelier serve --ask`. Strategies that need a reward run
    take the last round's; the first round asks at random."""
    check_feedback: bool = True
    """Let the check drop flagged annotators and turn the reversed round."""
    start: NonEmpty = "last"
    """Where PPO begins in each round: at the `last` model that was accepted, at the circle's `start`, or at a model's
    folder. KL is measured from the circle's first model, unless `ppo.reference` says otherwise."""
    learn_from: Literal["all", "last"] = "all"
    """Train the reward model on the judgements of all rounds so far, or of the last one."""
    half_life: PositiveFloat | None = None
    """Rounds after which a judgement weighs half, for tastes that change; None: however old, all weigh alike."""
    taste: Literal["all", "majority"] = "all"
    """Learn from what all people say, or only the majority's taste where the check finds groups with tastes of their
    own; later rounds go on with the same taste."""
    balance_people: Dial | None = None
    """From 0, every judgement counts, to 1, every person counts; None: halfway with the check, 0 without."""
    balance_groups: Dial = 0.0
    """The same of groups with tastes of their own."""
    balance_prompts: Dial = 0.0
    """The same of prompts."""
    balance_topics: Dial = 0.0
    """The same of topics: clusters of prompts by their words."""
    accept: Literal["better", "always"] = "better"
    """Whose answers people compare next, and where the next round starts: at a policy only if it is `better` (the whole
    interval of its win rate is above one half), or at each (`always`)."""
    lang: Literal["en", "zh"] = "en"
    """Language of the reports: English, or `zh`, Chinese."""
    baselines: list[BaselineName] = []
    """What is also trained on a round's preferences and put on the same curve: SFT on the chosen answers, DPO."""

    @model_validator(mode="after")
    def refuse_idle_settings(self) -> Self:
        """No setting about groups of people where nobody looks for them."""
        why = "only the check tells groups of people apart, and check_feedback is off"
        refuse_idle(self, [(not self.check_feedback, ("taste", "balance_groups"), why)])
        why = "judgements of the last round alone are all of one age"
        refuse_idle(self, [(self.learn_from == "last", ("half_life",), why)])
        return self
