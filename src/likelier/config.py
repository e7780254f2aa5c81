"""The settings of every stage: one frozen model each, from YAML and `key.sub=value`, checked before anything runs."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from likelier.errors import ConfigError
from likelier.records import no_file

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonEmpty = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, lt=65536)]


class Block(BaseModel):
    """A frozen group of settings that knows no other keys than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


def refuse_idle(block: Block, rules: Iterable[tuple[bool, Sequence[str], str]]) -> None:
    """ValueError: a setting that another one leaves without effect. Nobody should believe that it did something.

    A rule: whether it holds, the settings that are idle then, why. A value that equals the default passes, since the
    resolved settings of a run hold all of them.
    """
    for idle, names, why in rules:
        for name in names if idle else ():
            if getattr(block, name) != type(block).model_fields[name].default:
                raise ValueError(f"{name} would have no effect: {why}; remove it")


class RewardSource(Block):
    """Where a score comes from: exactly one of `model`, `function`, `http`; or who judges without one: `people`."""

    model: str | None = None
    """Folder or hub name of a reward model (sequence classification, one label), or a reward run: all its models."""
    function: str | None = None
    """`file.py:name` of a Python function `reward(prompts, responses) -> list[float]`."""
    http: str | None = None
    """Address that answers POST `{"prompts", "responses"}` with `{"scores"}`."""
    people: NonEmpty | None = None
    """In `eval.scorer` only: a feedback database of its own (file or URL, made if absent). `likelier eval` opens the
    judging page over it, and people compare the answers of `model_a` and `model_b`, blindly."""
    per: Literal["response", "token"] = "response"
    """`token`: the function is called as `reward(prompts, responses, tokens)`, with each response's tokens as texts
    (the end token among them), and returns a list of floats for each response, one for each of its tokens."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """Factor of this source in the sum."""
    caution: NonNegative = 0.0
    """Reward run with several models: how many of their standard deviations are taken off their mean."""
    name: str = ""
    """Name in metrics and reports; by default what the source is."""

    @model_validator(mode="after")
    def one_source(self) -> Self:
        if sum(source is not None for source in (self.model, self.function, self.http, self.people)) != 1:
            raise ValueError("give exactly one of model, function, http, people")
        if self.per == "token" and self.function is None:
            raise ValueError("per: token needs a function; a model or a service scores whole responses")
        if self.caution and self.model is None:
            raise ValueError("caution would have no effect: it is about the models of a reward run")
        if self.people is not None:
            refuse_idle(self, [(True, ("weight",), "people say which answer is better and give no score")])
        return self

    @property
    def label(self) -> str:
        return self.name or ("people" if self.people else Path(self.model or self.function or self.http or "").name)


PEOPLE_GIVE_NO_SCORE = (
    "people can judge in eval.scorer only, since they give no score while a model is trained: "
    "collect comparisons with `likelier circle` or `likelier serve`, and train a reward model from them"
)


def scores_only(sources: Sequence[RewardSource]) -> Sequence[RewardSource]:
    """ValueError: people among sources that must score whatever a model writes."""
    if any(source.people is not None for source in sources):
        raise ValueError(PEOPLE_GIVE_NO_SCORE)
    return sources


Scoring = Annotated[list[RewardSource], AfterValidator(scores_only)]
"""Sources that give each response a number."""


class Training(Block):
    """What every gradient-trained stage shares."""

    learning_rate: PositiveFloat = 1e-5
    """Peak step size of Adam."""
    lr_schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the step size falls to zero over the run, after the warm-up."""
    warmup_ratio: Fraction = 0.0
    """Share of the run during which the step size rises from zero."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay of AdamW."""
    adam_eps: PositiveFloat = 1e-5
    """Epsilon of Adam; 1e-5 as in OpenAI's RLHF code (torch's own default is 1e-8)."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this global norm."""
    bf16: bool = False
    """Forward passes in bfloat16 autocast; weights and optimizer stay in fp32."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""
    save_steps: Positive = 50
    """A checkpoint every so many steps; one is always written at the end."""
    save_total_limit: Positive = 2
    """Checkpoints kept; older ones are deleted once a newer one is verified."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = []
    """Other places that receive the metrics; `metrics.jsonl` is always written."""
    run_name: str = ""
    """Name of the run in those places."""


