"""The table of training stages, one row per stage, used by the command line, search, doctor, circle and report.

To add a stage, write its folder, its block of settings (one field of `Config`) and a row here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from likelier.metrics import DPO, GYM, HELD_OUT_EVALUATION, PPO, REWARD, SFT, SHARED, Metric

Direction = Literal["min", "max"]
Trainer = Callable[..., dict[str, Any]]
"""(Config, Run) -> the result, as `result.json` holds it; with people to ask it is given `open_page` too."""
PRECISION = "likelier.training.precision:choose_precision"
"""Function that settles `bf16` for the device before a stage begins."""
RATING_PAGE = "likelier.web.rating_page:open_rating_page"
"""`module:function` that opens the page on which people rate what a trainer samples."""
CLIP_PAGE = "likelier.web.clip_page:open_clip_page"
"""The same for the page on which people compare clips of an agent."""
Examiner = Callable[[Any, Any, Mapping[str, Any]], list[dict[str, Any]]]
"""(folder of a run, Config, result) -> its findings; the result is empty if the run has not ended."""


@dataclass(frozen=True)
class Stage:
    """A training stage: everything that the rest of the package needs to know."""

    verb: str
    """Its command, and the name of its runs in `run.json`."""
    block: str
    """Its settings: a field of `Config`."""
    trainer: str
    """`module:function`, see `Trainer`; imported only when a run begins."""
    help: str
    """Help text of its command."""
    title: str
    """Its name in reports, such as `SFT`."""
    inputs: tuple[str, ...]
    """Settings at the top of the file that it reads, besides `seed`."""
    search_metric: str
    """Key of the result by which a search ranks trials, unless `search.metric` names another."""
    search_direction: Direction
    """`min` if small values of `search_metric` are good, `max` if large ones are."""
    metrics: tuple[Metric, ...]
    """Metrics of its `metrics.jsonl`, besides those of every stage."""
    curves: Mapping[str, str] = field(default_factory=dict)
    """Metrics that the report draws, in this order, with the titles of their charts."""
    files: Mapping[str, Literal["model", "code"]] = field(default_factory=dict)
    """Settings of its block that name something it reads: the folder of a model, or a user's code."""
    packages: tuple[str, ...] = ("torch", "numpy", "transformers")
    """Packages whose versions decide its numbers: with another one a run does not resume to the same bits."""
    folds: Literal["conversation", "seed"] = "seed"
    """Folds of a search hold out other conversations of the pairs in `data`, or differ in their seed."""
    selects_epoch: bool = False
    """True if its best epoch is selected on `valid.jsonl`; otherwise a fold trains on those pairs too."""
    memory_setting: str = "the batch size"
    """The setting to lower when memory runs out."""
    distributed: bool = False
    """True if it runs in as many processes as torchrun starts."""
    examiner: str = ""
    """`module:function`, see `Examiner`; empty if `likelier doctor` does not read its runs."""
    circle_folder: str = ""
    """Folder of its run in a round of a circle; empty if no circle trains it."""
    is_baseline: bool = False
    """True if `circle.baselines` may name it: trained on a round's preferences, measured every `eval_steps`."""

    def load_trainer(self) -> Trainer:
        """Import the stage's training function."""
        trainer: Trainer = import_object(self.trainer)
        return trainer

    def load_examiner(self) -> Examiner:
        """Import the doctor's function for the stage's runs."""
        examiner: Examiner = import_object(self.examiner)
        return examiner

    @property
    def module(self) -> str:
        """Name of the module with the training function."""
        return self.trainer.partition(":")[0]

    def find_metric(self, name: str) -> Metric | None:
        """Return the definition of a metric of the stage; None if it has none of this name."""
        for metric in (*SHARED, *self.metrics):
            prefix, placeholder, _ = metric.name.partition("<")
            if metric.name == name or (placeholder and name.startswith(prefix) and len(name) > len(prefix)):
                return metric
        return None


