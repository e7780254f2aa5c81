"""Findings on the responses: length, diversity and termination."""

from likelier.doctor.findings.history import Finding, History, fmt

MIN_STEPS = 6


def length_collapse(run: History) -> Finding | None:
    """Responses shrank to less than half their initial length."""
    start, late = run.initial_level("response_length"), run.final_level("response_length")
    if start is not None and late is not None and max(start.mean, late.mean) < 1.5:
        return report_immediate_ends(run, f"response_length {start}, {late}")
    if len(run.lines) < MIN_STEPS or start is None or late is None or start.mean < 3:
        return None
    if late.mean + 3 * late.stderr > 0.5 * start.mean:
        return None
    return Finding(
        "length_collapse",
        "error" if late.mean < 0.25 * start.mean else "warning",
        run.last,
        f"response_length {start}, {late} tokens",
        "The score or its end penalty pays for ending at once, or the policy has broken down",
        "Read samples.jsonl and the scores of short responses; let the score punish them, raise ppo.kl_coef, lower "
        "ppo.missing_eos_penalty, or set ppo.stop_token=null for responses of one length",
    )


def report_immediate_ends(run: History, evidence: str) -> Finding | None:
    """Responses of a single token although more are allowed."""
    limit, strings = run.ppo.response_length, run.ppo.stop_strings
    if limit < 8:
        return None
    return Finding(
        "length_collapse",
        "error",
        run.last,
        f"{evidence} tokens, of at most {limit}",
        "Responses end at once, from the start: what stops them comes as the first token"
        + (f" (ppo.stop_strings {strings})" if strings else ""),
        "Read samples.jsonl; take away the stop string that responses begin with, or end prompts so that an answer "
        "follows; a model that only ends wants likelier sft first",
    )


def length_blowup(run: History) -> Finding | None:
    """Responses grew by half or more, or reached the length limit."""
    start, late = run.initial_level("response_length"), run.final_level("response_length")
    if len(run.lines) < MIN_STEPS or start is None or late is None:
        return None
    limit = run.ppo.response_length
    grown = late.mean - 3 * late.stderr > 1.5 * start.mean and late.mean - start.mean > 2
    at_limit = late.mean > 0.9 * limit and start.mean < 0.75 * limit
    if not grown and not at_limit:
        return None
    return Finding(
        "length_blowup",
        "warning",
        run.last,
        f"response_length {start}, {late} tokens, of at most {limit}",
        "The score rises with length (in reward models this is common), and a longer response costs too little"
        if score_rose(run)
        else "The policy has broken down: responses grow, and the score does not rise by it",
        "Compare scores of short and long responses (length_only_accuracy of the reward run); set "
        "ppo.missing_eos_penalty, raise ppo.kl_coef, or train the reward on pairs of equal length"
        if score_rose(run)
        else "Mend what else is found first; else lower ppo.learning_rate",
    )


def never_ends(run: History) -> Finding | None:
    """Hardly any response ends before the length limit, although the settings allow it."""
    late = run.final_level("ended_rate")
    if not run.ppo.may_end or late is None or late.num < 3 or late.mean > 0.05:
        return None
    start = run.initial_level("ended_rate")
    always = start is None or start.mean <= 0.1
    punished = run.ppo.missing_eos_penalty is not None
    lost = "or the policy has broken down" if punished else "since it loses nothing by it"
    return Finding(
        "never_ends",
        "warning",
        run.last,
        f"ended_rate {start}, {late}; all others are cut at ppo.response_length {run.ppo.response_length}",
        "The model does not know the end token, or the limit is too short for it"
        if always
        else f"The policy has unlearned to end, {lost}",
        "Raise ppo.response_length, set ppo.missing_eos_penalty or ppo.stop_strings, teach the end by likelier sft, or "
        "say with ppo.stop_token=null that all responses have one length",
    )


OFTEN_CUT = 0.1
"""Share of responses cut at the length limit from which on what is scored is often no whole answer."""


def often_cut(run: History) -> Finding | None:
    """More than a tenth of the responses are cut at the length limit, from the start and to the end."""
    start, late = run.initial_level("ended_rate"), run.final_level("ended_rate")
    if not run.ppo.may_end or start is None or late is None or late.num < 3:
        return None
    if never_ends(run) or max(start.mean, late.mean + 2 * late.stderr) > 1 - OFTEN_CUT:
        return None
    return Finding(
        "often_cut",
        "warning",
        run.last,
        f"ended_rate {start}, {late}; all others are cut at ppo.response_length {run.ppo.response_length}",
        "The limit is too short for what the model has to say: parts of answers are scored as if they were whole",
        "Raise ppo.response_length, or set ppo.missing_eos_penalty if shorter answers are wanted",
    )


def entropy_collapse(run: History) -> Finding | None:
    """The policy has become nearly deterministic."""
    start, late = run.initial_level("entropy"), run.final_level("entropy")
    if len(run.lines) < MIN_STEPS or start is None or late is None or start.mean <= 0:
        return None
    share = late.mean / start.mean
    if (late.mean + 2 * late.stderr) / start.mean > 0.4 and late.mean > 0.02:
        return None
    return Finding(
        "entropy_collapse",
        "error" if share < 0.1 else "warning",
        run.last,
        f"entropy {start}, {late} nats a token ({100 * share:.0f} %)",
        "The policy has settled on few responses: KL costs too little for this score, or the steps are too large",
        "Raise ppo.kl_coef or set ppo.kl_target, lower ppo.learning_rate, or set ppo.entropy_coef; a task with one "
        "right answer ends like this as well",
    )


def repetition(run: History) -> Finding | None:
    """Responses repeat n-grams."""
    start, late, length = (
        run.initial_level("repetition"),
        run.final_level("repetition"),
        run.final_level("response_length"),
    )
    if start is None or late is None or length is None or late.num < 3 or length.mean < 6:
        return None
    certain = late.mean - 3 * late.stderr
    grown = certain > start.mean + 0.15 and certain > 1.5 * start.mean
    if not grown and certain < 0.5:
        return None
    return Finding(
        "repetition",
        "error" if late.mean > 0.6 else "warning",
        run.last,
        f"repetition {start}, {late} (share of neighbouring tokens that stood together in the response before)",
        explain_repetition(run) if grown else f"The model repeats itself from the start ({fmt(start.mean)})",
        "Take repetition off the score (a function as a second entry of `reward`), raise ppo.kl_coef, or begin with a "
        "model that does not repeat itself",
    )


def explain_repetition(run: History) -> str:
    """Explain growing repetition: the score rewards it, or the policy has collapsed."""
    if score_rose(run):
        return "The score counts what repeating adds to, and does not mind it"
    return "The policy has broken down: the score does not rise by it"


def score_rose(run: History) -> bool:
    """True if the score is above its initial level."""
    start, late = run.initial_level("score"), run.final_level("score")
    return start is not None and late is not None and late.mean > start.mean
