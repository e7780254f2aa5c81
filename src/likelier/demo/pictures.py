"""`likelier demo --images`: the circle on pictures, from a diffusion model through comparisons of pictures to PPO.

A model of handwritten digits is trained from scratch, a simulated panel (or a visitor, with `--people`) compares its
pictures, judgements are checked, a reward model learns from them, PPO fine-tunes the denoising steps, and the hidden
taste (or the visitor) judges pictures drawn before and after with the same noise.
"""

import base64
import random
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from likelier.circle import Result, Round, check_feedback, run_once
from likelier.config import Config, build_config
from likelier.demo.panel import Panel, draw_annotators, leave_out_planted
from likelier.demo.picture_judges import ask_about_pictures, judge_by_taste, judge_by_visitor
from likelier.demo.picture_tastes import TASTES
from likelier.demo.run import record_options
from likelier.errors import ConfigError
from likelier.evaluation.verdict import assess_evaluation
from likelier.feedback.check import FeedbackCheck
from likelier.feedback.simulate import Vice, simulate_judgements
from likelier.feedback.store import Store
from likelier.files import read_json, write_json
from likelier.images.chain import path_kl, sample_trajectories
from likelier.images.diffusion import Diffusion, open_start
from likelier.images.digits import to_ink, to_squares, write_png, write_sheet
from likelier.images.finetune import SETTINGS, Score, Task, check_settings, finetune
from likelier.images.reward_model import AsTexts, PictureReward, PictureStore, train_picture_reward
from likelier.images.scores import digit_pictures, measure_diversity, train_classifier
from likelier.intervals import mean_interval
from likelier.preferences.make import make_preferences
from likelier.preferences.split import Split
from likelier.progress import print_note
from likelier.records import Comparison, Prompt, Response
from likelier.records.media import read_media
from likelier.report.page import number, percent, span, write_report
from likelier.reward.verdict import assess_reward_model
from likelier.runs.lock import lock_folder
from likelier.runs.run import Run
from likelier.training.setup import seeded_generator
from likelier.training.state import load_module, save_module

QUESTION = "Which digit do you like better?"
NUM_GROUPS, GROUP_SIZE = 150, 4
"""Groups of pictures, in each of which every two are a comparison."""
COMPARISONS, JUDGES_PER_COMPARISON = 600, 2
VICES: tuple[Vice, ...] = ("random", "left", "right", "fast", "reversed")
NUM_EVALUATED, NUM_SHOWN = 500, 40
KL_COEF = 0.2
MAX_SPREAD = 4.0
"""Standard deviation of the learned score over the candidates, at most: who never contradicts themselves teaches
log-odds without bound, beside which no price of a nat would count."""
TRUE_TASTE = "true taste"


def run_picture_demo(
    out: Path,
    seed: int,
    taste: str | None,
    people: bool,
    accept_changes: bool = False,
    overrides: Sequence[str] = (),
) -> Result:
    """Go once round the circle on pictures and write `report.html`; returns the JSON of `likelier demo --images`.

    `overrides`: settings of `ppo`, each as `ppo.key=value`. ConfigError: an unknown taste or setting, scikit-learn is
    absent, or the folder holds a demo with other options.
    """
    if taste is not None and taste not in TASTES:
        raise ConfigError(f"--taste {taste}: allowed with --images: {', '.join(TASTES)}")
    digit_pictures()  # before a folder is made
    name = None if people else taste or random.Random(seed).choice(list(TASTES))
    config = build_picture_config(seed, overrides, [TRUE_TASTE] if name else [])
    with lock_folder(out):
        options = {"images": True, "seed": seed, "taste": name, "people": people}
        record_options(out, options | ({"settings": list(overrides)} if overrides else {}))
        circle_round = Round(config, out, str(out / "feedback.db"), "", out / "candidates", "", accept_changes)
        return go_round(circle_round, name)


