"""Settings of PPO on a Gymnasium environment."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from likelier.config.base import (
    Device,
    Fraction,
    NonEmpty,
    NonNegative,
    PageConfig,
    Positive,
    PositiveFloat,
    UpdateConfig,
    refuse_idle,
)
from likelier.config.rewards import Address


class PreferencesConfig(PageConfig):
    """A reward learned from comparisons of clips (Christiano et al. 2017); exactly one of `db` and `simulated`."""

    db: Annotated[Address, Field(min_length=1)] | None = None
    """A feedback database (file or URL, made if absent) over which the judging page is opened: people compare clips."""
    simulated: Annotated[float, Field(ge=0, le=1)] | None = None
    """A simulated judge goes by the environment's reward, and answers this share of comparisons by a coin."""
    taste: Annotated[str, Field(min_length=1)] | None = None
    """`file.py:function`: the simulated judge goes by this function of a clip's observations `[T, D]` and actions
    `[T, A]` instead, where the environment has no reward for what is wanted."""
    comparisons: Positive = 300
    """Comparisons in the whole run: a quarter of the untrained policy, the last after three quarters of the run."""
    clip_seconds: PositiveFloat = 1.5
    """Length of a clip at the environment's own speed (`render_fps`, 30 if it has none)."""
    ensemble_size: Positive = 3
    """Rewards that are learned side by side; PPO has their mean."""
    choose: Literal["disagreement", "random"] = "disagreement"
    """New clips are those on which the ensemble disagrees most, or random ones."""
    entropy_coef: NonNegative = 0.03
    """Added to `gym.entropy_coef`, falling to nothing by the last comparisons: while the reward changes the policy
    explores."""
    min_gamma: Fraction = 0.98
    """`gym.gamma` is raised to this: a shorter discount is tuned to the shape of the environment's own reward."""
    wait_minutes: NonNegative = 30.0
    """With `db`: how long each round of questions waits for people; then the run goes on with what it has."""
    question: NonEmpty | None = None
    """With `db`: what people are asked; None: which behaviour is better, in each person's language."""

    @model_validator(mode="after")
    def check_judge(self) -> Self:
        """Validate that somebody answers, and refuse what has no effect."""
        if (self.db is None) == (self.simulated is None):
            raise ValueError("give exactly one of db and simulated")
        if self.ensemble_size == 1 and self.choose == "disagreement":
            raise ValueError(
                "choose: one reward disagrees with nobody; set ensemble_size to 2 or more, or choose to random"
            )
        page = (*PageConfig.model_fields, "wait_minutes", "question")
        refuse_idle(self, [(self.db is None, page, "there is no `db` to ask people")])
        refuse_idle(self, [(self.simulated is None, ("taste",), "it belongs to simulated, which is not given")])
        return self


