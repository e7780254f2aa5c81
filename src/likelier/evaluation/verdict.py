"""An evaluation in words: better, worse, cannot tell, or by a judge of whom nothing is proven."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from likelier.files import read_json
from likelier.intervals import Interval
from likelier.reward.verdict import assess_reward_model, share

Name = Literal["better", "worse", "cannot_tell", "judge_unproven"]
FEW_PROMPTS = 50
"""With fewer prompts the interval of a win rate is wider than ±0.14, and a few of them decide it."""
OFTEN_CUT = 0.1
"""Share of answers cut at the length limit above which they are not shown as if they had ended."""
MORE_ALIKE = 0.75
"""Distinct pairs of words, as a share of the old answers', below which the new ones are called more alike."""
LEAST_GAIN = 0.01
"""By which an interval is shorter with a judge than by people alone, for it to be said."""
WORDS: Mapping[Name, str] = {
    "better": "Better",
    "worse": "Worse",
    "cannot_tell": "Cannot tell",
    "judge_unproven": "Judge unproven",
}


@dataclass(frozen=True)
class EvaluationVerdict:
    """A name for programs and sentences for people."""

    name: Name
    sentence: str
    caveats: tuple[str, ...] = ()
    """What limits the verdict: few prompts, an unproven judge, a KL below 0, errors that the doctor found."""

    @property
    def text(self) -> str:
        """The verdict with its caveats."""
        return " ".join((f"{WORDS[self.name]}: {self.sentence}", *self.caveats))


def assess_evaluation(record: Mapping[str, Any]) -> EvaluationVerdict:
    """Return the verdict on the contents of an `evaluation.json`, by its first judge.

    A judge that is a reward run of ours must beat chance on its own held-out pairs; of others nothing is known.
    """
    judge = next(iter(record.get("judges") or {}), "the judge")
    rate, interval = record["win_rate"], record.get("interval")
    preferred = f"{judge} prefers the new answers in {share(rate)}{format_interval(interval)} of {record['n']:,}"
    proof = (record.get("judge_accuracy") or {}).get(judge)
    corrected = (record.get("corrected") or {}).get(judge)
    caveats = (*describe_proof(judge, proof), *describe_chat_judges(record))
    caveats += (*describe_correction(record), *describe_limits(record), *describe_knowledge(record))
    if proof and assess_reward_model(proof).name in ("at_chance", "below_length", "unproven"):
        return EvaluationVerdict("judge_unproven", f"{preferred} comparisons.", caveats)
    if interval is None or holds_half(interval):
        return EvaluationVerdict("cannot_tell", f"{preferred} comparisons, and the interval holds 50 %.", caveats)
    if corrected and not (corrected["interval"] and agrees(rate, corrected["interval"])):
        return EvaluationVerdict("cannot_tell", f"{preferred} comparisons, which people do not confirm.", caveats)
    return EvaluationVerdict("better" if rate > 0.5 else "worse", f"{preferred} comparisons.", caveats)


def holds_half(interval: Interval) -> bool:
    """True if one half lies in an interval."""
    return interval[0] <= 0.5 <= interval[1]


def agrees(rate: float, interval: Interval) -> bool:
    """True if an interval lies on the same side of one half as a rate."""
    return interval[0] > 0.5 if rate > 0.5 else interval[1] < 0.5


