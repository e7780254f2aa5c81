"""One model's responses to held-out prompts: sampling, scores, statistics, and KL from another model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import EvalConfig
from likelier.errors import NumericError
from likelier.evaluation.kept_samples import KeptSamples
from likelier.evaluation.result import ResponseStats
from likelier.intervals import Floats, Interval, mean_interval
from likelier.progress import progress
from likelier.records import Prompt, Text, list_pictures, to_plain_text
from likelier.reward.sources import Scorer, judge
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import load_tokenizer
from likelier.text.sampler import Sampler, Samples, Sampling, draw_uniforms, join_samples
from likelier.text.tools import Tools
from likelier.text.variety import distinct_n
from likelier.training.setup import seeded_generator


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

    @classmethod
    def load(
        cls,
        path: str,
        device: torch.device,
        batch_size: int,
        kept: KeptSamples | None = None,
        tools: Tools | None = None,
    ) -> "EvaluatedModel":
        """Load a model folder with the built-in sampler. DataError, ConfigError: see `load_policy`."""
        model, tokenizer = load_policy(path, device), load_tokenizer(path)
        return cls(path, model, tokenizer, ExactSampler(model, tokenizer, batch_size, tools), batch_size, kept)

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
        return self.kept.sample(self.path, prompts, sampling, draws, self.sampler.sample)


@dataclass(frozen=True)
class ScoredResponses:
    """Responses of one model with the scores of each judge."""

    samples: Samples
    scores: dict[str, Floats]
    """By judge; NaN for a response that it returned None for."""


def sample_and_score(
    model: EvaluatedModel, prompts: Sequence[Prompt], judges: Scorer, config: EvalConfig, generator: torch.Generator
) -> ScoredResponses:
    """Sample one response to each prompt and score it. NumericError: a score is not finite."""
    samples = model.sample([prompt.text for prompt in prompts], model.get_sampling(config), generator)
    by_judge = judge(judges, model.tokenizer, prompts, samples).by_source
    for name, scores in by_judge.items():
        if not scores.values.isfinite().all():
            raise NumericError(f"{name}: a score is not finite; the weights of this judge are damaged")
    return ScoredResponses(
        samples, {name: scores.with_nan().double().cpu().numpy() for name, scores in by_judge.items()}
    )


def describe_responses(samples: Samples) -> ResponseStats:
    """Return the length and diversity of the responses."""
    ended = [reason != "length" for reason in samples.stop_reasons]
    return ResponseStats(
        response_length=float(samples.drawn.sum(1).double().mean()),
        ended_rate=sum(ended) / len(ended),
        distinct_1=distinct_n(samples.texts, 1),
        distinct_2=distinct_n(samples.texts, 2),
    )


def estimate_kl(
    a: EvaluatedModel, b: EvaluatedModel, samples: Samples, clusters: Sequence[str], config: EvalConfig, seed: int
) -> tuple[Floats | None, float | None, Interval | None]:
    """Return the nats of each response, KL(b || a) in nats per response at temperature 1, and its interval.

    None if the vocabularies differ.

    Monte Carlo estimate: mean of log b - log a over `samples` of b, or over new samples if these have another
    temperature.
    """
    if a.tokenizer.get_vocab() != b.tokenizer.get_vocab():
        return None, None, None
    pure = {"temperature": 1.0, "top_k": None, "top_p": None, "use_generation_config": False}
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
