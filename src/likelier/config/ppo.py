"""Settings of PPO on a language model."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from likelier.config.base import (
    Fraction,
    NonEmpty,
    NonNegative,
    PageConfig,
    Positive,
    PositiveFloat,
    SamplingConfig,
    UpdateConfig,
    refuse_idle,
)
from likelier.config.text import Memory
from likelier.ppo.algorithms import ALGORITHMS

if TYPE_CHECKING:
    AlgorithmName = str
else:
    AlgorithmName = Literal[tuple(ALGORITHMS)]
"""Names in the table of algorithms, and no others; the JSON Schema lists them."""
ABOUT_ALGORITHMS = "; ".join(algorithm.describe() for algorithm in ALGORITHMS.values())


class PPOConfig(SamplingConfig, Memory, UpdateConfig, PageConfig):
    """Fine-tuning a language model against a reward."""

    algorithm: Annotated[AlgorithmName, Field(description=f"How advantages are computed. {ABOUT_ALGORITHMS}.")] = "ppo"
    total_episodes: Positive = 10_000
    """Responses sampled in the whole run."""
    batch_size: Positive = 64
    """Responses in one step."""
    responses_per_prompt: Positive = 1
    """Responses to each prompt in a step; algorithms that compare them with one another need at least 2."""
    max_prompt_tokens: Positive | None = None
    """Longest prompt in tokens; None: what the model's context leaves."""
    loss: NonEmpty | None = None
    """A policy loss of your own, `file.py:function` or `package.module:function`, in place of the clipped one. The KL
    is its affair then: it gets `kl_coef`, and rewards hold no penalty. docs/prove.md says what it may return."""
    kl_coef: NonNegative = 0.05
    """Price of one nat of KL from the reference."""
    reference: str | None = None
    """Model that KL is measured from, with the same tokens; None: `model`, as it is at the start. In a circle that goes
    round again from a better model, its first model."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Estimator of the KL penalty; `likelier prove` shows where each leads. In the reward only k1 keeps its promise."""
    kl_place: Literal["reward", "loss", "loss_ratio"] = "reward"
    """The penalty is part of the reward, a differentiated term of the loss, or that times the ratio pi / pi_old."""
    kl_level: Literal["response", "token"] = "response"
    """In the loss: estimate the KL of whole responses, or of each token apart (missing what a token leads to)."""
    kl_target: PositiveFloat | None = None
    """Adapt `kl_coef` towards this KL per response in nats; None: fixed."""
    kl_horizon: PositiveFloat = 10_000.0
    """Responses over which the adaptive controller reacts."""
    reward_center: bool = False
    """Take off the mean score of the reference's responses to the held-out prompts, measured before the first step."""
    reward_norm: Literal["running", "batch"] | None = None
    """Scores to mean 0 and standard deviation 1: of all scores so far (`running`) or of the step's batch; None: off."""
    reward_scale: PositiveFloat = 1.0
    """Scores are multiplied by this, after centring and normalising."""
    reward_clip: PositiveFloat | None = None
    """After scaling, scores are kept within plus and minus this; None: off."""
    missing_eos_penalty: NonNegative | None = None
    """Subtracted from the score of a response that was cut at the length limit, after all shaping."""
    missing_eos_score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Score of a response that was cut at the length limit, instead of its own (OpenAI: -1); None: its own."""
    whiten_rewards: bool = False
    """Scale per-token rewards to variance 1 over the batch (their mean stays)."""
    whiten_advantages: bool = True
    """Scale advantages to mean 0 and variance 1 over the batch; some algorithms have another default."""
    old_logprobs: Literal["recompute", "sampler"] = "recompute"
    """Ratios are taken against a forward pass of the trainer, or against what the sampler said while it drew (exit 4
    where both differ by more than 0.01 nats a token on average)."""
    async_steps: Annotated[int, Field(ge=0)] = 0
    """Responses are drawn while the policy learns, by a sampler in a process of its own: step k learns from those of
    the policy as it was so many updates before, and `importance_cap` (2 unless it is set) corrects for that, in the
    loss and in the KL that is logged. 0: first drawn, then learned from. docs/gpus.md says when it pays."""
    importance_cap: Annotated[float, Field(ge=1)] | None = None
    """With `recompute`: advantages times min(trainer's / sampler's probability of the token, this); None: off, or 2
    with `async_steps`."""
    importance_floor: Annotated[float, Field(gt=0, le=1)] | None = None
    """With `importance_cap`: tokens whose ratio is below this or above the cap count nothing (IcePop: 0.5 with a cap of
    5), for engines and experts that differ much from the trainer; None: the ratio is cut at the cap."""
    critic: Literal["separate", "shared", "adapter"] = "separate"
    """Values from a model of their own, from a head on the policy's trunk, or, with `lora_rank`, from an adapter of
    their own on the policy's frozen base."""
    critic_model: str | None = None
    """Folder the separate critic starts from (a reward model, say); None: the policy's start."""
    critic_learning_rate: PositiveFloat | None = None
    """Step size of the critic; None: `learning_rate`."""
    critic_lam: Fraction | None = None
    """Lambda of the returns that the critic learns (Yuan et al. 2025, VC-PPO: 1, the rewards that followed, in which no
    error of the critic is); None: `lam`."""
    lam_by_length: PositiveFloat | None = None
    """Alpha of a lambda of the policy's advantages that grows with the response: 1 - 1 / (alpha length) (Yue et al.
    2025, VAPO: 0.05, for responses of thousands of tokens); None: `lam`."""
    critic_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First steps in which only the critic learns."""
    num_eval_prompts: Positive = 64
    """Held-out prompts, on which the score is measured before and after."""
    eval_steps: Positive | None = None
    """Measure score, KL and the judges of `eval.scorer` on the held-out prompts every so many steps; None: never."""
    keep_best: NonEmpty | None = None
    """Name of a judge of `eval.scorer`, or on pictures of `Task.judges`: `model/` becomes the policy that it liked best
    on the held-out prompts, the start among them. As many prompts again are kept out, on which all judges hold it
    against the last policy (`kept` in `result.json`): the best of several measurements flatters itself. None: `model/`
    is the last policy."""
    stop_on: Literal["gold_drift"] | None = None
    """End training when the doctor first finds this in the held-out evaluations; None: train to the end."""
    offload: bool = False
    """Keep the reference, reward models, judges and the optimizer's state in the CPU's memory while a phase does not
    use them: the same numbers to the bit, and each step moves them. What the policy shares stays. GPUs only."""
    rollout_batch_size: Positive | None = None
    """Responses sampled at once by a process; None takes `batch_size`."""
    samples_per_step: Annotated[int, Field(ge=0)] = 4
    """Responses written to `samples.jsonl` each step."""
    token_records: Annotated[int, Field(ge=0)] = 0
    """Responses of a step whose every token is written to `tokens.jsonl` (`likelier tokens` shows it); in a run of more
    than 250,000 such tokens of every k-th step and the last. 0: none."""
    anyway: bool = False
    """Train although a reward run in `reward` is at chance on its own held-out pairs, or below its length baseline;
    `likelier ppo --anyway` sets it."""

    @model_validator(mode="after")
    def refuse_idle_dtype(self) -> Self:
        """The reference is frozen, whatever is trained."""
        return self

    @model_validator(mode="before")
    @classmethod
    def apply_algorithm_defaults(cls, settings: Any) -> Any:
        """Settings that are not given take the algorithm's own default, if it has one."""
        name = settings.get("algorithm") if isinstance(settings, dict) else None
        algorithm = ALGORITHMS.get(name) if isinstance(name, str) else None
        return settings if algorithm is None else {**algorithm.defaults, **settings}

    @model_validator(mode="before")
    @classmethod
    def correct_for_staleness(cls, settings: Any) -> Any:
        """Responses of an older policy are always weighted: up to 2 where no cap is given."""
        if not (isinstance(settings, dict) and settings.get("async_steps")):
            return settings
        if settings.get("importance_cap", 2.0) is None:
            raise ValueError(
                "importance_cap: with async_steps it corrects for responses of an older policy, and null would switch "
                "that off; give a number, or leave it out for 2"
            )
        return {"importance_cap": 2.0, **settings}

    @model_validator(mode="after")
    def check_sizes(self) -> Self:
        """Groups, minibatches and batches divide evenly."""
        group, batch, parts = self.responses_per_prompt, self.batch_size, self.num_mini_batches
        if ALGORITHMS[self.algorithm].needs_groups and group < 2:
            raise ValueError(f"responses_per_prompt must be at least 2 with {self.algorithm}, got {group}")
        if batch % group:
            raise ValueError(f"batch_size {batch} is not a multiple of responses_per_prompt {group}")
        if batch % parts:
            raise ValueError(f"batch_size {batch} is not a multiple of num_mini_batches {parts}")
        if self.token_records > batch:
            raise ValueError(f"token_records {self.token_records} is above batch_size {batch}; a step has no more")
        if self.total_episodes < batch:
            raise ValueError(
                f"total_episodes {self.total_episodes} is below batch_size {batch}: no step would be taken"
            )
        return self

    @model_validator(mode="after")
    def check_sharded_critic(self) -> Self:
        """A base that policy and critic share is divided once, for one of them; offloading moves whole weights."""
        if self.shard and self.offload:
            raise ValueError("shard: divided weights are not moved to the CPU; remove offload")
        if self.shard and self.critic == "adapter":
            raise ValueError(
                "shard: a critic on the policy's own base cannot be divided; set critic: separate or shared"
            )
        return self

    @model_validator(mode="after")
    def check_async_steps(self) -> Self:
        """Some steps learn from what a policy has drawn that has learned; ratios are to the policy as it is."""
        if self.async_steps >= self.steps:
            raise ValueError(
                f"async_steps {self.async_steps} would let all {self.steps} steps learn from responses of the start; "
                "give fewer"
            )
        if self.async_steps and self.old_logprobs == "sampler":
            raise ValueError(
                "old_logprobs: sampler would clip around the older policy that drew, which async_steps leaves behind; "
                "leave it at recompute"
            )
        return self

    @model_validator(mode="after")
    def refuse_idle_settings(self) -> Self:
        """No setting that another one makes idle."""
        ends = ("missing_eos_penalty", "missing_eos_score")
        kl_settings, clips = ("kl_place", "kl_estimator", "kl_level"), ("cliprange", "clip_high", "dual_clip")
        rules = (
            (self.loss is not None, kl_settings, "the KL is the affair of your own `loss`"),
            (self.loss is not None, clips, "your own `loss` clips or does not"),
            *((True, names, why) for names, why in ALGORITHMS[self.algorithm].idle_settings()),
            (
                self.critic_lam is not None and self.lam_by_length is not None,
                ("lam",),
                "critic_lam and lam_by_length stand in its place",
            ),
            (self.critic == "shared", ("critic_model",), "a shared critic stands on the policy's trunk"),
            (self.critic == "adapter", ("critic_model",), "the critic's adapter stands on the policy's base"),
            (self.kl_place == "reward", ("kl_level",), "it is about a penalty in the loss, see kl_place"),
            (self.eval_steps is None, ("keep_best", "stop_on"), "only eval_steps measure the policy during training"),
            (self.kl_target is None, ("kl_horizon",), "it belongs to kl_target, which is not set"),
            (self.kl_coef == 0, ("kl_target",), "kl_coef 0 stays 0, by whatever it is multiplied"),
            (self.reward_norm is not None, ("reward_center",), "reward_norm takes the mean off by itself"),
            (
                self.old_logprobs == "sampler",
                ("importance_cap", "importance_floor"),
                "the ratio to the sampler holds those weights already",
            ),
            (self.importance_cap is None, ("importance_floor",), "importance_cap is not set"),
            (not self.may_end, ends, "without stop_token and stop_strings no response can end by itself"),
            (self.missing_eos_penalty is not None, ("missing_eos_score",), "missing_eos_penalty is set; choose one"),
        )
        refuse_idle(self, rules)
        if self.critic == "adapter" and self.lora_rank is None:
            raise ValueError("critic: an adapter stands on a frozen base, and without lora_rank the base is trained")
        if self.critic_warmup_steps >= self.steps:
            raise ValueError(
                f"critic_warmup_steps {self.critic_warmup_steps} leaves the policy none of {self.steps} steps"
            )
        return self

    @property
    def steps(self) -> int:
        """Iterations in the whole run."""
        return self.total_episodes // self.batch_size

    @property
    def penalty_in_reward(self) -> bool:
        """The KL penalty is taken off the rewards; otherwise it is a term of the loss, or up to a user's `loss`."""
        return self.loss is None and self.kl_place == "reward"
