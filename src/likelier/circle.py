"""The whole circle: prompts, candidates, feedback, check, preferences, reward, PPO, evaluation; round by round."""

import hashlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from likelier.config import Config, OtherModel, RewardSource
from likelier.errors import ConfigError
from likelier.evaluation.result import EvaluationResult
from likelier.files import read_json, stable_id, write_json, write_jsonl
from likelier.records import column_names, distinct_prompts, prompt_line, read_preferences, read_prompts
from likelier.report.page import number, percent, span, write_report
from likelier.reward.verdict import assess_reward_model
from likelier.runs.lock import lock_folder
from likelier.runs.older import keep_former_defaults
from likelier.runs.record import compare_folder
from likelier.runs.shared import train_stage
from likelier.stages import STAGES, Stage

Result = dict[str, Any]
JUDGE = "a judge trained on other judgements"
Collect = Callable[["Round"], Result]
"""Adds judgements of a round's comparisons to its database; returns their number."""


@dataclass(frozen=True)
class Round:
    """One round of the circle: its settings, folder, database and initial model."""

    config: Config
    folder: Path
    db: str
    model: str
    prompts: Path
    """Folder with `train.jsonl` and `kept_out.jsonl`."""
    made_from: str = ""
    """Key of the last round's policy, from which `model` was made; empty for the model of the config."""
    accept_changes: bool = False
    """Resume runs although their inputs have changed."""
    repeats: int = 0
    """Rounds before this one that left `model` as it was, since their reward model was at chance."""

    def stage(self, **settings: Any) -> Config:
        """Return the config with other settings, for one stage of this round."""
        return self.config.model_copy(update=settings)

    def run_folder(self, verb: str) -> Path:
        """Return the run folder of a training stage."""
        return self.folder / STAGES[verb].circle_folder


def run_circle(
    config: Config, out: Path, rounds: int = 1, collect: Collect | None = None, accept_changes: bool = False
) -> Result:
    """Go round `rounds` times. What is done already, from the same settings and inputs, is not done again.

    Every stage reads files and writes files, so that each can be looked at, repeated, or done by hand instead.
    ConfigError: base weights, reward code or versions changed since its start, and `accept_changes` is False.
    """
    if not config.model or not config.prompts:
        raise ConfigError("a circle needs `model` and `prompts`")
    check_people(config, out)
    model, made_from, repeats, result = config.model, "", 0, {}
    with lock_folder(out):
        compare_folder(out, "circle", config, accept_changes)
        config = keep_former_defaults(config, out)
        for turn in range(1, rounds + 1):
            folder = out / f"round-{turn}"
            db, prompts = find_database(config, out), folder / "prompts"
            circle_round = Round(config, folder, db, model, prompts, made_from, accept_changes, repeats)
            results = train_and_evaluate(circle_round, collect_feedback(circle_round, collect or ask_people))
            if "policy" in results:
                model, made_from = str(circle_round.run_folder("ppo") / "model"), results["policy"]["made_from"]
            else:
                repeats += 1
            result = write_round_report(circle_round, results)
    return {"rounds": rounds, **result}


def find_database(config: Config, out: Path) -> str:
    """Return the path of the feedback database that a circle trains on."""
    return config.circle.db or str(out / "feedback.db")


def check_people(config: Config, out: Path) -> None:
    """ConfigError: the next round would train on judgements of `eval.scorer`, or people cannot judge the baselines."""
    if not (people := config.eval.people):
        return
    db = find_database(config, out)
    if people.people == db or Path(people.people or "").resolve() == Path(db).resolve():
        raise ConfigError(f"eval.scorer: the circle trains on {db}; give people a database of its own")
    if config.circle.baselines and not config.eval.scoring:
        line = "people judge only the new model; add a judge that scores to eval.scorer, or leave the baselines out"
        raise ConfigError(f"circle.baselines: {line}")


def collect_feedback(circle_round: Round, collect: Collect) -> dict[str, Result]:
    """Run the first half of the circle, from prompts to checked judgements; returns each stage's result."""
    circle, ppo, results = circle_round.config.circle, circle_round.config.ppo, {}
    sampled = [circle_round.model, circle_round.made_from, circle.responses_per_prompt]
    sampled += [ppo.response_length, ppo.temperature, ppo.stop_strings, *filter(None, [circle_round.repeats])]
    results["prompts"] = run_once(circle_round, "prompts", make_split_key(circle_round), split_prompts)
    results["candidates"] = run_once(circle_round, "candidates", [results, sampled], sample_candidates)
    results["feedback"] = run_once(circle_round, "feedback", [results, circle.judgements], collect)
    results["check"] = run_once(circle_round, "check", results, check_feedback)
    return results


