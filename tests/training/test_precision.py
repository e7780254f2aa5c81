"""bfloat16 and TF32 by default where a GPU has them, told by a capability that is not there."""

import pytest
import torch

from likelier.config import build_config
from likelier.plan.machine import Machine
from likelier.plan.plan import make_plans
from likelier.runs.older import keep_former_defaults
from likelier.stages import STAGES
from likelier.text.adapters import apply_lora
from likelier.text.cached_decode import check_decodable
from likelier.text.merging import make_plain
from likelier.training import precision
from likelier.training.precision import choose_precision, full_precision, has_bfloat16
from model_families import tiny_model
from tiny import save_tiny_model


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of today, for whoever asks."""
    monkeypatch.setattr(precision, "pick_device", lambda name: torch.device("cpu" if name == "cpu" else "cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("verb", ["sft", "reward", "dpo", "ppo"])
def test_a_gpu_that_has_them_gets_bfloat16_and_tf32(gpu, verb):
    chosen = choose_precision(verb, build_config({}))
    assert getattr(chosen, STAGES[verb].block).bf16 is True
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize("settings", [{"bf16": False}, {"device": "cpu"}])
def test_whoever_says_float32_gets_float32(gpu, settings):
    chosen = choose_precision("ppo", build_config({"ppo": settings}))
    assert chosen.ppo.bf16 is False
    assert torch.get_float32_matmul_precision() == "highest"


def test_an_older_gpu_and_a_cpu_keep_float32(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert not has_bfloat16(torch.device("cuda"))
    assert choose_precision("ppo", build_config({})).ppo.bf16 is False
    assert choose_precision("ppo", build_config({"ppo": {"bf16": True, "device": "cpu"}})).ppo.bf16 is True
    assert torch.get_float32_matmul_precision() == "highest"


def test_environments_are_left_alone(gpu):
    config = build_config({"gym": {}})
    assert choose_precision("gym", config) is config
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_run_that_began_in_float32_goes_on_so(gpu, tmp_path):
    (tmp_path / "config.yaml").write_text("ppo: {bf16: false}\n")
    assert choose_precision("ppo", keep_former_defaults(build_config({}), tmp_path)).ppo.bf16 is False


def test_checks_of_equality_do_not_see_tf32(monkeypatch):
    torch.set_float32_matmul_precision("high")
    seen = []
    try:
        model = tiny_model("llama").eval()
        model.register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
        check_decodable(model, "m")
        assert set(seen) == {"highest"}
        apply_lora(model, build_config({"ppo": {"lora_rank": 2}}).ppo, "ppo", 0)
        layer = model.model.layers[0].self_attn.q_proj
        layer.register_forward_pre_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
        seen.clear()
        make_plain(model, torch.float32)
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "high"
        with pytest.raises(ValueError, match="x"), full_precision():
            raise ValueError("x")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_plan_for_a_gpu_computes_in_bfloat16(tmp_path):
    save_tiny_model(tmp_path / "model", words=["a", "b"])
    peaks = []
    for is_cpu, more in ((False, {}), (False, {"bf16": True}), (True, {}), (True, {"bf16": False})):
        ppo = {"batch_size": 8, "num_mini_batches": 2, "response_length": 8} | more
        config = build_config({"model": str(tmp_path / "model"), "reward": [{"function": "r.py:f"}], "ppo": ppo})
        peaks.append(make_plans(config, Machine("X", 10**9, None, is_cpu=is_cpu))[0].peak.parts["activations"])
    assert peaks[0] == peaks[1]
    assert peaks[2] == peaks[3] > peaks[0]
