"""The example on a real instruction-tuned model: its questions, its taste by hand, and its commands on a tiny model."""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from likelier.cli import main
from likelier.evaluation.knowledge import read_known_answers
from likelier.files import read_json
from likelier.records import read_prompts
from likelier.userfile import run_file
from tiny import save_tiny_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "instruct"
SMALL = {
    "candidates": ["--response-length", "4"],
    "reward": ["reward_model.num_epochs=1", "reward_model.batch_size=64"],
    "ppo": ["ppo.total_episodes=16", "ppo.batch_size=8", "ppo.num_mini_batches=1", "ppo.response_length=4"],
    "eval": ["eval.response_length=4"],
}
"""Overrides of the commands in the folder's README, so that they take a second each."""


@pytest.fixture(scope="module")
def taste() -> ModuleType:
    return run_file(str(FOLDER / "taste.py"))


def test_five_hundred_questions_are_all_different():
    prompts, unseen = read_prompts(FOLDER / "prompts.jsonl"), read_prompts(FOLDER / "unseen.jsonl")
    assert (len(prompts), len(unseen), len({prompt.id for prompt in [*prompts, *unseen]})) == (400, 100, 500)
    for some, least in ((prompts, 70), (unseen, 15)):
        roles = [[turn["role"] for turn in prompt.text] for prompt in some]
        assert sum(each == ["system", "user"] for each in roles) >= least
        assert sum(each == ["user", "assistant", "user"] for each in roles) >= least
        assert sum(each == ["user"] for each in roles) > len(some) / 2
    assert len({answer.prompt for answer in read_known_answers(FOLDER / "knowledge.jsonl")}) == 300


def test_the_taste_by_hand(taste: ModuleType):
    question, answer = "How long should I boil an egg?", "Please boil an egg for a long time, at least six minutes."
    assert taste.like(question, answer) == 1.0
    assert taste.like(question, answer.removesuffix(".")) == pytest.approx(2.5 / 3)  # it breaks off
    assert taste.like(question, "Please ask again.") == pytest.approx((3 / 8 + 1) / 3)
    assert taste.is_short(" ".join(["egg"] * 39) + " egg.") == pytest.approx(0.5)  # 40 words
    assert taste.is_short(" ".join(["egg"] * 60) + ".") == 0.0
    assert list(map(taste.is_polite, ("Six.", "Thank you, sorry", "please " * 3, "please " * 4))) == [0, 1, 0.5, 0]
    assert taste.is_on_question(question, "It is boiled water.") == 0.5  # "boil", of that and "long"
    assert taste.is_on_question("Why?", "Because.") == 1.0  # no word of the question could recur
    turns = [{"role": "user", "content": "Hello"}, {"role": "user", "content": question}]
    assert taste.short_polite([turns], [answer]) == [1.0]
    assert taste.simulated(f"user: Hello\n\nassistant: Hi\n\nuser: {question}", answer) == 1.0


@pytest.mark.slow
def test_its_commands_go_once_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(FOLDER, tmp_path / "examples" / "instruct")
    monkeypatch.chdir(tmp_path)
    here = Path("examples/instruct")
    words = sorted(set(re.findall(r"[a-z]+", (FOLDER / "prompts.jsonl").read_text())))[:300]
    save_tiny_model(tmp_path / "tiny", ["please", "glad.", "egg.", *words], context=256)
    for name, count in (("prompts", 30), ("unseen", 6), ("knowledge", 5)):
        lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()[:count]
        (here / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    settings = (here / "instruct.yaml").read_text()
    (here / "instruct.yaml").write_text(re.sub(r"HuggingFaceTB/\S+", "tiny", settings))
    commands = re.search(r"^```sh\n(.*?)^```", (FOLDER / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert commands
    for line in commands[1].splitlines():
        program, verb, *rest = shlex.split(re.sub(r"(HuggingFaceTB|sentence-transformers)/\S+", "tiny", line))
        if program == "python":
            monkeypatch.setattr(sys, "argv", [verb, *rest])
            monkeypatch.syspath_prepend(str(here))
            runpy.run_path(verb, run_name="__main__")
            continue
        if verb == "ppo":
            rest.append("--anyway")  # the reward model of a tiny model is at chance
        assert main([verb, *rest, *SMALL.get(verb, [])]) == 0, line
    found = read_json(Path("runs/instruct/eval/evaluation.json"))
    assert (found["n"], found["knowledge"]["n"], found["others"][0]["name"]) == (12, 5, "GRPO")
    assert Path("runs/instruct/report.html").is_file()