class LoRA(Block):
    """A few weights beside the frozen ones of a language model (Hu et al. 2022)."""

    lora_rank: Positive | None = None
    """Train an adapter of this rank beside the frozen model, which then is the reference too; None: train the model.
    The run keeps it in `adapter` and writes `model` with it merged."""
    lora_alpha: Positive = 32
    """Scale of the adapter: what it adds is multiplied by this over its rank."""
    lora_targets: list[NonEmpty] = []
    """Layers that get an adapter, by the end of their name (`q_proj`); empty: all linear ones but the output layer."""

    @model_validator(mode="after")
    def no_idle_adapter(self) -> Self:
        refuse_idle(self, [(self.lora_rank is None, ("lora_alpha", "lora_targets"), "lora_rank is not set")])
        return self


class SFTConfig(LoRA, Training):
    """Supervised fine-tuning, or training a small model from scratch."""

    learning_rate: PositiveFloat = 1e-4
    """Peak step size of Adam."""
    num_epochs: Positive = 1
    """Passes over the data."""
    max_steps: Positive | None = None
    """Stop after so many optimizer steps, whatever `num_epochs` says."""
    batch_size: Positive = 16
    """Sequences in one optimizer step."""
    micro_batch_size: Positive | None = None
    """Sequences in one forward pass; None takes the whole batch."""
    max_length: Positive = 512
    """Longest sequence in tokens. Longer responses lose their end (counted); longer texts go on in the next one."""
    architecture: dict[str, Any] | None = None
    """Train from scratch: settings of a Hugging Face config, `model_type` among them."""
    tokenizer: str = "words"
    """From scratch: `words`, `characters`, `bpe`, or a model folder whose tokenizer is taken."""
    vocab_size: Positive = 2048
    """From scratch: most entries that a new tokenizer may have."""
    eval_steps: Positive | None = None
    """Measure score, KL and the judges of `eval.scorer` on the prompts that `ppo` keeps out too, every so many steps;
    examples with these prompts are then left out of training. None: never."""

    @model_validator(mode="after")
    def measurable(self) -> Self:
        if self.architecture and self.eval_steps:
            raise ValueError("eval_steps: a model from scratch has no start to measure the KL from; remove it")
        if self.architecture and self.lora_rank:
            raise ValueError("lora_rank: a model from scratch has nothing yet to be frozen; remove it")
        why = "it is for a model from scratch, and architecture is not set"
        refuse_idle(self, [(self.architecture is None, ("tokenizer", "vocab_size"), why)])
        return self


class RewardModelConfig(Training):
    """Learning a score from preferences."""

    learning_rate: PositiveFloat = 1e-4
    """Peak step size of Adam."""
    num_epochs: Positive = 1
    """Passes over the training pairs."""
    batch_size: Positive = 32
    """Pairs in one optimizer step."""
    micro_batch_size: Positive | None = None
    """Pairs in one forward pass; None takes the whole batch."""
    max_length: Positive = 512
    """Longest prompt with response in tokens; longer prompts lose their beginning."""
    ensemble_size: Positive = 1
    """Reward models trained on different orders and heads; their mean is the score."""
    center_coef: NonNegative = 0.0
    """Weight of the squared sum of both scores, which keeps them around 0."""
    early_stopping: bool = True
    """Keep the weights of the epoch with the lowest validation log loss."""
    use_flip: bool = True
    """Let each annotator's error rate into the likelihood."""
    from_scratch: bool = False
    """Start from random weights of the base model's architecture."""


