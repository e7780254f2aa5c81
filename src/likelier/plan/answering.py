"""Memory and time of candidates and the evaluation: models that answer prompts, and judges."""

from likelier.config import Config
from likelier.config.evaluation import is_response_file
from likelier.plan.decoding import trace_decoding
from likelier.plan.lengths import measure_prompts
from likelier.plan.machine import Machine
from likelier.plan.memory import Phase, add_parts, hold_models
from likelier.plan.models import build_policy_model, build_scorers, finish
from likelier.plan.passes import trace_logprobs, trace_scores
from likelier.plan.stage import StagePlan
from likelier.plan.trace import bring_to_cpu

CANDIDATES_AT_ONCE = 64
"""Responses that `likelier candidates` samples at once, unless --batch-size says otherwise."""
SCORED_AT_ONCE = 64


def plan_candidates(config: Config, machine: Machine, process: int) -> StagePlan:
    """Plan the answers of a circle's round. `process`: bytes of Python and its libraries."""
    circle, lengths = config.circle, measure_prompts(config)
    model = finish(build_policy_model(config.model))
    rows = max(1, CANDIDATES_AT_ONCE // circle.responses_per_prompt) * circle.responses_per_prompt
    texts = lengths.longest, config.ppo.response_length
    decoding = trace_decoding(model, rows, circle.responses_per_prompt, texts, False, machine.is_cpu)
    held = hold_models([model], 0, "adamw", machine, process, decoding.prefill.most_small)
    prompts = min(circle.num_prompts or lengths.total or 0, lengths.total or circle.num_prompts or 0)
    responses = prompts * circle.responses_per_prompt
    seconds = None if machine.rates is None else {"sample": decoding.time(machine.rates)}
    steps = -(-responses // rows) if prompts else None
    tokens = responses * texts[1] if prompts else None
    notes = [note for note in (lengths.note,) if note]
    return StagePlan("candidates", list(decoding.list_phases(held)), seconds, steps, 0.0, tokens, notes)


def plan_evaluation(config: Config, machine: Machine, process: int) -> StagePlan:
    """Plan `likelier eval`: two models and those beside them, one after the other in memory as they are loaded.

    `process`: bytes of Python and its libraries.
    """
    settings = config.eval
    lengths = measure_prompts(config, settings.prompts or config.prompts)

    def is_elsewhere(name: str) -> bool:
        return is_response_file(name) or settings.is_served(name)

    names = [settings.model_a, settings.model_b, *(other.model for other in settings.others)]
    models = [finish(build_policy_model(name)) for name in names if name and not is_elsewhere(name)]
    judges = build_scorers(settings.scoring, config, None, {})
    bring_to_cpu(*judges.models)
    texts = lengths.longest, settings.response_length
    rows, width = settings.batch_size, sum(texts)
    decodings = [trace_decoding(model, rows, 1, texts, False, machine.is_cpu) for model in models]
    passes = [trace_logprobs(model, rows, *texts, False) for model in models]
    scores = [trace_scores(judge, min(rows, SCORED_AT_ONCE), width) for judge in judges.models]
    kept = max((decoding.prefill.most_small for decoding in decodings), default=0)
    held = hold_models([*models, *judges.models], 0, "adamw", machine, process, kept)
    phases = [phase for decoding in decodings for phase in decoding.list_phases(held)]
    phases += [Phase("score", add_parts(held, trace.peak)) for trace in [*passes, *scores]] or [Phase("load", held)]
    seconds = None
    if machine.rates is not None:
        seconds = {
            "sample": sum(decoding.time(machine.rates) for decoding in decodings),
            "score": sum(machine.rates.time(trace.operations) for trace in [*passes, *scores]),
        }
    prompts = min(settings.num_prompts or lengths.total or 0, lengths.total or settings.num_prompts or 0)
    steps = -(-prompts * settings.responses_per_prompt // rows) if prompts else None
    tokens = prompts * settings.responses_per_prompt * settings.response_length * len(models) if prompts else None
    return StagePlan("eval", phases, seconds, steps, 0.0, tokens, [note for note in (lengths.note,) if note])
