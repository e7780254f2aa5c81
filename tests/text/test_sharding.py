"""Sharded weights: the numbers of one process, checkpoints for any number of processes, whole models at the end."""

import contextlib
import copy
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModel

from likelier.config import PPOConfig, build_config
from likelier.distributed import get_rank, local_part
from likelier.errors import ConfigError
from likelier.files import read_jsonl, write_jsonl
from likelier.ppo import update
from likelier.records import Preference
from likelier.rlhf import setup
from likelier.text.models import load_causal_lm
from likelier.text.reward_model import new_reward_model
from likelier.text.sharding import gather_weights, is_sharding, shard_causal_lm, shard_reward_model
from likelier.training.state import copy_weights
from ppo_runs import REWARD, fingerprint
from tiny import save_tiny_model
from torchrun_helpers import (
    in_processes,
    likelier_here,
    likelier_in,
    likelier_in_processes,
    run_disturbed,
    run_on_two_machines,
)

BLOCKS = {"sft": "sft", "reward": "reward_model", "dpo": "dpo", "ppo": "ppo"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A config of all stages."""
    folder = tmp_path_factory.mktemp("world")
    save_tiny_model(folder / "model", words=["a", "b"])
    prompts = ["a", "b", "a b", "b a", "a a", "b b", "a a b", "a b b", "b b a"]
    write_jsonl(folder / "examples.jsonl", [{"prompt": text, "completion": f" {text} a"} for text in prompts])
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in prompts])
    pairs = [
        Preference(text, " a" * (1 + at % 3), " b a", weight=0.5 + at % 2, flip=0.1 * (at % 3), conversation=text)
        for at, text in enumerate(prompts)
    ]
    for part, some in {"train": pairs, "valid": pairs[:5], "test": pairs[3:]}.items():
        write_jsonl(folder / f"pairs/{part}.jsonl", some)
    (folder / "reward.py").write_text(REWARD)
    common = {"learning_rate": 0.01, "save_steps": 2, "device": "cpu"}
    block = common | {"batch_size": 4, "num_epochs": 2}
    config = {"model": str(folder / "model"), "prompts": str(folder / "prompts.jsonl")}
    config |= {"sft": block, "dpo": {**block}, "reward_model": {**block}}
    config["ppo"] = common | {"batch_size": 12, "num_mini_batches": 2, "total_episodes": 36, "response_length": 4}
    config["ppo"] |= {"num_eval_prompts": 4, "kl_coef": 0.01}
    config["reward"] = [{"function": f"{folder / 'reward.py'}:count_a"}]
    (folder / "tmp").mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump(config))
    return folder


def words(world, stage, out, *more):
    data = [] if stage == "ppo" else [f"data={world / ('examples.jsonl' if stage == 'sft' else 'pairs')}"]
    return [stage, world / "all.yaml", *data, *more, "--json", "--out", out]


def losses(run):
    return [line["loss"] for _, line in read_jsonl(run / "metrics.jsonl")]


def weights(run):
    return torch.cat([weight.flatten() for _, weight in sorted(load_file(run / "model/model.safetensors").items())])


def train(world, stage, folder, size, *more):
    """Run a stage in so many processes, with sharded weights if they are several."""
    if size == 1:
        told = [likelier_here(*words(world, stage, folder, *more))]
    else:
        more = f"{BLOCKS[stage]}.shard=true", *more
        told = likelier_in_processes(size, world / "tmp", *words(world, stage, folder, *more))
    assert [code for code, _, _ in told] == [0] * size, told
    assert told[1:] == [(0, "", "")] * (size - 1)
    return folder


@pytest.fixture(scope="module")
def ppo(world):
    """PPO in one process and in two."""
    return train(world, "ppo", world / "ppo-1", 1), train(world, "ppo", world / "ppo-2", 2)


def check_equal_runs(one, several):
    assert losses(several) == pytest.approx(losses(one), abs=1e-6)
    assert torch.allclose(weights(several), weights(one), atol=1e-4)
    assert sorted(file.name for file in several.iterdir()) == sorted(file.name for file in one.iterdir())
    for file in several.glob("checkpoint-*/*.safetensors"):
        shapes = [
            {name: tensor.shape for name, tensor in load_file(path).items()}
            for path in (file, one / file.relative_to(several))
        ]
        assert shapes[0] == shapes[1]
    AutoModel.from_pretrained(several / "model")


@pytest.mark.slow
def test_sharded_ppo_trains_to_the_numbers_of_one_process(ppo):
    check_equal_runs(*ppo)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", [*BLOCKS][:1] + [pytest.param(name, marks=pytest.mark.battery) for name in [*BLOCKS][1:3]]
)
def test_sharded_stages_train_to_the_numbers_of_one_process(world, tmp_path, stage):
    check_equal_runs(train(world, stage, tmp_path / "one", 1), train(world, stage, tmp_path / "two", 2))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, *(pytest.param(size, marks=pytest.mark.battery) for size in (3, 1))])
def test_a_checkpoint_goes_on_in_any_number_of_processes(world, ppo, tmp_path, size):
    """To the same bits in as many as wrote it; in another number they are other last digits, and that is asked for."""
    run = shutil.copytree(ppo[1], tmp_path / "run")
    more = ["--accept-changes"] if size != 2 else []
    train(world, "ppo", run, size, *more, "--resume", run / "checkpoint-2")
    assert losses(run) == pytest.approx(losses(ppo[1]), abs=1e-5)
    assert (fingerprint(run) == fingerprint(ppo[1])) or size != 2


def hold(folder):
    """What a process holds of a sharded model, of a whole copy of it, and behind that."""
    model = load_causal_lm(folder)
    whole, device = copy.deepcopy(model), torch.device("cpu")
    shard_causal_lm(model, device, bf16=False)
    held = sum(local_part(weight).numel() for weight in model.parameters())
    tokens = torch.arange(6)[None]
    with gather_weights(model) as copied, torch.no_grad():
        assert torch.equal(copied(input_ids=tokens).logits, whole(input_ids=tokens).logits)
    assert all(weight.is_meta for weight in copied.parameters())
    with gather_weights(model, to_save=True) as copied:
        is_whole = not any(weight.is_meta for weight in copied.parameters())
    kept = copy_weights(model)
    assert sum(local_part(weight).numel() for weight in kept.parameters()) == held
    return held, sum(weight.numel() for weight in whole.parameters()), is_whole


def test_each_process_holds_its_part_and_a_whole_copy_for_a_while(tmp_path):
    save_tiny_model(tmp_path, words=["a", "b"])
    told = in_processes(3, hold, tmp_path)
    assert sum(held for held, _, _ in told) == told[0][1]
    assert max(held for held, _, _ in told) < 0.4 * told[0][1]
    assert [is_whole for _, _, is_whole in told] == [True, False, False]


REFUSED = {
    "shard: weights in 4bit cannot be divided; set model_dtype: bfloat16": {"lora_rank": 2, "model_dtype": "4bit"},
    "shard: the moments of adamw_8bit cannot be divided; set optimizer: adamw": {"optimizer": "adamw_8bit"},
    "shard: divided weights are not moved to the CPU; remove offload": {"offload": True},
    "shard: a critic on the policy's own base cannot be divided": {"lora_rank": 2, "critic": "adapter"},
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_divided_is_refused(line):
    with pytest.raises(ConfigError, match=line):
        build_config({"ppo": {"shard": True, **REFUSED[line]}})


def test_minibatches_have_equal_shares(monkeypatch):
    monkeypatch.setattr(setup, "get_world_size", lambda: 3)
    ppo = PPOConfig(shard=True, batch_size=16, num_mini_batches=2)
    with pytest.raises(
        ConfigError, match=r"^ppo\.num_mini_batches: 2 leaves minibatches of 8 rows, and with ppo\.shard"
    ):
        setup.check_processes(ppo, torch.device("cpu"))


def test_one_process_says_that_it_holds_everything(capsys):
    assert not is_sharding(PPOConfig(shard=True), "ppo")
    assert "ppo.shard: one process holds all weights; start several with torchrun" in capsys.readouterr().err


def test_a_model_that_reads_texts_one_by_one_is_refused(tmp_path):
    reward = new_reward_model(save_tiny_model(tmp_path, words=["a"]))
    reward.can_pad = False
    with pytest.raises(ConfigError, match=r"^shard: llama reads texts one by one and cannot be sharded"):
        shard_reward_model(reward, torch.device("cpu"))


VARIANTS = {
    "adapter": ("ppo", "ppo.lora_rank=2", "ppo.critic=shared", "ppo.gradient_checkpointing=true"),
    "base in 16 bits": ("ppo", "ppo.lora_rank=2", "ppo.model_dtype=bfloat16", "ppo.micro_batch_size=1"),
    "best kept": (
        "ppo",
        "ppo.eval_steps=1",
        "ppo.keep_best=a",
        "eval.scorer=[{function: FOLDER/reward.py:count_a, name: a}]",
    ),
    "reward model": (
        "ppo",
        "reward=[{model: FOLDER/reward-1}]",
        "ppo.critic_model=FOLDER/reward-1/model",
    ),
    "sft": ("sft", "sft.lora_rank=2", "sft.eval_steps=2", "sft.gradient_checkpointing=true"),
    "dpo": ("dpo", "dpo.lora_rank=2", "dpo.eval_steps=2", "dpo.micro_batch_size=1"),
    "reward adapters": (
        "reward",
        "reward_model.ensemble=adapters",
        "reward_model.ensemble_size=2",
        "reward_model.lora_rank=2",
    ),
    "reward heads": (
        "reward",
        "reward_model.ensemble=heads",
        "reward_model.ensemble_size=2",
        "reward_model.length_debias=true",
    ),
}


@pytest.mark.battery
@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_training_has_the_losses_of_one_process(world, tmp_path, name):
    if "FOLDER/reward-1" in str(VARIANTS[name]) and not (world / "reward-1").exists():
        train(world, "reward", world / "reward-1", 1)
    stage, *more = (word.replace("FOLDER", str(world)) for word in VARIANTS[name])
    one, three = train(world, stage, tmp_path / "one", 1, *more), train(world, stage, tmp_path / "three", 3, *more)
    assert losses(three)[:2] == pytest.approx(losses(one)[:2], abs=2e-6)
    assert losses(three) == pytest.approx(losses(one), abs=1e-4)  # Adam divides by gradients near 0


def lose_the_second(*command):
    """One process ends in the middle of the second step."""
    take = update.accumulate_gradients
    steps = iter(range(99))

    def end(*given):
        if get_rank() == 1 and next(steps) == 5:
            os._exit(9)
        return take(*given)

    update.accumulate_gradients = end
    return likelier_in(*command)


@pytest.mark.slow
def test_a_process_that_is_lost_ends_the_others_in_one_line(world, tmp_path):
    command = world / "tmp", *words(world, "ppo", tmp_path / "run", "ppo.shard=true")
    (code, out, err), lost = in_processes(2, lose_the_second, *command, meet=False)
    assert (code, out, lost) == (1, "", None)
    assert err.startswith("likelier: another process of this run has ended or cannot be reached (")
    assert err.endswith("; go on with --resume auto\n")
    assert err.count("\n") == 1


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to find the processes in")


@pytest.fixture(scope="module")
def undisturbed(world):
    """Ten steps in two processes that nobody disturbs."""
    return train(world, "ppo", world / "undisturbed", 2, "ppo.total_episodes=120")


@needs_proc
@pytest.mark.battery
@pytest.mark.parametrize("trial", range(30))
def test_torchrun_starts_it_again_after_a_kill_of_either_process(world, undisturbed, tmp_path, trial):
    chance = random.Random(trial)

    def kill(workers):
        time.sleep(chance.uniform(0.0, 2.0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[trial % 2], signal.SIGKILL)

    more = "ppo.shard=true", "ppo.total_episodes=120"
    run_disturbed(words(world, "ppo", tmp_path / "run", *more), tmp_path / "run", kill)
    assert fingerprint(tmp_path / "run") == fingerprint(undisturbed)


@needs_proc
@pytest.mark.battery
@pytest.mark.parametrize("rank", [0, 1])
def test_others_wait_for_a_process_that_stands_still(world, undisturbed, tmp_path, rank):
    def hold(workers):
        os.kill(workers[rank], signal.SIGSTOP)
        time.sleep(60.0)
        os.kill(workers[rank], signal.SIGCONT)

    more = "ppo.shard=true", "ppo.total_episodes=120"
    err = run_disturbed(words(world, "ppo", tmp_path / "run", *more), tmp_path / "run", hold)
    assert "likelier: another" not in err
    assert fingerprint(tmp_path / "run") == fingerprint(undisturbed)


@needs_proc
@pytest.mark.battery
def test_two_machines_train_as_two_processes_of_one(world, undisturbed, tmp_path):
    """One of them is killed on the way."""
    command = words(world, "ppo", tmp_path / "run", "ppo.shard=true", "ppo.total_episodes=120")
    run_on_two_machines(command, tmp_path / "run", lambda workers: os.kill(workers[1], signal.SIGKILL))
    assert fingerprint(tmp_path / "run") == fingerprint(undisturbed)
