"""Compare the new model with the old one on held-out prompts: win rate, score difference, KL, best-of-n control."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from likelier.config import Config, EvalConfig, OtherModel
from likelier.config.evaluation import is_response_file
from likelier.config.rewards import name_sources
from likelier.errors import ConfigError, LikelierError
from likelier.evaluation.best_of_n import evaluate_best_of_n
from likelier.evaluation.corrected import correct_win_rate
from likelier.evaluation.judge import ChatPreferences, KeptAnswers, ask_judge
from likelier.evaluation.kept_samples import PART, KeptSamples
from likelier.evaluation.knowledge import compare_knowledge, read_known_answers
from likelier.evaluation.length_control import control_length
from likelier.evaluation.people import (
    AnnotationPage,
    HumanPreferences,
    ResponsePair,
    ask_people,
    choose_counted,
    open_people,
)
from likelier.evaluation.respondents import load_respondent
from likelier.evaluation.responses import (
    Respondent,
    Responses,
    ScoredResponses,
    describe_responses,
    estimate_kl,
    respond_and_score,
)
from likelier.evaluation.result import EvaluationResult, JsonObject, JudgeResult, OtherResult, ScorerResult
from likelier.evaluation.statistics import compute_shift, compute_win_rate, compute_wins
from likelier.evaluation.verdict import read_training_errors
from likelier.files import check_writable, write_json
from likelier.intervals import Floats
from likelier.progress import print_note
from likelier.records import Prompt, Response, read_prompts, to_plain_text
from likelier.reward.sources import Scorer, check_columns, check_pictures, make_scorer
from likelier.reward.verdict import read_reward_results
from likelier.text.topics import name_topics
from likelier.training.setup import pick_device

SAMPLES_SHOWN = 32
WORST_SHOWN = 8
ACCURACY_FIELDS = (
    "accuracy",
    "accuracy_interval",
    "pairs",
    "length_only_accuracy",
    "over_length_only_interval",
)
"""Of a reward run's result: what says how far it can be trusted as a judge."""


class Opinions(NamedTuple):
    """Preferences between pairs of responses, by those who give no scores."""

    people: HumanPreferences | None = None
    """None if people are not among the judges."""
    judges: Mapping[str, ChatPreferences] = {}
    """Of language models, by name."""

    def list_verdicts(self, row: int) -> JsonObject:
        """Return each language model's verdict on a pair: 1 for b, 0 for a, 1/2 for a tie; None if unreadable."""
        return {name: nan_to_none(float(each.shares[row])) for name, each in self.judges.items()}


Ask = Callable[[Sequence[ResponsePair]], Opinions]
"""Asks the judges that compare both models' responses."""


def evaluate(config: Config, out: Path, page: AnnotationPage | None = None) -> EvaluationResult:
    """Compare `eval.model_b` with `eval.model_a`; writes `evaluation.json` in `out` and returns it without the samples.

    `page` is served if people are among the judges; without one only stored judgements count. Batches of responses that
    are done stand in `responses.part` until all is: after a kill the same evaluation in `out` goes on from there. What
    language models answered as judges stays in `judge.jsonl`, and nothing is asked twice.
    ConfigError, DataError: a setting, prompt file, model or judge that cannot be used. Stopped: see `ask_people`.
    """
    settings = config.eval
    for name in ("model_a", "model_b", "prompts", "scorer"):
        if not getattr(settings, name):
            raise ConfigError(f"eval.{name}: give one; an evaluation needs model_a, model_b, prompts and scorer")
    if settings.best_of and not settings.selector:
        raise ConfigError("eval.selector: best_of needs what picks the best: give the score that was trained against")
    if (settings.people or settings.judges) and settings.model_a == settings.model_b:
        who = "people" if settings.people else "the judge"
        raise ConfigError(f"eval.model_b: {who} would compare {settings.model_b} with itself; give another model")
    check_writable(out / "evaluation.json")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(open_people(settings)) if settings.people else None
        kept, answers = KeptSamples(out / PART), KeptAnswers(out)

        def ask(pairs: Sequence[ResponsePair]) -> Opinions:
            # Before people: a service that does not answer ends the evaluation before they spend their time.
            judges = {name: ask_judge(name, judge, pairs, answers) for name, judge in settings.judges.items()}
            return Opinions(ask_people(store, pairs, settings, page) if store else None, judges)

        result = load_and_compare(config, ask, kept)
    write_json(out / "evaluation.json", result.to_json())
    kept.remove()
    answers.finish()
    return replace(result, samples=(), worst=(), responses={})


