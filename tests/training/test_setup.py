"""Seeds, schedule, guard and state on disk, against hand-worked numbers."""

import errno
import resource

import pytest
import torch

from likelier.config import build_config
from likelier.errors import ConfigError, NumericError
from likelier.text.models import load_causal_lm, load_tokenizer, save_model
from likelier.training import setup
from likelier.training.guard import Guard
from likelier.training.setup import make_optimizer, pick_device, schedule, seeded_generator, set_learning_rate
from likelier.training.state import load_state, save_state
from tiny import save_tiny_model


def config(**settings):
    return build_config({"sft": settings}).sft


def test_schedules_by_hand():
    linear = config(lr_schedule="linear", warmup_ratio=0.2)
    assert [schedule(step, 10, linear) for step in range(10)] == pytest.approx(
        [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    )
    assert schedule(5, 10, config(lr_schedule="cosine")) == pytest.approx(0.5)
    assert schedule(9, 10, config(lr_schedule="constant")) == 1.0


def test_learning_rate_is_set_per_group():
    layers = [torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)]
    optimizer = make_optimizer([(layers[0].parameters(), 1e-3), (layers[1].parameters(), 1e-2)], config())
    assert set_learning_rate(optimizer, 0.5) == pytest.approx(5e-4)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(5e-3)


def test_generator_depends_on_seed_step_and_purpose_alone():
    def draw(*key):
        return torch.rand(1, generator=seeded_generator(*key)).item()

    assert draw(1, 2, "a") == draw(1, 2, "a")
    assert len({draw(1, 2, "a"), draw(2, 2, "a"), draw(1, 3, "a"), draw(1, 2, "b")}) == 4


def test_guard_stops_after_so_many_in_a_row():
    guard = Guard(2)
    guard.skip("loss", {}, {})
    guard.accept()
    guard.skip("loss", {}, {})
    with pytest.raises(NumericError, match="gradient 2 updates in a row"):
        guard.skip("gradient", {}, {})
    assert guard.skipped == 3


def test_unavailable_device_is_named():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert pick_device("auto") == torch.device("cpu") or torch.backends.mps.is_available()
    with pytest.raises(ConfigError, match="cuda is not available"):
        pick_device("cuda")


def tied_model(seed):
    torch.manual_seed(seed)
    embed, out = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
    out.weight = embed.weight
    return torch.nn.Sequential(embed, out)


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.tensor([0, 1, 2])).square().sum().backward()
    optimizer.step()


def test_state_goes_through_the_disk_bit_by_bit(tmp_path):
    model = tied_model(0)
    optimizer = make_optimizer([(model.parameters(), 1e-2)], config())
    step(model, optimizer)
    save_state(tmp_path, {"policy": model}, optimizer, {"kl_coef": 0.1})
    step(model, optimizer)

    again = tied_model(1)
    other = make_optimizer([(again.parameters(), 1e-2)], config())
    assert load_state(tmp_path, {"policy": again}, other) == {"kl_coef": 0.1}
    step(again, other)
    assert torch.equal(again[0].weight, model[0].weight)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize("kind", ["state", "model"])
def test_a_disk_that_takes_no_more_is_an_os_error(tmp_path, kind):
    """safetensors says it with an error of its own, which no `except OSError` sees."""
    model = torch.nn.Linear(100, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = save_tiny_model(tmp_path / "tiny", ["a"])
    language_model, tokenizer = load_causal_lm(folder), load_tokenizer(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as found:
            if kind == "state":
                save_state(tmp_path, {"policy": model}, make_optimizer([(model.parameters(), 1e-2)], config()), {})
            else:
                save_model(tmp_path / "model", language_model, tokenizer, "none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.value.errno == errno.EFBIG
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("has_bf16", [True, False])
def test_bf16_on_a_processor_without_it_is_said_once(monkeypatch, capsys, has_bf16):
    monkeypatch.setattr(setup.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    setup.note_slow_bf16.cache_clear()
    for _ in range(2):
        setup.autocast(torch.device("cpu"), bf16=True)
    said = "bf16: this processor has no instructions for bfloat16 and is slower with it; leave bf16 out here\n"
    assert capsys.readouterr().err == ("" if has_bf16 else said)
