"""The score of a response: the weighted sum of reward models, Python functions and HTTP services."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from likelier.config import PEOPLE_GIVE_NO_SCORE, RewardSource
from likelier.config.rewards import PYTHON_CALLABLE, name_function, name_sources
from likelier.errors import ConfigError, DataError, LikelierError
from likelier.records import Prompt, column_names, list_pictures, to_plain_text
from likelier.reward.ensemble import Ensemble, load_ensemble
from likelier.reward.responses import JudgedBatch, ResponseBatch, Source
from likelier.reward.service import http_source
from likelier.reward.user_functions import FunctionContext, TrainerState, UserFunction
from likelier.text.adapters import FrozenModels
from likelier.text.sampler import Samples
from likelier.userfile import find_function


class Scorer:
    """Scores responses by the weighted sum of its sources."""

    def __init__(
        self,
        sources: dict[str, Source],
        weights: dict[str, float],
        token_sources: dict[str, Source] | None = None,
        context: FunctionContext | None = None,
    ) -> None:
        self.sources, self.weights, self.token_sources = sources, weights, token_sources or {}
        self.context = context or FunctionContext()

    @property
    def reads_tokens(self) -> bool:
        """True if a source needs the text of each token."""
        return bool(self.token_sources)

    def list_models(self) -> list[nn.Module]:
        """Return the models among the sources."""
        return [module for source in self.sources.values() if isinstance(source, Ensemble) for module in source.modules]

    @property
    def functions(self) -> list[UserFunction]:
        """The sources that are Python functions."""
        sources = [*self.sources.values(), *self.token_sources.values()]
        return [source for source in sources if isinstance(source, UserFunction)]

    def replace_source(self, name: str, source: Source) -> "Scorer":
        """Return a scorer with another source under a name; all else is shared."""
        return Scorer(self.sources | {name: source}, self.weights, self.token_sources, self.context)

    def begin_step(self, step: int, num_steps: int) -> None:
        """Update the training progress that reward functions can read."""
        self.context.state = TrainerState(step, num_steps)

    def judge(self, batch: ResponseBatch) -> JudgedBatch:
        """Return the scores of each source. `batch.token_texts` is required if `reads_tokens`."""
        self.context.clear(len(batch.texts))
        by_source = {name: source(batch) for name, source in self.sources.items()}
        if not self.token_sources:
            return JudgedBatch(batch, by_source, None, self.context.logged())
        at_tokens = {name: source(batch) for name, source in self.token_sources.items()}
        by_source |= {name: scores._replace(values=scores.values.sum(1)) for name, scores in at_tokens.items()}
        weighted = torch.stack([self.weights[name] * scores.values for name, scores in at_tokens.items()]).sum(0)
        return JudgedBatch(batch, by_source, weighted, self.context.logged())

    def combine(self, judged: JudgedBatch) -> Float[Tensor, " B"]:
        """Weighted sum over the sources that scored a response. LikelierError: none scored it."""
        unscored = ~torch.stack([each.scored for each in judged.by_source.values()]).any(0)
        if unscored.any():
            row = int(unscored.nonzero()[0])
            names, prompt = ", ".join(judged.by_source), " ".join(to_plain_text(judged.batch.prompts[row].text).split())
            raise LikelierError(
                f"response {row} has no score: {names} returned None for it; its prompt begins {prompt[:60]!r}"
            )
        return torch.stack([self.weights[name] * scores for name, scores in judged.unweighted.items()]).sum(0)

    def __call__(self, batch: ResponseBatch) -> Float[Tensor, " B"]:
        """Weighted sum of the sources for each response. LikelierError: a response has no score from any source."""
        return self.combine(self.judge(batch))


def make_scorer(
    sources: Sequence[RewardSource],
    device: str = "auto",
    people: Source | None = None,
    frozen: FrozenModels = FrozenModels(),  # noqa: B008 - frozen
) -> Scorer:
    """Load all sources; `people` stands for the one that asks people, `frozen` says how reward models are loaded.

    ConfigError, DataError: one cannot be found or loaded, or people are among them and cannot be asked here.
    """
    context = FunctionContext()
    whole: dict[str, Source] = {}
    per_token: dict[str, Source] = {}
    weights: dict[str, float] = {}
    for name, source in zip(name_sources(sources), sources, strict=True):
        weights[name] = source.weight
        (per_token if source.per == "token" else whole)[name] = load_source(source, device, context, people, frozen)
    return Scorer(whole, weights, per_token, context)


def load_source(
    source: RewardSource,
    device: str,
    context: FunctionContext,
    people: Source | None = None,
    frozen: FrozenModels = FrozenModels(),  # noqa: B008 - frozen
) -> Source:
    """Load one source. ConfigError, DataError: see `load_ensemble`, `UserFunction`, `http_source`."""
    if source.model is not None:
        return load_ensemble(source.model, device, source.caution, source.combine, frozen)
    if source.function is not None:
        function = find_reward_function(source.function)
        name, per_token = name_function(source.function), source.per == "token"
        return UserFunction(function, name, context, per_token, source.arguments)
    if source.http is not None:
        return http_source(source.http)
    if people is None:
        raise ConfigError(f"reward: {PEOPLE_GIVE_NO_SCORE}")
    return people


def find_reward_function(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return a callable, or import one by name. ConfigError: the name of a callable that existed in another process."""
    if callable(function):
        return function
    if function.startswith(PYTHON_CALLABLE):
        raise ConfigError(
            f"reward function `{function}` was passed from Python, and its name alone does not find it; "
            "give it again, reward=... of likelier.train_ppo"
        )
    return find_function(function, "reward function")