class DPOConfig(LoRA, Training):
    """Direct preference optimisation: from preferences to a policy, without a reward model and without sampling."""

    learning_rate: PositiveFloat = 1e-5
    """Peak step size of Adam."""
    beta: PositiveFloat = 0.1
    """What one nat of distance from the reference costs, in units of the reward that the preferences imply."""
    num_epochs: Positive = 1
    """Passes over the training pairs."""
    batch_size: Positive = 32
    """Pairs in one optimizer step."""
    micro_batch_size: Positive | None = None
    """Pairs in one forward pass; None takes the whole batch."""
    max_length: Positive = 512
    """Longest prompt with response in tokens; pairs that are longer are left out (counted)."""
    use_flip: bool = True
    """Believe each annotator as far as the error rate in `flip` allows: the target becomes 1 - flip."""
    eval_steps: Positive | None = None
    """Measure score, KL and the judges of `eval.scorer` on the prompts that `ppo` keeps out too, every so many steps;
    pairs on these prompts are then left out of training. None: never."""


class UpdateConfig(Training):
    """What one PPO update does with a batch."""

    num_ppo_epochs: Positive = 4
    """Passes over each batch."""
    num_mini_batches: Positive = 4
    """Optimizer steps in one pass."""
    micro_batch_size: Positive | None = None
    """Rows in one forward pass of a process; None takes the whole minibatch. Changes nothing but memory."""
    cliprange: PositiveFloat = 0.2
    """The ratio is kept within [1 - cliprange, 1 + cliprange]."""
    clip_high: PositiveFloat | None = None
    """Upper bound apart from the lower one; None means `cliprange`."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """Bounds the loss of bad actions at this multiple of their advantage; None: off."""
    cliprange_value: PositiveFloat | None = 0.2
    """New values stay within this distance of the old ones; None: off."""
    vf_coef: NonNegative = 0.1
    """Weight of the value loss."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy bonus."""
    loss_aggregation: Literal["token", "sequence", "fixed"] = "token"
    """Mean over tokens, over responses, or over the longest allowed length (Dr. GRPO)."""
    target_kl: PositiveFloat | None = None
    """Stop the update's epochs when the approximate KL of a minibatch is above 1.5 times this; None: off."""
    gamma: Fraction = 1.0
    """Discount of later rewards."""
    lam: Fraction = 0.95
    """Lambda of generalised advantage estimation."""
    max_skipped_updates: Positive = 5
    """Stop with exit 4 after so many non-finite updates in a row."""