def load_and_compare(config: Config, ask: Ask, kept: KeptSamples) -> EvaluationResult:
    """Load the models, prompts and judges of `config.eval`, and compare.

    The result also says how far its judges and the new model's training can be trusted.
    """
    settings = config.eval
    prompts = read_prompts(Path(settings.prompts))[: settings.num_prompts]
    kwargs = config.chat_template_kwargs
    load = partial(
        load_respondent, device=pick_device(settings.device), config=settings, kept=kept, template_kwargs=kwargs
    )
    a, b = load(settings.model_a), load(settings.model_b)
    files = [load(other.model) for other in settings.others if is_response_file(other.model)]
    for each in (a, b, *files):
        each.check(prompts, settings)
    answers = read_known_answers(Path(settings.knowledge)) if settings.knowledge else []
    knowledge = compare_knowledge(a, b, answers, settings.batch_size) if answers else None
    judges = make_scorer(settings.scoring, settings.device)
    selector = make_scorer(settings.selector, settings.device) if settings.selector else None
    check_columns(prompts, judges, selector)
    check_pictures(prompts, "eval.scorer", settings.scorer)
    check_pictures(prompts, "eval.selector", settings.selector)
    result = compare(a, b, prompts, judges, config, selector, ask, load)
    accuracy = {
        name: {key: found[key] for key in ACCURACY_FIELDS if key in found}
        for name, found in read_reward_results(settings.scoring).items()
    }
    errors = () if is_response_file(settings.model_b) else read_training_errors(settings.model_b)
    return replace(result, knowledge=knowledge, judge_accuracy=accuracy, training_errors=errors)


def compare(
    a: Respondent,
    b: Respondent,
    prompts: Sequence[Prompt],
    judges: Scorer,
    config: Config,
    selector: Scorer | None = None,
    ask: Ask = lambda pairs: Opinions(),
    load: Callable[[str], Respondent] | None = None,
) -> EvaluationResult:
    """Compare loaded models; the first judge of `eval.scorer` decides the win rate. `load` loads `eval.others` in turn.

    Both models sample `responses_per_prompt` responses to each prompt from different random numbers; prompts are the
    clusters of every interval.
    """
    settings, seed = config.eval, config.seed
    repeated = [prompt for prompt in prompts for _ in range(settings.responses_per_prompt)]
    print_note(f"eval: {settings.model_a} answers {len(repeated):,} prompts")
    responses_a = respond_and_score(a, repeated, judges, settings, seed, "evaluate a")
    print_note(f"eval: {settings.model_b} answers")
    result, responses_b = compare_with_responses(a, b, responses_a, repeated, judges, settings, seed)
    if selector and settings.best_of:
        best_of = evaluate_best_of_n(a, prompts, judges, selector, responses_a, settings, seed)
        result = replace(result, best_of=best_of)
    others = tuple(
        compare_other(a, load(other.model), other, responses_a, repeated, judges, settings, seed)
        for other in settings.others
        if load
    )
    pairs = pair_responses(repeated, responses_a.responses, responses_b.responses, settings)
    said = ask(pairs)
    by_judge = {**result.judges, **{name: each.result for name, each in said.judges.items()}}
    if said.people and settings.people:
        wins = {name: list_wins(scores, responses_b.scores[name]) for name, scores in responses_a.scores.items()}
        wins |= {name: each.shares for name, each in said.judges.items()}
        by_judge[settings.people.label] = said.people.result
        result = replace(result, corrected=correct_judges(pairs, said.people, wins))
    return replace(
        result,
        judges=order_judges(by_judge, settings),
        others=others,
        num_prompts=len({prompt.id for prompt in prompts}),
        samples=make_sample_records(repeated, responses_a, responses_b, said, spread_rows(len(repeated))),
        worst=make_sample_records(repeated, responses_a, responses_b, said, find_worst(responses_a, responses_b)),
    )


