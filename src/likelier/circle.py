"""The whole circle: prompts, candidates, feedback, check, preferences, reward, PPO, evaluation; round by round."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from likelier.config import Config, OtherModel, RewardSource
from likelier.errors import ConfigError, Stopped, Terminated, exit_code
from likelier.files import read_json, stable_id, write_json, write_jsonl
from likelier.records import column_names, distinct_prompts, prompt_line, read_preferences, read_prompts
from likelier.report.page import number, percent, span, write_report
from likelier.runs.folder import is_unused, make_folder, remove_created, take_lock
from likelier.runs.naming import resume_command
from likelier.runs.shared import train_stage
from likelier.stages import STAGES, Stage

Result = dict[str, Any]
JUDGE = "a judge trained on other judgements"
Collect = Callable[["Round"], Result]
"""Brings judgements of a round's comparisons into its database."""


@dataclass(frozen=True)
class Round:
    """One time around the circle: its settings, its folder, its database, the model it starts from."""

    config: Config
    folder: Path
    db: str
    model: str
    prompts: Path
    """Folder with `train.jsonl` and `kept_out.jsonl`."""
    made_from: str = ""
    """What the model was made from: the key of the last round's policy; empty for the model of the config."""

    def stage(self, **settings: Any) -> Config:
        """The settings of one stage of this round."""
        return self.config.model_copy(update=settings)

    def run_folder(self, verb: str) -> Path:
        """Where the run of a training stage stands."""
        return self.folder / STAGES[verb].circle_folder


def run_circle(config: Config, out: Path, rounds: int = 1, collect: Collect | None = None) -> Result:
    """Go round `rounds` times. What is done already, from the same settings and inputs, is not done again.

    Every stage reads files and writes files, so that each can be looked at, repeated, or done by hand instead.
    """
    if not config.model or not config.prompts:
        raise ConfigError("a circle needs `model` and `prompts`")
    check_people(config, out)
    model, made_from, result = config.model, "", {}
    with held(out):
        for turn in range(1, rounds + 1):
            folder = out / f"round-{turn}"
            at = Round(config, folder, database_of(config, out), model, folder / "prompts", made_from)
            done = learn(at, gather(at, collect or ask_people))
            model, made_from = str(at.run_folder("ppo") / "model"), done["policy"]["made_from"]
            result = finish(at, done)
    return {"rounds": rounds, **result}


def database_of(config: Config, out: Path) -> str:
    """Where a circle keeps the feedback that it learns from."""
    return config.circle.db or str(out / "feedback.db")


