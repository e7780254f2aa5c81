"""Every setting bites: a tiny run with it changed differs from one without. The table is in `setting_cases.py`."""

import hashlib
import json
import random
import re
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
import torch

from likelier.circle import Round, ask_people, collect_feedback, make_pairs
from likelier.config import (
    Block,
    Config,
    JudgeConfig,
    OtherModel,
    Range,
    RewardSource,
    build_config,
    find_block,
    list_settings,
)
from likelier.engines import find
from likelier.errors import LikelierError
from likelier.evaluation.compare import evaluate
from likelier.files import write_jsonl
from likelier.records import Judgement, Preference
from likelier.runs.checkpoints import list_checkpoints
from likelier.runs.run import Run
from likelier.stages import STAGES
from likelier.text.exact_sampler import decode
from likelier.text.models import save_model
from likelier.text.reward_model import new_reward_model
from setting_cases import BLOCKS, BROKEN_ENVS, JUDGE, OTHER, RANGE, SOURCE, TOP, Bites
from tiny import save_tiny_model

pytestmark = pytest.mark.slow

REWARD = """
def count_a(prompts, responses):
    return [response.count("a") - 0.1 * len(response) for response in responses]
def count_b(prompts, responses):
    return [float(response.count("b")) for response in responses]
def by_token(prompts, responses, tokens):
    return [[float("b" in token) for token in row] for row in tokens]
def loss(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):
    return -advantages * logprobs
"""
SMALL = {"device": "cpu", "learning_rate": 0.01, "batch_size": 4}
BASE = {
    "model": "FOLDER/model",
    "prompts": "FOLDER/prompts.jsonl",
    "reward": [{"function": "FOLDER/reward.py:count_a"}],
    "sft": SMALL,
    "reward_model": SMALL | {"num_epochs": 1},
    "dpo": SMALL,
    "ppo": {
        "device": "cpu",
        "learning_rate": 0.03,
        "batch_size": 8,
        "total_episodes": 16,
        "response_length": 4,
        "num_ppo_epochs": 2,
        "num_mini_batches": 2,
    },
    "gym": {
        "env_id": f"{BROKEN_ENVS}:Identity",
        "total_steps": 128,
        "num_envs": 4,
        "rollout_length": 16,
        "num_ppo_epochs": 2,
        "num_mini_batches": 2,
        "learning_rate": 0.03,
        "num_eval_episodes": 2,
        "gif": False,
    },
    "eval": {
        "model_a": "FOLDER/model",
        "model_b": "FOLDER/other",
        "prompts": "FOLDER/prompts.jsonl",
        "scorer": [{"function": "FOLDER/reward.py:count_a"}],
        "response_length": 4,
        "device": "cpu",
    },
    "circle": {"judgements": 5, "responses_per_prompt": 2},
}
DATA = {"sft": "FOLDER/sft.jsonl", "reward_model": "FOLDER/pairs", "dpo": "FOLDER/pairs"}
VERBS = {stage.block: stage.verb for stage in STAGES.values()}


class Observed(NamedTuple):
    """What a run left behind, and what it said when it was refused or stopped."""

    weights: str = ""
    metrics: str = ""
    samples: str = ""
    files: tuple[str, ...] = ()
    result: str = ""
    error: str = ""
    sampled_at_once: tuple[int, ...] = ()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for seed, name in enumerate(("model", "other", "model-b")):
        save_tiny_model(folder / name, words=["a", "b", "c"], seed=seed)
    judge = new_reward_model(folder / "other", generator=torch.Generator().manual_seed(0))
    save_model(folder / "judge", judge.model, judge.tokenizer, "")
    (folder / "reward.py").write_text(REWARD)
    texts = [f"{one} {two}{three}" for one in "abc" for two in "abc" for three in ("", " a")]
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in texts])
    write_jsonl(folder / "few.jsonl", [{"prompt": text} for text in texts[:4]])
    lessons = [{"prompt": text, "completion": f" {text[::-1]}"} for text in texts]
    write_jsonl(folder / "sft.jsonl", lessons)
    write_jsonl(folder / "short.jsonl", lessons[:5])
    pairs = [Preference(text, "a a b"[: 1 + at % 5], "c", flip=0.3, conversation=text) for at, text in enumerate(texts)]
    for name, part in (("pairs", pairs), ("other-pairs", pairs[::-1][:9])):
        write_jsonl(folder / name / "train.jsonl", part)
        write_jsonl(folder / name / "valid.jsonl", [Preference("a", "c", "a a", conversation="v")])
    return folder


