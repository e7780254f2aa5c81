"""Which policy draws the responses of a step, and what a run that draws ahead does with them."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from forked import Forked, run_command
from likelier.config import PPOConfig, build_config
from likelier.errors import ConfigError
from likelier.rlhf import setup
from likelier.rlhf.responses import ResponseQueue, shuffle_groups
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer
from likelier.text.policy import TextPolicy
from likelier.text.prompts import load_prompts
from likelier.text.sampler import Sampling
from ppo_runs import fingerprint, write_world
from samplers import CopySampler, ScriptedSampler
from torchrun_helpers import likelier_in_processes, list_children, run_on_two_machines, wait_until_ended


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def make_config(world, **ppo):
    settings = {"batch_size": 32, "total_episodes": 32 * 6, "response_length": 4, "learning_rate": 0.02, "kl_coef": 0.0}
    settings |= {"save_steps": 2, "stop_token": None, "num_mini_batches": 2, "num_eval_prompts": 1, "device": "cpu"}
    config = {"model": str(world / "model"), "prompts": str(world / "prompts.jsonl")}
    config["reward"] = [{"function": f"{world / 'reward.py'}:count_a"}]
    return build_config(config | {"ppo": settings | ppo})


def test_every_prompt_has_its_responses_in_random_order():
    group = shuffle_groups(50, 3, torch.Generator().manual_seed(0))
    assert torch.bincount(group).tolist() == [3] * 50
    assert group.tolist() != sorted(group.tolist())


def change(policy, step):
    """An update that shows which policy drew a token: only the output layer moves."""
    with torch.no_grad():
        policy.model.lm_head.weight.normal_(std=1.0, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_step_has_the_responses_of_the_policy_so_many_updates_before(world, tmp_path, ahead):
    config = make_config(world, async_steps=ahead)
    prompts, tokenizer = load_prompts(config), load_tokenizer(world / "model")
    policy = TextPolicy.build(load_causal_lm(world / "model"), "shared")

    def take(queue, steps):
        """The responses of some steps, with an update behind each."""
        for step in steps:
            yield queue.take(step)
            change(policy, step)

    sampler = CopySampler(tokenizer)
    queue = ResponseQueue(config, policy, tokenizer, prompts, sampler)
    taken = list(take(queue, range(4)))
    assert [responses.staleness for responses in taken] == [min(step, ahead) for step in range(4)]
    assert sampler.asked == 4 + ahead
    for step, responses in enumerate(taken):
        drawn = TextPolicy.build(load_causal_lm(world / "model"), "shared")
        version = max(0, step - ahead)
        if version:
            change(drawn, version - 1)
        plan = queue.plan(step)
        assert torch.equal(plan.group, responses.plan.group)
        texts = [prompt.text for prompt in plan.prompts]
        wanted = ExactSampler(drawn.model, tokenizer).sample(texts, Sampling.from_config(config.ppo), plan.draws)
        assert torch.equal(responses.samples.tokens, wanted.tokens)
        assert torch.equal(responses.samples.logprobs, wanted.logprobs)

    queue.save(tmp_path)
    assert (tmp_path / "responses.safetensors").exists() == (ahead > 0)
    weights = policy.model.lm_head.weight.detach().clone()
    rest = list(take(queue, (4, 5)))
    assert sampler.asked == 6  # none behind the last step
    resumed = ResponseQueue(config, policy, tokenizer, prompts, CopySampler(tokenizer))
    resumed.load(tmp_path)
    policy.model.lm_head.weight.data.copy_(weights)
    for found, wanted in zip(take(resumed, (4, 5)), rest, strict=True):
        assert found.staleness == wanted.staleness
        assert found.samples.texts == wanted.samples.texts
        assert torch.equal(found.samples.logprobs, wanted.samples.logprobs)
        assert torch.equal(found.plan.generator.get_state(), wanted.plan.generator.get_state())


def train_ahead(monkeypatch, config, folder, resume="never"):
    """Train with responses that are drawn ahead in this process."""

    def make(config, model, tokenizer, sampler):
        return CopySampler(tokenizer)

    monkeypatch.setattr(setup, "make_rollout_sampler", make)
    with Run(folder, "ppo", config, resume) as run:
        result = train_ppo(config, run)
    return result, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("variant", [{}, {"algorithm": "grpo", "responses_per_prompt": 4}], ids=["ppo", "grpo"])
def test_it_learns_the_best_answer_from_an_older_policy_and_nobody_calls_that_a_fault(
    world, tmp_path, monkeypatch, variant
):
    config = make_config(world, total_episodes=32 * 20, async_steps=2, learning_rate=0.01, **variant)
    result, lines = train_ahead(monkeypatch, config, tmp_path)
    assert result["score_before"] < 3.2
    assert result["score_after"] > 3.8  # four times "a" is the best there is
    assert [line["staleness"] for line in lines] == [0, 1] + [2] * 18
    assert lines[0]["sampler_difference"] < 1e-6 < 0.01 < max(line["sampler_difference"] for line in lines)
    assert all(line["first_ratio_deviation"] == 0.0 for line in lines)  # to the trainer's own
    assert not {finding["name"] for finding in result["findings"]} & {"sampler_mismatch", "kl_negative"}


@pytest.mark.slow
def test_a_resumed_run_has_the_responses_that_were_under_way(world, tmp_path, monkeypatch):
    config = make_config(world, async_steps=3, save_total_limit=9, lora_rank=2, critic="shared")
    train_ahead(monkeypatch, config, tmp_path)
    wanted = fingerprint(tmp_path)
    assert "responses.safetensors" in wanted
    train_ahead(monkeypatch, config, tmp_path, str(tmp_path / "checkpoint-2"))
    assert fingerprint(tmp_path) == wanted


def test_the_correction_is_on_and_what_does_not_go_together_is_one_line(world):
    assert PPOConfig(async_steps=1).importance_cap == 2.0
    assert PPOConfig(async_steps=1, importance_cap=5.0, importance_floor=0.5).importance_cap == 5.0
    assert PPOConfig().importance_cap is None
    resolved = PPOConfig(async_steps=2).model_dump(mode="json")
    assert PPOConfig(**resolved).model_dump(mode="json") == resolved
    for given, words in (
        ({"importance_cap": None}, "importance_cap: with async_steps it corrects for responses of an older policy"),
        ({"old_logprobs": "sampler"}, "old_logprobs: sampler would clip around the older policy that drew"),
        ({"total_episodes": 128, "batch_size": 64, "async_steps": 2}, "async_steps 2 would let all 2 steps learn"),
        ({"async_steps": -1}, "greater than or equal to 0"),
    ):
        with pytest.raises(ValueError, match=words):
            PPOConfig(**{"async_steps": 1, **given})


def test_a_sampler_of_ones_own_draws_nothing_ahead_and_windows_neither(world, tmp_path, monkeypatch):
    config, sampler = make_config(world, async_steps=1), ScriptedSampler(load_tokenizer(world / "model"), 6)
    line = r"^ppo\.async_steps: the sampler given from Python draws in this process; leave one of them out$"
    with pytest.raises(ConfigError, match=line), Run(tmp_path / "run", "ppo", config) as run:
        train_ppo(config, run, sampler)
    monkeypatch.setattr(setup.sys, "platform", "win32")
    with pytest.raises(
        ConfigError, match=r"^ppo\.async_steps: draws in another process on Linux alone, and this is win32"
    ):
        setup.prepare(config)


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to find the processes in")


def disturb(folder, yaml, run, lines, trainer):
    """Train until there are so many lines, kill trainer or sampler, and wait for both; what is said, and exit code."""
    forked = Forked(folder, run_command, "ppo", str(yaml), "--out", str(run), "--resume", "auto")
    log = run / "metrics.jsonl"
    while forked.is_running() and (not log.exists() or log.read_text().count("\n") < lines):
        time.sleep(0.01)
    (sampler,) = list_children(forked.process.pid)
    os.kill(forked.process.pid if trainer else sampler, signal.SIGKILL)
    code = forked.wait()
    wait_until_ended(sampler)
    return code, forked.err.read_text()


@needs_proc
@pytest.mark.battery
def test_whoever_is_killed_of_two_processes_the_run_goes_on_to_the_same_bits(world, tmp_path, monkeypatch):
    config = make_config(world, async_steps=2, total_episodes=32 * 9, kl_coef=0.05, kl_target=1.0)
    train_ahead(monkeypatch, config, tmp_path / "whole")
    (tmp_path / "ppo.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    given = tmp_path / "told", tmp_path / "ppo.yaml", tmp_path / "run"
    assert disturb(*given, 3, trainer=True)[0] == -signal.SIGKILL
    code, said = disturb(*given, 6, trainer=False)
    line = said.splitlines()[-1]
    assert (code, line[:65]) == (1, "likelier: the process of the sampler ended by signal 9; its log: ")
    Path(line[65:].partition(";")[0]).unlink()
    assert Forked(given[0], run_command, "ppo", str(given[1]), "--out", str(given[2]), "--resume", "auto").wait() == 0
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


@pytest.fixture(scope="module")
def two(world):
    """A config, and the run of two processes that nobody disturbs."""
    config = make_config(world, async_steps=2, total_episodes=32 * 10, kl_coef=0.05, shard=True)
    (world / "two.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    words = ["ppo", world / "two.yaml", "--out"]
    told = likelier_in_processes(2, world / "tmp", *words, world / "two")
    assert [code for code, _, _ in told] == [0, 0], told
    return words, world / "two"


@needs_proc
@pytest.mark.battery
@pytest.mark.parametrize("machine", [0, 1])
@pytest.mark.parametrize("victim", ["trainer", "sampler"])
def test_two_machines_with_a_sampler_each_of_which_one_process_is_killed(two, tmp_path, machine, victim):
    words, undisturbed = two
    samplers = []

    def kill(trainers):
        samplers.extend(list_children(trainer)[0] for trainer in trainers)
        os.kill((trainers if victim == "trainer" else samplers)[machine], signal.SIGKILL)

    run_on_two_machines([*words, tmp_path / "run"], tmp_path / "run", kill)
    assert len(samplers) == 2
    for sampler in samplers:
        wait_until_ended(sampler)
    assert fingerprint(tmp_path / "run") == fingerprint(undisturbed)