def train_and_evaluate(circle_round: Round, results: dict[str, Result]) -> dict[str, Result]:
    """Run the second half, from judgements to a trained policy and its evaluation; returns all stages' results.

    With a reward model at chance (see `reward.verdict`) there is neither, unless `ppo.anyway`.
    """
    config, results = circle_round.config, dict(results)
    rewards = [source.model_dump(exclude={"people"}) for source in config.reward]
    results["preferences"] = run_once(
        circle_round,
        "preferences",
        [results, config.circle.check_feedback],
        partial(make_pairs, checked=results["check"]),
    )
    results["reward"] = run_once(
        circle_round, "reward", [results, config.model, config.reward_model.model_dump()], train_reward_model
    )
    if not config.ppo.anyway and not assess_reward_model(results["reward"]).is_usable:
        return results
    ppo = config.ppo.model_dump(exclude={"anyway"})
    results["policy"] = run_once(circle_round, "policy", [results, rewards, ppo], train_policy)
    for stage in list_baselines(config):
        made_from = [results, getattr(config, stage.block).model_dump()]
        results[stage.verb] = run_once(
            circle_round, stage.circle_folder, made_from, partial(train_baseline, stage=stage)
        )
    results["evaluation"] = run_once(
        circle_round, "evaluation", [results, config.eval.model_dump(exclude={"port"})], compare_models
    )
    return results


def write_round_report(circle_round: Round, results: dict[str, Result], title: str = "") -> Result:
    """Write `circle.json` and the report; returns the result of the command."""
    title = title or circle_round.folder.name.replace("-", " ").capitalize()
    write_json(circle_round.folder / "circle.json", summarise_stages(circle_round, results) | {"title": title})
    report = circle_round.folder / "report.html"
    write_report([circle_round.folder], report)
    evaluation = results.get("evaluation", {})
    judge = EvaluationResult.from_json(evaluation).first if evaluation else None
    verdict = assess_reward_model(results["reward"])
    return {
        "verdict": evaluation.get("verdict") or ("reward_at_chance" if not verdict.is_usable else None),
        "in_words": evaluation.get("in_words") or verdict.sentence,
        "reward_accuracy": results["reward"]["accuracy"],
        "reward_at_chance": not verdict.is_usable,
        "win_rate": judge.win_rate if judge else None,
        "win_rate_interval": judge.interval if judge else None,
        "report": str(report),
    }


def run_once(circle_round: Round, name: str, made_from: Any, make: Callable[[Round], Result]) -> Result:
    """Return a stage's result: the stored one if its inputs are unchanged, else the stage is run.

    An interrupted stage resumes if it can; a stage with other inputs starts over. A result contains the key of its
    inputs, so that a change in one stage reaches all later ones.
    """
    folder, key = circle_round.folder / name, stable_id(made_from)
    mark, result = folder.with_suffix(".key"), folder.with_suffix(".json")
    if not mark.exists() or mark.read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        result.unlink(missing_ok=True)
        circle_round.folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(key)
    if not result.exists():
        write_json(result, make(circle_round) | {"made_from": key}, private=True)  # `check` names its annotators
    stored: Result = read_json(result)
    return stored


def make_split_key(circle_round: Round) -> list[Any]:
    """Return the inputs of the prompt split: texts, columns if there are any, sizes and seed.

    A circle begun before columns were read keeps its key without them: its people are not asked again.
    """
    prompts, circle = read_prompts(Path(circle_round.config.prompts)), circle_round.config.circle
    sizes = [circle.num_eval_prompts, circle.num_prompts, circle_round.config.seed]
    texts_alone, key = [[prompt.text for prompt in prompts], *sizes], circle_round.folder / "prompts.key"
    if not column_names(prompts) or (key.is_file() and key.read_text() == stable_id(texts_alone)):
        return texts_alone
    return [[[prompt.text, prompt.extra] for prompt in prompts], *sizes]


