"""Responses of one model to held-out prompts, sampled or read: scores, statistics, and KL from another model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import EvalConfig, ModelDtype
from likelier.engines.choose import make_sampler
from likelier.errors import DataError, NumericError
from likelier.evaluation.kept_samples import KeptSamples
from likelier.evaluation.result import ResponseStats
from likelier.files import read_jsonl
from likelier.intervals import Floats, Interval, mean_interval
from likelier.progress import progress
from likelier.records import Prompt, Text, check_text, list_pictures, to_plain_text
from likelier.reward.responses import ResponseBatch
from likelier.reward.sources import Scorer
from likelier.text.chat_template import get_template_kwargs
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import load_tokenizer
from likelier.text.prompts import check_prompts
from likelier.text.sampler import Sampler, Samples, Sampling, draw_uniforms, join_samples
from likelier.text.variety import distinct_n
from likelier.training.setup import seeded_generator


@dataclass(frozen=True)
class Responses:
    """Responses to prompts, in their order."""

    batch: ResponseBatch
    stop_reasons: Sequence[str]
    """`end_token`, `stop_string` or `length`; empty where a file does not say."""
    samples: Samples | None = None
    """The same as tokens; None for responses from a file or a server."""
    token_counts: Sequence[int] | None = None
    """Tokens of each, where only a server has seen them."""

    @property
    def texts(self) -> Sequence[str]:
        """The responses as texts."""
        return self.batch.texts

    @property
    def lengths(self) -> list[int] | None:
        """The length of each in tokens; None for responses from a file."""
        if self.samples is None:
            return None if self.token_counts is None else list(self.token_counts)
        lengths: list[int] = self.samples.drawn.sum(1).tolist()
        return lengths


@runtime_checkable
class Respondent(Protocol):
    """Gives a response to each prompt: a model, or a file that somebody else's model wrote."""

    def check(self, prompts: Sequence[Prompt], config: EvalConfig) -> None:
        """Raise ConfigError or DataError if it cannot respond to all of the prompts."""
        ...

    def respond(self, prompts: Sequence[Prompt], config: EvalConfig, seed: int, purpose: str) -> Responses:
        """Return a response to each prompt; where a prompt stands several times, another one each time."""
        ...


@dataclass(frozen=True)
class RecordedResponses:
    """Responses that stand in a file."""

    path: str
    by_prompt: Mapping[str, Sequence[tuple[str, str]]]
    """Text and reason to stop of each response, by the id of its prompt."""

    @classmethod
    def load(cls, path: str) -> "RecordedResponses":
        """Read JSON lines with `prompt` and `response`, or `responses` as `likelier candidates` writes them.

        DataError: a line without them.
        """
        by_prompt: dict[str, list[tuple[str, str]]] = {}
        for number, record in read_jsonl(Path(path)):
            prompt = Prompt(check_text(Path(path), number, record, "prompt"))
            by_prompt.setdefault(prompt.id, []).extend(read_responses(f"{path}:{number}", record))
        return cls(path, by_prompt)

    def check(self, prompts: Sequence[Prompt], config: EvalConfig) -> None:
        """DataError: fewer responses to a prompt than `eval.responses_per_prompt`."""
        wanted = Counter({prompt.id: 0 for prompt in prompts})
        for prompt in prompts:
            wanted[prompt.id] += config.responses_per_prompt
        for prompt in prompts:
            if (count := len(self.by_prompt.get(prompt.id, ()))) < wanted[prompt.id]:
                raise DataError(
                    f"{self.path}: {count or 'no'} response{'s' * (count > 1)} to {prompt.source or 'a prompt'}, "
                    f"which begins {to_plain_text(prompt.text)[:40]!r}; eval needs {wanted[prompt.id]}"
                )

    def respond(self, prompts: Sequence[Prompt], config: EvalConfig, seed: int, purpose: str) -> Responses:
        """Return the responses in the order in which they stand in the file."""
        used, found = Counter[str](), []
        for prompt in prompts:
            found.append(self.by_prompt[prompt.id][used[prompt.id]])
            used[prompt.id] += 1
        return Responses(ResponseBatch(prompts, [text for text, _ in found]), [reason for _, reason in found])