def check_columns(prompts: Sequence[Prompt], *scorers: Scorer | None) -> None:
    """ConfigError: a reward function requires a column that none of the prompts has. DataError: a function of Likelier
    cannot read the value of one."""
    columns = column_names(prompts)
    file = prompts[0].source.rpartition(":")[0] if prompts else ""
    for scorer in filter(None, scorers):
        for function in scorer.functions:
            function.check_columns(columns, file)
            function.check_values(prompts)


def check_pictures(prompts: Sequence[Prompt], setting: str, sources: Sequence[RewardSource]) -> None:
    """ConfigError: prompts have pictures, and a source reads texts only: it would score answers to half a question."""
    if not any(list_pictures(prompt.text) for prompt in prompts):
        return
    # People who compare see the pictures; those who rate are followed by a model of their ratings, which does not.
    blind = ("model", "judge", "people") if setting == "reward" else ("model", "judge")
    for number, source in enumerate(sources):
        if kind := next((kind for kind in blind if getattr(source, kind) is not None), None):
            raise ConfigError(
                f"{setting}.{number}.{kind}: reads texts only, and prompts have pictures; give a function or http"
            )


def check_scored(prompts: Sequence[Prompt], scorer: Scorer) -> None:
    """DataError: no source scores a prompt, since all are functions of Likelier and the columns they read are empty."""
    functions = scorer.functions
    if len(functions) < len(scorer.sources) + len(scorer.token_sources):
        return
    unscored = set.intersection(*(set(function.check_values(prompts)) for function in functions))
    if unscored:
        prompt = prompts[min(unscored)]
        columns = dict.fromkeys(name for function in functions for name in function.columns or ())
        empty = " and ".join(f"`{name}`" for name in columns if prompt.extra.get(name) is None)
        raise DataError(
            f"{prompt.source or 'a prompt'}: no {empty}, which {functions[0].label} reads; no other source scores it"
        )


def judge(
    scorer: Scorer, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], samples: Samples
) -> JudgedBatch:
    """Score sampled responses with each source."""
    return scorer.judge(ResponseBatch.from_samples(prompts, samples, tokenizer, scorer.reads_tokens))
