"""The new model against the old one on unseen prompts: who wins, by how much, at what KL; best of n as the control."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, EvalConfig, OtherModel
from likelier.errors import ConfigError, LikelierError, NumericError
from likelier.evaluation.people import Answers, Page, Row, ask_people, open_people
from likelier.evaluation.statistics import best_of_n_kl, best_of_n_weights, shift, win_rate, wins
from likelier.files import check_writable, write_json
from likelier.intervals import Floats, mean_interval, rate_interval
from likelier.records import Prompt, Response, Text, plain, read_prompts
from likelier.reward.sources import Scorer, check_columns, judge, make_scorer
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import load_tokenizer
from likelier.text.sampler import Sampler, Samples, Sampling, draw_uniforms
from likelier.text.variety import distinct_n
from likelier.training.setup import pick_device, seeded_generator

Ask = Callable[[Sequence[Row]], Answers | None]
"""What people say of what both models wrote; None where they are not among the judges."""
SAMPLES_SHOWN = 32
HEADLINE = ("win_rate", "interval", "ties", "n", "score_a", "score_b")
BY_PEOPLE = ("judgements", "people", "unjudged")


@dataclass(frozen=True)
class Contestant:
    """One of the two models."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sampler: Sampler

    @classmethod
    def load(cls, path: str, device: torch.device, batch_size: int) -> "Contestant":
        """A model folder with our own sampler. DataError, ConfigError: see `load_policy`."""
        model, tokenizer = load_policy(path, device), load_tokenizer(path)
        return cls(model, tokenizer, ExactSampler(model, tokenizer, batch_size))

    def sample(self, prompts: Sequence[Text], sampling: Sampling, generator: torch.Generator) -> Samples:
        """One response to each prompt."""
        draws = draw_uniforms(generator, len(prompts), sampling.response_length, self.model.device)
        return self.sampler.sample(prompts, sampling, draws)


@dataclass(frozen=True)
class Written:
    """What one model wrote, and what each judge says of it."""

    samples: Samples
    scores: dict[str, Floats]
    """By judge; NaN for a response that it left out."""


def evaluate(config: Config, out: Path, page: Page | None = None) -> dict[str, Any]:
    """Compare `eval.model_b` with `eval.model_a`; writes `evaluation.json` in `out` and returns it without the samples.

    `page` is opened where people are among the judges; without one only what they have judged already counts.
    ConfigError, DataError: a setting, prompt file, model or judge that cannot be used. Stopped: see `ask_people`.
    """
    settings = config.eval
    for name in ("model_a", "model_b", "prompts", "scorer"):
        if not getattr(settings, name):
            raise ConfigError(f"eval.{name}: give one; an evaluation needs model_a, model_b, prompts and scorer")
    if settings.best_of and not settings.selector:
        raise ConfigError("eval.selector: best_of needs what picks the best: give the score that was trained against")
    if settings.people and settings.model_a == settings.model_b:
        raise ConfigError(f"eval.model_b: people would compare {settings.model_b} with itself; give another model")
    check_writable(out / "evaluation.json")
    with contextlib.ExitStack() as stack:
        people = stack.enter_context(open_people(settings)) if settings.people else None
        found = compare_loaded(config, lambda rows: ask_people(people, rows, settings, page) if people else None)
    write_json(out / "evaluation.json", found)
    return {name: value for name, value in found.items() if name != "samples"}


def compare_loaded(config: Config, ask: Ask) -> dict[str, Any]:
    """Load what `config.eval` names, and compare."""
    settings = config.eval
    prompts = read_prompts(Path(settings.prompts))[: settings.num_prompts]
    device = pick_device(settings.device)
    a, b = (Contestant.load(path, device, settings.batch_size) for path in (settings.model_a, settings.model_b))
    judges = make_scorer(settings.scoring, settings.device)
    selector = make_scorer(settings.selector, settings.device) if settings.selector else None
    check_columns(prompts, judges, selector)
    found = compare(a, b, prompts, judges, settings, config.seed, selector, ask)
    return {"model_a": settings.model_a, "model_b": settings.model_b, "seed": config.seed} | found


def compare(
    a: Contestant,
    b: Contestant,
    prompts: Sequence[Prompt],
    judges: Scorer,
    settings: EvalConfig,
    seed: int = 0,
    selector: Scorer | None = None,
    ask: Ask = lambda rows: None,
) -> dict[str, Any]:
    """The same with loaded models. The first of `eval.scorer` decides the win rate; each has its figures beside it.

    Both models write `responses_per_prompt` responses to each prompt from different random numbers; prompts are the
    clusters of every interval.
    """
    asked = [prompt for prompt in prompts for _ in range(settings.responses_per_prompt)]
    draw = seeded_generator(seed, 0, "evaluate a", a.model.device)
    before = write(a, asked, judges, settings, draw)
    found, after = hold_against(a, b, before, asked, judges, settings, seed)
    if selector and settings.best_of:
        found["best_of"] = best_of(a, prompts, judges, selector, before, settings, seed)
    if settings.others:
        found["others"] = [other_model(a, each, before, asked, judges, settings, seed) for each in settings.others]
    answers = ask(rows_of(asked, before.samples, after.samples, settings))
    if answers:
        found |= joined(found["judges"], answers.verdict, settings)
    return found | {"samples": side_by_side(asked, before, after, answers)}