def describe_correction(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return sentences on what people's judgements make of each judge's win rate; empty without such judgements."""
    sentences = []
    for judge, found in (record.get("corrected") or {}).items():
        rate = f"{share(found['win_rate'])}{format_interval(found['interval'])}"
        part = f"{found['judged']:,} of {found['judged'] + found['others']:,}"
        sentences.append(f"With people's judgements of {part} pairs, {judge} comes to {rate}.")
        if agreement := found["agreement"]:
            same = f"{share(agreement['rate'])}{format_interval(agreement['interval'])}"
            sentences.append(f"People and {judge} agree on {same} of {agreement['n']:,} pairs.")
        if len(topics := found.get("agreement_by_topic") or {}) > 1:
            topic, least = min(topics.items(), key=lambda each: each[1]["rate"])
            same = f"{share(least['rate'])}{format_interval(least['interval'])}"
            sentences.append(f"They agree least on prompts about {topic}: on {same} of {least['n']:,} pairs.")
        if (found["gain"] or 0) >= LEAST_GAIN:
            sentences.append(f"The interval is {share(found['gain'])} shorter than by people alone.")
    return tuple(sentences)


def describe_proof(judge: str, proof: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the sentence on the judge's own accuracy; empty if it is no reward run of ours."""
    if not proof:
        return ()
    if proof.get("accuracy") is None:
        return (f"How often {judge} itself is right was never measured.",)
    pairs = f"{proof['pairs']:,} pairs" if proof.get("pairs") else "pairs"
    right = f"{share(proof['accuracy'])}{format_interval(proof.get('accuracy_interval'))}"
    unproven = "" if assess_reward_model(proof).is_usable else ", which proves nothing"
    return (f"{judge} itself ranks {right} of {pairs} it has not seen as people did{unproven}.",)


def describe_chat_judges(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return sentences on the side that language models favour as judges, on contradictions and unreadable replies."""
    sentences = []
    for judge, found in (record.get("judges") or {}).items():
        if (bias := found.get("side_bias")) is not None:
            low_high = found["side_bias_interval"]
            interval = format_interval([0.5 + end for end in low_high] if low_high else None)
            sentences.append(f"{judge} picks the answer shown first in {share(0.5 + bias)}{interval} of its verdicts.")
        if count := found.get("contradictions"):
            part = f"{count:,} of {found['n']:,}"
            sentences.append(f"In the other order {judge} contradicts itself on {part} pairs, which count as ties.")
        if count := found.get("unparseable"):
            sentences.append(f"{count:,} pairs are left out, since a reply of {judge} on them is no verdict.")
    return tuple(sentences)


def describe_limits(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return sentences on answers that are cut or alike, few prompts, a KL below 0, and errors in training."""
    limits, prompts, kl = [], record.get("num_prompts"), record.get("kl")
    for name, side in (("old", "a"), ("new", "b")):
        stats = record.get(side) or {}
        ended, is_sampled = stats.get("ended_rate"), stats.get("response_length") is not None
        if ended is not None and (cut := 1 - ended) > OFTEN_CUT:
            advice = ": raise eval.response_length" if is_sampled else ""  # whoever wrote a file set its limit
            limits.append(f"{share(cut)} of the {name} answers were cut at the length limit{advice}.")
    limits += describe_variety(record.get("a") or {}, record.get("b") or {})
    if prompts is not None and prompts < FEW_PROMPTS:
        limits.append(f"Only {prompts} prompt{'s' * (prompts != 1)}: others may say otherwise.")
    interval, controlled = record.get("interval"), record.get("length_controlled_interval")
    if interval and controlled and holds_half(controlled) and not holds_half(interval):
        rate = f"{share(record['length_controlled'])}{format_interval(controlled)}"
        limits.append(f"At equal length it would be {rate}: it may be the length that is preferred.")
    if kl is not None and kl < 0:
        limits.append(f"The KL is measured as {kl:.3g} nats, and none is below 0: the models hardly differ.")
    if errors := record.get("training_errors"):
        limits.append(f"The doctor found errors in the training of the new model: {', '.join(errors)}.")
    return tuple(limits)


def describe_variety(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the sentence on new answers that say the same to different prompts; empty where they do not.

    Longer answers repeat more pairs of words by themselves, so of those nothing is said.
    """
    before, now = old.get("distinct_2"), new.get("distinct_2")
    if before is None or now is None or old.get("response_length") is None or new.get("response_length") is None:
        return []
    if new["response_length"] > old["response_length"] or now > MORE_ALIKE * before:
        return []
    change = f"{share(now)} of their pairs of words are distinct, of the old ones' {share(before)}"
    return [f"The new answers are more alike: {change}."]


def describe_knowledge(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sentence on what the new model has forgotten; empty where no answers were given."""
    known = record.get("knowledge")
    if not known:
        return ()
    change, interval = known["difference"], known["difference_interval"]
    nats = f"{change:+.2f} nats each" + (f" ({interval[0]:+.2f} to {interval[1]:+.2f})" if interval else "")
    is_open = interval is None or interval[0] <= 0 <= interval[1]
    likely = "about as likely as" if is_open else "less likely than" if change < 0 else "more likely than"
    return (f"The {known['n']:,} known answers are {likely} before: {nats}.",)


def format_interval(interval: Interval | None) -> str:
    """Format an interval of shares as ` (79 to 88 %)`; empty if there is none."""
    return f" ({100 * interval[0]:.0f} to {100 * interval[1]:.0f} %)" if interval else ""


def read_training_errors(model: str) -> tuple[str, ...]:
    """Return the names of the doctor's errors in the result of the run that made a model; empty if there is none."""
    path = Path(model).parent / "result.json"
    findings = (read_json(path).get("findings") if path.is_file() else None) or []
    return tuple(finding["name"] for finding in findings if finding["severity"] == "error")
