"""The result of an evaluation: the contents of `evaluation.json`, read by the circle, the demo and scripts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from likelier.evaluation.verdict import assess_evaluation
from likelier.intervals import Interval

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class JudgeResult:
    """One judge's preference between the responses of both models."""

    win_rate: float
    """Share of comparisons that model b wins; a tie counts half."""
    interval: Interval | None
    """95% interval of `win_rate`; prompts are its clusters."""
    ties: int
    n: int
    """Comparisons that count: both responses were scored, or somebody judged them."""
    length_controlled: float | None = field(default=None, kw_only=True)
    """Win rate if all responses of b were as long as a's (`length_control`); None: too few prompts to tell."""
    length_controlled_interval: Interval | None = field(default=None, kw_only=True)

    def to_json(self) -> JsonObject:
        """Return the judge's record in `evaluation.json`."""
        return asdict(self)


@dataclass(frozen=True)
class ScorerResult(JudgeResult):
    """The result of a judge that scores responses one by one."""

    score_a: float
    score_b: float
    difference: float
    """Mean score of b minus mean score of a."""
    difference_interval: Interval | None
    """Paired; None if all prompts are of one cluster."""
    std_a: float
    in_stds: float | None
    """`difference` in standard deviations of a's scores; None if those are all equal."""
    in_stds_interval: Interval | None


@dataclass(frozen=True)
class PeopleResult(JudgeResult):
    """The result of human judges, who compare two responses and give no scores."""

    unjudged: int
    """Comparisons that nobody judged; they are left out."""
    judgements: int
    people: int
    """Number of annotators."""


@dataclass(frozen=True)
class ChatJudgeResult(JudgeResult):
    """The result of a language model that was asked about each pair in both orders."""

    side_bias: float | None
    """Share of its verdicts for a side that are for the answer shown first, less 1/2; None: all are ties."""
    side_bias_interval: Interval | None
    contradictions: int
    """Pairs on which the two orders do not agree; they count as ties."""
    unparseable: int
    """Pairs with a reply that is no verdict; they are left out."""


@dataclass(frozen=True)
class BestOfNScore:
    """Best-of-n from model a by one judge, compared with single responses of model a."""

    length_controlled: float | None = field(default=None, kw_only=True)
    """Win rate at equal length (see `length_control`); None for few prompts."""
    length_controlled_interval: Interval | None = field(default=None, kw_only=True)
    win_rate: float
    interval: Interval | None
    score: float
    difference: float
    difference_interval: Interval | None
    in_stds: float | None


@dataclass(frozen=True)
class BestOfN:
    """Best-of-n from model a, by each judge that gives scores."""

    n: int
    kl_bound: float
    """Upper bound of its KL from model a, in nats per response."""
    selector_score: float
    judges: dict[str, BestOfNScore]

    @property
    def first(self) -> BestOfNScore:
        """The result of the first judge, which decides."""
        return next(iter(self.judges.values()))

    def to_json(self) -> JsonObject:
        """Return the record in `evaluation.json`, with the deciding judge's figures at the top level."""
        record = asdict(self)
        judges = record.pop("judges")
        return record | asdict(self.first) | {"judges": judges}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "BestOfN":
        """Rebuild the record from the output of `to_json`."""
        judges = {name: BestOfNScore(**judge) for name, judge in record["judges"].items()}
        return cls(record["n"], record["kl_bound"], record["selector_score"], judges)


@dataclass(frozen=True)
class ResponseStats:
    """Length and diversity of one model's responses."""

    response_length: float | None
    """Mean length in tokens; None for responses from a file."""
    ended_rate: float | None
    """Share of responses that end before the length limit; None where a file does not say."""
    distinct_1: float
    distinct_2: float


@dataclass(frozen=True)
class KnowledgeResult:
    """How likely both models find the known answers of `eval.knowledge`: what the new one has forgotten."""

    n: int
    logprob_a: float
    """Mean log-probability of an answer, in nats."""
    logprob_b: float
    difference: float
    """Mean of b's minus a's log-probability, in nats an answer; below 0: less likely than before."""
    difference_interval: Interval | None
    """Paired; None if both are the same."""
    less_likely: float
    """Share of the answers that b finds less likely than a."""


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """The comparison of a model with model a."""

    kl: float | None
    """KL of b from a in nats per response, at temperature 1; None for other tokenizers, or responses from a file."""
    kl_interval: Interval | None
    judges: dict[str, JudgeResult]
    """By name, in the order of `eval.scorer`; the first decides."""
    b: ResponseStats

    @property
    def first(self) -> JudgeResult:
        """The result of the first judge, which decides."""
        return next(iter(self.judges.values()))

    @property
    def score_a(self) -> float | None:
        """Mean score of model a by the deciding judge; None if that is a person."""
        return self.first.score_a if isinstance(self.first, ScorerResult) else None

    @property
    def score_b(self) -> float | None:
        """Mean score of the compared model by the deciding judge; None if that is a person."""
        return self.first.score_b if isinstance(self.first, ScorerResult) else None