def build_picture_config(seed: int, overrides: Sequence[str], judges: Collection[str]) -> Config:
    """Return the settings of the demo. ConfigError: one that pictures do not read, or a judge that is not there."""
    for override in overrides:
        if not override.startswith("ppo."):
            raise ConfigError(f"demo --images: {override}: takes settings of `ppo` only, as ppo.key=value")
    config = build_config({"seed": seed, "ppo": SETTINGS | {"kl_coef": KL_COEF}}, overrides, "demo --images")
    check_settings(config.ppo, judges)
    return config


def go_round(circle_round: Round, taste: str | None) -> Result:
    """Run all stages; what is done already is not done again. `taste` None: a visitor judges."""
    started, out, seed = time.monotonic(), circle_round.folder, circle_round.config.seed
    start = open_start(out / "start" / "diffusion.safetensors", digit_pictures(), seed)
    made: dict[str, Result] = {}
    made["candidates"] = run_once(circle_round, "candidates", [seed, NUM_GROUPS], partial(draw_candidates, start=start))
    panel = draw_picture_panel(circle_round, taste) if taste else None
    collect = partial(judge_by_panel, panel=panel) if panel else ask_about_pictures
    made["feedback"] = run_once(circle_round, "feedback", made, collect)
    made["check"] = leave_out_planted(run_once(circle_round, "check", made, check_feedback))
    made["preferences"] = run_once(circle_round, "preferences", made, partial(make_pairs, checked=made["check"]))
    made["reward"] = run_once(circle_round, "reward", made, train_reward)
    verdict = assess_reward_model(made["reward"])
    if not verdict.is_usable:
        print_note(f"no PPO: {verdict.sentence}")
        return write_picture_report(circle_round, made, panel, taste, time.monotonic() - started)
    key = [made, circle_round.config.ppo.model_dump()]
    made["policy"] = run_once(circle_round, "policy", key, partial(train_policy, start=start, taste=taste))
    compare = partial(judge_by_taste, taste=TASTES[taste]) if taste else judge_by_visitor
    made["evaluation"] = run_once(circle_round, "evaluation", made, partial(evaluate, start=start, compare=compare))
    return write_picture_report(circle_round, made, panel, taste, time.monotonic() - started)


def draw_candidates(circle_round: Round, start: Diffusion) -> Result:
    """Draw pictures, write each as a PNG file, and put every two of a group into the database as a comparison."""
    generator = seeded_generator(circle_round.config.seed, 0, "candidates")
    ink = to_ink(sample_trajectories(start, start, NUM_GROUPS * GROUP_SIZE, generator).pictures)
    folder = circle_round.prompts
    folder.mkdir(parents=True, exist_ok=True)
    responses = []
    prompt = Prompt(QUESTION)
    with Store.open(circle_round.db, create=True) as store:
        store.prepare_to_write()
        for row, picture in enumerate(to_squares(ink)):
            path = folder / f"{row:04}.png"
            path.write_bytes(write_png(picture))
            media = read_media(path)
            store.media_folder.add(media, path)
            responses.append(Response(prompt.id, model="start", media=media))
        groups = [responses[at : at + GROUP_SIZE] for at in range(0, len(responses), GROUP_SIZE)]
        pairs = [Comparison(prompt.id, a.id, b.id) for group in groups for a, b in combinations(group, 2)]
        store.add_prompts([prompt])
        store.add_responses(responses)
        store.add_comparisons(pairs)
    PictureStore([each.media.sha256 for each in responses if each.media], ink).save(pictures_file(circle_round))
    return {"responses": len(responses), "comparisons": len(pairs)}


def pictures_file(circle_round: Round) -> Path:
    """Return the file of the candidates' numbers."""
    return circle_round.prompts / "pictures.safetensors"


def draw_picture_panel(circle_round: Round, taste: str) -> Panel:
    """Draw twelve annotators with a taste for pictures, three with vices."""
    store = PictureStore.load(pictures_file(circle_round))
    utilities = dict(zip(store.names, TASTES[taste](store.ink).tolist(), strict=True))

    def like(prompt: str, sha256: str) -> float:
        return float(utilities[sha256])

    return draw_annotators(circle_round.config.seed, like, VICES)


