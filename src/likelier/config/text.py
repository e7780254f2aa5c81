"""Settings of the stages that train a language model: SFT, reward model, DPO; what PPO shares with them."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from likelier.config.base import (
    Block,
    ModelDtype,
    NonEmpty,
    NonNegative,
    OptimizerName,
    Positive,
    PositiveFloat,
    Training,
    refuse_idle,
)


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
    def refuse_idle_adapter(self) -> Self:
        """LoRA settings need a rank."""
        refuse_idle(self, [(self.lora_rank is None, ("lora_alpha", "lora_targets"), "lora_rank is not set")])
        return self


class Memory(LoRA):
    """Memory of a language model in training: its adapter, the type of frozen weights, activations and optimizer."""

    model_dtype: ModelDtype | None = None
    """How frozen weights are stored: the base under an adapter; in `ppo` the reference, reward models and judges too.
    They are computed with as `bf16` says, and what is trained is float32. None: bfloat16 on a GPU that has it, else
    float32; a reference beside a policy that is trained whole stays float32. 4bit (NF4, double quantisation) and 8bit
    need the extra `quantised`."""
    gradient_checkpointing: bool = False
    """Keep the inputs of each layer alone, and compute the rest again in the backward pass: the same gradients from
    a fraction of the memory for activations, in a third to a half more time."""
    optimizer: OptimizerName = "adamw"
    """How the moments of AdamW are kept, two of each trained weight: in float32 (8 bytes) or in 8 bits (2 bytes;
    rounded, so another run), `paged` out of the GPU's memory where that is full (CUDA only). Both need `quantised`."""
    shard: bool = False
    """With several processes (torchrun): divide weights, gradients and moments among them (FSDP2), where else each has
    them all. They are gathered layer by layer in training, and whole in each process while it samples."""

    @model_validator(mode="after")
    def refuse_idle_dtype(self) -> Self:
        """Without an adapter nothing is frozen."""
        refuse_idle(self, [(self.lora_rank is None, ("model_dtype",), "lora_rank is not set, and no weight is frozen")])
        return self

    @model_validator(mode="after")
    def check_shard(self) -> Self:
        """Refuse `shard` of weights and moments that cannot be divided."""
        if self.shard and self.model_dtype in ("4bit", "8bit"):
            raise ValueError(f"shard: weights in {self.model_dtype} cannot be divided; set model_dtype: bfloat16")
        if self.shard and self.optimizer != "adamw":
            raise ValueError(f"shard: the moments of {self.optimizer} cannot be divided; set optimizer: adamw")
        return self


class SFTConfig(Memory, Training):
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
    """From scratch: `words` (characters in scripts without blanks), `characters`, `bpe`, or a model folder's."""
    vocab_size: Positive = 2048
    """From scratch: most entries that a new tokenizer may have."""
    eval_steps: Positive | None = None
    """Measure score, KL and the judges of `eval.scorer` on the prompts that `ppo` keeps out too, every so many steps;
    examples with these prompts are then left out of training. None: never."""

    @model_validator(mode="after")
    def check_from_scratch(self) -> Self:
        """A model from scratch has neither a KL nor an adapter."""
        if self.architecture and self.eval_steps:
            raise ValueError("eval_steps: a model from scratch has no start to measure the KL from; remove it")
        if self.architecture and self.lora_rank:
            raise ValueError("lora_rank: a model from scratch has nothing yet to be frozen; remove it")
        why = "it is for a model from scratch, and architecture is not set"
        refuse_idle(self, [(self.architecture is None, ("tokenizer", "vocab_size"), why)])
        return self


class RewardModelConfig(Memory, Training):
    """Learning a score from preferences."""

    learning_rate: PositiveFloat = 1e-4
    """Peak step size of Adam."""
    num_epochs: Positive | None = None
    """Passes over the training pairs; None: enough for 300 optimizer steps, ended early where 100 steps have not
    lowered the validation log loss. A number is kept as it is."""
    batch_size: Positive = 32
    """Pairs in one optimizer step."""
    micro_batch_size: Positive | None = None
    """Pairs in one forward pass; None takes the whole batch."""
    max_length: Positive = 512
    """Longest prompt with response in tokens; longer prompts lose their beginning."""
    ensemble_size: Positive = 1
    """Reward models whose mean is the score, and whose disagreement shows where it is a guess."""
    ensemble: Literal["models", "heads", "adapters"] = "models"
    """`models`: whole models, with different heads and orders of the pairs. `heads`: one trunk, heads that start
    differently and weigh the conversations differently (Bayesian bootstrap). `adapters`: one frozen base with a LoRA
    adapter and a head for each; the run's `model` is the first one merged."""
    lora_rank: Positive | None = None
    """Train an adapter of this rank and the head beside the frozen base, which must stay where it is. The run keeps
    both in `adapter` and writes `model` with the adapter merged. None: train the whole model; with `ensemble: adapters`
    8."""
    from_: Annotated[NonEmpty | None, Field(alias="from")] = None
    """A reward run, or the folder of a reward model, whose weights and heads training goes on with, in place of `model`
    with new ones: as many models as `ensemble_size`. With `lora_rank` its adapters go on (peft's too), or it gets its
    first one if it is whole."""
    center_coef: NonNegative = 0.0
    """Weight of the squared sum of both scores, which keeps them around 0."""
    off_prompt_pairs: NonNegative = 0.0
    """Pairs added for each training pair, or for a part of them if below 1: its better response against one that was
    preferred after another prompt, so that the score learns to read the prompt."""
    early_stopping: bool = True
    """Keep the weights of the epoch with the lowest validation log loss."""
    use_flip: bool = True
    """Let each pair's `flip`, half the share of its annotator's answers that ignore the pair, into the likelihood."""
    length_debias: bool = False
    """Learn beside the score what length by itself adds to a response's chances, and leave it out of the score."""
    from_scratch: bool = False
    """Start from random weights of the base model's architecture."""

    @model_validator(mode="before")
    @classmethod
    def give_adapters_a_rank(cls, settings: Any) -> Any:
        """Adapters have the rank 8 where none is given."""
        adapters = isinstance(settings, dict) and settings.get("ensemble") == "adapters"
        return {"lora_rank": 8, **settings} if adapters else settings

    @model_validator(mode="after")
    def check_ensemble(self) -> Self:
        """Adapters need a rank and a trained base, and share it; heads are several."""
        adapters = self.ensemble == "adapters"
        refuse_idle(self, [(self.ensemble_size == 1 and not adapters, ("ensemble",), "ensemble_size is 1")])
        if adapters and self.lora_rank is None:
            raise ValueError("lora_rank: ensemble is adapters, which have a rank; give one")
        if self.lora_rank and self.ensemble_size > 1 and not adapters:
            raise ValueError("lora_rank: of several models each has an adapter of its own: set ensemble: adapters")
        if self.from_ and self.from_scratch:
            raise ValueError("from_scratch: `from` names weights to start from; remove one of them")
        if self.lora_rank and self.from_scratch:
            raise ValueError("from_scratch: an adapter changes a frozen base, which must have learned; remove it")
        return self


class DPOConfig(Memory, Training):
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
    """Let each pair's `flip` into the likelihood; in files without a `flip_kind` the target becomes 1 - flip."""
    eval_steps: Positive | None = None
    """Measure score, KL and the judges of `eval.scorer` on the prompts that `ppo` keeps out too, every so many steps;
    pairs on these prompts are then left out of training. None: never."""
