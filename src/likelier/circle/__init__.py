"""The whole circle: prompts, candidates, feedback, check, preferences, reward, PPO, evaluation; round by round."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from likelier.circle.feedback import (
    Result,
    ask_people,
    check_feedback,
    check_strategy,
    list_pair_inputs,
    make_pairs,
    make_split_key,
    sample_candidates,
    split_prompts,
)
from likelier.circle.training import (
    compare_models,
    compare_with_first,
    list_baselines,
    make_policy_config,
    train_baseline,
    train_policy,
    train_reward_model,
)
from likelier.config import Config
from likelier.config.base import PageConfig
from likelier.errors import ConfigError
from likelier.evaluation.result import EvaluationResult
from likelier.files import read_json, stable_id, write_json
from likelier.progress import print_note
from likelier.report.circle_round import write_round_report
from likelier.report.page import write_report
from likelier.reward.verdict import assess_reward_model
from likelier.runs.lock import lock_folder
from likelier.runs.older import keep_former_defaults
from likelier.runs.record import compare_folder
from likelier.runs.round import Round

__all__ = [
    "Collect",
    "Result",
    "Round",
    "ask_people",
    "check_feedback",
    "collect_feedback",
    "compare_models",
    "make_pairs",
    "make_policy_config",
    "make_split_key",
    "run_circle",
    "run_once",
    "split_prompts",
    "train_and_evaluate",
]

Collect = Callable[[Round], Result]
"""Adds judgements of a round's comparisons to its database; returns their number."""


def run_circle(
    config: Config, out: Path, rounds: int = 1, collect: Collect | None = None, accept_changes: bool = False
) -> Result:
    """Go round `rounds` times. What is done already, from the same settings and inputs, is not done again.

    Every stage reads files and writes files, so that each can be looked at, repeated, or done by hand instead.
    ConfigError: base weights, reward code or versions changed since its start, and `accept_changes` is False.
    """
    if not config.model or not config.prompts:
        raise ConfigError("a circle needs `model` and `prompts`")
    if config.ppo.tools:
        raise ConfigError("ppo.tools: a circle's people compare answers written without tools; run `likelier ppo`")
    check_people(config, out)
    check_strategy(config)
    if collect is None:
        check_pages(config)
    model, made_from, repeats, result = config.model, "", 0, {}
    with lock_folder(out):
        compare_folder(out, "circle", config, accept_changes)
        config = keep_former_defaults(config, out)
        folders = []
        for turn in range(1, rounds + 1):
            folder = out / f"round-{turn}"
            db, prompts = find_database(config, out), folder / "prompts"
            circle_round = Round(config, folder, db, model, prompts, made_from, accept_changes, repeats)
            results = train_and_evaluate(circle_round, collect_feedback(circle_round, collect or ask_people))
            accepted = is_accepted(config, results)
            if accepted:
                model, made_from = str(circle_round.run_folder("ppo") / "model"), results["policy"]["made_from"]
            else:
                repeats += 1
            lang, count = config.circle.lang, config.circle.responses_per_prompt
            result = write_round_report(folder, results, count, language=lang, accepted=accepted)
            result["accepted"] = accepted
            folders.append(folder)
            if not accepted and config.circle.accept == "better":
                print_note(f"round {turn}: not accepted, so {model} stays; {result['in_words']}")
        if rounds > 1:
            write_report(folders, out / "report.html", language=config.circle.lang)
            result["report"] = str(out / "report.html")
    return {"rounds": rounds, **result}


def is_accepted(config: Config, results: dict[str, Result]) -> bool:
    """True if the next round begins with this round's policy."""
    if "policy" not in results:
        return False
    interval = EvaluationResult.from_json(results["evaluation"]).first.interval
    return config.circle.accept == "always" or (interval is not None and interval[0] > 0.5)


def find_database(config: Config, out: Path) -> str:
    """Return the path of the feedback database that a circle trains on."""
    return config.circle.db or str(out / "feedback.db")


def check_people(config: Config, out: Path) -> None:
    """ConfigError: people are asked for what cannot work here, or for judgements that the next round would train on."""
    if config.people:
        raise ConfigError("reward: people: a circle asks people for comparisons; run `likelier ppo` to have them rate")
    people, db = config.eval.people, find_database(config, out)
    if people and (people.people == db or Path(people.people or "").resolve() == Path(db).resolve()):
        raise ConfigError(f"eval.scorer: the circle trains on {db}; give people a database of its own")
    if config.circle.baselines and config.eval.scorer and not config.eval.scoring:
        line = "people judge only the new model; add a judge that scores to eval.scorer, or leave the baselines out"
        raise ConfigError(f"circle.baselines: {line}")


def check_pages(config: Config) -> None:
    """ConfigError: a page of the circle has an address or a certificate that `likelier serve` would refuse."""
    from likelier.web.server import make_access

    make_access(config.circle, "circle")
    make_access(config.eval, "eval")


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


def make_policy_key(circle_round: Round, results: dict[str, Result]) -> list[Any]:
    """Return the inputs of PPO. Where KL is measured from and where it starts are named if they are not `model`."""
    rewards = [source.model_dump(exclude={"people", "wait_minutes", "judge"}) for source in circle_round.config.reward]
    left_out = {"anyway", "reference", *PageConfig.model_fields}
    key: list[Any] = [results, rewards, circle_round.config.ppo.model_dump(exclude=left_out)]
    more = {"start": circle_round.start if circle_round.start != circle_round.model else None}
    more |= {"reference": circle_round.reference}
    return [*key, more] if any(more.values()) else key


def train_and_evaluate(circle_round: Round, results: dict[str, Result]) -> dict[str, Result]:
    """Run the second half, from judgements to a trained policy and its evaluation; returns all stages' results.

    With a reward model at chance (see `reward.verdict`) there is neither, unless `ppo.anyway`.
    """
    config, results = circle_round.config, dict(results)
    results["preferences"] = run_once(
        circle_round,
        "preferences",
        [results, *list_pair_inputs(circle_round)],
        partial(make_pairs, checked=results["check"]),
    )
    results["reward"] = run_once(
        circle_round, "reward", [results, config.model, config.reward_model.model_dump()], train_reward_model
    )
    if not config.ppo.anyway and not assess_reward_model(results["reward"]).is_usable:
        return results
    results["policy"] = run_once(circle_round, "policy", make_policy_key(circle_round, results), train_policy)
    for stage in list_baselines(config):
        made_from = [results, getattr(config, stage.block).model_dump()]
        results[stage.verb] = run_once(
            circle_round, stage.circle_folder, made_from, partial(train_baseline, stage=stage)
        )
    results["evaluation"] = run_once(
        circle_round,
        "evaluation",
        [results, config.eval.model_dump(exclude=set(PageConfig.model_fields))],
        compare_models,
    )
    if circle_round.model != config.model and (config.eval.scoring or not config.eval.scorer):
        results["against_first"] = run_once(circle_round, "against_first", results, compare_with_first)
    return results


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
