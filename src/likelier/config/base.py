"""Types of settings, and the settings that several stages share."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.fields import FieldInfo

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonEmpty = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, lt=65536)]
ProjectName = Annotated[str, Field(min_length=1, max_length=60)] | None
Device = Literal["auto", "cpu", "cuda", "mps"]
OWN_ARGUMENTS = frozenset(
    (
        "messages",
        "conversation",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "sanitize_control_tokens",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
    )
)
"""Arguments of transformers' `apply_chat_template` that are not for the template."""
ModelDtype = Literal["float32", "bfloat16", "float16", "4bit", "8bit"]
OptimizerName = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]


class Block(BaseModel):
    """A frozen group of settings; unknown keys are errors. A setting that Python reserves the name of has an alias."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        serialize_by_alias=True,
    )


def list_settings(block: type[Block]) -> dict[str, FieldInfo]:
    """Return the fields of a block by the names that stand in files."""
    return {field.alias or name: field for name, field in block.model_fields.items()}


def refuse_idle(block: Block, rules: Iterable[tuple[bool, Sequence[str], str]], prefix: str = "") -> None:
    """ValueError: a setting was given that has no effect because of another one.

    A rule is (condition, names of the settings without effect under it, reason). Default values pass, since the
    resolved settings of a run contain all of them. `prefix` is the block's name, where the error does not have it.
    """
    for idle, names, reason in rules:
        for name in names if idle else ():
            if getattr(block, name) != type(block).model_fields[name].default:
                raise ValueError(f"{prefix}{name} would have no effect: {reason}; remove it")


class SamplingConfig(Block):
    """How responses are sampled in training and evaluation: from the model's own distribution; PPO never truncates."""

    response_length: Positive = 256
    """Most tokens in a response."""
    temperature: PositiveFloat = 1.0
    """Logits are divided by this in sampling, and in PPO in every log-probability."""
    stop_token: Literal["eos"] | None = "eos"
    """Responses end at the model's end token; None: always at the full length."""
    stop_strings: list[NonEmpty] = []
    """Responses also end once their text holds one of these."""
    tools: list[NonEmpty] = []
    """Functions that the model may call in its text, `file.py:name` or `package.module:name`: behind
    `<name>12*7</name>` stands what `name("12*7")` returned, which counts towards `response_length` and is no action of
    the policy. `likelier.text.calculator:calc` is a calculator."""

    sampler: Literal["exact", "vllm"] = "exact"
    """What writes the responses: our own decoding by the very model in memory, or vLLM (docs/vllm.md), which is
    given the weights before each rollout and knows no `tools` and no pictures. Its log-probabilities differ from the
    trainer's by rounding; see `old_logprobs` and `importance_cap`."""
    engine_python: NonEmpty | None = None
    """Python of an environment with vLLM (or its folder), which then runs in a process of its own. None: in this one,
    if vLLM is installed beside Likelier, else that of `.venv-vllm` here or beside the own environment."""
    engine_args: dict[str, Any] = {}
    """Arguments of vLLM's `LLM`, `gpu_memory_utilization: 0.4` or `max_model_len: 4096` say; they come before ours."""

    @model_validator(mode="after")
    def check_sampler(self) -> Self:
        """The engine's settings need the engine, which calls no tools."""
        idle = ("engine_python", "engine_args")
        refuse_idle(self, [(self.sampler != "vllm", idle, "sampler is not vllm")])
        if self.sampler == "vllm" and self.tools:
            raise ValueError("tools: vLLM calls none here; take sampler: exact")
        return self

    @property
    def may_end(self) -> bool:
        """Return True if a response can end before the length limit."""
        return self.stop_token is not None or bool(self.stop_strings)


class PageConfig(Block):
    """How browsers reach the judging page, with the names and refusals of `likelier serve`."""

    port: Port = 0
    """Port of the judging page; 0 takes a free one, for a database the same each time if it can."""
    host: NonEmpty = "127.0.0.1"
    """Address that the page listens on; by default this machine's alone."""
    tls_cert: NonEmpty | None = None
    """Certificate (PEM) of the page for HTTPS, with `tls_key`."""
    tls_key: NonEmpty | None = None
    """Its private key (PEM)."""
    public_url: str = ""
    """Address of a proxy that serves the page with HTTPS (https://HOST); give it a fixed `port`."""
    insecure_http: bool = False
    """Serve the page to other machines without HTTPS: on a closed network only."""


class Training(Block):
    """Settings of optimizer, checkpoints and logging, shared by all stages."""

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
    bf16: bool | None = None
    """Forward passes in bfloat16 autocast; weights and optimizer stay in fp32. None: on a GPU that has bfloat16, where
    products that stay in float32 then use TF32; false: neither."""
    device: Device = "auto"
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""
    save_steps: Positive = 50
    """A checkpoint every so many steps; one is always written at the end."""
    save_total_limit: Positive = 2
    """Checkpoints kept; older ones are deleted once a newer one is verified."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = []
    """Other places that receive the metrics; `metrics.jsonl` is always written."""
    run_name: str = ""
    """Name of the run in those places."""


class UpdateConfig(Training):
    """Settings of a PPO update: epochs, minibatches, losses."""

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
