"""A made-up but plausible folder of a demo, as its stages would have left it, for tests of the report."""

import math
import random

import yaml

from likelier.files import write_json, write_jsonl

PEOPLE = ("Ada", "Bo", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hal", "Ivy", "Jo", "Kit", "Lou")
VICES = {"Cleo": "left", "Gus": "random", "Kit": "longer"}
STATIONS = [
    ("prompts", "576", "144 held out"),
    ("candidates", "2,304 responses", "model"),
    ("feedback", "2,700 judgements", "12 annotators"),
    ("check", "3 flagged", "Cleo, Gus, Kit"),
    ("preferences", "1,514 pairs", "1,186 dropped"),
    ("reward", "78\u00a0% right", "length alone 61\u00a0%"),
    ("ppo", "60 steps", "3.1 nats from the start"),
    ("evaluation", "84\u00a0% preferred", "79–88\u00a0%"),
]
BEFORE = "Tom hid it under the bed. He told the cat to go away. Then Tom hid it again and again and it was cold."
AFTER = "Tom smiled at the cat. He gave it to his friend, and they shared the warm bread."
VERSIONS = {"python": "3.11.2", "likelier": "0.1.0", "torch": "2.13.0+cpu", "transformers": "5.3.1", "numpy": "2.3.1"}
SETTINGS = {
    "model": "demo/model",
    "prompts": "demo/prompts.jsonl",
    "seed": 7,
    "reward": [{"model": "demo/reward/model", "weight": 1.0, "name": "reward model"}],
    "ppo": {"learning_rate": 4e-4, "kl_coef": 0.06, "num_ppo_epochs": 2, "response_length": 48, "critic": "shared"},
}


def write_demo(folder):
    """Everything that a demo leaves for the report; returns the folder."""
    write_run(folder / "policy", "ppo", ppo_lines(), SETTINGS)
    write_run(folder / "reward", "reward", reward_lines(), {"data": "demo/preferences", "seed": 7})
    write_jsonl(folder / "policy" / "samples.jsonl", samples())
    write_json(folder / "policy" / "result.json", policy_result())
    write_json(folder / "reward" / "result.json", reward_result())
    write_json(folder / "circle.json", circle())
    write_json(folder / "check.json", check())
    write_json(folder / "arms.json", arms())
    evaluated = evaluation()
    write_json(folder / "evaluation" / "evaluation.json", evaluated)
    write_json(folder / "evaluation.json", {key: value for key, value in evaluated.items() if key != "samples"})
    return folder


def write_run(run, verb, lines, settings):
    write_jsonl(run / "metrics.jsonl", lines)
    write_json(run / "run.json", {"verb": verb, "seed": 7, "versions": VERSIONS})
    (run / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def circle():
    stages = [{"name": name, "value": value, "note": note} for name, value, note in STATIONS]
    taste = {"name": "kind", "description": "A kind ending, told briefly; once is enough, and nothing said twice"}
    return {
        "title": "Small stories, a hidden taste",
        "simulated": True,
        "taste": taste,
        "seconds": 221.4,
        "command": "likelier demo --seed 7 --taste kind",
        "stages": stages,
    }


def check():
    draw = random.Random(3)
    people = []
    for name in PEOPLE:
        vice = VICES.get(name)
        people.append(
            {
                "id": name,
                "judgements": 402 if vice else 160 + draw.randrange(9),
                "skill": 0.05 + 0.1 * draw.random() if vice else 0.9 + 0.2 * draw.random(),
                "error_rate": 0.44 + 0.08 * draw.random() if vice else 0.06 + 0.1 * draw.random(),
                "left_rate": 0.93 if vice == "left" else 0.46 + 0.08 * draw.random(),
                "flags": [vice] if vice else [],
            }
        )
    return {
        "comparisons": 900,
        "judgements": sum(person["judgements"] for person in people),
        "annotators": people,
        "alpha": 0.3412,
        "alpha_interval": [0.3051, 0.3787],
        "position_bias": 0.061,
        "length_bias": 0.024,
        "planted": sorted(VICES),
    }


def reward_result():
    expected = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]
    observed = [0.09, 0.16, 0.24, 0.38, 0.44, 0.53, 0.68, 0.73, 0.86, 0.93]
    return {
        "run": "demo/reward",
        "steps": 72,
        "optimizer_steps": 72,
        "seconds": 21.3,
        "accuracy": 0.7812,
        "accuracy_interval": [0.7344, 0.8261],
        "log_loss": 0.4721,
        "calibration_error": 0.0284,
        "calibration": [
            {"expected": x, "observed": y, "pairs": 12 + 5 * at}
            for at, (x, y) in enumerate(zip(expected, observed, strict=True))
        ],
        "pairs": 302,
        "length_only_accuracy": 0.6093,
        "bag_of_words_accuracy": 0.7219,
        "over_length_only": 0.1719,
        "over_length_only_interval": [0.11, 0.23],
    }


def reward_lines():
    return [
        {
            "step": step,
            "loss": 0.69 * math.exp(-step / 60) + 0.2,
            "accuracy": 0.5 + 0.3 * (1 - math.exp(-step / 25)),
            "learning_rate": 1e-3 * (1 - step / 72),
            "epoch": step / 24,
        }
        for step in range(1, 73)
    ]


def ppo_lines():
    draw = random.Random(5)
    return [ppo_line(step, lambda spread: spread * (draw.random() - 0.5)) for step in range(1, 61)]


def ppo_line(step, noise):
    done = 1 - math.exp(-step / 22)
    line = {
        "step": step,
        "episodes": 64 * step,
        "optimizer_steps": 4 * step,
        "score": -0.2 + 2.6 * done + noise(0.3),
        "reward": -0.2 + 2.4 * done + noise(0.3),
        "kl": 3.2 * done + noise(0.15),
        "kl_coef": 0.06,
        "entropy": 1.9 - 0.7 * done + noise(0.06),
        "response_length": 31 - 14 * done + noise(1.5),
        "policy_loss": -0.012 + noise(0.012),
        "value_loss": 0.9 * math.exp(-step / 12) + 0.12 + noise(0.05),
        "approx_kl": 0.004 + noise(0.002),
        "clipfrac": 0.06 + noise(0.03),
        "explained_variance": 0.75 * done + noise(0.1),
        "ratio": 1.0,
        "learning_rate": 4e-4 * (1 - step / 60),
    }
    if step % 6 == 0:
        line |= {"eval_kl": 3.1 * done, "eval_score": -0.2 + 2.5 * done, "eval/true taste": 0.31 + 0.36 * done}
        line |= {"eval_response_length": 31 - 14 * done}
    return line


def samples():
    return [
        {
            "step": step,
            "prompt": "One day Tom found a red ball.",
            "response": BEFORE if step < 20 else AFTER,
            "score": step / 30,
            "kl": step / 20,
            "stop_reason": "end_token",
        }
        for step in range(1, 61)
    ]


def policy_result():
    before = {"eval_score": -0.2, "eval_kl": 0.0, "eval_response_length": 31.0, "eval/true taste": 0.31}
    after = {"eval_score": 2.1, "eval_kl": 3.07, "eval_response_length": 17.2, "eval/true taste": 0.65}
    numbers = {"score_before": -0.2, "score_after": 2.1, "kl": 3.07, "response_length": 17.2, "findings": []}
    counts = {"run": "demo/policy", "steps": 60, "optimizer_steps": 240, "seconds": 71.2}
    return counts | numbers | {"before": before, "after": after}


def evaluation():
    verdict = {
        "win_rate": 0.8403,
        "interval": [0.7917, 0.8785],
        "ties": 6,
        "n": 288,
        "score_a": 0.312,
        "score_b": 0.6541,
    }
    stories = [
        ("One day Tom found a red ball.", BEFORE, AFTER, 0.081, 0.914),
        ("Mia and the old dog went to the river.", "They sat down. They sat down. Mia laughed at the dog.",
         "Mia shared her apple with the old dog, and they went home happy.", 0.052, 0.871),
        ("It was raining, and Ben was sad.", "Ben kept it. He pushed the door and pushed the door and it rained.",
         "His sister hugged him and made a warm soup for the two of them.", 0.127, 0.803),
        ("The little fox lost its way.", "It went and went and went. The owl hid it in a tree.",
         "The owl helped the little fox, and they walked home under the moon.", 0.094, 0.952),
        ("Anna had two cakes.", "She kept it all and ate it all. She was full and the cakes were gone, gone.",
         "She gave it to the boy who had none.", 0.146, 0.64),
    ]  # fmt: skip
    return {
        "model_a": "demo/model",
        "model_b": "demo/policy/model",
        "seed": 7,
        **verdict,
        "kl": 3.1,
        "kl_interval": [2.9, 3.3],
        "judges": {"true taste": verdict, "word list": verdict | {"win_rate": 0.71, "interval": [0.65, 0.77]}},
        "a": {"response_length": 31.2, "ended_rate": 0.93, "distinct_1": 0.061, "distinct_2": 0.243},
        "b": {"response_length": 17.4, "ended_rate": 0.99, "distinct_1": 0.066, "distinct_2": 0.236},
        "best_of": [best_of(2, 0.19, 0.40), best_of(4, 0.64, 0.48), best_of(8, 1.2, 0.56), best_of(16, 1.84, 0.61)],
        "samples": [
            {"prompt": prompt, "response_a": a, "response_b": b, "score_a": before, "score_b": after}
            for prompt, a, b, before, after in stories
        ],
    }


def best_of(n, kl, score):
    found = {"win_rate": 0.5 + score / 2, "interval": [0.45 + score / 2, 0.55 + score / 2], "score": score}
    return {"n": n, "kl_bound": kl, "selector_score": 3 * score, **found, "judges": {"true taste": found}}


def arms():
    return {
        "arms": [
            arm("check on", 3.1, 0.654, 0.84, lambda at: 0.31 + 0.344 * at**0.7),
            arm("check off", 2.8, 0.498, 0.66, lambda at: 0.31 + 0.19 * at**0.8),
            arm("nobody misbehaves", 3.2, 0.686, 0.87, lambda at: 0.31 + 0.376 * at**0.7),
            arm("no KL penalty", 24.5, 0.421, 0.58, lambda at: 0.31 + 1.5 * at * (1 - at) ** 1.2 + 0.11 * at**3),
        ],
        "start_score": 0.312,
        "recovered": 0.83,
        "sentence": "The check recovered 83 % of what three spammers cost.",
        "turning_point": "Without a KL penalty the true taste peaked at 0.75 11.0 nats away, and fell to 0.42.",
        "best_of": [{"n": n, "kl": kl, "true_score": score} for n, kl, score in ((4, 0.64, 0.48), (16, 1.84, 0.61))],
    }


def arm(name, kl, score, rate, path):
    shares = [step / 60 for step in range(0, 61, 6)]
    curve = [
        {"step": round(60 * at), "kl": kl * at, "true_score": path(at), "score": -0.2 + 2.4 * at + 0.1 * kl * at}
        for at in shares
    ]
    return {
        "name": name,
        "win_rate": rate,
        "interval": [rate - 0.05, rate + 0.04],
        "true_score": score,
        "kl": kl,
        "curve": curve,
    }


def write_search(folder, metric="score_after"):
    """A search over a learning rate and a schedule with three folds; its last trial failed."""
    tried = [(3e-4, "linear", 2.0), (3e-5, "linear", 1.5), (3e-4, "constant", 1.0), (3e-6, "constant", 0.25)]
    trials = [
        {
            "rank": rank,
            "trial": 5 - rank,
            "values": {"ppo.learning_rate": rate, "ppo.lr_schedule": schedule},
            "mean": mean,
            "interval": [mean - 0.5, mean + 0.75],
            "behind": 2.0 - mean,
            "behind_interval": None if rank == 1 else [1.5 - mean, 2.5 - mean],
            "scores": [mean - 0.1, mean, mean + 0.1],
            "status": "done",
            "reason": None,
        }
        for rank, (rate, schedule, mean) in enumerate(tried, 1)
    ]
    empty = dict.fromkeys(("mean", "interval", "behind", "behind_interval"))
    failed = {"rank": 5, "trial": 5, "values": {"ppo.learning_rate": 0.3, "ppo.lr_schedule": "linear"}, **empty}
    trials.append(failed | {"scores": [None] * 3, "status": "failed", "reason": "loss is NaN at step 3"})
    about = {"stage": "ppo", "metric": metric, "direction": "max", "folds": 3, "best": trials[0], "trials": trials}
    write_json(folder / "search.json", about)
    (folder / "best.yaml").write_text("# The best of 5 trials\nppo:\n  learning_rate: 0.0003\n", encoding="utf-8")
    return folder
