import json
import subprocess
import sys

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.plan.machine import Machine
from likelier.plan.plan import find_stages, make_plans
from peft_folders import save_peft_adapter
from tiny import save_tiny_model

MEASURE = """
import resource, sys
from pathlib import Path
from likelier.cli import main
from likelier.config import load_config
from likelier.plan.machine import find_machine
from likelier.plan.plan import make_plans
machine = find_machine(None, 1, calibrate=False)
plans = make_plans(load_config(Path("c.yaml")), machine)
main(["ppo", "c.yaml", "--out", "run", "--json"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
parts = plans[0].peak.parts
print(plans[0].peak.total, parts["other"], parts["process"], peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory of a process in kilobytes")
def test_the_memory_of_a_run_is_within_15_percent_of_its_plan(tmp_path):
    words = [f"w{number}" for number in range(2000)]
    save_tiny_model(tmp_path / "model", words=words, context=160)
    enlarge(tmp_path / "model")
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": " ".join(words[at : at + 32])} for at in range(64)])
    (tmp_path / "reward.py").write_text("def even(prompts, responses):\n    return [len(r) % 2 for r in responses]\n")
    ppo = {"batch_size": 32, "num_mini_batches": 1, "num_ppo_epochs": 2, "total_episodes": 64, "response_length": 64}
    ppo |= {"stop_token": None, "num_eval_prompts": 8, "device": "cpu"}
    config = {"model": "model", "prompts": "prompts.jsonl", "reward": [{"function": "reward.py:even"}], "ppo": ppo}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=tmp_path, capture_output=True, text=True, check=True)
    planned, other, process, peak = map(int, done.stdout.split()[-4:])
    assert planned - other - process > 0.4 * process
    assert 0 < other < 0.25 * planned
    assert 0.85 * planned < peak < 1.15 * planned


def enlarge(folder):
    """Give a folder a model of random weights that is large beside Python itself."""
    config = AutoConfig.from_pretrained(folder, hidden_size=256, intermediate_size=1024, num_hidden_layers=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def test_stages_are_those_with_settings():
    assert find_stages(build_config({"ppo": {"batch_size": 8}, "gym": {}})) == ["ppo"]
    with pytest.raises(ConfigError, match="nothing to plan; give settings of"):
        find_stages(build_config({"model": "m"}))


def plan_ppo(tmp_path, count=1, **settings):
    folder = tmp_path / "model"
    if not folder.exists():
        save_tiny_model(folder, words=["a", "b"])
        (folder / "model.safetensors").unlink()
    ppo = {"batch_size": 8, "num_mini_batches": 2, "response_length": 16, "max_prompt_tokens": 8} | settings
    config = build_config({"model": str(folder), "reward": [{"function": "r.py:f"}], "ppo": ppo})
    return make_plans(config, Machine("CPU", 10**9, None, is_cpu=True, count=count))[0]


def test_settings_that_save_memory_do(tmp_path):
    base = plan_ppo(tmp_path)
    update = {phase.name: phase for phase in base.phases}["update"].parts
    for settings in ({"micro_batch_size": 1}, {"gradient_checkpointing": True}):
        smaller = {phase.name: phase for phase in plan_ppo(tmp_path, **settings).phases}["update"].parts
        assert smaller["activations"] < update["activations"]
    adapter = plan_ppo(tmp_path, lora_rank=2, critic="adapter")
    for part in ("optimizer", "gradients"):
        assert adapter.peak.parts[part] < base.peak.parts[part]
    sampling = {phase.name: phase for phase in plan_ppo(tmp_path, rollout_batch_size=2).phases}["sample"].parts
    assert 4 * sampling["cache"] == {phase.name: phase for phase in base.phases}["sample"].parts["cache"]


def test_offload_leaves_what_a_phase_uses(tmp_path):
    save_tiny_model(tmp_path / "model", words=["a", "b"])
    gpu, parts = Machine("GPU", 10**9, None, is_cpu=False), {}
    for offload in (False, True):
        ppo = {"batch_size": 8, "num_mini_batches": 2, "response_length": 8, "offload": offload, "critic": "shared"}
        config = build_config({"model": str(tmp_path / "model"), "reward": [{"function": "r.py:f"}], "ppo": ppo})
        parts[offload] = {phase.name: phase.parts for phase in make_plans(config, gpu)[0].phases}
    here, away = parts[False], parts[True]
    assert 2 * away["sample"]["weights"] == pytest.approx(here["sample"]["weights"], rel=0.01)  # no reference
    assert away["score"]["weights"] == here["score"]["weights"]
    assert {phase for phase, found in away.items() if "optimizer" in found} == {"update"}
    assert away["update"]["optimizer"] == here["update"]["optimizer"]


@pytest.mark.parametrize("start", ["run", "run/adapter"])
def test_a_reward_model_that_goes_on_is_planned_on_its_base(tmp_path, start):
    save_tiny_model(tmp_path / "base", words=["a", "b"])
    save_peft_adapter(tmp_path / "base", tmp_path / "run" / "adapter", is_classifier=True)
    (tmp_path / "run" / "adapter" / "card.json").write_text("{}")
    settings = {"from": str(tmp_path / start), "lora_rank": 4, "lora_alpha": 8}
    config = build_config({"data": str(tmp_path / "pairs"), "reward_model": settings})
    write_jsonl(tmp_path / "pairs" / "train.jsonl", [{"prompt": "a", "chosen": " a", "rejected": " b"}])
    (plan,) = make_plans(config, Machine("CPU", 10**9, None, is_cpu=True))
    assert plan.peak.parts["adapters"] > 0


def test_what_an_engine_holds_is_said_to_be_left_out(tmp_path):
    with_engine, without = plan_ppo(tmp_path, sampler="vllm"), plan_ppo(tmp_path)
    said = [note for note in with_engine.notes if note not in without.notes]
    assert said == [
        "ppo.sampler: vllm: not counted is what the engine holds: the weights once more, and keys and values"
    ]
    said = [note for note in plan_ppo(tmp_path, async_steps=1).notes if note not in without.notes]
    (note,) = said
    assert note.startswith("ppo.async_steps: not counted is what the sampler's process holds: the policy once more")