def check_people(config: Config, out: Path) -> None:
    """ConfigError: people of `eval.scorer` could not judge, or the next round would train on what they judge."""
    if not (people := config.eval.people):
        return
    db = database_of(config, out)
    if people.people == db or Path(people.people or "").resolve() == Path(db).resolve():
        raise ConfigError(f"eval.scorer: the circle trains on {db}; give people a database of its own")
    if config.circle.baselines and not config.eval.scoring:
        line = "people judge only the new model; add a judge that scores to eval.scorer, or leave the baselines out"
        raise ConfigError(f"circle.baselines: {line}")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder of a circle, for this process alone and rid of what a killed one left half-written.

    Stopped: after a signal; what is done stands. A new folder is removed again where nothing was sampled yet.
    """
    made, is_new = make_folder(folder), is_unused(folder)
    lock = take_lock(folder)
    try:
        for leftover in filter(Path.is_file, folder.rglob(".*.tmp")):
            leftover.unlink()
        yield
    except BaseException as error:
        if is_new and not any(folder.rglob("candidates.json")):
            remove_created(folder, made)
        elif isinstance(error, Stopped | KeyboardInterrupt | Terminated):
            raise Stopped("stopped", exit_code(signal_of(error)), resume_command(folder)) from error
        raise
    finally:
        os.close(lock)


def signal_of(error: BaseException) -> int:
    """Which signal ended the work."""
    by_hand = isinstance(error, KeyboardInterrupt) or (isinstance(error, Stopped) and error.exit_code == 130)
    return signal.SIGINT if by_hand else signal.SIGTERM


def gather(at: Round, collect: Collect) -> dict[str, Result]:
    """The first half of the circle: from prompts to checked judgements."""
    circle, ppo, done = at.config.circle, at.config.ppo, {}
    sampled = [at.model, at.made_from, circle.responses_per_prompt]
    sampled += [ppo.response_length, ppo.temperature, ppo.stop_strings]
    done["prompts"] = once(at, "prompts", split_inputs(at), split_prompts)
    done["candidates"] = once(at, "candidates", [done, sampled], write_responses)
    done["feedback"] = once(at, "feedback", [done, circle.judgements], collect)
    done["check"] = once(at, "check", done, check_feedback)
    return done


def learn(at: Round, done: dict[str, Result]) -> dict[str, Result]:
    """The second half: from judgements to a better model, and how much better it is."""
    config, done = at.config, dict(done)
    rewards = [source.model_dump(exclude={"people"}) for source in config.reward]
    done["preferences"] = once(
        at, "preferences", [done, config.circle.check_feedback], partial(make_pairs, checked=done["check"])
    )
    done["reward"] = once(at, "reward", [done, config.model, config.reward_model.model_dump()], learn_reward)
    done["policy"] = once(at, "policy", [done, rewards, config.ppo.model_dump()], improve_policy)
    for stage in baselines_of(config):
        made_from = [done, getattr(config, stage.block).model_dump()]
        done[stage.verb] = once(at, stage.circle_folder, made_from, partial(train_baseline, stage=stage))
    done["evaluation"] = once(at, "evaluation", [done, config.eval.model_dump(exclude={"port"})], compare_models)
    return done


def finish(at: Round, done: dict[str, Result], title: str = "") -> Result:
    """Draw the report; what the command line prints."""
    write_json(
        at.folder / "circle.json", picture(at, done) | {"title": title or at.folder.name.replace("-", " ").capitalize()}
    )
    report = at.folder / "report.html"
    write_report([at.folder], report)
    return {
        "reward_accuracy": done["reward"]["accuracy"],
        "win_rate": done["evaluation"]["win_rate"],
        "win_rate_interval": done["evaluation"]["interval"],
        "report": str(report),
    }


def once(at: Round, name: str, made_from: Any, make: Callable[[Round], Result]) -> Result:
    """The result of a stage: from its folder if it was made from the very same, else made now.

    A stage that was cut off goes on where it can; one that was made from something else is made anew. A result holds
    the key of what it was made from, so that a change in one stage reaches all that come after it.
    """
    folder, key = at.folder / name, stable_id(made_from)
    mark, result = folder.with_suffix(".key"), folder.with_suffix(".json")
    if not mark.exists() or mark.read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        result.unlink(missing_ok=True)
        at.folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(key)
    if not result.exists():
        write_json(result, make(at) | {"made_from": key})
    found: Result = read_json(result)
    return found


def split_inputs(at: Round) -> list[Any]:
    """What the split of the prompts is made from: texts, columns if there are any, sizes and seed.

    A circle that was begun when columns were not read goes on without them, instead of asking its people again.
    """
    prompts, circle = read_prompts(Path(at.config.prompts)), at.config.circle
    sizes = [circle.num_eval_prompts, circle.num_prompts, at.config.seed]
    texts_alone, key = [[prompt.text for prompt in prompts], *sizes], at.folder / "prompts.key"
    if not column_names(prompts) or (key.is_file() and key.read_text() == stable_id(texts_alone)):
        return texts_alone
    return [[[prompt.text, prompt.extra] for prompt in prompts], *sizes]


def split_prompts(at: Round) -> Result:
    """Prompts to work with and prompts kept out of every round, the same ones in each."""
    prompts = distinct_prompts(read_prompts(Path(at.config.prompts)))
    random.Random(at.config.seed).shuffle(prompts)
    num_kept = min(at.config.circle.num_eval_prompts, max(1, len(prompts) // 5))
    working = prompts[num_kept:][: at.config.circle.num_prompts]
    for path, part in ((at.prompts / "train.jsonl", working), (at.prompts / "kept_out.jsonl", prompts[:num_kept])):
        write_jsonl(path, map(prompt_line, part))
    return {"prompts": len(working), "kept_out": num_kept}


def write_responses(at: Round) -> Result:
    """Several responses to each prompt, in a file and in the database, every two of them a comparison."""
    from likelier.candidates import write_candidates
    from likelier.evaluation.people import open_people
    from likelier.feedback.formats import import_file
    from likelier.feedback.store import Store
    from likelier.reward.sources import check_columns, make_scorer

    scorer = make_scorer([*at.config.reward, *at.config.eval.scoring], at.config.ppo.device)
    check_columns(read_prompts(at.prompts / "train.jsonl"), scorer)  # told before people are asked
    if at.config.eval.people:
        open_people(at.config.eval).close()
    ppo, path = at.config.ppo, at.folder / "candidates" / "candidates.jsonl"
    found = write_candidates(
        at.model,
        at.prompts / "train.jsonl",
        at.config.circle.responses_per_prompt,
        path,
        response_length=ppo.response_length,
        temperature=ppo.temperature,
        stop_strings=ppo.stop_strings,
        seed=at.config.seed,
        device=ppo.device,
    )
    with Store.open(at.db, create=True) as store:
        import_file(path, "likelier", store)
    return found


def ask_people(at: Round) -> Result:
    """Open the judging page until there are enough judgements; what was given before it was closed counts.

    So does what was given before another number was asked for, as long as the answers to compare are the same.
    """
    from likelier.feedback.store import Store
    from likelier.web.server import serve

    circle, begun = at.config.circle, at.folder / "begun.json"
    compared = hashlib.sha256((at.folder / "candidates" / "candidates.jsonl").read_bytes()).hexdigest()
    with Store.open(at.db) as store:
        if not begun.exists() or read_json(begun)["compared"] != compared:
            write_json(begun, {"judgements": store.counts()["judgements"], "compared": compared})
        before = read_json(begun)["judgements"]
        if (wanted := circle.judgements - store.counts()["judgements"] + before) > 0:
            serve(store, port=circle.port, wanted=wanted, per_comparison=circle.judgements_per_comparison)
        return {"judgements": store.counts()["judgements"] - before}


def check_feedback(at: Round) -> Result:
    """Check the round's judgements; returns what `likelier check --json` prints."""
    from likelier.feedback.check import check
    from likelier.feedback.store import Store

    with Store.open(at.db) as store:
        return check(store.judged(), seed=at.config.seed).to_json()