class GymConfig(UpdateConfig):
    """Classic PPO on a Gymnasium environment."""

    env_id: str = "CartPole-v1"
    """A registered id, `module:Id` (the module is imported first), `file.py:function` that makes an environment,
    or the file of a tabular MDP."""
    env_args: dict[str, Any] = {}
    """Keyword arguments for the environment."""
    agent: str | None = None
    """Folder of an agent (`model` in a run's folder) that goes on learning, here; None: random weights."""
    max_episode_steps: Positive | None = None
    """Episodes are truncated after so many steps; None: as registered."""
    total_steps: Positive = 100_000
    """Environment steps of the whole run; whole rollouts are taken, never more than this."""
    num_envs: Positive = 8
    """Copies of the environment stepped together."""
    step_timeout_seconds: PositiveFloat = 60.0
    """An environment that takes longer for one step or reset ends the run."""
    rollout_length: Positive = 128
    """Steps of each copy between two updates."""
    frame_stack: Positive = 1
    """Observations seen at once, the newest and those before it."""
    normalize_observations: bool = True
    """Shift and scale vector observations by their running mean and deviation, within 10; frozen in evaluation."""
    normalize_rewards: bool = True
    """Divide rewards by the running deviation of the discounted return, within 10; what is reported stays as it is."""
    preferences: PreferencesConfig | None = None
    """Learn the reward from comparisons of clips; the environment's own is only reported."""
    hidden_sizes: list[Positive] = [64, 64]
    """Widths of the hidden layers of policy and critic."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Nonlinearity of the hidden layers."""
    recurrent: bool = False
    """An LSTM before the hidden layers remembers what was seen in the episode. Minibatches are then of whole copies, by
    default 4 in one pass."""
    lstm_size: Positive = 64
    """Units of that LSTM."""
    log_std: Annotated[float, Field(ge=-20, le=2)] = 0.0
    """Continuous actions: log of the standard deviation at the start, where the action box reaches from -1 to 1."""
    state_dependent_std: bool = False
    """Continuous actions: the standard deviation is a function of the observation, not one number per dimension."""
    whiten_advantages: bool = True
    """Scale advantages to mean 0 and variance 1 over the batch."""
    cliprange_schedule: Literal["linear", "constant"] = "constant"
    """How `cliprange` falls to zero over the run."""
    num_eval_episodes: Positive = 100
    """Fresh episodes played after training, once with the likeliest actions and once with sampled ones."""
    gif: bool = True
    """Draw one episode of the trained agent to `agent.gif`, where the environment can be rendered."""
    num_ppo_epochs: Positive = 10
    """Passes over each batch."""
    num_mini_batches: Positive = 16
    """Optimizer steps in one pass; by default of 64 rows each."""
    learning_rate: PositiveFloat = 3e-4
    """Peak step size of Adam."""
    max_grad_norm: PositiveFloat = 0.5
    """Gradients are scaled down to this global norm."""
    cliprange_value: PositiveFloat | None = None
    """New values stay within this distance of the old ones; None: off."""
    vf_coef: NonNegative = 0.5
    """Weight of the value loss."""
    gamma: Fraction = 0.99
    """Discount of later rewards."""
    device: Device = "cpu"
    """Small networks are fastest on the CPU; `auto` takes CUDA, then Apple's MPS, then the CPU."""
    save_steps: Positive = 100
    """A checkpoint every so many updates; one is always written at the end."""

    @model_validator(mode="before")
    @classmethod
    def apply_recurrent_defaults(cls, settings: Any) -> Any:
        """A recurrent policy has fewer minibatches, since it cannot cut an environment's rollout in two."""
        recurrent = isinstance(settings, dict) and settings.get("recurrent") is True
        return {"num_mini_batches": 4, **settings} if recurrent else settings

    @model_validator(mode="after")
    def check_sizes(self) -> Self:
        """Validate that rollouts divide into minibatches and fit into the run."""
        refuse_idle(self, [(not self.recurrent, ("lstm_size",), "it belongs to recurrent, which is off")])
        if self.recurrent and self.num_envs % self.num_mini_batches:
            raise ValueError(
                f"recurrent: num_envs {self.num_envs} is not a multiple of num_mini_batches {self.num_mini_batches}, "
                "and minibatches are of whole copies; set gym.num_mini_batches to a number that divides it"
            )
        if self.loss_aggregation != "token":
            raise ValueError(f"loss_aggregation {self.loss_aggregation} is for responses; a step has no length")
        if self.bf16:
            raise ValueError("bf16 is for language models; small networks act and learn in float32, which is faster")
        if self.batch_size % self.num_mini_batches:
            raise ValueError(
                f"num_envs x rollout_length {self.batch_size} is not a multiple of num_mini_batches "
                f"{self.num_mini_batches}; set gym.num_mini_batches to a number that divides it"
            )
        if self.total_steps < self.batch_size:
            raise ValueError(
                f"total_steps {self.total_steps} is below num_envs x rollout_length {self.batch_size}: no rollout fits"
            )
        return self

    @property
    def batch_size(self) -> int:
        """Environment steps in one rollout."""
        return self.num_envs * self.rollout_length

    @property
    def steps(self) -> int:
        """Number of updates in the whole run."""
        return self.total_steps // self.batch_size