def judge_by_panel(circle_round: Round, panel: Panel) -> Result:
    """Have the panel judge comparisons drawn from the database."""
    with Store.open(circle_round.db) as store:
        pairs = random.Random(panel.seed).sample(store.comparisons(), COMPARISONS)
        prompts = {prompt.id: prompt for prompt in store.prompts()}
        responses = {response.id: response for response in store.responses()}
        generator = np.random.default_rng(panel.seed)
        people, each = panel.annotators, JUDGES_PER_COMPARISON
        store.add_judgements(simulate_judgements(pairs, prompts, responses, people, generator, each))
        return {"judgements": store.counts()["judgements"], "annotators": len(people)}


def make_pairs(circle_round: Round, checked: Result) -> Result:
    """Write weighted preference pairs, in which a picture stands by the hash of its file."""
    findings, out = FeedbackCheck.from_json(checked), circle_round.folder / "preferences"
    with Store.open(circle_round.db) as store:
        return make_preferences(AsTexts(store.judged()), out, findings, Split(circle_round.config.seed))


def train_reward(circle_round: Round) -> Result:
    """Train the reward model on the pairs; its weights stand in `reward/`."""
    store = PictureStore.load(pictures_file(circle_round))
    model, result = train_picture_reward(circle_round.folder / "preferences", store, circle_round.config.seed)
    (circle_round.folder / "reward").mkdir(exist_ok=True)
    save_module(circle_round.folder / "reward" / "reward.safetensors", model)
    return result


def load_reward(circle_round: Round) -> Score:
    """Load the reward model of the round; its scores are scaled down to `MAX_SPREAD`."""
    candidates = PictureStore.load(pictures_file(circle_round)).pictures()
    model = PictureReward(candidates.shape[1], torch.Generator())
    load_module(circle_round.folder / "reward" / "reward.safetensors", model)
    model.requires_grad_(False)
    spread = float(model(candidates).std())
    factor = min(1.0, MAX_SPREAD / spread) if spread > 0 else 1.0
    return lambda pictures: factor * model(pictures)


def train_policy(circle_round: Round, start: Diffusion, taste: str | None) -> Result:
    """Fine-tune the start against the reward model; the hidden taste watches, and is never trained against."""
    judges: dict[str, Score] = {TRUE_TASTE: partial(score_by_taste, taste=taste)} if taste else {}
    folder, config = circle_round.folder / "policy", circle_round.config
    with Run(folder, "ppo", config, "auto", circle_round.accept_changes) as run:
        return finetune(config, run, Task(start, load_reward(circle_round), judges))


def score_by_taste(pictures: Float[Tensor, "N P"], taste: str) -> Float[Tensor, " N"]:
    """Return a taste's utility of pictures."""
    return torch.from_numpy(TASTES[taste](to_ink(pictures))).float()


def evaluate(circle_round: Round, start: Diffusion, compare: Any) -> Result:
    """Compare pictures before and after, drawn with the same noise that training never used; returns the record."""
    policy = Diffusion(start.size)
    load_module(circle_round.folder / "policy" / "model" / "policy.safetensors", policy)
    seed, drawn = circle_round.config.seed, []
    for chain in (start, policy):
        generator = seeded_generator(seed, 0, "compared-pictures")
        drawn.append(sample_trajectories(chain, start, NUM_EVALUATED, generator))
    before, after = (to_ink(each.pictures) for each in drawn)
    kl = path_kl(policy, start, drawn[1].states).sum(1).tolist()
    about: Result = {"model_a": str(circle_round.folder / "start"), "model_b": str(circle_round.folder / "policy")}
    about |= {"seed": seed, "kl": float(np.mean(kl)), "kl_interval": mean_interval(kl, list(map(str, range(len(kl)))))}
    record = about | compare(circle_round, before, after)
    classifier, verdict = train_classifier(seed), assess_evaluation(record)
    diversity = [measure_diversity(each.pictures, classifier) for each in drawn]
    sheets = [make_data_url(write_sheet(ink[:NUM_SHOWN], 10)) for ink in (before, after)]
    pictures = {"before": sheets[0], "after": sheets[1], "diversity_before": diversity[0], "shown": NUM_SHOWN}
    pictures["diversity_after"] = diversity[1]
    return {"verdict": verdict.name, "in_words": verdict.text, **record, "pictures": pictures}