def make_pairs(at: Round, checked: Result) -> Result:
    """Weighted pairs from the judgements; `checked` is the result of `check_feedback` on the same database."""
    from likelier.feedback.check import FeedbackCheck
    from likelier.feedback.store import Store
    from likelier.preferences.make import Split, make_preferences

    findings = FeedbackCheck.from_json(checked) if at.config.circle.check_feedback else None
    with Store.open(at.db) as store:
        return make_preferences(store, at.folder / "preferences", findings, Split(at.config.seed))


def train(at: Round, verb: str, config: Config) -> Result:
    """Train a stage in the round's folder, from its newest checkpoint if it was cut off."""
    return train_stage(verb, config, at.run_folder(verb), "auto")


def learn_reward(at: Round) -> Result:
    """A reward model, from the round's preferences."""
    return train(at, "reward", at.stage(data=str(at.folder / "preferences")))


def improve_policy(at: Round) -> Result:
    """PPO against that reward model and the sources of the config."""
    return train(at, "ppo", policy_config(at))


def policy_config(at: Round) -> Config:
    """The settings of PPO, and of what is held against it: the same start, prompts and score."""
    rewards = [reward_model(at), *at.config.reward]
    return at.stage(model=at.model, prompts=str(at.prompts / "train.jsonl"), reward=rewards)