class PPOConfig(LoRA, UpdateConfig):
    """Fine-tuning a language model against a reward."""

    algorithm: Literal["ppo", "rloo", "grpo", "dr_grpo", "reinforce_pp"] = "ppo"
    """`ppo` has a critic; `rloo`, `grpo`, `dr_grpo` compare responses to a prompt, `reinforce_pp` those of a batch."""
    total_episodes: Positive = 10_000
    """Responses sampled in the whole run."""
    batch_size: Positive = 64
    """Responses in one step."""
    responses_per_prompt: Positive = 1
    """Responses to each prompt in a step; `rloo`, `grpo` and `dr_grpo` need at least 2."""
    response_length: Positive = 64
    """Most tokens in a response."""
    temperature: PositiveFloat = 1.0
    """Logits are divided by this in sampling and in every log-probability."""
    stop_token: Literal["eos"] | None = "eos"
    """Responses end at the model's end token; None: always at the full length."""
    stop_strings: list[NonEmpty] = []
    """Responses also end once their text holds one of these."""
    max_prompt_tokens: Positive | None = None
    """Longest prompt in tokens; None: what the model's context leaves."""
    kl_coef: NonNegative = 0.05
    """Price of one nat of KL from the reference."""
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
    """Take off the mean score of the reference's responses to the kept-out prompts, measured before the first step."""
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
    """Scale advantages to mean 0 and variance 1 over the batch; off by default with `dr_grpo` and `reinforce_pp`."""
    old_logprobs: Literal["recompute", "sampler"] = "recompute"
    """Ratios are taken against a forward pass of the trainer, or against what the sampler said while it drew (exit 4
    where both differ by more than 0.01 nats a token on average)."""
    importance_cap: Annotated[float, Field(ge=1)] | None = None
    """With `recompute`: advantages times min(trainer's / sampler's probability of the token, this); None: off."""
    critic: Literal["separate", "shared"] = "separate"
    """Values from a model of their own, or from a head on the policy's trunk."""
    critic_model: str | None = None
    """Folder the separate critic starts from (a reward model, say); None: the policy's start."""
    critic_learning_rate: PositiveFloat | None = None
    """Step size of the critic; None: `learning_rate`."""
    critic_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First steps in which only the critic learns."""
    num_eval_prompts: Positive = 64
    """Prompts kept out of training, on which the score is measured before and after."""
    eval_steps: Positive | None = None
    """Measure score, KL and the judges of `eval.scorer` on the kept-out prompts every so many steps; None: never."""
    rollout_batch_size: Positive | None = None
    """Responses sampled at once by a process; None takes `batch_size`."""
    samples_per_step: Annotated[int, Field(ge=0)] = 4
    """Responses written to `samples.jsonl` each step."""

    @model_validator(mode="before")
    @classmethod
    def defaults_of_the_algorithm(cls, settings: Any) -> Any:
        """Dr. GRPO divides by a fixed length and no spread; REINFORCE++ whitens by itself."""
        if not isinstance(settings, dict):
            return settings
        own: dict[str, dict[str, Any]] = {
            "dr_grpo": {"loss_aggregation": "fixed", "whiten_advantages": False},
            "reinforce_pp": {"whiten_advantages": False},
        }
        algorithm = settings.get("algorithm")
        return (own.get(algorithm, {}) if isinstance(algorithm, str) else {}) | settings

    @model_validator(mode="after")
    def sizes_fit(self) -> Self:
        group, batch, parts = self.responses_per_prompt, self.batch_size, self.num_mini_batches
        if self.compares_responses and group < 2:
            raise ValueError(f"responses_per_prompt must be at least 2 with {self.algorithm}, got {group}")
        if batch % group:
            raise ValueError(f"batch_size {batch} is not a multiple of responses_per_prompt {group}")
        if batch % parts:
            raise ValueError(f"batch_size {batch} is not a multiple of num_mini_batches {parts}")
        if self.total_episodes < batch:
            raise ValueError(
                f"total_episodes {self.total_episodes} is below batch_size {batch}: no step would be taken"
            )
        return self

    @model_validator(mode="after")
    def nothing_is_ignored(self) -> Self:
        no_critic, never_ends = self.algorithm != "ppo", self.stop_token is None and not self.stop_strings
        critics = ["critic", "critic_model", "critic_learning_rate", "critic_warmup_steps", "whiten_rewards"]
        critics += ["lam", "vf_coef", "cliprange_value"]
        ends = ("missing_eos_penalty", "missing_eos_score")
        rules = (
            (no_critic, critics, f"{self.algorithm} has no critic"),
            (self.compares_responses, ("gamma",), f"{self.algorithm} compares whole responses, undiscounted"),
            (self.critic == "shared", ("critic_model",), "a shared critic stands on the policy's trunk"),
            (self.kl_place == "reward", ("kl_level",), "it is about a penalty in the loss, see kl_place"),
            (self.kl_target is None, ("kl_horizon",), "it belongs to kl_target, which is not set"),
            (self.kl_coef == 0, ("kl_target",), "kl_coef 0 stays 0, by whatever it is multiplied"),
            (self.reward_norm is not None, ("reward_center",), "reward_norm takes the mean off by itself"),
            (
                self.old_logprobs == "sampler",
                ("importance_cap",),
                "the ratio to the sampler holds those weights already",
            ),
            (never_ends, ends, "without stop_token and stop_strings no response can end by itself"),
            (self.missing_eos_penalty is not None, ("missing_eos_score",), "missing_eos_penalty is set; choose one"),
        )
        refuse_idle(self, rules)
        if self.critic_warmup_steps >= self.steps:
            raise ValueError(
                f"critic_warmup_steps {self.critic_warmup_steps} leaves the policy none of {self.steps} steps"
            )
        return self

    @property
    def compares_responses(self) -> bool:
        """Each response with the others to its prompt."""
        return self.algorithm in ("rloo", "grpo", "dr_grpo")

    @property
    def steps(self) -> int:
        return self.total_episodes // self.batch_size


class GymConfig(UpdateConfig):
    """Classic PPO on a Gymnasium environment."""

    env_id: str = "CartPole-v1"
    """A registered id, `module:Id` (the module is imported first), or `file.py:function` that makes an environment."""
    env_args: dict[str, Any] = {}
    """Keyword arguments for the environment."""
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
    hidden_sizes: list[Positive] = [64, 64]
    """Widths of the hidden layers of policy and critic."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Nonlinearity of the hidden layers."""
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
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    """Small networks are fastest on the CPU; `auto` takes CUDA, then Apple's MPS, then the CPU."""
    save_steps: Positive = 100
    """A checkpoint every so many updates; one is always written at the end."""

    @model_validator(mode="after")
    def sizes_fit(self) -> Self:
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
        return self.num_envs * self.rollout_length

    @property
    def steps(self) -> int:
        return self.total_steps // self.batch_size


