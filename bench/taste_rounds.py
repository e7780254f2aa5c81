"""Three rounds of `likelier circle` with people of two tastes, `circle.taste=majority`: whose taste does it learn?

`python bench/taste_rounds.py [--seed 0] [--people 6 4] [--tastes kind colourful] [--rounds 3] [--kill]
[--out runs/taste-rounds] [circle.taste=all ...]` runs the command with the demo's model, on 40 prompts a round whose
answers five people compare. People judge over HTTP, one after the other, with logistic noise on 6 times their taste.
Prints for each round whose taste was learned, and the scores by both. With --kill the same is done once more, and the
command is killed with signal 9 twice in round 2, while its reward model and while its policy is trained.
"""

import argparse
import contextlib
import hashlib
import http.client
import json
import math
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from judges import Judge

from likelier.demo import tastes
from likelier.demo.run import SETTINGS, start_round
from likelier.feedback.accounts import Accounts
from likelier.feedback.store import Store
from likelier.files import read_json
from likelier.web.server import listen

UTILITY = 6.0
CIRCLE = {"num_prompts": 40, "judgements": 1200, "judgements_per_comparison": 5}
Taste = Callable[[str, str], float]


@dataclass
class Judging(Judge):
    """Somebody at the page who judges by a taste, with logistic noise of their own on each pair."""

    taste: Taste = field(default=lambda prompt, response: 0.0)

    def choose(self) -> dict[str, Any]:
        """Return the answer to the question; a side's noise is that of the text, whatever the order."""
        shown = self.question["shown"]
        texts = [shown[side] for side in ("left", "right")]
        utility = [UTILITY * self.taste(shown["prompt"], text) for text in texts]
        chance = random.Random(f"{self.name} {shown['prompt']} {sorted(texts)}").random()
        chance = chance if texts == sorted(texts) else 1 - chance
        choice = "left" if chance < 1 / (1 + math.exp(utility[1] - utility[0])) else "right"
        self.count += 1
        key = f"{self.name.encode().hex()[-12:]}-{self.count:08d}"
        return {**self.question["ids"], "choice": choice, "key": key, "duration_seconds": 5.0}


def bring_people(db: Path, port: int, people: Sequence[Taste]) -> list[Judging]:
    """Create a database in which so many people have accounts; they need no invitation."""
    with Store.open(db, create=True) as store:
        store.prepare_to_write()
        accounts = Accounts(store)
        names = [f"person {number}" for number in range(len(people))]
        sessions = [accounts.accept(accounts.invite("annotator"), name) for name in names]
    return [
        Judging(port, name, cookie=f"likelier-{port}={session}", taste=taste)
        for name, session, taste in zip(names, sessions, people, strict=True)
    ]


def judge_round(people: Sequence[Judging], count: int) -> None:
    """Judge in turn until `count` answers are acknowledged, or the page ends. It does so with the last answer."""
    acknowledged = 0
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            for person in people:
                _, person.question = person.request("GET", "/question")
                if "ids" in person.question and acknowledged < count:
                    status = person.judge()
                    assert status == 200, status
                    acknowledged += 1
    for person in people:
        person.close()
    assert acknowledged == count, f"the page ended after {acknowledged} of {count} answers"


def run_command(words: Sequence[str], people: Sequence[Judging], count: int, kill_at: Path | None, log: Path) -> int:
    """Run `likelier`, judge `count` pairs whenever its page opens, and kill it once `kill_at` is there; exit code."""
    with log.open("a") as stream:
        process = subprocess.Popen([sys.executable, "-m", "likelier", *words], stdout=stream, stderr=stream)
    accompany(lambda: process.poll() is None, process.kill, people, count, kill_at)
    return process.wait()


def accompany(
    is_running: Callable[[], bool],
    kill: Callable[[], object],
    people: Sequence[Judging],
    count: int,
    kill_at: Path | None = None,
) -> None:
    """Judge `count` pairs whenever the page of a process opens, until it has ended or `kill_at` is there."""
    while is_running():
        if kill_at and kill_at.exists():
            kill()
            return
        try:
            people[0].request("GET", "/question")
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        else:
            judge_round(people, count)


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the hash of what a killed circle must reproduce: answers, pairs, weights and logs of each round."""
    patterns = ("preferences/*.jsonl", "reward/**/*.safetensors", "policy/**/*.safetensors", "policy/metrics.jsonl",
                "policy/samples.jsonl", "candidates/*.jsonl")  # fmt: skip
    files = [file for pattern in patterns for file in sorted(folder.glob(f"round-*/{pattern}"))]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def print_round(folder: Path) -> None:
    """Print whose taste a round learned, and what its policy is worth by both."""
    check, pairs = read_json(folder / "check.json"), read_json(folder / "preferences.json")
    sizes = [len(group["members"]) for group in check["tastes"]["groups"]]
    said = pairs.get("followed_taste", {"in_words": "everybody's"})
    print(f"{folder.name}  groups of {sizes or check['tastes']['reason']}  {said['in_words']}")
    if (file := folder / "evaluation" / "evaluation.json").exists():
        judges = read_json(file)["judges"]
        scores = [f"{name} {judge['score_a']:.3f} to {judge['score_b']:.3f}" for name, judge in judges.items()]
        print(f"  pairs {pairs['train']}  {'  '.join(scores)}", flush=True)


def run_rounds(folder: Path, words: Sequence[str], people: Sequence[Judging], count: int, kill: bool) -> None:
    """Run the command in a folder, and print what it did. The folder's name is part of the answers' ids."""
    out, log = folder / "circle", folder / "log"
    words = ["circle", *words, f"circle.db={folder / 'feedback.db'}", "--out", str(out), "--resume", "auto"]
    kills = [out / "round-2" / name / "metrics.jsonl" for name in ("reward", "policy")] if kill else []
    for kill_at in [*kills, None]:
        code = run_command(words, people, count, kill_at, log)
        print(f"the command ended with {code}", flush=True)
    for turn in sorted(out.glob("round-*")):
        print_round(turn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, nargs=2, default=[6, 4])
    parser.add_argument("--tastes", nargs=2, default=["kind", "colourful"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/taste-rounds"))
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    start = start_round(given.out, given.seed, given.tastes[0])
    panel = [tastes.TASTES[name] for name, size in zip(given.tastes, given.people, strict=True) for _ in range(size)]
    people = bring_people(given.out / "people.db", port, panel)
    scorer = [{"function": f"{tastes.__file__}:{name}_scores", "name": name} for name in given.tastes]
    told = {**SETTINGS, "seed": given.seed, "model": start.config.model, "prompts": start.config.prompts}
    circle = SETTINGS["circle"] | CIRCLE | {"port": port, "taste": "majority"}
    told |= {"eval": SETTINGS["eval"] | {"scorer": scorer}, "circle": circle}
    config = given.out / "circle.yaml"
    config.write_text(json.dumps(told))
    for name in ("whole", "killed") if given.kill else ("whole",):
        folder = given.out / "run"
        folder.mkdir()
        shutil.copy(given.out / "people.db", folder / "feedback.db")
        words = [str(config), *given.overrides, "--rounds", str(given.rounds)]
        for person in people:
            person.count = 0
        print(name, flush=True)
        run_rounds(folder, words, people, int(str(CIRCLE["judgements"])), name == "killed")
        folder.rename(given.out / name)
    if given.kill:
        one, other = (fingerprint(given.out / name / "circle") for name in ("whole", "killed"))
        differing = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        print(f"{len(one)} files of answers, pairs, weights and logs; different: {differing or 'none'}")


if __name__ == "__main__":
    main()