def split_prompts(circle_round: Round) -> Result:
    """Split the prompts into training and held-out prompts; the split is the same in every round."""
    prompts = distinct_prompts(read_prompts(Path(circle_round.config.prompts)))
    random.Random(circle_round.config.seed).shuffle(prompts)
    num_held_out = min(circle_round.config.circle.num_eval_prompts, max(1, len(prompts) // 5))
    working = prompts[num_held_out:][: circle_round.config.circle.num_prompts]
    for path, part in (
        (circle_round.prompts / "train.jsonl", working),
        (circle_round.prompts / "kept_out.jsonl", prompts[:num_held_out]),
    ):
        write_jsonl(path, map(prompt_line, part))
    return {"prompts": len(working), "kept_out": num_held_out}


def sample_candidates(circle_round: Round) -> Result:
    """Sample several responses to each prompt into a file and the database; every two of them are a comparison."""
    from likelier.candidates import write_candidates
    from likelier.evaluation.people import open_people
    from likelier.feedback.formats import import_file
    from likelier.feedback.store import Store
    from likelier.reward.sources import check_columns, make_scorer

    scorer = make_scorer(
        [*circle_round.config.reward, *circle_round.config.eval.scoring], circle_round.config.ppo.device
    )
    check_columns(read_prompts(circle_round.prompts / "train.jsonl"), scorer)  # before people spend time judging
    if circle_round.config.eval.people:
        open_people(circle_round.config.eval).close()
    ppo, path = circle_round.config.ppo, circle_round.folder / "candidates" / "candidates.jsonl"
    result = write_candidates(
        circle_round.model,
        circle_round.prompts / "train.jsonl",
        circle_round.config.circle.responses_per_prompt,
        path,
        response_length=ppo.response_length,
        temperature=ppo.temperature,
        stop_strings=ppo.stop_strings,
        seed=circle_round.config.seed + circle_round.repeats,  # the same model would write the same answers again
        device=ppo.device,
    )
    with Store.open(circle_round.db, create=True) as store:
        import_file(path, "likelier", store)
    return result


def ask_people(circle_round: Round) -> Result:
    """Serve the annotation page until there are enough judgements.

    Judgements from before an interruption count, also if their number was changed, as long as the responses are the
    same.
    """
    from likelier.feedback.store import Store
    from likelier.web.server import serve

    circle, begun = circle_round.config.circle, circle_round.folder / "begun.json"
    compared = hashlib.sha256((circle_round.folder / "candidates" / "candidates.jsonl").read_bytes()).hexdigest()
    with Store.open(circle_round.db) as store:
        if not begun.exists() or read_json(begun)["compared"] != compared:
            write_json(begun, {"judgements": store.counts()["judgements"], "compared": compared})
        before = read_json(begun)["judgements"]
        if (wanted := circle.judgements - store.counts()["judgements"] + before) > 0:
            serve(store, port=circle.port, wanted=wanted, per_comparison=circle.judgements_per_comparison)
        return {"judgements": store.counts()["judgements"] - before}


def check_feedback(circle_round: Round) -> Result:
    """Check the round's judgements; returns what `likelier check --json` prints."""
    from likelier.feedback.check import check
    from likelier.feedback.store import Store

    with Store.open(circle_round.db) as store:
        return check(store.judged(), seed=circle_round.config.seed).to_json()


def make_pairs(circle_round: Round, checked: Result) -> Result:
    """Write weighted preference pairs; `checked` is the result of `check_feedback` on the same database."""
    from likelier.feedback.check import FeedbackCheck
    from likelier.feedback.store import Store
    from likelier.preferences.make import Split, make_preferences

    findings = FeedbackCheck.from_json(checked) if circle_round.config.circle.check_feedback else None
    with Store.open(circle_round.db) as store:
        return make_preferences(store, circle_round.folder / "preferences", findings, Split(circle_round.config.seed))


def train(circle_round: Round, verb: str, config: Config) -> Result:
    """Train a stage in the round's folder, from its newest checkpoint if it was interrupted."""
    return train_stage(verb, config, circle_round.run_folder(verb), "auto", circle_round.accept_changes)


def train_reward_model(circle_round: Round) -> Result:
    """Train a reward model on the round's preferences."""
    return train(circle_round, "reward", circle_round.stage(data=str(circle_round.folder / "preferences")))


def train_policy(circle_round: Round) -> Result:
    """Train the policy with PPO against that reward model and the sources of the config."""
    return train(circle_round, "ppo", make_policy_config(circle_round))


def make_policy_config(circle_round: Round) -> Config:
    """Return the settings shared by PPO and its baselines: initial model, prompts and reward."""
    rewards = [make_reward_source(circle_round), *circle_round.config.reward]
    return circle_round.stage(
        model=circle_round.model, prompts=str(circle_round.prompts / "train.jsonl"), reward=rewards
    )


def make_reward_source(circle_round: Round) -> RewardSource:
    """Return the round's own reward model as a source, with all members of the ensemble."""
    return RewardSource(model=str(circle_round.run_folder("reward")), name="reward model")


def train_baseline(circle_round: Round, stage: Stage) -> Result:
    """Train a baseline on the round's preferences; it is evaluated as often as PPO unless its settings differ."""
    block = getattr(circle_round.config, stage.block)
    every = block.eval_steps or circle_round.config.ppo.eval_steps or 10
    settings = {
        stage.block: block.model_copy(update={"eval_steps": every}),
        "data": str(circle_round.folder / "preferences"),
    }
    return train(circle_round, stage.verb, make_policy_config(circle_round).model_copy(update=settings))


def list_baselines(config: Config) -> list[Stage]:
    """Return the stages that are trained beside PPO, in the order of the stage table."""
    return [stage for stage in STAGES.values() if stage.verb in config.circle.baselines]


def compare_models(circle_round: Round) -> Result:
    """Compare the policy with the round's initial model, by the config's judges or one trained on held-out pairs."""
    from likelier.evaluation.compare import evaluate
    from likelier.web.server import serve

    settings = {
        "model_a": circle_round.model,
        "model_b": str(circle_round.run_folder("ppo") / "model"),
        "prompts": str(circle_round.prompts / "kept_out.jsonl"),
        "scorer": circle_round.config.eval.scorer or [RewardSource(model=train_judge(circle_round), name=JUDGE)],
        "selector": [make_reward_source(circle_round)] * bool(circle_round.config.eval.best_of),
        "response_length": circle_round.config.ppo.response_length,
        "stop_token": circle_round.config.ppo.stop_token,
        "stop_strings": circle_round.config.ppo.stop_strings,
        "others": [*circle_round.config.eval.others, *list_baseline_models(circle_round)],
    }
    config = circle_round.stage(eval=circle_round.config.eval.model_copy(update=settings))
    return evaluate(config, circle_round.folder / "evaluation", serve).to_json()


def list_baseline_models(circle_round: Round) -> list[OtherModel]:
    """Return the models of the circle's baselines."""
    return [
        OtherModel(model=str(circle_round.run_folder(stage.verb) / "model"), name=stage.title)
        for stage in list_baselines(circle_round.config)
    ]


def train_judge(circle_round: Round) -> str:
    """Train a second reward model, on none of the pairs that the policy was trained on; returns its folder."""
    judge = circle_round.folder / "evaluation" / "judge"
    data = judge / "preferences"
    for part, source in {"train": "test", "valid": "valid", "test": "train"}.items():
        pairs = read_preferences(circle_round.folder / "preferences" / f"{source}.jsonl")
        write_jsonl(data / f"{part}.jsonl", pairs, private=True)
    config = circle_round.stage(data=str(data), seed=circle_round.config.seed + 1)
    train_stage("reward", config, judge / "run", "auto", circle_round.accept_changes)
    return str(judge / "run")


def summarise_stages(circle_round: Round, results: dict[str, Result]) -> Result:
    """Return each stage's figures for the report."""
    from likelier.feedback.check import FeedbackCheck

    check, pairs, reward = FeedbackCheck.from_json(results["check"]), results["preferences"], results["reward"]
    num_people = len(check.annotators)
    stages = {
        "prompts": (f"{results['prompts']['prompts']:,}", f"{results['prompts']['kept_out']:,} held out"),
        "candidates": (
            f"{results['candidates']['responses']:,} responses",
            f"{circle_round.config.circle.responses_per_prompt} to a prompt",
        ),
        "feedback": (f"{check.judgements:,} judgements", f"{num_people} annotator{'s' * (num_people != 1)}"),
        "check": (f"{len(check.flagged)} flagged", ", ".join(check.flagged)),
        "preferences": (f"{pairs['train']:,} pairs", f"{pairs['dropped']:,} dropped"),
        "reward": (f"{percent(reward['accuracy'])} right", f"length alone {percent(reward['length_only_accuracy'])}"),
        **summarise_policy(results),
    }
    verdict = assess_reward_model(reward)
    return {
        "stages": [{"name": name, "value": value, "note": note} for name, (value, note) in stages.items()],
        "reward_at_chance": not verdict.is_usable,
    }


def summarise_policy(results: dict[str, Result]) -> dict[str, tuple[str, str]]:
    """Return the figures of PPO and the evaluation; of a round that skipped them, that it did."""
    if "policy" not in results:
        return {"ppo": ("skipped", "the reward model is at chance"), "evaluation": ("none", "the model is as it was")}
    policy, evaluation = results["policy"], EvaluationResult.from_json(results["evaluation"])
    scores = f"score {number(policy['score_before'])} → {number(policy['score_after'])}"
    return {
        "ppo": (f"{policy['steps']:,} steps", scores),
        "evaluation": (f"{percent(evaluation.first.win_rate)} preferred", span(evaluation.first.interval)),
    }