def reward_model(at: Round) -> RewardSource:
    """The round's own reward model, all members of the ensemble."""
    return RewardSource(model=str(at.run_folder("reward")), name="reward model")


def train_baseline(at: Round, stage: Stage) -> Result:
    """A stage on the round's preferences, measured as often as PPO unless it says otherwise."""
    block = getattr(at.config, stage.block)
    every = block.eval_steps or at.config.ppo.eval_steps or 10
    settings = {stage.block: block.model_copy(update={"eval_steps": every}), "data": str(at.folder / "preferences")}
    return train(at, stage.verb, policy_config(at).model_copy(update=settings))


def baselines_of(config: Config) -> list[Stage]:
    """The stages that are trained beside PPO, in the order of their table."""
    return [stage for stage in STAGES.values() if stage.verb in config.circle.baselines]


def compare_models(at: Round) -> Result:
    """The new model against the round's start, by the judges of the config or by one trained on pairs kept out."""
    from likelier.evaluation.compare import evaluate
    from likelier.web.server import serve

    settings = {
        "model_a": at.model,
        "model_b": str(at.run_folder("ppo") / "model"),
        "prompts": str(at.prompts / "kept_out.jsonl"),
        "scorer": at.config.eval.scorer or [RewardSource(model=train_judge(at), name=JUDGE)],
        "selector": [reward_model(at)] * bool(at.config.eval.best_of),
        "response_length": at.config.ppo.response_length,
        "stop_token": at.config.ppo.stop_token,
        "stop_strings": at.config.ppo.stop_strings,
        "others": [*at.config.eval.others, *baseline_models(at)],
    }
    config = at.stage(eval=at.config.eval.model_copy(update=settings))
    return evaluate(config, at.folder / "evaluation", serve).to_json()


def baseline_models(at: Round) -> list[OtherModel]:
    """What the baselines of the circle trained."""
    return [
        OtherModel(model=str(at.run_folder(stage.verb) / "model"), name=stage.title)
        for stage in baselines_of(at.config)
    ]


def train_judge(at: Round) -> str:
    """A second reward model that has seen none of the pairs which the policy was trained on."""
    judge = at.folder / "evaluation" / "judge"
    data = judge / "preferences"
    for part, source in {"train": "test", "valid": "valid", "test": "train"}.items():
        write_jsonl(data / f"{part}.jsonl", read_preferences(at.folder / "preferences" / f"{source}.jsonl"))
    config = at.stage(data=str(data), seed=at.config.seed + 1)
    train_stage("reward", config, judge / "run", "auto")
    return str(judge / "run")


def picture(at: Round, done: dict[str, Result]) -> Result:
    """The numbers at each station of the circle, for the report."""
    flagged = [person["id"] for person in done["check"]["annotators"] if person["flags"]]
    num_people = len(done["check"]["annotators"])
    pairs, reward, policy, evaluation = (done[name] for name in ("preferences", "reward", "policy", "evaluation"))
    stations = {
        "prompts": (f"{done['prompts']['prompts']:,}", f"{done['prompts']['kept_out']:,} kept out"),
        "candidates": (
            f"{done['candidates']['responses']:,} responses",
            f"{at.config.circle.responses_per_prompt} to a prompt",
        ),
        "feedback": (f"{done['check']['judgements']:,} judgements", f"{num_people} annotator{'s' * (num_people != 1)}"),
        "check": (f"{len(flagged)} flagged", ", ".join(flagged)),
        "preferences": (f"{pairs['train']:,} pairs", f"{pairs['dropped']:,} dropped"),
        "reward": (f"{percent(reward['accuracy'])} right", f"length alone {percent(reward['length_only_accuracy'])}"),
        "ppo": (
            f"{policy['steps']:,} steps",
            f"score {number(policy['score_before'])} → {number(policy['score_after'])}",
        ),
        "evaluation": (f"{percent(evaluation['win_rate'])} preferred", span(evaluation["interval"])),
    }
    return {"stages": [{"name": name, "value": value, "note": note} for name, (value, note) in stations.items()]}
