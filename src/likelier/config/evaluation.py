"""Settings of an evaluation."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)

from likelier.config.base import (
    Block,
    Device,
    ModelDtype,
    PageConfig,
    Positive,
    ProjectName,
    SamplingConfig,
    refuse_idle,
)
from likelier.config.rewards import Address, JudgeConfig, RewardSource, Scoring

TopP = Annotated[float, Field(gt=0, le=1)]


RESPONSE_FILE = ".jsonl"


def is_response_file(model: str) -> bool:
    """Return whether the name of a model stands for a file of responses that are there already."""
    return model.endswith(RESPONSE_FILE)


class OtherModel(Block):
    """A further model, evaluated on the same prompts as the two models being compared."""

    model: Annotated[str, Field(min_length=1)]
    """Folder or hub name of a language model with the tokens of `model_a`, or a file of responses as there."""
    name: str = ""
    """Name in reports; by default the folder's, or its run's."""

    @property
    def label(self) -> str:
        """Name in reports."""
        folder = Path(self.model)
        return self.name or (folder.parent.name if folder.name == "model" and folder.parent.name else folder.name)


class EvalConfig(SamplingConfig, PageConfig):
    """Comparison of a new model with an old one on prompts that neither was trained on."""

    model_a: str = ""
    """The old model; or a file of its responses, JSON lines with `prompt` and `response`, or `responses` as
    `likelier candidates` writes them. The name of such a file ends in `.jsonl`; a file has no KL."""
    model_b: str = ""
    """The new model, or a file of its responses; it wins where its response scores higher."""
    prompts: str = ""
    """Prompt file (JSONL with `prompt`)."""
    scorer: list[RewardSource] = []
    """Judges, other than the one trained against; the first decides the win rate. `people` and `judge` among them judge
    `model_b` against `model_a`; all that needs a score (training on its way, `others`, `best_of`) does without them."""
    judgements_per_comparison: Positive = 1
    """With `people`: judgements of each comparison, by different people."""
    num_judged: Positive | None = None
    """With `people`: about how many pairs of answers they are asked, drawn at random; None: about all. By what they say
    the rates of judges that score all pairs are corrected (`corrected` in `evaluation.json`)."""
    project: ProjectName = None
    """With `people`: project of their database; None: its only one."""
    num_prompts: Positive | None = None
    """Use only the first so many prompts."""
    responses_per_prompt: Positive = 1
    """Responses that each model writes to each prompt."""
    knowledge: str = ""
    """File of known answers, JSON lines with `prompt` and `completion`: how much less likely `model_b` finds them than
    `model_a` is what it has forgotten. Training measures it too, every `eval_steps`. Empty: not measured."""
    others: list[OtherModel] = []
    """More models to hold against `model_a`, baselines say: each has its score by every judge, and its KL."""
    best_of: list[Positive] = []
    """Controls: the best of n responses of `model_a` by `selector`."""
    selector: Scoring = []
    """What picks the best of n: the score that was trained against."""
    top_k: Positive | None = None
    """Sample from so many of the likeliest tokens only; None: from all. The KL is that of the whole distributions."""
    top_p: TopP | None = None
    """Sample from the likeliest tokens that together have this probability; None: from all."""
    min_p: TopP | None = None
    """Sample from the tokens that are at least so many times as likely as the likeliest; None: from all."""
    use_generation_config: bool = False
    """Sample each model with the temperature, top-k, top-p and min-p of its own `generation_config.json`."""
    batch_size: Positive = 64
    """Responses sampled at once."""
    server: Annotated[Address, Field(pattern=r"^https?://")] | None = None
    """Address of OpenAI's protocol, `https://HOST/v1`: models that are no folder here are asked there, by name (vLLM's
    or another server; a key stands in front of the host: `https://${KEY}@HOST/v1`). Such a model has no KL."""
    device: Device = "auto"
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""
    model_dtype: ModelDtype = "float32"
    """How the weights of the models are stored, see `ppo.model_dtype`; judges keep theirs. A model with rounded weights
    is another one, if a near one: the result is about that."""

    @model_validator(mode="after")
    def check_judges(self) -> Self:
        """Validate that judges score whole responses, and that a selector comes with best_of."""
        for name in ("scorer", "selector"):
            if any(source.per == "token" for source in getattr(self, name)):
                raise ValueError(f"{name}: a judge scores whole responses; per: token is for `reward`")
        own = ("temperature", "top_k", "top_p", "min_p")
        names = (self.model_a, self.model_b, *(other.model for other in self.others))
        if self.best_of and is_response_file(self.model_a):
            raise ValueError(f"best_of: it samples from model_a, and {self.model_a} is a file of responses")
        if self.knowledge and (recorded := [name for name in names[:2] if is_response_file(name)]):
            raise ValueError(f"knowledge: it asks how likely a model finds answers, and {recorded[0]} is a file")
        sampled = (*SamplingConfig.model_fields, *own, "use_generation_config", "batch_size", "model_dtype")
        rules = [
            (all(map(is_response_file, names)), sampled, "all responses stand in files; nothing is sampled"),
            (not self.best_of, ("selector",), "it picks the best of n, and best_of is not set"),
            (self.use_generation_config, own, "use_generation_config takes each model's own"),
            (all(map(is_response_file, names)), ("server",), "all responses stand in files"),
        ]
        refuse_idle(self, rules)
        return self

    @model_validator(mode="after")
    def check_people(self) -> Self:
        """Validate that there is at most one source of people, and a scorer where scores are needed."""
        idle = ("judgements_per_comparison", "num_judged", "project", *PageConfig.model_fields)
        refuse_idle(self, [(self.people is None, idle, "eval.scorer has no people to open a page for")])
        if self.people:
            rules = [
                (True, ("weight",), "people say which answer is better and give no score"),
                (True, ("wait_minutes",), "the page stays open until everything is judged, or Ctrl-C closes it"),
            ]
            refuse_idle(self.people, rules)
        labels = [source.label for source in self.scorer if self.people or self.judges]
        if sum(source.people is not None for source in self.scorer) > 1:
            raise ValueError("scorer: people stand there twice; one database holds what all of them answer")
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"scorer: two judges are called {twice[0]}; give one of them another name")
        for name in ("others", "best_of"):
            if self.scorer and getattr(self, name) and not self.scoring:
                who = "people judge" if self.people else "such a judge compares"
                raise ValueError(f"{name}: {who} only model_b against model_a; add a judge that scores to scorer")
        for source in self.scorer:
            line = "a judge says which answer is better and gives no score"
            refuse_idle(source, [(source.judge is not None, ("weight",), line)])
        return self

    def is_served(self, model: str) -> bool:
        """Return whether a model is asked at `server`."""
        return self.server is not None and not (is_response_file(model) or Path(model).is_dir())

    @property
    def people(self) -> RewardSource | None:
        """The source that asks people for preferences; None if all judges give scores."""
        return next((source for source in self.scorer if source.people is not None), None)

    @property
    def scoring(self) -> list[RewardSource]:
        """The judges that give each response a score."""
        return [source for source in self.scorer if source.gives_scores]

    @property
    def judges(self) -> dict[str, JudgeConfig]:
        """The language models that are asked which answer is better, by name."""
        return {source.label: source.judge for source in self.scorer if source.judge is not None}