def make_data_url(png: bytes) -> str:
    """Return a PNG file as an address within a page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def write_picture_report(
    circle_round: Round, made: Mapping[str, Result], panel: Panel | None, taste: str | None, seconds: float
) -> Result:
    """Write `circle.json`, `check.json` with the planted annotators, and the report; returns the result."""
    out, check = circle_round.folder, FeedbackCheck.from_json(made["check"])
    about: Result = {"stages": summarise_stages(made, check), "title": "Digits, your taste", "seconds": round(seconds)}
    command = f"likelier demo --images --seed {circle_round.config.seed}"
    about["reward_at_chance"] = "policy" not in made
    if panel and taste:
        words = (TASTES[taste].__doc__ or "").rstrip(".")
        about |= {"title": "Digits, a hidden taste", "simulated": True, "taste": {"name": taste, "description": words}}
        write_json(out / "check.json", made["check"] | {"planted": panel.planted}, private=True)
    command += f" --taste {taste}" if taste else " --people"
    settings = read_json(out / "demo.json").get("settings", [])
    write_json(out / "circle.json", about | {"command": " ".join([command, *map(shlex.quote, settings)])})
    write_report([out], out / "report.html", circle_round.db)
    evaluation, reward = made.get("evaluation", {}), made["reward"]
    result: Result = {"seconds": round(seconds, 1), "judgements": check.judgements, "annotators": len(check.annotators)}
    result |= {"spammers_planted": panel.planted, "spammers_found": check.flagged} if panel else {}
    result |= {"reward_accuracy": reward["accuracy"], "reward_at_chance": "policy" not in made}
    names = {"win_rate": "win_rate", "win_rate_interval": "interval", "kl": "kl"}
    result |= {name: evaluation.get(key) for name, key in names.items()}
    result |= {"true_score_before": evaluation.get("score_a"), "true_score_after": evaluation.get("score_b")}
    result |= {"in_words": evaluation.get("in_words") or assess_reward_model(reward).sentence}
    return result | {"report": str(out / "report.html")}


def summarise_stages(made: Mapping[str, Result], check: FeedbackCheck) -> list[dict[str, str]]:
    """Return each stage's figures for the report."""
    pairs, reward, num_people = made["preferences"], made["reward"], len(check.annotators)
    right = "–" if reward["accuracy"] is None else f"{percent(reward['accuracy'])} right"
    rows = {
        "candidates": (f"{made['candidates']['responses']:,} responses", f"{GROUP_SIZE} to a group"),
        "feedback": (f"{check.judgements:,} judgements", f"{num_people} annotator{'s' * (num_people != 1)}"),
        "check": (f"{len(check.flagged)} flagged", ", ".join(check.flagged)),
        "preferences": (f"{pairs['train']:,} pairs", f"{pairs['dropped']:,} dropped"),
        "reward": (right, f"of {reward['pairs']} unseen"),
        "ppo": ("skipped", "the reward model is at chance"),
    }
    if "policy" in made:
        policy, evaluation = made["policy"], made["evaluation"]
        scores = f"score {number(policy['score_before'])} → {number(policy['score_after'])}"
        rows["ppo"] = (f"{policy['steps']:,} steps", scores)
        rows["evaluation"] = (f"{percent(evaluation['win_rate'])} preferred", span(evaluation["interval"]))
    return [{"name": name, "value": value, "note": note} for name, (value, note) in rows.items()]