def rows_of(asked: Sequence[Prompt], before: Samples, after: Samples, settings: EvalConfig) -> list[Row]:
    """What both models wrote to each prompt, as people compare it."""
    wrote = [
        [
            Response(prompt.id, text, model, reason)
            for prompt, text, reason in zip(asked, samples.texts, samples.stop_reasons, strict=True)
        ]
        for samples, model in ((before, settings.model_a), (after, settings.model_b))
    ]
    return [Row(*each) for each in zip(asked, *wrote, strict=True)]


def joined(by_judge: dict[str, Any], of_people: dict[str, Any], settings: EvalConfig) -> dict[str, Any]:
    """The judges in the order of `eval.scorer`, people among them, and the figures of the first."""
    assert settings.people is not None
    judges = list(by_judge.items())
    judges.insert(settings.scorer.index(settings.people), (settings.people.label, of_people))
    return headline(dict(judges)) | {"judges": dict(judges)}


def headline(by_judge: dict[str, Any]) -> dict[str, Any]:
    """The figures of the judge that decides; people give no scores, and are counted instead."""
    first: dict[str, Any] = next(iter(by_judge.values()), {})
    return {name: first.get(name) for name in HEADLINE} | {name: first[name] for name in BY_PEOPLE if name in first}


def hold_against(
    a: Contestant,
    b: Contestant,
    before: Written,
    asked: Sequence[Prompt],
    judges: Scorer,
    settings: EvalConfig,
    seed: int,
) -> tuple[dict[str, Any], Written]:
    """Figures of b against what a wrote, and what b wrote."""
    clusters = [prompt.conversation or prompt.id for prompt in asked]
    after = write(b, asked, judges, settings, seeded_generator(seed, 0, "evaluate b", b.model.device))
    by_judge = {name: verdict(name, before.scores[name], after.scores[name], clusters) for name in before.scores}
    found = headline(by_judge) | kl_between(a, b, after.samples, clusters, settings, seed)
    return found | {"judges": by_judge, "a": about(before), "b": about(after)}, after


def other_model(
    a: Contestant,
    other: OtherModel,
    before: Written,
    asked: Sequence[Prompt],
    judges: Scorer,
    settings: EvalConfig,
    seed: int,
) -> dict[str, Any]:
    """One more model in the place of `model_b`, with the same random numbers."""
    b = Contestant.load(other.model, a.model.device, settings.batch_size)
    found, _ = hold_against(a, b, before, asked, judges, settings, seed)
    kept = ("win_rate", "interval", "score_b", "kl", "kl_interval", "judges", "b")
    return {"name": other.label, "model": other.model} | {name: found[name] for name in kept}


def write(
    one: Contestant, prompts: Sequence[Prompt], judges: Scorer, settings: EvalConfig, generator: torch.Generator
) -> Written:
    """A response to each prompt, judged."""
    samples = one.sample([prompt.text for prompt in prompts], Sampling.from_config(settings), generator)
    by_judge = judge(judges, one.tokenizer, prompts, samples).by_source
    for name, scores in by_judge.items():
        if not scores.values.isfinite().all():
            raise NumericError(f"{name}: a score is not finite; the weights of this judge are damaged")
    return Written(samples, {name: scores.with_nan().double().cpu().numpy() for name, scores in by_judge.items()})


def verdict(name: str, scores_a: Floats, scores_b: Floats, clusters: Sequence[str]) -> dict[str, Any]:
    """The figures of one judge, over the prompts whose responses it scored. LikelierError: it scored none of them."""
    scored = ~np.isnan(scores_a) & ~np.isnan(scores_b)
    if not scored.any():
        raise LikelierError(f"eval.scorer: {name} returned None for every response; give it prompts of its own")
    scores_a, scores_b = scores_a[scored], scores_b[scored]
    clusters = [cluster for cluster, counts in zip(clusters, scored, strict=True) if counts]
    won = win_rate(scores_a, scores_b, clusters)
    means = {"score_a": float(scores_a.mean()), "score_b": float(scores_b.mean())}
    counts = {"win_rate": won.rate, "interval": won.interval, "ties": won.ties, "n": won.n}
    return counts | means | shift(scores_a, scores_b, clusters)


def about(written: Written) -> dict[str, Any]:
    """What one model's responses are like."""
    samples = written.samples
    ended = [reason != "length" for reason in samples.stop_reasons]
    return {
        "response_length": float(samples.mask.sum(1).double().mean()),
        "ended_rate": sum(ended) / len(ended),
        "distinct_1": distinct_n(samples.texts, 1),
        "distinct_2": distinct_n(samples.texts, 2),
    }


