"""The first half of the circle: prompts, candidates, people's judgements, their check, and pairs to learn from."""

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likelier.asking.strategies import BY_REWARD, Strategy, parse_strategy
from likelier.circle.taste import FollowedTaste, follow_taste
from likelier.config import Config
from likelier.config.circle import BALANCE_DIALS, CircleConfig
from likelier.errors import ConfigError
from likelier.files import hash_file, read_json, stable_id, write_json, write_jsonl
from likelier.progress import print_note
from likelier.records import column_names, distinct_prompts, prompt_line, read_prompts
from likelier.runs.round import Round

if TYPE_CHECKING:
    from likelier.feedback.store import Store
    from likelier.preferences.balance import Fading

Result = dict[str, Any]
ASK = "circle.ask"
FOLLOWED = "followed_taste"
"""In the result of a round's preferences: whose taste they hold."""


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
        template_kwargs=circle_round.config.chat_template_kwargs,
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
                access=replace(make_access(circle, "circle"), strategy=choose_strategy(circle_round)),
                wanted=wanted,
                per_comparison=circle.judgements_per_comparison,
                only=asked,
            )
        return {"judgements": store.counts()["judgements"] - before}


def check_strategy(config: Config) -> None:
    """ConfigError: `circle.ask` is no strategy, or one for which the circle's reward models do not serve."""
    name = parse_strategy(config.circle.ask, ASK).name
    if name == "disagreement" and config.reward_model.ensemble_size < BY_REWARD[name]:
        raise ConfigError(
            f"{ASK} {config.circle.ask}: one model cannot disagree; set reward_model.ensemble_size to 3, say"
        )


def choose_strategy(circle_round: Round) -> Strategy:
    """Return the round's strategy; by chance where it needs a reward run and the round before has none."""
    strategy = parse_strategy(circle_round.config.circle.ask, ASK)
    if strategy.name not in BY_REWARD:
        return strategy
    reward = circle_round.before / "reward" if circle_round.before else None
    if reward is None or not (reward / "result.json").is_file():
        print_note(f"{ASK} {strategy.name}: there is no reward model yet; this round asks at random")
        return Strategy()
    return replace(strategy, reward=str(reward))


def check_feedback(circle_round: Round) -> Result:
    """Check the round's judgements; returns what `likelier check --json` prints."""
    from likelier.feedback.check_all import check_store

    with open_store(circle_round) as store:
        return check_store(store).to_json()


def make_pairs(circle_round: Round, checked: Result) -> Result:
    """Write weighted preference pairs; `checked` is the result of `check_feedback` on the same database."""
    from likelier.feedback.check import FeedbackCheck
    from likelier.feedback.derived import AllAnswers
    from likelier.feedback.formats.native import list_offered
    from likelier.preferences.balance import TasteGroups, choose_balance
    from likelier.preferences.make import make_preferences
    from likelier.preferences.split import Split

    circle = circle_round.config.circle
    findings = FeedbackCheck.from_json(checked) if circle.check_feedback else None
    found = findings.tastes if findings else None
    tastes, followed = TasteGroups(found.group_of() if found else {}), None
    if circle.taste == "majority":
        followed = follow_taste(found, read_former_taste(circle_round))
        tastes = followed.find_groups()
        print_note(f"{circle_round.folder.name}: {followed.in_words}")
    if circle.half_life is not None:
        tastes = replace(tastes, fading=fade_by_round(circle_round, circle.half_life))
    dials = (circle.balance_people, circle.balance_groups, circle.balance_prompts, circle.balance_topics)
    balance = choose_balance(*dials, is_checked=findings is not None)
    only = list_offered(circle_round.candidates) if circle.learn_from == "last" else None
    out, split = circle_round.folder / "preferences", Split(circle_round.config.seed)
    with open_store(circle_round) as store:
        answers = AllAnswers(store, findings)
        made = make_preferences(answers, out, findings, split, only=only, balance=balance, tastes=tastes)
        if note := answers.describe():
            print_note(note)
    return made | ({FOLLOWED: followed.to_json()} if followed else {})


def read_former_taste(circle_round: Round) -> FollowedTaste | None:
    """Return whose taste the round before learned; None if it is the first to choose one."""
    file = circle_round.before / "preferences.json" if circle_round.before else None
    record = read_json(file).get(FOLLOWED) if file and file.is_file() else None
    return FollowedTaste.from_json(record) if record else None


def fade_by_round(circle_round: Round, half_life: float) -> "Fading":
    """Return a fading by the round that last offered a comparison; what none offered was there before the first."""
    from likelier.feedback.formats.native import list_offered
    from likelier.preferences.balance import Fading

    ages, age, each = dict[str, int](), 0, circle_round
    while True:
        for comparison in list_offered(each.candidates):
            ages.setdefault(comparison, age)
        age += 1
        if each.before is None:
            break
        each = replace(each, folder=each.before)
    return Fading(half_life, "rounds", lambda judgement: float(ages.get(judgement.comparison_id, age)))


def list_pair_inputs(circle_round: Round) -> list[Any]:
    """Return what decides about pairs beside the judgements: settings, those that came later only where they are not
    the default, and whose taste the round before learned."""
    circle, fields = circle_round.config.circle, CircleConfig.model_fields
    later = {name: getattr(circle, name) for name in ("half_life", "taste", *BALANCE_DIALS)}
    later = {name: value for name, value in later.items() if value != fields[name].default}
    learned = [circle.learn_from] if circle.learn_from != "all" else []
    former = read_former_taste(circle_round) if circle.taste == "majority" else None
    followed = [former.members, former.others] if former else []
    return [circle.check_feedback, *learned, *([later] if later else []), *followed]