class OtherModel(Block):
    """A model that is put on the same prompts as the two that an evaluation compares."""

    model: Annotated[str, Field(min_length=1)]
    """Folder or hub name of a language model with the tokens of `model_a`."""
    name: str = ""
    """Name in reports; by default the folder's, or its run's."""

    @property
    def label(self) -> str:
        folder = Path(self.model)
        return self.name or (folder.parent.name if folder.name == "model" and folder.parent.name else folder.name)


class EvalConfig(Block):
    """Comparing a new model with an old one on prompts that neither was trained on."""

    model_a: str = ""
    """The old model."""
    model_b: str = ""
    """The new model; it wins where its response scores higher."""
    prompts: str = ""
    """Prompt file (JSONL with `prompt`)."""
    scorer: list[RewardSource] = []
    """Judges, other than the one trained against; the first decides the win rate. `people` among them judge `model_b`
    against `model_a`; all that needs a score (training on its way, `others`, `best_of`) does without them."""
    judgements_per_comparison: Positive = 1
    """With `people`: judgements of each comparison, by different people."""
    port: Port = 0
    """With `people`: port of the judging page; 0 takes a free one."""
    num_prompts: Positive | None = None
    """Use only the first so many prompts."""
    responses_per_prompt: Positive = 1
    """Responses that each model writes to each prompt."""
    response_length: Positive = 64
    """Most tokens in a response."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature of both models."""
    stop_token: Literal["eos"] | None = "eos"
    """Responses end at the model's end token; None: always at the full length."""
    stop_strings: list[NonEmpty] = []
    """Responses also end once their text holds one of these."""
    others: list[OtherModel] = []
    """More models to hold against `model_a`, baselines say: each has its score by every judge, and its KL."""
    best_of: list[Positive] = []
    """Controls: the best of n responses of `model_a` by `selector`."""
    selector: Scoring = []
    """What picks the best of n: the score that was trained against."""
    batch_size: Positive = 64
    """Responses sampled at once."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""

    @model_validator(mode="after")
    def whole_responses(self) -> Self:
        for name in ("scorer", "selector"):
            if any(source.per == "token" for source in getattr(self, name)):
                raise ValueError(f"{name}: a judge scores whole responses; per: token is for `reward`")
        refuse_idle(self, [(not self.best_of, ("selector",), "it picks the best of n, and best_of is not set")])
        return self

    @model_validator(mode="after")
    def people_beside_scores(self) -> Self:
        idle = ("judgements_per_comparison", "port")
        refuse_idle(self, [(self.people is None, idle, "eval.scorer has no people to open a page for")])
        labels = [source.label for source in self.scorer if self.people]
        if sum(source.people is not None for source in self.scorer) > 1:
            raise ValueError("scorer: people stand there twice; one database holds what all of them answer")
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"scorer: two judges are called {twice[0]}; give one of them another name")
        for name in ("others", "best_of"):
            if self.people and getattr(self, name) and not self.scoring:
                raise ValueError(
                    f"{name}: people judge only model_b against model_a; add a judge that scores to scorer"
                )
        return self

    @property
    def people(self) -> RewardSource | None:
        """Who judges without a score."""
        return next((source for source in self.scorer if source.people is not None), None)

    @property
    def scoring(self) -> list[RewardSource]:
        """The judges that give each response a number."""
        return [source for source in self.scorer if source.people is None]


class CircleConfig(Block):
    """How one round asks people."""

    db: str = ""
    """Feedback database; empty: `feedback.db` in the circle's folder."""
    num_prompts: Positive | None = None
    """Prompts shown in a round; None: all but those kept for evaluation."""
    num_eval_prompts: Positive = 128
    """Prompts kept out of every round, for evaluation (a fifth of the file at most)."""
    responses_per_prompt: Annotated[int, Field(ge=2)] = 4
    """Responses the model writes to each prompt; they are compared two by two."""
    judgements: Positive = 200
    """Judgements to wait for in a round."""
    judgements_per_comparison: Positive = 2
    """Judgements of each comparison, by different people: agreement cannot be measured from one."""
    check_feedback: bool = True
    """Let the check drop flagged annotators and put error rates into the likelihood."""
    port: Port = 0
    """Port of the judging page; 0 takes a free one."""
    baselines: list[Literal["sft", "dpo"]] = []
    """What is also trained on a round's preferences and put on the same curve: SFT on the chosen answers, DPO."""