def kl_between(
    a: Contestant, b: Contestant, written: Samples, clusters: Sequence[str], settings: EvalConfig, seed: int
) -> dict[str, Any]:
    """KL of b from a, mean nats per whole response at temperature 1; null where their tokens are not the same.

    Estimated on responses of b (mean of log b - log a); drawn anew where these were not sampled at temperature 1.
    """
    if a.tokenizer.get_vocab() != b.tokenizer.get_vocab():
        return {"kl": None, "kl_interval": None}
    if settings.temperature != 1.0:
        draw = seeded_generator(seed, 0, "evaluate kl", b.model.device)
        sampling = Sampling.from_config(settings.model_copy(update={"temperature": 1.0}))
        written = b.sample(written.prompts, sampling, draw)
    rows = torch.arange(len(written.tokens)).split(settings.batch_size)
    nats = torch.cat([log_ratio(a.model, b.model, written, part) for part in rows]).double().cpu().numpy()
    return {"kl": float(nats.mean()), "kl_interval": mean_interval(nats, clusters)}


@torch.no_grad()
def log_ratio(a: PreTrainedModel, b: PreTrainedModel, written: Samples, rows: torch.Tensor) -> torch.Tensor:
    """log b - log a of some whole responses, in nats."""
    texts = (written.prompt_tokens[rows], written.prompt_mask[rows], written.tokens[rows], written.mask[rows])
    of_b, of_a = (compute_response_logprobs(model, *texts, temperature=1.0)[0] for model in (b, a))
    return (of_b - of_a).sum(1)


def best_of(
    a: Contestant,
    prompts: Sequence[Prompt],
    judges: Scorer,
    selector: Scorer,
    start: Written,
    settings: EvalConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """What picking the best of n responses of the old model would do: the control that any training must be held to.

    Wins are against the responses in `start`, which are not among those picked from.
    """
    most = max(settings.best_of)
    asked = [prompt for prompt in prompts for _ in range(most)]
    draw = seeded_generator(seed, 0, "evaluate best of n", a.model.device)
    pool = write(a, asked, judges, settings, draw)
    selected = selector.combine(judge(selector, a.tokenizer, asked, pool.samples))
    picked_by = selected.double().cpu().numpy().reshape(-1, most)
    rivals = {name: scores.reshape(len(prompts), -1) for name, scores in start.scores.items()}
    clusters = [prompt.conversation or prompt.id for prompt in prompts]
    found = []
    for n in sorted(set(settings.best_of)):
        weights = best_of_n_weights(picked_by, n)
        by_judge = {name: control(weights, pool.scores[name], rivals[name], clusters) for name in rivals}
        about_n = {"n": n, "kl_bound": best_of_n_kl(n), "selector_score": float((weights * picked_by).sum(1).mean())}
        found.append(about_n | next(iter(by_judge.values())) | {"judges": by_judge})
    return found


def control(weights: Floats, scores: Floats, rivals: Floats, clusters: Sequence[str]) -> dict[str, Any]:
    """What one judge says of the best of n: `weights` [prompts, N] of the pool's scores, rivals [prompts, K].

    Prompts of which it left a response out do not count. LikelierError: there are no others.
    """
    pool = scores.reshape(weights.shape)
    whole = ~np.isnan(np.concatenate([pool, rivals], axis=1)).any(axis=1)
    if not whole.any():
        raise LikelierError("eval.best_of: a judge of eval.scorer returned None for a response to each prompt")
    weights, pool, rivals = weights[whole], pool[whole], rivals[whole]
    clusters = [cluster for cluster, counts in zip(clusters, whole, strict=True) if counts]
    won = (weights * wins(rivals[:, None, :], pool[:, :, None]).mean(2)).sum(1)
    gained = (weights * pool).sum(1) - rivals.mean(1)
    deviation = float(rivals.std())
    return {
        "win_rate": float(won.mean()),
        "interval": rate_interval(won, clusters),
        "score": float((weights * pool).sum(1).mean()),
        "difference": float(gained.mean()),
        "difference_interval": mean_interval(gained, clusters),
        "in_stds": float(gained.mean()) / deviation if deviation else None,
    }


def side_by_side(
    asked: Sequence[Prompt], before: Written, after: Written, answers: Answers | None
) -> list[dict[str, Any]]:
    """Some responses of both models to the same prompts, with the prompts' columns, all scores and what people said."""
    first = next(iter(before.scores), None)
    rows = np.unique(np.linspace(0, len(before.samples.texts) - 1, SAMPLES_SHOWN).astype(int)).tolist()
    return [
        {
            "prompt": plain(before.samples.prompts[row]),
            "response_a": before.samples.texts[row],
            "response_b": after.samples.texts[row],
            "score_a": score_or_none(before.scores[first][row]) if first else None,
            "score_b": score_or_none(after.scores[first][row]) if first else None,
            "scores_a": {name: score_or_none(scores[row]) for name, scores in before.scores.items()},
            "scores_b": {name: score_or_none(scores[row]) for name, scores in after.scores.items()},
        }
        | ({"extra": asked[row].extra} if asked[row].extra else {})
        | ({"share_b": answers.shares[row]} if answers else {})
        for row in rows
    ]


def score_or_none(score: float) -> float | None:
    """A score for JSON: null where the judge left the response out."""
    return None if np.isnan(score) else float(score)