def compare_with_responses(
    a: Respondent,
    b: Respondent,
    responses_a: ScoredResponses,
    prompts: Sequence[Prompt],
    judges: Scorer,
    config: EvalConfig,
    seed: int,
) -> tuple[EvaluationResult, ScoredResponses]:
    """Return the result of b against the given responses of a, and the responses of b."""
    clusters = [prompt.conversation or prompt.id for prompt in prompts]
    responses_b = respond_and_score(b, prompts, judges, config, seed, "evaluate b")
    texts = zip(responses_a.responses.texts, responses_b.responses.texts, strict=True)
    longer = np.array([float(len(text_b) - len(text_a)) for text_a, text_b in texts])
    by_judge: dict[str, JudgeResult] = {
        name: compare_scores(name, scores_a, responses_b.scores[name], clusters, longer)
        for name, scores_a in responses_a.scores.items()
    }
    nats, kl, kl_interval = estimate_kl(a, b, responses_b.responses.samples, clusters, config, seed)
    result = EvaluationResult(
        model_a=config.model_a,
        model_b=config.model_b,
        seed=seed,
        kl=kl,
        kl_interval=kl_interval,
        judges=by_judge,
        a=describe_responses(responses_a.responses),
        b=describe_responses(responses_b.responses),
        responses={
            "a": list_measurements(responses_a),
            "b": list_measurements(responses_b) | ({} if nats is None else {"kl": round_all(nats)}),
        },
    )
    return result, responses_b


def compare_other(
    a: Respondent,
    b: Respondent,
    other: OtherModel,
    responses_a: ScoredResponses,
    prompts: Sequence[Prompt],
    judges: Scorer,
    config: EvalConfig,
    seed: int,
) -> OtherResult:
    """Compare one more model with a, as model b was compared and with the same random numbers."""
    result, _ = compare_with_responses(a, b, responses_a, prompts, judges, config, seed)
    return OtherResult(
        name=other.label,
        model=other.model,
        kl=result.kl,
        kl_interval=result.kl_interval,
        judges=result.judges,
        b=result.b,
    )


def compare_scores(
    name: str, scores_a: Floats, scores_b: Floats, clusters: Sequence[str], longer: Floats
) -> ScorerResult:
    """Return one judge's result over the prompts whose responses it scored. LikelierError: it scored none of them.

    `longer` is how many characters longer b's responses are.
    """
    is_scored = ~np.isnan(scores_a) & ~np.isnan(scores_b)
    if not is_scored.any():
        raise LikelierError(f"eval.scorer: {name} returned None for every response; give it prompts of its own")
    scores_a, scores_b = scores_a[is_scored], scores_b[is_scored]
    clusters = [cluster for cluster, counts in zip(clusters, is_scored, strict=True) if counts]
    win_rate = compute_win_rate(scores_a, scores_b, clusters)
    controlled = control_length(compute_wins(scores_a, scores_b), longer[is_scored], clusters)
    return ScorerResult(
        win_rate=win_rate.rate,
        interval=win_rate.interval,
        ties=win_rate.ties,
        n=win_rate.n,
        length_controlled=controlled and controlled.rate,
        length_controlled_interval=controlled and controlled.interval,
        score_a=float(scores_a.mean()),
        score_b=float(scores_b.mean()),
        **vars(compute_shift(scores_a, scores_b, clusters)),
    )


def pair_responses(
    prompts: Sequence[Prompt], responses_a: Responses, responses_b: Responses, config: EvalConfig
) -> list[ResponsePair]:
    """Pair both models' responses to each prompt, for people to compare."""
    paired = [
        [
            Response(prompt.id, text, model, reason)
            for prompt, text, reason in zip(prompts, each.texts, each.stop_reasons, strict=True)
        ]
        for each, model in ((responses_a, config.model_a), (responses_b, config.model_b))
    ]
    return [ResponsePair(*each) for each in zip(prompts, *paired, strict=True)]