class Range(Block):
    """Numbers that a random search draws from."""

    low: int | Annotated[float, Field(allow_inf_nan=False)]
    """Smallest number. Where both ends are written as whole numbers, only whole numbers are drawn."""
    high: int | Annotated[float, Field(allow_inf_nan=False)]
    """Largest number."""
    log: bool = False
    """Draw evenly by the logarithm: as often between 0.1 and 1 as between 1 and 10."""

    @model_validator(mode="after")
    def in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 with log, got {self.low}")
        return self


Tried = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(
        lambda value: {list: "values", dict: "range", Range: "range"}.get(type(value)),
        custom_error_type="tried",
        custom_error_message="Input should be a list of values, or for random search {low: …, high: …}",
    ),
]


class SearchConfig(Block):
    """Looking for good settings of one stage."""

    stage: Literal["sft", "reward", "dpo", "ppo", "gym"] = "ppo"
    """What a trial trains."""
    method: Literal["grid", "random"] = "grid"
    """Every combination of the values, or combinations drawn by chance."""
    space: dict[str, Tried] = {}
    """Field to the values tried: `ppo.gamma: [0.9, 1]`, or for random search `{low: 0.9, high: 1.0, log: false}`."""
    num_trials: Positive = 16
    """Combinations that a random search draws."""
    folds: Positive = 3
    """Runs of each trial: for `reward` and `dpo` with other conversations kept out, else with another seed."""
    metric: str = ""
    """Key of the stage's `result.json`, such as `after.eval_kl`; empty: its usual one (`likelier search --help`)."""
    direction: Literal["min", "max"] | None = None
    """Whether a small or a large metric is good; needed with `metric`."""
    threads: Positive = 1
    """Threads that each run computes with. They decide the last bits of a result; how many runs go at once does not."""

    @model_validator(mode="after")
    def fits(self) -> Self:
        if bool(self.metric) != bool(self.direction):
            raise ValueError("metric and direction go together: say whether a small or a large one is good (min, max)")
        ranges = [field for field, tried in self.space.items() if isinstance(tried, Range)]
        if self.method == "grid" and ranges:
            raise ValueError(f"space: {ranges[0]} is a range; a grid needs a list of values, or take method: random")
        return self