@dataclass(frozen=True, kw_only=True)
class OtherResult(ModelResult):
    """The comparison of one of `eval.others`, on the same prompts with the same random numbers as model b."""

    name: str
    model: str

    def to_json(self) -> JsonObject:
        """Return the record in `evaluation.json`."""
        headline = make_headline(self.first)
        return {
            "name": self.name,
            "model": self.model,
            **{key: headline[key] for key in ("win_rate", "interval", "score_b")},
            "kl": self.kl,
            "kl_interval": self.kl_interval,
            "judges": {name: judge.to_json() for name, judge in self.judges.items()},
            "b": asdict(self.b),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "OtherResult":
        """Rebuild the record from the output of `to_json`."""
        values = {key: record[key] for key in ("name", "model", "kl", "kl_interval")}
        return cls(**values, judges=read_judges(record), b=ResponseStats(**record["b"]))


@dataclass(frozen=True, kw_only=True)
class EvaluationResult(ModelResult):
    """The comparison of model b with model a on held-out prompts."""

    model_a: str
    model_b: str
    seed: int
    a: ResponseStats
    best_of: tuple[BestOfN, ...] = ()
    others: tuple[OtherResult, ...] = ()
    samples: tuple[JsonObject, ...] = ()
    """Some responses of both models to the same prompts."""
    worst: tuple[JsonObject, ...] = ()
    """Those whose score by the first judge that scores fell most, in the form of `samples`."""
    responses: Mapping[str, Mapping[str, list[float | None]]] = field(default_factory=dict)
    """`score`, `length` (tokens) and `kl` (nats) of every response, under `a` and `b`."""
    num_prompts: int | None = None
    knowledge: KnowledgeResult | None = None
    """How likely both models find known answers; None without `eval.knowledge`."""
    corrected: Mapping[str, JsonObject] = field(default_factory=dict)
    """By judge that scores: its win rate corrected by people's judgements, as `CorrectedWinRate` with its gain."""
    judge_accuracy: Mapping[str, JsonObject] = field(default_factory=dict)
    """By judge that is a reward run of ours: its accuracy on its own held-out pairs, and what that says."""
    training_errors: tuple[str, ...] = ()
    """Names of the doctor's errors in the run that made model b."""

    OPTIONAL: ClassVar = (
        "num_prompts",
        "corrected",
        "judge_accuracy",
        "training_errors",
        "worst",
        "responses",
        "samples",
    )
    """Fields that `evaluation.json` lacks if they are empty, and in files of earlier versions."""

    def to_json(self) -> JsonObject:
        """Return the contents of `evaluation.json`, the verdict first; optional parts are absent if they are empty."""
        people = ("judgements", "people", "unjudged") if isinstance(self.first, PeopleResult) else ()
        record = {
            "model_a": self.model_a,
            "model_b": self.model_b,
            "seed": self.seed,
            **make_headline(self.first),
            "kl": self.kl,
            "kl_interval": self.kl_interval,
            "judges": {name: judge.to_json() for name, judge in self.judges.items()},
            "a": asdict(self.a),
            "b": asdict(self.b),
            **({"best_of": [control.to_json() for control in self.best_of]} if self.best_of else {}),
            **({"knowledge": asdict(self.knowledge)} if self.knowledge else {}),
            **({"others": [other.to_json() for other in self.others]} if self.others else {}),
            **{key: getattr(self.first, key) for key in people},
            **{name: value for name in self.OPTIONAL if (value := to_plain(getattr(self, name)))},
        }
        verdict = assess_evaluation(record)
        return {"verdict": verdict.name, "in_words": verdict.text} | record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "EvaluationResult":
        """Rebuild the record from the output of `to_json`; unknown keys are ignored."""
        return cls(
            **{key: record[key] for key in ("model_a", "model_b", "seed", "kl", "kl_interval")},
            judges=read_judges(record),
            a=ResponseStats(**record["a"]),
            b=ResponseStats(**record["b"]),
            best_of=tuple(map(BestOfN.from_json, record.get("best_of", ()))),
            others=tuple(map(OtherResult.from_json, record.get("others", ()))),
            knowledge=KnowledgeResult(**record["knowledge"]) if "knowledge" in record else None,
            **{name: to_tuple(record[name]) for name in cls.OPTIONAL if name in record},
        )


def to_plain(value: Any) -> Any:
    """Return tuples as lists, as JSON has them."""
    return list(value) if isinstance(value, tuple) else value


def to_tuple(value: Any) -> Any:
    """Return lists as tuples, as the records have them."""
    return tuple(value) if isinstance(value, list) else value


def make_headline(judge: JudgeResult) -> JsonObject:
    """Return the figures of the deciding judge; the scores are None if that is people."""
    names = [field.name for field in fields(JudgeResult)] + ["score_a", "score_b"]
    return {name: getattr(judge, name, None) for name in names}


def read_judges(record: Mapping[str, Any]) -> dict[str, JudgeResult]:
    """Return the judges' results in a record of `evaluation.json`."""
    kinds: dict[str, type[JudgeResult]] = {"judgements": PeopleResult, "contradictions": ChatJudgeResult}
    return {
        name: next((kind for key, kind in kinds.items() if key in judge), ScorerResult)(**judge)
        for name, judge in record["judges"].items()
    }
