"""Token F1 with a gold answer, or what people prefer, as the reward of a model that answers real questions.

    python examples/answer_questions.py SMOLLM2 ../shared/data --run runs/questions --out runs/answers

SMOLLM2 is a folder of an instruction-tuned model, and `--run` has the reward models of `question_answers.py`. GRPO
teaches the model on the questions that are not held out, from a passage each, once by token F1 and once by the reward
model. Then each policy, and the best of several answers by either score, is measured by both scores on held-out
questions: F1, and the reward model in standard deviations of the start's answers. 95 % intervals over questions.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from question_answers import MAX_LENGTH, Asked, read_questions, split_questions

from likelier.api.train import train_ppo
from likelier.candidates import write_candidates
from likelier.cli import run_script
from likelier.files import read_jsonl, write_json, write_jsonl
from likelier.intervals import Floats, mean_interval
from likelier.reward.functions import token_f1
from likelier.text.reward_model import load_reward_model

WORDS, LENGTH, TEMPERATURE = 30, 24, 0.7
"""Of a passage, tokens of an answer, and how measured answers are drawn."""
GRPO = {"algorithm": "grpo", "responses_per_prompt": 8, "batch_size": 64, "num_ppo_epochs": 1, "num_mini_batches": 4,
        "response_length": LENGTH, "kl_coef": 0.01, "learning_rate": 3e-4, "lora_rank": 16, "bf16": True,
        "num_eval_prompts": 8, "save_steps": 2}  # fmt: skip
NAMES = ("token F1", "reward model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, default=Path("runs/questions"), help="--out of question_answers.py")
    parser.add_argument("--seed", type=int, default=0, help="one that question_answers.py had")
    parser.add_argument("--episodes", type=int, default=512, help="answers that each policy learns from")
    parser.add_argument("--held-out", type=int, default=40, help="held-out questions that are answered")
    parser.add_argument("--best-of", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/answers"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    test, learn = split_questions(read_questions(given.data), given.seed)
    score = Scores(given.run / str(given.seed) / "reward" / "model")
    out, test = given.out / str(given.seed), test[: given.held_out]
    for name, asked in (("asked", learn), ("tested", test)):
        write_jsonl(out / f"{name}.jsonl", [write_prompt(each) for each in asked])
    config = {"model": str(given.model), "prompts": str(out / "asked.jsonl"), "seed": given.seed}
    rewards = {"f1": "likelier.reward.functions:token_f1", "liked": score.prefer}
    ppo = GRPO | {"total_episodes": given.episodes}
    for name, reward in rewards.items():
        train_ppo(config | {"ppo": ppo}, out / name, reward, resume="auto")
    said = {name: answer(out / name / "model", out, name, test, given.best_of) for name in rewards}
    said["start"] = answer(given.model, out, "start", test, given.best_of)
    found = compare({name: score.read(test, answers) for name, answers in said.items()})
    write_json(out / "answers.json", found)
    print(json.dumps(found))


def write_prompt(asked: Asked) -> dict[str, Any]:
    """A chat with the passage cut short, and the columns that the rewards read."""
    passage, _, ask = asked.chat.partition("\n\n")
    text = f"{' '.join(passage.split()[:WORDS])}\n\n{ask}"
    return {"prompt": [{"role": "user", "content": text}], "reference": asked.gold, "question": asked.question}


class Scores:
    """Both scores of answers."""

    def __init__(self, model: Path) -> None:
        self.model = load_reward_model(model, "cpu", MAX_LENGTH)

    def prefer(self, prompts: list[str], responses: list[str], question: list[str]) -> list[float]:
        """The reward model's scores, which reads the question without its passage, as it was taught."""
        return self.model.score(question, responses).tolist()

    def read(self, asked: Sequence[Asked], answers: list[list[str]]) -> dict[str, Floats]:
        """Both scores of several answers to each question, [questions, answers]."""
        flat, each = [text for texts in answers for text in texts], [a for a in asked for _ in answers[0]]
        f1 = token_f1([""] * len(flat), flat, [a.gold for a in each])
        liked = self.prefer([], flat, [a.question for a in each])
        return {
            name: np.array(row, float).reshape(len(asked), -1) for name, row in zip(NAMES, (f1, liked), strict=True)
        }


def answer(model: Path, out: Path, name: str, test: Sequence[Asked], count: int) -> list[list[str]]:
    """Several answers to each held-out question, drawn once."""
    said = out / f"{name}-said.jsonl"
    if not said.exists():
        write_candidates(str(model), out / "tested.jsonl", count, said, LENGTH, TEMPERATURE, bf16=True)
    return [[each["text"] for each in line["responses"]] for _, line in read_jsonl(said)]


def compare(scores: dict[str, dict[str, Floats]]) -> dict[str, Any]:
    """Means of each way by both scores, and what each gains over the start, paired by question."""
    start = scores["start"]
    unit = {
        "token F1": 1.0,
        "reward model": float((start["reward model"] - start["reward model"].mean(1, keepdims=True)).std()),
    }
    ways = {name: {by: rows.mean(1) for by, rows in found.items()} for name, found in scores.items()}
    for chosen in NAMES:
        place = start[chosen].argmax(1)[:, None]
        ways[f"best by {chosen}"] = {by: np.take_along_axis(rows, place, 1)[:, 0] for by, rows in start.items()}
    table: dict[str, Any] = {}
    for name, found in ways.items():
        gains = {by: (rows - start[by].mean(1)) / unit[by] for by, rows in found.items()}
        groups = [str(number) for number in range(len(found["token F1"]))]
        table[name] = {
            by: {"gain": float(gain.mean()), "interval": mean_interval(gain, groups)} for by, gain in gains.items()
        }
        table[name]["token F1"]["mean"] = float(found["token F1"].mean())
    return table


if __name__ == "__main__":
    sys.exit(run_script(main))
