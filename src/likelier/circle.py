"""The whole circle: prompts, candidates, feedback, check, preferences, reward, PPO, evaluation; round by round."""

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likelier.config import Config, OtherModel, RewardSource
from likelier.config.base import PageConfig
from likelier.errors import ConfigError
from likelier.evaluation.result import EvaluationResult
from likelier.files import hash_file, read_json, stable_id, write_json, write_jsonl
from likelier.progress import print_note
from likelier.records import column_names, distinct_prompts, prompt_line, read_preferences, read_prompts
from likelier.report.circle_round import write_round_report
from likelier.report.page import write_report
from likelier.reward.verdict import assess_reward_model
from likelier.runs.lock import lock_folder
from likelier.runs.older import keep_former_defaults
from likelier.runs.record import compare_folder
from likelier.runs.round import Round
from likelier.runs.shared import train_stage
from likelier.stages import STAGES, Stage

if TYPE_CHECKING:
    from likelier.feedback.store import Store

Result = dict[str, Any]
JUDGE = "a judge trained on other judgements"
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
    check_people(config, out)
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
    """ConfigError: the next round would train on judgements of `eval.scorer`, or people cannot judge the baselines."""
    if not (people := config.eval.people):
        return
    db = find_database(config, out)
    if people.people == db or Path(people.people or "").resolve() == Path(db).resolve():
        raise ConfigError(f"eval.scorer: the circle trains on {db}; give people a database of its own")
    if config.circle.baselines and not config.eval.scoring:
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
    rewards = [source.model_dump(exclude={"people"}) for source in circle_round.config.reward]
    key: list[Any] = [results, rewards, circle_round.config.ppo.model_dump(exclude={"anyway", "reference"})]
    more = {"start": circle_round.start if circle_round.start != circle_round.model else None}
    more |= {"reference": circle_round.reference}
    return [*key, more] if any(more.values()) else key


def train_and_evaluate(circle_round: Round, results: dict[str, Result]) -> dict[str, Result]:
    """Run the second half, from judgements to a trained policy and its evaluation; returns all stages' results.

    With a reward model at chance (see `reward.verdict`) there is neither, unless `ppo.anyway`.
    """
    config, results = circle_round.config, dict(results)
    learned = [config.circle.learn_from] if config.circle.learn_from != "all" else []
    results["preferences"] = run_once(
        circle_round,
        "preferences",
        [results, config.circle.check_feedback, *learned],
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
    from likelier.reward.sources import check_columns, make_scorer

    scorer = make_scorer(
        [*circle_round.config.reward, *circle_round.config.eval.scoring], circle_round.config.ppo.device
    )
    check_columns(read_prompts(circle_round.prompts / "train.jsonl"), scorer)  # before people spend time judging
    if circle_round.config.eval.people:
        open_people(circle_round.config.eval).close()
    ppo, path = circle_round.config.ppo, circle_round.candidates
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
    with open_store(circle_round, create=True) as store:
        import_file(path, "likelier", store)
    return result


def open_store(circle_round: Round, create: bool = False) -> "Store":
    """Open the circle's project of its database."""
    from likelier.feedback.store import Store

    return Store.open(circle_round.db, create, circle_round.config.circle.project)


def ask_people(circle_round: Round) -> Result:
    """Serve the annotation page until there are enough judgements.

    Only this round's responses are shown: those of earlier models teach nothing new. Judgements from before an
    interruption count, also if their number was changed, as long as the responses are the same.
    """
    from likelier.feedback.formats.native import list_offered
    from likelier.web.server import make_access, serve

    circle, begun = circle_round.config.circle, circle_round.folder / "begun.json"
    candidates = circle_round.candidates
    compared = hash_file(candidates)
    with open_store(circle_round) as store:
        if not begun.exists() or read_json(begun)["compared"] != compared:
            write_json(begun, {"judgements": store.counts()["judgements"], "compared": compared})
        before = read_json(begun)["judgements"]
        if (wanted := circle.judgements - store.counts()["judgements"] + before) > 0:
            asked = list_offered(candidates)
            serve(
                store,
                port=circle.port,
                access=make_access(circle, "circle"),
                wanted=wanted,
                per_comparison=circle.judgements_per_comparison,
                only=asked,
            )
        return {"judgements": store.counts()["judgements"] - before}


def check_feedback(circle_round: Round) -> Result:
    """Check the round's judgements; returns what `likelier check --json` prints."""
    from likelier.feedback.check import check

    with open_store(circle_round) as store:
        return check(store.judged(), store.gold_answers()).to_json()


def make_pairs(circle_round: Round, checked: Result) -> Result:
    """Write weighted preference pairs; `checked` is the result of `check_feedback` on the same database."""
    from likelier.feedback.check import FeedbackCheck
    from likelier.feedback.formats.native import list_offered
    from likelier.preferences.make import make_preferences
    from likelier.preferences.split import Split

    circle = circle_round.config.circle
    findings = FeedbackCheck.from_json(checked) if circle.check_feedback else None
    only = list_offered(circle_round.candidates) if circle.learn_from == "last" else None
    with open_store(circle_round) as store:
        split = Split(circle_round.config.seed)
        return make_preferences(store, circle_round.folder / "preferences", findings, split, only=only)


def train(circle_round: Round, verb: str, config: Config) -> Result:
    """Train a stage in the round's folder, from its newest checkpoint if it was interrupted."""
    return train_stage(verb, config, circle_round.run_folder(verb), "auto", circle_round.accept_changes)


def train_reward_model(circle_round: Round) -> Result:
    """Train a reward model on the round's preferences."""
    return train(circle_round, "reward", circle_round.stage(data=str(circle_round.folder / "preferences")))


def train_policy(circle_round: Round) -> Result:
    """Train the policy with PPO against that reward model and the sources of the config."""
    config = make_policy_config(circle_round)
    ppo = config.ppo.model_copy(update={"reference": circle_round.reference})
    return train(circle_round, "ppo", config.model_copy(update={"ppo": ppo}))


def make_policy_config(circle_round: Round) -> Config:
    """Return the settings shared by PPO and its baselines: initial model, prompts and reward."""
    rewards = [make_reward_source(circle_round), *circle_round.config.reward]
    return circle_round.stage(
        model=circle_round.start, prompts=str(circle_round.prompts / "train.jsonl"), reward=rewards
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
    from likelier.web.server import make_access, serve

    config = make_evaluation_config(circle_round)
    page = partial(serve, access=make_access(config.eval, "eval"))
    return evaluate(config, circle_round.folder / "evaluation", page).to_json()


def compare_with_first(circle_round: Round) -> Result:
    """Compare the policy with the circle's first model, by the judges that score."""
    from likelier.evaluation.compare import evaluate

    config = make_evaluation_config(circle_round)
    scorer = [source for source in config.eval.scorer if source.people is None]
    alone = {"model_a": circle_round.config.model, "scorer": scorer, "others": [], "best_of": [], "selector": []}
    config = config.model_copy(update={"eval": config.eval.model_copy(update=alone)})
    return evaluate(config, circle_round.folder / "against_first").to_json()


def make_evaluation_config(circle_round: Round) -> Config:
    """Return the settings of the comparison with the round's initial model."""
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
    return circle_round.stage(eval=circle_round.config.eval.model_copy(update=settings))


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