@cache
def observe(stage: str, settings: str, world: Path, folder: Path) -> Observed:
    """Run a stage with `settings` (JSON) in a folder of its own."""
    run = folder / hashlib.sha256(f"{stage}{settings}".encode()).hexdigest()[:12]
    sizes = []

    def counted(model, prompts, draws, *others):
        sizes.append(len(draws))
        return decode(model, prompts, draws, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("likelier.text.exact_sampler.decode", counted)
        try:
            config = build_config(json.loads(settings.replace("FOLDER", str(world))))
            seen = {"eval": observe_eval, "circle": observe_circle}.get(stage, observe_training)(stage, config, run)
        except LikelierError as error:
            return Observed(error=str(error))
    return seen._replace(sampled_at_once=tuple(sizes))


def observe_training(stage: str, config: Config, folder: Path) -> Observed:
    verb = VERBS[stage]
    with Run(folder, verb, config) as run:
        result = STAGES[verb].load_trainer()(config, run)
    assert list_checkpoints(folder), "a checkpoint is always written at the end"
    return Observed(
        weights=digest(folder / "model" / "model.safetensors"),
        metrics=(folder / "metrics.jsonl").read_text(),
        samples=(folder / "samples.jsonl").read_text(),
        files=files_in(folder),
        result=essence(result),
    )


def observe_eval(stage: str, config: Config, folder: Path) -> Observed:
    return Observed(result=essence(evaluate(config, folder).to_json()))


def observe_circle(stage: str, config: Config, folder: Path) -> Observed:
    """The first half of the circle, with people who answer by themselves."""
    at = Round(config, folder / "round-1", config.circle.db or str(folder / "feedback.db"), config.model, folder / "p")
    asked = {}

    def serve(store, **how):
        asked.update(how)
        draw = random.Random(0)
        for pair in store.comparisons():
            for person in ("ann", "bob", "cyd"):
                left, right = draw.sample([pair.response_a, pair.response_b], 2)
                choice = "left" if person == "cyd" else draw.choice(["left", "right"])
                seconds = 0.1 if person == "cyd" else 3.0  # which is flagged, whatever the others happen to answer
                store.add_judgement(Judgement(pair.id, person, left, right, choice, duration_seconds=seconds))
        return how["wanted"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("likelier.web.server.serve", serve)
        done = collect_feedback(at, ask_people)
    made = make_pairs(at, done["check"])
    pairs = digest(at.folder / "preferences" / "train.jsonl")
    prompts = digest(at.prompts / "train.jsonl")
    return Observed(result=essence(done | made | asked | {"pairs": pairs, "asked": prompts}), files=files_in(folder))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))


def essence(result: dict[str, Any]) -> str:
    """A result without times and places."""
    kept = {key: value for key, value in result.items() if key not in ("seconds", "run", "steps_per_second")}
    return json.dumps(kept, sort_keys=True, default=str)


def laid_over(stage: str, changes: dict[str, Any]) -> str:
    """The base settings of a stage with changes: keys are fields of its block, or `/field` at the top."""
    settings = json.loads(json.dumps(BASE | ({"data": DATA[stage]} if stage in DATA else {})))
    for field, value in changes.items():
        place, path = (settings, field[1:]) if field.startswith("/") else (settings.setdefault(stage, {}), field)
        *above, last = path.split(".")
        for name in above:
            place = place.setdefault(name, {})
        place[last] = value
    return json.dumps(settings, sort_keys=True)