def list_wins(scores_a: Floats, scores_b: Floats) -> Floats:
    """Return 1 where b's score is higher, 0 where a's is, 1/2 for equal ones; NaN where a response has none."""
    return np.where(np.isnan(scores_a) | np.isnan(scores_b), np.nan, compute_wins(scores_a, scores_b))


def correct_judges(
    pairs: Sequence[ResponsePair], preferences: HumanPreferences, wins: Mapping[str, Floats]
) -> dict[str, JsonObject]:
    """Return the win rate of each judge, whose wins of b are given, corrected by people's, where these are enough."""
    counted = choose_counted(pairs, preferences.shares)
    shares = np.full(len(pairs), np.nan)
    shares[counted] = [preferences.shares[index] for index in counted]
    longer = np.array([pair.length_difference for pair in pairs])
    clusters = np.array([pair.prompt.conversation or pair.prompt.id for pair in pairs])
    topics = np.array(name_topics([to_plain_text(pair.prompt.text) for pair in pairs]))
    corrected = {}
    for name, each in wins.items():
        known = ~np.isnan(each)
        found = correct_win_rate(shares[known], each[known], clusters[known].tolist(), longer[known], topics[known])
        if found:
            corrected[name] = found.to_json()
    return corrected


def order_judges(judges: Mapping[str, JudgeResult], config: EvalConfig) -> dict[str, JudgeResult]:
    """Return the judges' results in the order of `eval.scorer`."""
    scoring = iter(name_sources(config.scoring))
    names = [next(scoring) if source.gives_scores else source.label for source in config.scorer]
    return {name: judges[name] for name in names if name in judges} | dict(judges)


def spread_rows(num_rows: int) -> list[int]:
    """Return up to `SAMPLES_SHOWN` evenly spaced rows."""
    rows: list[int] = np.unique(np.linspace(0, num_rows - 1, SAMPLES_SHOWN).astype(int)).tolist()
    return rows


def find_worst(a: ScoredResponses, b: ScoredResponses) -> list[int]:
    """Return up to `WORST_SHOWN` rows whose score by the first judge fell most, the deepest fall first."""
    if not a.scores:
        return []
    first = next(iter(a.scores))
    change = b.scores[first] - a.scores[first]
    order: list[int] = np.argsort(change, kind="stable").tolist()  # NaN, of unscored responses, comes last
    return [row for row in order[:WORST_SHOWN] if change[row] < 0]


def list_measurements(responses: ScoredResponses) -> dict[str, list[float | None]]:
    """Return length in tokens, where it is known, and score by the first judge that scores, of each response."""
    lengths: list[float | None] = [*(responses.responses.lengths or ())]
    first = next(iter(responses.scores.values()), None)
    return ({"length": lengths} if lengths else {}) | ({} if first is None else {"score": round_all(first)})


def round_all(values: Floats) -> list[float | None]:
    """Return numbers with four digits, as pictures need them; None for NaN."""
    return [None if np.isnan(value) else float(f"{value:.4g}") for value in values]


def make_sample_records(
    prompts: Sequence[Prompt],
    a: ScoredResponses,
    b: ScoredResponses,
    said: Opinions,
    rows: Sequence[int],
) -> tuple[JsonObject, ...]:
    """Return the prompts of some rows with their columns, both responses, all scores, people's share for b and what
    language models say of it."""
    first = next(iter(a.scores), None)
    return tuple(
        {
            "prompt": to_plain_text(prompts[row].text),
            "response_a": a.responses.texts[row],
            "response_b": b.responses.texts[row],
            "score_a": nan_to_none(a.scores[first][row]) if first else None,
            "score_b": nan_to_none(b.scores[first][row]) if first else None,
            "scores_a": {name: nan_to_none(scores[row]) for name, scores in a.scores.items()},
            "scores_b": {name: nan_to_none(scores[row]) for name, scores in b.scores.items()},
        }
        | ({"extra": prompts[row].extra} if prompts[row].extra else {})
        | ({"share_b": said.people.shares[row]} if said.people else {})
        | ({"verdicts": said.list_verdicts(row)} if said.judges else {})
        for row in rows
    )


def nan_to_none(score: float) -> float | None:
    """Return the score for JSON: None if the judge did not score the response."""
    return None if np.isnan(score) else float(score)
