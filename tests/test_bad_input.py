"""What users get wrong: one line that names it, the exit code of its kind, an empty stdout, and nothing written."""

import errno
import json
import os
import shutil
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from likelier.cli import main
from likelier.files import write_jsonl
from likelier.records import Preference
from tiny import save_tiny_model

REWARDS = """
import math
def fine(prompts, responses): return [float(len(response)) for response in responses]
def raises(prompts, responses): raise KeyError("no such word")
def not_a_number(prompts, responses): return [0.0] * (len(responses) - 1) + [math.nan]
def one_short(prompts, responses): return [0.0] * (len(responses) - 1)
def texts(prompts, responses): return ["good"] * len(responses)
def nothing(prompts, responses): return None
no_function = 3
"""
PPO = {
    "batch_size": 4,
    "total_episodes": 8,
    "num_mini_batches": 2,
    "response_length": 4,
    "device": "cpu",
    "save_steps": 1,
}
SMALL = {"batch_size": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder in which everything is right, and beside it what is wrong."""
    folder = tmp_path_factory.mktemp("world")
    save_tiny_model(folder / "model", words=["a", "b"], context=16)
    lines(folder / "prompts.jsonl", *[{"prompt": text} for text in ("a", "b", "a b", "b a", "a a")])
    lines(folder / "long.jsonl", {"prompt": "a"}, {"prompt": "a " * 20})
    lines(folder / "sft.jsonl", *[{"prompt": "a", "completion": " b"}] * 4)
    pair = {"prompt": "a", "chosen": "a b", "rejected": "b"}
    lines(folder / "trl.jsonl", *[{**pair, "prompt": f"a {at}"} for at in range(20)])
    lines(folder / "same.jsonl", pair, pair, {**pair, "rejected": "a b"})
    (folder / "empty.jsonl").write_text("")
    (folder / "line7.jsonl").write_text((json.dumps(pair) + "\n") * 6 + '{"prompt": "a", "chosen": \n')
    (folder / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9"}\n')
    lines(folder / "half.jsonl", {"prompt": "a \ud800"}, {"prompt": "b"})
    (folder / "reward.py").write_text(REWARDS)
    (folder / "broken.py").write_text("def reward(:\n")
    preferences = [Preference("a", "a b", "b", comparison=str(at), conversation=str(at)) for at in range(4)]
    for part in ("train", "valid", "test"):
        write_jsonl(folder / "pairs" / f"{part}.jsonl", preferences)
    write_configs(folder)
    write_models(folder)
    assert main(["data", "import", str(folder / "trl.jsonl"), "--format", "trl", "--db", str(folder / "f.db")]) == 0
    (folder / "text.db").write_text("this is no database")
    (folder / "dangling").symlink_to(folder / "nowhere")
    lines(folder / "runs" / "done" / "metrics.jsonl", {"step": 1, "score": 1.0})
    (folder / "used").mkdir()
    (folder / "used" / "notes.txt").write_text("mine")
    return folder


def lines(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_configs(folder):
    settings = {
        "model": "model",
        "prompts": "prompts.jsonl",
        "reward": [{"function": "reward.py:fine"}],
        "ppo": PPO,
        "reward_model": SMALL | {"num_epochs": 1},
        "sft": SMALL,
        "eval": {
            "model_a": "model",
            "model_b": "model",
            "prompts": "prompts.jsonl",
            "scorer": [{"function": "reward.py:fine"}],
            "response_length": 4,
            "device": "cpu",
        },
    }
    (folder / "c.yaml").write_text(json.dumps(settings))  # JSON is YAML too
    (folder / "list.yaml").write_text("- a\n")
    (folder / "broken.yaml").write_text("seed: 1\nppo: {kl_coef: 1\n")
    (folder / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (folder / "empty.yaml").write_text("")


def write_models(folder):
    """Model folders that must not be loaded."""
    for name in ("pickled", "code", "cut", "unnamed", "two-labels", "headless"):
        shutil.copytree(folder / "model", folder / name)
    (folder / "pickled" / "model.safetensors").rename(folder / "pickled" / "pytorch_model.bin")
    change_config(folder / "code", auto_map={"AutoModelForCausalLM": "evil.Model"})
    change_config(folder / "unnamed", model_type=None)
    weights = (folder / "cut" / "model.safetensors").read_bytes()
    (folder / "cut" / "model.safetensors").write_bytes(weights[:-100])
    (folder / "headless" / "config.json").unlink()


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


class Case(NamedTuple):
    """A command line, its exit code, and what its one line must hold."""

    words: str
    code: int
    parts: tuple[str, ...]


def case(words, code, *parts):
    return pytest.param(Case(words, code, parts), id=words)


CASES = [
    # settings
    case("ppo absent.yaml", 2, "absent.yaml", "no such file"),
    case("ppo list.yaml", 2, "list.yaml", "list"),
    case("ppo empty.yaml", 2, "empty.yaml", "empty file"),
    case("ppo broken.yaml", 2, "broken.yaml", "not YAML"),
    case("config check twice.yaml", 2, "twice.yaml", "`seed`", "twice"),
    case("ppo c.yaml ppo.learnig_rate=1", 2, "c.yaml", "`ppo.learnig_rate`", "`learning_rate`"),
    case("ppo c.yaml ppo.learning_rate=fast", 2, "ppo.learning_rate", "'fast'"),
    case("ppo c.yaml ppo.learning_rate=-1", 2, "ppo.learning_rate", "greater than 0", "-1"),
    case("ppo c.yaml ppo.gamma=2", 2, "ppo.gamma", "less than or equal to 1", "2"),
    case("ppo c.yaml ppo.batch_size=6 ppo.num_mini_batches=4", 2, "batch_size 6", "num_mini_batches 4"),
    case("ppo c.yaml ppo.algorithm=rloo", 2, "responses_per_prompt", "rloo"),
    case("ppo c.yaml ppo.algorithm=dpo", 2, "ppo.algorithm", "'dpo'", "'rloo'"),
    case("ppo c.yaml ppo.temperature=.nan", 2, "ppo.temperature", "finite", "nan"),
    case("ppo c.yaml seed=99999999999", 2, "seed", "2147483648", "99999999999"),
    case("ppo c.yaml ppo=3", 2, "ppo", "3"),
    case("ppo c.yaml reward=hello", 2, "reward", "list", "'hello'"),
    case("ppo c.yaml ppo.device=tpu", 2, "ppo.device", "'tpu'"),
    case("ppo c.yaml seed", 2, "`seed`", "look like"),
    case("ppo c.yaml --seed -1", 2, "seed", "-1"),
    case("ppo c.yaml reward=[]", 2, "reward", "at least one"),
    case("ppo c.yaml model=", 2, "model"),
    case("ppo c.yaml ppo.report_to=[trackioo]", 2, "report_to", "'trackioo'"),
    case("ppo c.yaml --resume autto", 2, "--resume autto"),
    case("ppo c.yaml --resume used", 3, "used", "cannot resume"),
    case("ppo c.yaml --out used", 2, "used", "not empty", "--resume auto"),
    case("ppo c.yaml --out prompts.jsonl/run", 2, "prompts.jsonl/run", "--out"),
    case("eval c.yaml --out used", 2, "used", "not empty"),
    case("eval c.yaml --out prompts.jsonl", 2, "prompts.jsonl", "a file stands here"),
    case("eval c.yaml eval.model_b=", 2, "eval.model_b"),
    case("eval c.yaml eval.scorer=[]", 2, "eval.scorer"),
    case("demo --taste salty", 2, "--taste salty"),
    case("demo --out used", 2, "used", "not empty"),
    case("demo --out prompts.jsonl", 2, "prompts.jsonl", "a file stands here"),
    case("demo --seed -1", 2, "--seed", "'-1'"),
    case("demo --seed 99999999999", 2, "--seed", "'99999999999'"),
    case("circle c.yaml --rounds 0", 2, "--rounds", "'0'"),
    case("circle c.yaml model=pickled", 3, "pickled", "safetensors"),
    case(f"ppo c.yaml --out {'x' * 300}", 2, "File name too long"),
    case(f"demo --out {'x' * 300}", 2, "File name too long"),
    case(f"check --db {'x' * 300}", 2, "File name too long"),
    # where nothing can be written
    case("candidates --model model --prompts prompts.jsonl -o pairs", 2, "pairs: cannot be written (Is a directory)"),
    case(
        "candidates --model model --prompts prompts.jsonl -o prompts.jsonl/x",
        2,
        "prompts.jsonl/x: cannot be written (Not a directory)",
    ),
    case("data export --format trl --db f.db -o pairs", 2, "pairs: cannot be written (Is a directory)"),
    case("data export --format trl --db f.db -o prompts.jsonl/x/y", 2, "prompts.jsonl/x/y: cannot be written"),
    case("data import trl.jsonl --format trl --db prompts.jsonl/f.db", 2, "prompts.jsonl/f.db: cannot be written"),
    case("serve --db prompts.jsonl/f.db", 2, "prompts.jsonl/f.db: cannot be written"),
    case("preferences --db f.db -o prompts.jsonl", 2, "prompts.jsonl/train.jsonl: Not a directory"),
    case("report runs/done -o pairs", 2, "pairs: Is a directory"),
    case("report runs/done -o prompts.jsonl/x", 2, "prompts.jsonl/x: Not a directory"),
    case("eval c.yaml --out prompts.jsonl/run", 2, "prompts.jsonl/run: cannot be written"),
    case("sft c.yaml data=sft.jsonl --out prompts.jsonl/run", 2, "prompts.jsonl/run: cannot be written"),
    case("reward c.yaml data=pairs --out prompts.jsonl/run", 2, "prompts.jsonl/run: cannot be written"),
    case("gym CartPole-v1 --out prompts.jsonl/run", 2, "prompts.jsonl/run: cannot be written"),
    case("circle c.yaml --out prompts.jsonl/run", 2, "prompts.jsonl/run: cannot be written"),
    case("demo --out prompts.jsonl/run", 2, "prompts.jsonl/run: cannot be written"),
    case("gym a/b/c", 2, "'a/b/c'", "CartPole-v1"),
    case("gym nomodule:X-v1", 2, "nomodule"),
    case("circle c.yaml prompts=", 2, "prompts"),
    # before people are asked
    case("circle c.yaml reward=[{function:absent.py:fine}]", 2, "absent.py", "no such file"),
    case("circle c.yaml reward=[{model:pickled}]", 3, "pickled", "safetensors"),
    case("circle c.yaml eval.scorer=[{model:absent}]", 3, "absent"),
    case("config schema ppoo", 2, "`ppoo`", "ppo"),
    # prompts and training data
    case("ppo c.yaml prompts=absent.jsonl", 3, "absent.jsonl", "no such file"),
    case("ppo c.yaml prompts=empty.jsonl", 3, "empty.jsonl", "no prompts"),
    case("ppo c.yaml prompts=sft.jsonl", 3, "sft.jsonl", "at least 2 different prompts"),
    case("ppo c.yaml prompts=latin.jsonl", 3, "latin.jsonl:1", "UTF-8"),
    case("ppo c.yaml prompts=half.jsonl", 3, "half.jsonl:1", "surrogate"),
    case("ppo c.yaml prompts=long.jsonl", 3, "tokens", "at most 12"),
    case("ppo c.yaml ppo.response_length=16", 2, "ppo.response_length", "16"),
    case("candidates --model model --prompts long.jsonl --response-length 4 -o out.jsonl", 3, "tokens", "at most 12"),
    case("candidates --model model --prompts empty.jsonl -o out.jsonl", 3, "empty.jsonl", "no prompts"),
    case("candidates --model model --prompts prompts.jsonl", 2, "-o FILE", "--db DB"),
    case("candidates --model model --prompts prompts.jsonl --db new.db", 3, "new.db"),
    case("candidates --model model --prompts prompts.jsonl -o out.jsonl --temperature 0", 2, "--temperature", "0"),
    case("candidates --model model --prompts prompts.jsonl -o out.jsonl --device gpu", 2, "device", "'gpu'", "cuda"),
    case("candidates --model dangling --prompts prompts.jsonl -o out.jsonl", 3, "dangling", "no such model folder"),
    case("candidates --model model --prompts prompts.jsonl -o out.jsonl --stop-string=", 2, "--stop-string"),
    case("candidates --model model --prompts pairs -o out.jsonl", 3, "pairs", "a folder, not a file"),
    case("ppo pairs", 2, "pairs", "a folder, not a file"),
    case("sft c.yaml", 2, "data"),
    case("sft c.yaml data=absent.jsonl", 3, "absent.jsonl", "no such file"),
    case("sft c.yaml data=empty.jsonl", 3, "empty.jsonl"),
    case("sft c.yaml data=line7.jsonl", 3, "line7.jsonl:7", "broken JSON"),
    case("sft c.yaml data=prompts.jsonl", 3, "prompts.jsonl:1", "`completion`"),
    case("sft c.yaml data=sft.jsonl sft.architecture={model_type:lama}", 2, "sft.architecture"),
    case("reward c.yaml", 2, "data"),
    case("reward c.yaml data=absent", 3, "absent/train.jsonl", "no such file"),
    case("reward c.yaml data=pairs model=", 2, "model"),
    # models
    case("ppo c.yaml model=absent", 3, "absent"),
    case("ppo c.yaml model=pairs/absent", 3, "pairs/absent", "no such model folder"),
    case("ppo c.yaml model=prompts.jsonl", 3, "prompts.jsonl", "no such model folder"),
    case("ppo c.yaml model=pickled", 3, "pickled", "pytorch_model.bin", "safetensors"),
    case("ppo c.yaml model=code", 3, "code/config.json", "auto_map"),
    case("ppo c.yaml model=cut", 3, "cut/model.safetensors"),
    case("ppo c.yaml model=unnamed", 3, "unnamed/config.json", "model_type"),
    case("ppo c.yaml model=headless", 3, "headless", "config.json"),
    case("ppo c.yaml ppo.critic_model=pickled", 3, "pickled", "safetensors"),
    case("ppo c.yaml reward=[{model:pickled}]", 3, "pickled", "safetensors"),
    case("ppo c.yaml reward=[{model:two-labels}]", 3, "two-labels", "2 labels"),
    case("reward c.yaml data=pairs model=pickled", 3, "pickled"),
    case("candidates --model pickled --prompts prompts.jsonl -o out.jsonl", 3, "pickled"),
    case("eval c.yaml eval.model_b=pickled", 3, "pickled"),
    # reward functions and services
    case("ppo c.yaml reward=[{function:absent.py:fine}]", 2, "absent.py", "no such file"),
    case("ppo c.yaml reward=[{function:reward.py:absent}]", 2, "reward.py:absent"),
    case("ppo c.yaml reward=[{function:reward.py:no_function}]", 2, "no_function"),
    case("ppo c.yaml reward=[{function:broken.py:reward}]", 2, "broken.py", "SyntaxError"),
    case("ppo c.yaml reward=[{function:reward.py:raises}]", 1, "reward.py:raises", "KeyError"),
    case("ppo c.yaml reward=[{function:reward.py:not_a_number}]", 1, "reward.py:not_a_number", "nan"),
    case("ppo c.yaml reward=[{function:reward.py:one_short}]", 1, "reward.py:one_short"),
    case("ppo c.yaml reward=[{function:reward.py:texts}]", 1, "reward.py:texts", "str at index 0"),
    case("ppo c.yaml reward=[{function:reward.py:nothing}]", 1, "reward.py:nothing"),
    case("ppo c.yaml reward=[{http:'ftp://x'}]", 2, "ftp://x"),
    # feedback
    case("data import absent.jsonl --format trl --db new.db", 3, "absent.jsonl", "no such file"),
    case("data import empty.jsonl --format trl --db new.db", 3, "empty.jsonl"),
    case("data import line7.jsonl --format trl --db new.db", 3, "line7.jsonl:7", "broken JSON"),
    case("data import same.jsonl --format trl --db new.db", 3, "same.jsonl:3", "`chosen` and `rejected` are the same"),
    case("data import same.jsonl --format trl --db f.db", 3, "same.jsonl:3"),
    case("data import trl.jsonl --format trll --db new.db", 2, "trll", "trl"),
    case("data import trl.jsonl --format anthropic --db new.db", 3, "trl.jsonl:1"),
    case("data import trl.jsonl --format trl --db text.db", 3, "text.db"),
    case("data import trl.jsonl --format trl --db mysql://x/y", 2, "mysql"),
    case("data export --format trl --db new.db -o out.jsonl", 3, "new.db"),
    case("data export --format trll --db f.db -o out.jsonl", 2, "trll"),
    case("check --db new.db", 3, "new.db", "no such database"),
    case("check --db text.db", 3, "text.db"),
    case("preferences --db new.db -o out", 3, "new.db"),
    case("preferences --db f.db -o out --test-share 1.5", 2, "1.5"),
    case("preferences --db f.db -o out --test-share nan", 2, "nan"),
    case("serve --db f.db --port 70000", 2, "--port", "'70000'"),
    case("serve --db f.db --host 0.0.0.0", 2, "0.0.0.0"),
    case("serve --db text.db --port 0", 3, "text.db"),
    # report
    case("report absent", 3, "absent"),
    case("report model -o out.html", 3, "model"),
]


@pytest.fixture
def place(world, tmp_path, monkeypatch):
    """A copy of the world to stand in."""
    shutil.copytree(world, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def contents(folder):
    """Every file with its bytes. Locks and logs of databases that were there may come and go."""
    files = {
        path for path in folder.rglob("*") if path.is_file() and "f.db-" not in path.name and ".lock" not in path.name
    }
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


REMARKS = ("no chat template, so turns are written", "what is measured is rougher")
"""What may be said, without --json, before the line of a failure."""


def refuse(words, code, parts, place, capfd):
    """Run it and see that it is refused as it should be."""
    before = contents(place)
    capfd.readouterr()
    assert main(words) == code, capfd.readouterr().err
    out, err = capfd.readouterr()
    assert out == ""
    *notes, failure = err.splitlines()
    assert failure.startswith("likelier: ")
    assert not notes or "--json" not in words, err
    assert all(any(remark in note for remark in REMARKS) for note in notes), err
    for part in parts:
        assert part in err
    assert contents(place) == before


def split(words):
    """The words of a command line; YAML wants a blank behind a colon, which splitting would have taken."""
    return [word.replace(":", ": ", 1) if "={" in word or "=[{" in word else word for word in words.split()]


@pytest.mark.parametrize("given", CASES)
def test_refused_in_one_line_with_nothing_written(given, place, capfd):
    refuse([*split(given.words), "--json"], given.code, given.parts, place, capfd)


@pytest.mark.parametrize("given", CASES[::8])
def test_the_same_without_json(given, place, capfd):
    refuse(split(given.words), given.code, given.parts, place, capfd)


def test_an_empty_environment_id_is_refused(place, capfd):
    refuse(["gym", ""], 2, ("gym.env_id: ''", "CartPole-v1"), place, capfd)


def test_a_busy_port_is_named(place, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refuse(["serve", "--db", "f.db", "--port", str(port)], 1, (str(port), "--port"), place, capfd)


@pytest.mark.parametrize(
    "words",
    [
        "candidates --model model --prompts prompts.jsonl --response-length 4 -o out.jsonl",
        "data export --db f.db --format likelier -o out.jsonl",
        "preferences --db f.db -o out",
        "sft c.yaml data=sft.jsonl",
        "reward c.yaml data=pairs",
        "ppo c.yaml",
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(words, place, capfd, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refuse(words.split(), 1, ("No space left on device",), place, capfd)


def test_a_full_disk_keeps_the_responses_of_an_evaluation_for_the_next_try(place, capfd, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(["eval", "c.yaml", "--out", "e"]) == 1
    assert capfd.readouterr().err.endswith("likelier: e/evaluation.json: No space left on device\n")
    assert sorted(os.listdir("e")) == [".lock", "responses.part"]
    assert main(["eval", "c.yaml", "--out", "e"]) == 0
    assert sorted(os.listdir("e")) == [".lock", "evaluation.json"]


def test_a_folder_without_leave_to_write_is_one_line(place, capfd, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    refuse(["ppo", "c.yaml", "--out", "locked"], 2, ("locked", "Permission denied"), place, capfd)


def test_a_reward_that_breaks_later_leaves_the_checkpoint_to_go_on_from(place, capfd):
    """After the first step something is there to keep: the run stays, and goes on once the function is mended."""
    (place / "later.py").write_text(
        "calls = []\ndef reward(prompts, responses):\n    calls.append(1)\n"
        "    return [float('nan' if len(calls) == 3 else 1)] * len(responses)\n"
    )
    words = ["ppo", "c.yaml", "reward=[{function: later.py:reward}]", "--out", "run"]
    assert main(words) == 1
    assert "later.py:reward" in capfd.readouterr().err
    assert (place / "run" / "checkpoint-1").is_dir()
    (place / "later.py").write_text("def reward(prompts, responses):\n    return [1.0] * len(responses)\n")
    assert main([*words, "--resume", "auto"]) == 2
    assert "--accept-changes" in capfd.readouterr().err
    assert main([*words, "--resume", "auto", "--accept-changes", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["steps"] == 2