def read_responses(place: str, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return text and reason to stop of each response in a line. DataError: it has none, or one that is no text."""
    given = record.get("responses", [record.get("response")])
    each = [one if isinstance(one, dict) else {"text": one} for one in given] if isinstance(given, list) else []
    if not each or not all(isinstance(one.get("text"), str) for one in each):
        raise DataError(f"{place}: `response` must be a text, or `responses` a list of texts")
    return [(one["text"], str(one.get("stop_reason") or "")) for one in each]


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with its tokenizer and sampler."""

    path: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sampler: Sampler
    batch_size: int
    kept: KeptSamples | None = None
    """Where batches that are done are kept."""
    dtype: ModelDtype = "float32"
    """Of its stored weights."""

    @classmethod
    def load(
        cls,
        path: str,
        device: torch.device,
        config: EvalConfig,
        kept: KeptSamples | None = None,
        template_kwargs: Mapping[str, Any] = {},
        dtype: ModelDtype = "float32",
    ) -> "EvaluatedModel":
        """Load a model folder, with its sampler. DataError, ConfigError: see `load_policy` and `make_sampler`."""
        model, tokenizer = load_policy(path, device, dtype), load_tokenizer(path, template_kwargs)
        return cls(path, model, tokenizer, make_sampler(model, tokenizer, config), config.batch_size, kept, dtype)

    def check(self, prompts: Sequence[Prompt], config: EvalConfig) -> None:
        """ConfigError, DataError: see `check_prompts`."""
        check_prompts(self.model, self.tokenizer, prompts, config.response_length, "eval.response_length")

    def respond(self, prompts: Sequence[Prompt], config: EvalConfig, seed: int, purpose: str) -> Responses:
        """Sample a response to each prompt; `purpose` tells the random numbers of one use from those of another."""
        generator = seeded_generator(seed, 0, purpose, self.model.device)
        samples = self.sample([prompt.text for prompt in prompts], self.get_sampling(config), generator)
        return Responses(ResponseBatch.from_samples(prompts, samples, self.tokenizer), samples.stop_reasons, samples)

    def get_sampling(self, config: EvalConfig) -> Sampling:
        """Return how this model is sampled: as the config says, or as its own generation settings do."""
        sampling = Sampling.from_config(config)
        return sampling.with_generation_config(self.model) if config.use_generation_config else sampling

    def sample(self, prompts: Sequence[Text], sampling: Sampling, generator: torch.Generator) -> Samples:
        """Sample one response to each prompt, prompts of like length together."""
        draws = draw_uniforms(generator, len(prompts), sampling.response_length, self.model.device)
        order = sorted(range(len(prompts)), key=lambda row: len(to_plain_text(prompts[row])))
        parts = []
        with progress("eval: responses", len(prompts)) as job:
            for first in range(0, len(prompts), self.batch_size):
                rows = order[first : first + self.batch_size]
                parts.append(self.sample_batch([prompts[row] for row in rows], sampling, draws[rows]))
                job.advance(len(rows))
        return join_samples(parts, order)

    def sample_batch(self, prompts: Sequence[Text], sampling: Sampling, draws: torch.Tensor) -> Samples:
        """Sample a batch, or return it as it was kept."""
        if self.kept is None or any(map(list_pictures, prompts)):  # pictures are not kept, so that all is done again
            return self.sampler.sample(prompts, sampling, draws)
        kwargs = get_template_kwargs(self.tokenizer)
        more = {**kwargs, **({} if self.dtype == "float32" else {"model_dtype": self.dtype})}
        more |= {} if isinstance(self.sampler, ExactSampler) else {"sampler": type(self.sampler).__name__}
        return self.kept.sample(self.path, prompts, sampling, draws, self.sampler.sample, more)


@dataclass(frozen=True)
class ScoredResponses:
    """Responses of one model with the scores of each judge."""

    responses: Responses
    scores: dict[str, Floats]
    """By judge; NaN for a response that it returned None for."""


def respond_and_score(
    model: Respondent, prompts: Sequence[Prompt], judges: Scorer, config: EvalConfig, seed: int, purpose: str
) -> ScoredResponses:
    """Have the model respond to each prompt, and score its responses. NumericError: a score is not finite."""
    responses = model.respond(prompts, config, seed, purpose)
    by_judge = judges.judge(responses.batch).by_source
    for name, scores in by_judge.items():
        if not scores.values.isfinite().all():
            raise NumericError(f"{name}: a score is not finite; the weights of this judge are damaged")
    return ScoredResponses(
        responses, {name: scores.with_nan().double().cpu().numpy() for name, scores in by_judge.items()}
    )


def describe_responses(responses: Responses) -> ResponseStats:
    """Return the length and diversity of the responses."""
    ended = [reason != "length" for reason in responses.stop_reasons if reason]
    return ResponseStats(
        response_length=None if responses.lengths is None else sum(responses.lengths) / len(responses.lengths),
        ended_rate=sum(ended) / len(ended) if ended else None,
        distinct_1=distinct_n(responses.texts, 1),
        distinct_2=distinct_n(responses.texts, 2),
    )


def estimate_kl(
    a: Respondent, b: Respondent, samples: Samples | None, clusters: Sequence[str], config: EvalConfig, seed: int
) -> tuple[Floats | None, float | None, Interval | None]:
    """Return the nats of each response, KL(b || a) in nats per response at temperature 1, and its interval.

    None if the vocabularies differ, or responses stand in a file.

    Monte Carlo estimate: mean of log b - log a over `samples` of b, or over new samples if these have another
    temperature.
    """
    if samples is None or not isinstance(a, EvaluatedModel) or not isinstance(b, EvaluatedModel):
        return None, None, None
    if a.tokenizer.get_vocab() != b.tokenizer.get_vocab():
        return None, None, None
    pure = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, "use_generation_config": False}
    if any(getattr(config, name) != value for name, value in pure.items()):
        generator = seeded_generator(seed, 0, "evaluate kl", b.model.device)
        sampling = Sampling.from_config(config.model_copy(update=pure))
        samples = b.sample(samples.prompts, sampling, generator)
    batches = torch.arange(len(samples.tokens)).split(config.batch_size)
    log_ratios = torch.cat([compute_log_ratios(a.model, b.model, samples, rows) for rows in batches])
    nats = log_ratios.double().cpu().numpy()
    return nats, float(nats.mean()), mean_interval(nats, clusters)


@torch.no_grad()
def compute_log_ratios(a: PreTrainedModel, b: PreTrainedModel, samples: Samples, rows: torch.Tensor) -> torch.Tensor:
    """Return log b - log a, summed over the tokens that b drew in each response in `rows`, in nats."""
    tensors = (samples.prompt_tokens[rows], samples.prompt_mask[rows], samples.tokens[rows], samples.mask[rows])
    pictures = samples.pictures and samples.pictures[rows]
    logprobs_b, logprobs_a = (
        compute_response_logprobs(model, *tensors, temperature=1.0, pictures=pictures)[0] for model in (b, a)
    )
    return torch.where(samples.drawn[rows], logprobs_b - logprobs_a, 0.0).sum(1)
