"""Checks before a run: the spread of scores, their agreement with judges, the amount and quality of feedback."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from likelier.config import Config, build_config, read_yaml
from likelier.doctor.examine import sort_by_severity
from likelier.doctor.findings import score, settings
from likelier.doctor.findings.history import Finding, History, fmt
from likelier.engines.choose import make_sampler
from likelier.errors import ConfigError
from likelier.files import stable_id
from likelier.intervals import Interval, mean_interval, rate_interval
from likelier.records import Preference, read_preferences
from likelier.reward.sources import check_columns, check_scored, judge, make_scorer
from likelier.reward.verdict import read_reward_results
from likelier.text.exact_sampler import load_policy
from likelier.text.models import load_tokenizer
from likelier.text.prompts import check_prompts, load_prompts
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.training.setup import pick_device, seeded_generator

Findings = dict[str, Any]
NUM_PROMPTS, RESPONSES_PER_PROMPT = 32, 16
MIN_PAIRS = 300
MIN_AGREEMENT = 0.6


class InitialSamples(NamedTuple):
    """Responses of the initial policy, scored by the reward and by each judge."""

    scores: Float[Tensor, "P K"]
    rescored: Float[Tensor, "P K"]
    """Scores of the same responses, computed a second time."""
    judged: dict[str, Float[Tensor, "P K"]]
    """NaN where a judge left a response out."""
    ended: Float[Tensor, " B"]


def preflight(config: Config) -> Findings:
    """Sample and score 16 responses to each of 32 prompts and check the preferences behind the reward; no training.

    ConfigError, DataError: a setting, prompt file or model folder that cannot be used.
    """
    sampled = sample_start(config)
    people = summarize_feedback(config)
    findings = [*check_scores(sampled, config), *check_judges(sampled), *check_people(people)]
    settings_findings = (settings.find_discount(config.ppo, 0), settings.find_misplaced_penalty(config.ppo, 0))
    findings += [
        finding
        for finding in (*settings_findings, score.check_heldout_pairs(empty_history(config)))
        if finding is not None
    ]
    return {
        "findings": [asdict(finding) for finding in sort_by_severity(findings)],
        "prompts": len(sampled.scores),
        "responses": sampled.scores.numel(),
        "score": float(sampled.scores.mean()),
        "score_std": float(sampled.scores.std(unbiased=False)),
        "group_score_std": float(sampled.scores.std(1).mean()),
        "ended_rate": float(sampled.ended.mean()),
        "best_of_16": {name: best_of(sampled.scores, judged) for name, judged in sampled.judged.items()},
        **people,
    }


def empty_history(config: Config) -> History:
    """A history without steps: only settings and reward results."""
    return History([{"step": 0}], config, rewards=read_reward_results(config.reward))


def sample_start(config: Config) -> InitialSamples:
    """Sample and score responses of `config.model`, as in the first step of a run; without people, who come later."""
    if not config.model or not config.reward:
        raise ConfigError(f"{'reward' if config.model else 'model'}: not set; give what a PPO run would be given")
    train = load_prompts(config).train
    prompts = train[:NUM_PROMPTS]
    repeated = [prompt for prompt in prompts for _ in range(RESPONSES_PER_PROMPT)]
    if not (sources := [source for source in config.reward if source.people is None]):
        line = (
            "nobody has rated anything before the first step, and preflight checks scores; give it another source too"
        )
        raise ConfigError(f"reward: people: {line}")
    scorer = make_scorer(sources, config.ppo.device)
    judges = make_scorer(config.eval.scoring, config.ppo.device) if config.eval.scoring else None
    check_columns(train, scorer, judges)
    check_scored(train, scorer)
    model = load_policy(config.model, pick_device(config.ppo.device))
    tokenizer = load_tokenizer(config.model, config.chat_template_kwargs)
    ppo = config.ppo
    check_prompts(model, tokenizer, prompts, ppo.response_length, "ppo.response_length", ppo.max_prompt_tokens)
    generator = seeded_generator(config.seed, 0, "preflight", model.device)
    draws = draw_uniforms(generator, len(repeated), config.ppo.response_length, model.device)
    texts = [prompt.text for prompt in repeated]
    samples = make_sampler(model, tokenizer, config.ppo).sample(texts, Sampling.from_config(config.ppo), draws)
    first, rescored = (scorer.combine(judge(scorer, tokenizer, repeated, samples)) for _ in range(2))
    by_judge = judge(judges, tokenizer, repeated, samples).by_source if judges else {}
    grouped = (len(prompts), RESPONSES_PER_PROMPT)
    return InitialSamples(
        scores=first.view(grouped),
        rescored=rescored.view(grouped),
        judged={
            name: scores.with_nan().view(grouped)
            for name, scores in by_judge.items()
            if scores.scored.view(grouped).all(1).any()
        },
        ended=torch.tensor([reason != "length" for reason in samples.stop_reasons]).float(),
    )


def check_scores(sampled: InitialSamples, config: Config) -> list[Finding]:
    """Findings on scores: no spread within prompts, saturation, noise; and responses that never end."""
    scores, findings = sampled.scores, []
    total, within = float(scores.std(unbiased=False)), float(scores.std(1).mean())
    equal = float((scores == scores[:, :1]).all(1).float().mean())
    shares = {"highest": (scores == scores.max()).float().mean(), "lowest": (scores == scores.min()).float().mean()}
    evidence = f"{len(scores)} prompts, {RESPONSES_PER_PROMPT} responses each, step 0: "
    evidence += f"standard deviation of the score {fmt(total)}, within a prompt {fmt(within)}; "
    evidence += f"all equal for {100 * equal:.0f} % of the prompts"
    if equal > 0.5 or within < 0.02 * total or total <= 1e-6 * max(1.0, float(scores.mean().abs())):
        cause = "The score hardly depends on the response: there is nothing to learn from"
        remedy = "Take other prompts, a higher ppo.temperature, or a score with finer grades"
        findings.append(Finding("no_reward_spread", "error", 0, evidence, cause, remedy))
    elif (extreme := max(shares, key=lambda name: float(shares[name]))) and shares[extreme] > 0.9:
        cause = f"{100 * float(shares[extreme]):.0f} % of the responses have the {extreme} score that there is"
        remedy = "Take prompts of another difficulty, or a score with finer grades"
        findings.append(Finding("scorer_saturated", "warning", 0, evidence, cause, remedy))
    noise = float((sampled.rescored - scores).square().mean().sqrt() / math.sqrt(2))
    if noise > 0.1 * total and total > 0:
        evidence = f"{scores.numel()} responses scored twice at step 0: one response's score varies by {fmt(noise)}, "
        evidence += f"all scores by {fmt(total)}"
        cause = "The score of one response is not one number: part of what is learned from is chance"
        remedy = "Make the score deterministic (a seed, temperature 0), or average several"
        findings.append(
            Finding("scorer_noisy", "error" if noise > 0.7 * total else "warning", 0, evidence, cause, remedy)
        )
    ended = float(sampled.ended.mean())
    if ended < 0.05 and config.ppo.may_end:
        evidence = f"{100 * ended:.0f} % of the responses end within {config.ppo.response_length} tokens, at step 0"
        cause = "The model does not know the end token, or the limit is too short for it"
        remedy = "Raise ppo.response_length, set ppo.stop_strings, or say ppo.stop_token=null"
        findings.append(Finding("never_ends", "warning", 0, evidence, cause, remedy))
    return findings


def best_of(scores: Float[Tensor, "P K"], judged: Float[Tensor, "P K"]) -> Findings:
    """Mean judge score of the best of K by the training score, and its gain over the mean of all responses."""
    is_complete = ~judged.isnan().any(1)  # a judge may leave prompts out
    scores, judged = scores[is_complete], judged[is_complete]
    best = judged.gather(1, scores.argmax(1, keepdim=True))[:, 0]
    gain = (best - judged.mean(1)).double().numpy()
    return {
        "mean": float(judged.mean()),
        "best": float(best.mean()),
        "gain": float(gain.mean()),
        "gain_interval": mean_interval(gain, [str(index) for index in range(len(gain))]),
        "prompts": len(gain),
    }


def check_judges(sampled: InitialSamples) -> list[Finding]:
    """Findings on judges: best-of-16 by the training score gains nothing by a held-out judge."""
    findings = []
    for name, judged in sampled.judged.items():
        best = best_of(sampled.scores, judged)
        low, high = best["gain_interval"] or (best["gain"], best["gain"])  # None: the same on every prompt
        if best["prompts"] < 2 or low > 0:
            continue
        evidence = f"At step 0 {name} gives the best of 16 by the score {fmt(best['best'])}, all responses "
        evidence += f"{fmt(best['mean'])}: a gain of {fmt(best['gain'])}, "
        evidence += f"interval {fmt(low)} to {fmt(high)}" if low < high else "the same on every prompt"
        cause = f"What the score prefers, {name} does not; where the best of 16 gains nothing, PPO will not either"
        remedy = "Improve the score before training against it: more or cleaner pairs, another base model, more prompts"
        findings.append(Finding("best_of_16_flat", "error" if high < 0 else "warning", 0, evidence, cause, remedy))
    return findings


def summarize_feedback(config: Config) -> Findings:
    """Number of pairs behind the reward models and agreement between annotators; None where unknown."""
    pairs: list[Preference] = []
    for source in config.reward:
        if folder := find_preferences_folder(source.model):
            pairs += [pair for part in sorted(folder.glob("*.jsonl")) for pair in read_pairs_file(part)]
    agreed, clusters = pairwise_agreement(pairs)
    return {
        "pairs": len(pairs) or None,
        "agreement": sum(agreed) / len(agreed) if agreed else None,
        "agreement_interval": rate_interval(agreed, clusters) if agreed else None,
    }


def read_pairs_file(path: Path) -> list[Preference]:
    """Preferences in one file; none if it is empty."""
    return read_preferences(path) if path.stat().st_size else []


def find_preferences_folder(model: str | None) -> Path | None:
    """The preferences folder behind a reward model, if its run and that folder still exist."""
    for run in (Path(model), Path(model).parent) if model else ():
        if (run / "run.json").is_file() and (run / "config.yaml").is_file():
            data = Path(build_config(read_yaml(run / "config.yaml")).data)
            return data if data.is_dir() else None
    return None


def pairwise_agreement(pairs: Sequence[Preference]) -> tuple[list[float], list[str]]:
    """(1 if equal else 0, cluster) for every two annotators of the same comparison; ties are left out."""
    chosen: dict[str, list[Preference]] = defaultdict(list)
    for pair in pairs:
        if pair.comparison and pair.annotator and pair.target != 0.5:
            chosen[pair.comparison].append(pair)
    both = [
        (float(one.chosen == other.chosen), one.conversation or stable_id(one.prompt))
        for judged in chosen.values()
        for one, other in combinations(judged, 2)
        if one.annotator != other.annotator
    ]
    return [same for same, _ in both], [cluster for _, cluster in both]


def check_people(people: Findings) -> list[Finding]:
    """Findings on the feedback: too few pairs, annotators who disagree."""
    findings, pairs = [], people["pairs"]
    if pairs is not None and pairs < MIN_PAIRS:
        evidence = f"{pairs} pairs behind the reward, looked up at step 0"
        cause = f"Below {MIN_PAIRS} pairs a reward model learns little more than length and single words"
        findings.append(Finding("few_pairs", "warning", 0, evidence, cause, "Collect more comparisons before training"))
    interval: Interval | None = people["agreement_interval"]
    if interval is not None and people["agreement"] < MIN_AGREEMENT:
        evidence = f"Two people who judge one comparison agree in {100 * people['agreement']:.0f} % "
        evidence += f"(interval {100 * interval[0]:.0f} to {100 * interval[1]:.0f}), looked up at step 0"
        cause = "At 50 % they answer as if by chance; 70 to 77 % is usual"
        remedy = "Run likelier check: write clearer guidelines, drop who clicks at random, ask easier comparisons"
        findings.append(
            Finding("low_agreement", "error" if interval[0] <= 0.5 else "warning", 0, evidence, cause, remedy)
        )
    return findings