CASES = [(stage, field, bites) for stage, block in BLOCKS.items() for field, bites in block.items()]
CASES += [(stage, f"/{field}", bites) for field, stages in TOP.items() for stage, bites in stages.items()]
RUN = [case for case in CASES if isinstance(case[2], Bites)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def difference(stage, given, changed, seen, world, runs):
    """(base, changed) of what is to be seen."""
    found = [observe(stage, laid_over(stage, changes), world, runs) for changes in (given, given | changed)]
    if seen != "error":
        assert [each.error for each in found] == ["", ""]
    return [getattr(each, seen) for each in found]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
@pytest.mark.parametrize(("stage", "field", "bites"), RUN, ids=[f"{stage}.{field}" for stage, field, _ in RUN])
def test_a_setting_bites(stage, field, bites, world, runs):
    base, changed = difference(stage, bites.given, {field: bites.value}, bites.seen, world, runs)
    assert base != changed, f"{stage}.{field} = {bites.value!r} changes nothing in {bites.seen}"


@pytest.mark.parametrize("field", [field for field, bites in SOURCE.items() if isinstance(bites, Bites)])
def test_a_setting_of_a_reward_bites(field, world, runs):
    bites = SOURCE[field]
    before = BASE["reward"][0] | bites.given
    given, changed = {"/reward": [BASE["reward"][0]]}, {"/reward": [before | {field: bites.value}]}
    base, found = difference("ppo", given, changed, bites.seen, world, runs)
    assert base != found


def choices_of(annotation: Any) -> list[Any]:
    """Every value that a Literal in a type names, None where that is allowed; nothing for other types."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    found = [choice for inner in get_args(annotation) for choice in choices_of(inner)]
    return [*found, None] if found and NoneType in get_args(annotation) else found


OTHER_PLACES = ("report_to", "baselines", "model_dtype")
"""Choices each of which has a test of its own: see `setting_cases.py`, and `text/test_frozen_weights.py`."""
CHOICES = [
    (stage, name, choice)
    for stage in BLOCKS
    if stage != "search"
    for name, field in list_settings(type(getattr(Config(), stage))).items()
    if name not in OTHER_PLACES
    for choice in choices_of(field.annotation)
]
REFUSED = {("gym", "loss_aggregation", "sequence"), ("gym", "loss_aggregation", "fixed")}
REFUSED |= {("ppo", "stop_on", "gold_drift")}  # without `eval_steps`, which no other choice needs
REFUSED |= {("ppo", "critic", "adapter")}  # without `lora_rank`
REFUSED |= {(stage, "sampler", "vllm") for stage in ("ppo", "eval")}  # which is not there, see `without_vllm`
if not torch.cuda.is_available():
    REFUSED |= {(stage, "optimizer", "paged_adamw_8bit") for stage in ("sft", "reward_model", "dpo", "ppo")}


@pytest.fixture
def without_vllm(monkeypatch):
    """Whether `make engines` was run or not: an engine takes half a minute to start, see engines/test_vllm.py."""
    monkeypatch.setattr(find, "FOLDER", Path("no-venv"))


@pytest.mark.parametrize(("stage", "field", "choice"), CHOICES, ids=["-".join(map(str, case)) for case in CHOICES])
def test_every_choice_runs_or_is_refused_in_one_line(stage, field, choice, world, runs, without_vllm):
    entry = BLOCKS[stage][field]
    given = entry.given if isinstance(entry, Bites) else {}
    is_default = choice == type(getattr(Config(), stage)).model_fields[field].default
    said = observe(stage, laid_over(stage, given if is_default else given | {field: choice}), world, runs).error
    assert "\n" not in said
    if field == "device":
        assert said in ("", f"device: {choice} is not available here; use auto")
    elif (stage, field, choice) in REFUSED:
        assert field in said
    else:
        assert said == ""


def test_choices_are_found():
    assert choices_of(Literal["a", "b"] | None) == ["a", "b", None]
    assert choices_of(int | None) == choices_of(str) == []
    assert {("ppo", "algorithm", "dr_grpo"), ("gym", "activation", "relu"), ("eval", "stop_token", None)} <= set(
        CHOICES
    )


def fields_of(block: type[Block], prefix: str = "") -> list[str]:
    """Every field, those of a block within the block behind its name."""
    found = []
    for name, field in list_settings(block).items():
        inner = find_block(field.annotation)
        if inner is None or inner in (RewardSource, Range, OtherModel, JudgeConfig):
            found.append(prefix + name)
        else:
            found += fields_of(inner, f"{prefix}{name}.")
    return found


def test_every_setting_has_its_line():
    known = {f"{stage}.{field}" for stage, block in BLOCKS.items() for field in block} | set(TOP)
    there = set(fields_of(Config))
    assert sorted(there - known) == [], "a new setting needs a line in tests/setting_cases.py"
    assert sorted(known - there) == [], "these lines of tests/setting_cases.py are about no setting"
    assert set(fields_of(RewardSource)) == set(SOURCE)
    assert set(fields_of(Range)) == set(RANGE)
    assert set(fields_of(OtherModel)) == set(OTHER)
    assert set(fields_of(JudgeConfig)) == set(JUDGE)


def test_what_is_shown_elsewhere_is_there():
    named = [entry for _, _, entry in CASES if not isinstance(entry, Bites)]
    named += [
        entry
        for entry in (*SOURCE.values(), *RANGE.values(), *OTHER.values(), *JUDGE.values())
        if not isinstance(entry, Bites)
    ]
    for entry in named:
        file, _, test = entry.test.partition("::")
        text = (Path(__file__).parent / file).read_text()
        assert test, entry
        assert re.search(rf"^def {re.escape(test)}\(", text, re.MULTILINE), entry