class Config(Block):
    """One YAML file: what is trained on what, and a block for each stage."""

    model: str = ""
    """Folder or hub name of the language model that a stage starts from."""
    prompts: str = ""
    """Prompt file (JSONL with `prompt`)."""
    data: str = ""
    """Training data: text or preference files of the stage."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Everything random follows from this."""
    reward: Scoring = []
    """What the policy is trained against: the weighted sum of these."""
    circle: CircleConfig = CircleConfig()
    """The whole circle: how people are asked."""
    sft: SFTConfig = SFTConfig()
    """Supervised fine-tuning."""
    reward_model: RewardModelConfig = RewardModelConfig()
    """Learning a score from preferences."""
    dpo: DPOConfig = DPOConfig()
    """Learning a policy from preferences directly."""
    ppo: PPOConfig = PPOConfig()
    """Fine-tuning against the reward."""
    gym: GymConfig = GymConfig()
    """PPO on a Gymnasium environment."""
    eval: EvalConfig = EvalConfig()
    """Comparing two models."""
    search: SearchConfig = SearchConfig()
    """Looking for good settings."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and lay `key.sub=value` over it.

    ConfigError, one line: file, field, value and what is allowed; an unknown key names the nearest known one.
    """
    return build_config(read_yaml(path), overrides, str(path))


def build_config(settings: dict[str, Any], overrides: Sequence[str] = (), source: str = "config") -> Config:
    """Check settings that are already a dictionary, with `key.sub=value` laid over them."""
    merged = settings
    for override in overrides:
        merged = lay_over(merged, override)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error)}") from error


class PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases (few bytes could become gigabytes) or doubled keys; 3e-4 is a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if doubled := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"key `{doubled[0]}` is given twice")
        return super().construct_mapping(node, deep)


PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parse_yaml(text: str, source: str) -> Any:
    """What one YAML text says. ConfigError names the source and the line."""
    try:
        return PlainLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an integer of 5,000 digits, the 31st of February
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{source}{line}: not YAML: {reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: YAML nested too deep") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The top-level mapping of a YAML file of at most one megabyte."""
    if not path.is_file():
        raise ConfigError(f"{path}: {no_file(path)}")
    if path.stat().st_size > 1_000_000:
        raise ConfigError(f"{path}: {path.stat().st_size} bytes is too large for a config (at most 1,000,000)")
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})") from error
    if not isinstance(settings, dict):
        found = "an empty file" if settings is None else type(settings).__name__
        raise ConfigError(f"{path}: expected `key: value` lines, got {found}")
    return settings


def lay_over(settings: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of `settings` in which `a.b=value` holds; the value is read as YAML."""
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"`{override}`: settings on the command line look like ppo.learning_rate=1e-5")
    head, _, rest = path.partition(".")
    if not rest:
        return settings | {head: parse_yaml(value, f"`{override}`")}
    below = settings.get(head) or {}
    if not isinstance(below, dict):
        raise ConfigError(f"`{override}`: {head} is not a block of settings")
    return settings | {head: lay_over(below, f"{rest}={value}")}


def explain(error: ValidationError) -> str:
    """The first of pydantic's findings in one line: field, value, what is allowed."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown setting `{field}`{nearest(first['loc'])}"
    value = shorten(first["input"])
    reason = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{field or 'settings'}: {reason}" + (f", got {value}" if first["type"] != "value_error" else "") + more


def shorten(value: Any) -> str:
    """`value` as it would be typed, in one line of at most 80 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(location: Sequence[Any]) -> str:
    """`; did you mean X?`, or all that is allowed there."""
    block: type[Block] = Config
    for part in location[:-1]:
        if part in block.model_fields:
            block = block_in(block.model_fields[part].annotation) or block
    known = list(block.model_fields)
    match = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean `{match[0]}`?" if match else f"; allowed: {', '.join(known)}"


def block_in(annotation: Any) -> type[Block] | None:
    """The first block of settings that a type speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return annotation
    return next((found for arg in get_args(annotation) if (found := block_in(arg))), None)
