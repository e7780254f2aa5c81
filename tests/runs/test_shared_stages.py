"""`likelier sft`, `reward` and `dpo` in several processes: the losses of one, and the same bits after a resume."""

import json
import os

import pytest
import yaml

from likelier.files import read_jsonl, write_jsonl
from likelier.records import Preference
from likelier.text.reward_model import load_reward_model
from ppo_runs import fingerprint
from tiny import save_tiny_model
from torchrun_helpers import in_processes, likelier_here, likelier_in, likelier_in_processes

STAGES = ("sft", "reward", "dpo")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A config of all stages: nine examples and pairs, of which the last batch of an epoch holds one, or two."""
    folder = tmp_path_factory.mktemp("world")
    save_tiny_model(folder / "model", words=["a", "b"])
    prompts = ["a", "b", "a b", "b a", "a a", "b b", "a a b", "a b b", "b b a"]
    write_jsonl(folder / "examples.jsonl", [{"prompt": text, "completion": f" {text} a"} for text in prompts])
    pairs = [
        Preference(text, " a" * (1 + at % 3), " b a", weight=0.5 + at % 2, flip=0.1 * (at % 3), conversation=text)
        for at, text in enumerate(prompts)
    ]
    write_jsonl(folder / "pairs/train.jsonl", pairs)
    for part in ("valid", "test"):
        write_jsonl(folder / f"pairs/{part}.jsonl", pairs[:5])
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in prompts])
    (folder / "score.py").write_text(
        "def count_a(prompts, responses):\n    return [float(r.count('a')) for r in responses]"
    )
    block = {"batch_size": 4, "learning_rate": 0.01, "num_epochs": 2, "save_steps": 2, "device": "cpu"}
    config = {"model": str(folder / "model"), "prompts": str(folder / "prompts.jsonl")}
    config |= {"sft": block, "dpo": {**block}, "reward_model": block | {"center_coef": 0.1}}
    config["eval"] = {"scorer": [{"function": f"{folder / 'score.py'}:count_a", "name": "a"}]}
    config["ppo"] = {"response_length": 4, "batch_size": 8, "total_episodes": 8, "num_eval_prompts": 2}
    (folder / "all.yaml").write_text(yaml.safe_dump(config))
    return folder


def words(world, stage, out, *more):
    data = world / ("examples.jsonl" if stage == "sft" else "pairs")
    return [stage, world / "all.yaml", f"data={data}", *more, "--json", "--out", out]


MORE = {
    "sft": ["sft.micro_batch_size=1", "sft.eval_steps=2", "sft.lora_rank=2"],
    "reward": ["reward_model.micro_batch_size=1", "reward_model.ensemble_size=2", "reward_model.length_debias=true"],
    "dpo": ["dpo.micro_batch_size=1", "dpo.eval_steps=2", "dpo.gradient_checkpointing=true"],
}


def run_all(folder, commands):
    """In one of several processes: each of the commands."""
    told = []
    for number, command in enumerate(commands):
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(number)  # they meet anew
        told.append(likelier_in(folder, *command))
    return told


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.battery)])
def test_several_processes_train_as_one_does(world, tmp_path, size):
    (tmp_path / "tmp").mkdir()
    more = MORE if size == 3 else dict.fromkeys(STAGES, ())
    alone = {stage: likelier_here(*words(world, stage, tmp_path / stage / "one", *more[stage])) for stage in STAGES}
    commands = [words(world, stage, tmp_path / stage / "several", *more[stage]) for stage in STAGES]
    first, *others = in_processes(size, run_all, tmp_path / "tmp", commands, meet=False)
    assert others == [[(0, "", "")] * 3] * (size - 1)
    for (code, out, err), stage in zip(first, STAGES, strict=True):
        assert (code, err, alone[stage][0]) == (0, "", 0), alone[stage][2]
        check_equal_runs(tmp_path / stage)
        found, wanted = json.loads(out), json.loads(alone[stage][1])
        for name in ("loss", "valid_loss", "log_loss", "accuracy", "kl"):
            assert found.get(name) == pytest.approx(wanted.get(name), abs=1e-5), (stage, name)
    assert not list((tmp_path / "tmp").iterdir())


def check_equal_runs(folder):
    """The metrics in `one` and `several` are the same, and so are the names of what is in them."""
    one, several = ([line for _, line in read_jsonl(folder / run / "metrics.jsonl")] for run in ("one", "several"))
    assert len(one) > 3
    for alone, shared in zip(one, several, strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], abs=1e-6)
        assert shared == {name: pytest.approx(value, abs=1e-5, nan_ok=True) for name, value in alone.items()}
    names = [sorted(file.name for file in (folder / run).iterdir()) for run in ("one", "several")]
    assert names[0] == names[1]


@pytest.mark.slow
def test_it_goes_on_to_the_same_bits(world, tmp_path):
    stage = "reward"
    assert likelier_in_processes(2, tmp_path / "tmp", *words(world, stage, tmp_path / "run"))[0][0] == 0
    wanted = fingerprint(tmp_path / "run")
    (oldest, *_) = sorted((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    told = likelier_in_processes(2, tmp_path / "tmp", *words(world, stage, tmp_path / "run", "--resume", oldest))
    assert told[0][0] == 0, told[0][2]
    assert fingerprint(tmp_path / "run") == wanted
    load_reward_model(tmp_path / "run/model")