def import_object(path: str) -> Any:
    """Import `module:name` and return the object."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


ROWS = (
    Stage(
        verb="sft",
        block="sft",
        trainer="likelier.finetune.sft:train_sft",
        help="Teach a model a format from examples, or a small one the language from text.",
        title="SFT",
        inputs=("model", "data", "prompts", "reward"),
        search_metric="valid_loss",
        search_direction="min",
        metrics=SFT + HELD_OUT_EVALUATION,
        curves={"loss": "Loss", "mean_token_accuracy": "Token accuracy"},
        files={"tokenizer": "model"},
        memory_setting="sft.micro_batch_size",
        distributed=True,
        circle_folder="sft",
        is_baseline=True,
    ),
    Stage(
        verb="reward",
        block="reward_model",
        trainer="likelier.reward.train:train_reward",
        help="Learn a score from preferences.",
        title="Reward model",
        inputs=("model", "data"),
        search_metric="log_loss",
        search_direction="min",
        metrics=REWARD,
        curves={"loss": "Loss", "accuracy": "Accuracy", "margin": "Margin"},
        files={"from_": "model"},
        folds="conversation",
        selects_epoch=True,
        memory_setting="reward_model.micro_batch_size",
        distributed=True,
        examiner="likelier.doctor.examine:examine_reward",
        circle_folder="reward",
    ),
    Stage(
        verb="dpo",
        block="dpo",
        trainer="likelier.finetune.dpo:train_dpo",
        help="Fine-tune a model on preferences directly, as a baseline.",
        title="DPO",
        inputs=("model", "data", "prompts", "reward"),
        search_metric="log_loss",
        search_direction="min",
        metrics=DPO + HELD_OUT_EVALUATION,
        curves={
            "loss": "Loss",
            "rewards/accuracies": "Accuracy",
            "rewards/margins": "Margin",
            "logps/chosen": "Chosen",
        },
        folds="conversation",
        memory_setting="dpo.micro_batch_size",
        distributed=True,
        circle_folder="dpo",
        is_baseline=True,
    ),
    Stage(
        verb="ppo",
        block="ppo",
        trainer="likelier.rlhf.train:train_ppo",
        help="Fine-tune a model against a reward.",
        title="PPO",
        inputs=("model", "prompts", "reward"),
        search_metric="score_after",
        search_direction="max",
        metrics=PPO + HELD_OUT_EVALUATION,
        curves={
            "score": "Score",
            "kl": "KL from the start",
            "response_length": "Response length",
            "entropy": "Entropy",
            "policy_loss": "Policy loss",
            "value_loss": "Value loss",
            "clipfrac": "Clip fraction",
            "explained_variance": "Explained variance",
            "grad_norm": "Gradient norm",
        },
        files={"critic_model": "model", "reference": "model", "loss": "code", "tools": "code"},
        memory_setting="ppo.micro_batch_size",
        distributed=True,
        examiner="likelier.doctor.examine:examine_ppo",
        circle_folder="policy",
    ),
    Stage(
        verb="gym",
        block="gym",
        trainer="likelier.control.train:train_gym",
        help="Train an agent on a Gymnasium environment; known ones come with good settings.",
        title="Gymnasium",
        inputs=(),
        search_metric="eval_mean",
        search_direction="max",
        metrics=GYM,
        curves={
            "mean_return": "Return",
            "preferences/accuracy": "Accuracy of the reward learned from comparisons",
            "episode_length": "Episode length",
            "policy_loss": "Policy loss",
            "value_loss": "Value loss",
            "entropy": "Entropy",
            "approx_kl": "Approximate KL",
            "clipfrac": "Clip fraction",
            "explained_variance": "Explained variance",
        },
        files={"env_id": "code", "agent": "model"},
        packages=("torch", "numpy", "gymnasium"),
        examiner="likelier.doctor.examine:examine_gym",
        memory_setting="gym.micro_batch_size",
    ),
)

STAGES: Mapping[str, Stage] = {stage.verb: stage for stage in ROWS}
"""Each stage by its verb, in the order of the circle."""

if TYPE_CHECKING:
    StageName = str
    BaselineName = str
else:  # made of the table, so that settings allow, and their JSON Schema lists, what is in it
    StageName = Literal[tuple(STAGES)]
    BaselineName = Literal[tuple(stage.verb for stage in ROWS if stage.is_baseline)]
