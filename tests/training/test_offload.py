"""CPU offload by a spy: what is moved is where its phase needs it, and no bit changes."""

import json

import pytest
import torch
from torch import nn

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.reward.ensemble import Ensemble
from likelier.rlhf import setup
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text.models import save_model
from likelier.text.reward_model import new_reward_model
from likelier.training import offload
from likelier.training.offload import Offload, check_offload, move_state
from ppo_runs import fingerprint
from tiny import save_tiny_model

GPU = torch.device("cuda")


class Spy:
    """Copies a tensor in place of moving it, and knows which copies are on a device that is not there."""

    def __init__(self):
        self.on_device, self.alive = set(), []

    def __call__(self, tensor, device):
        copied = tensor.clone()
        self.alive.append(copied)  # so that no other tensor gets its address
        (self.on_device.add if device == GPU else self.on_device.discard)(copied.data_ptr())
        return copied

    def holds(self, module):
        """True if all weights of a module are on the device."""
        return all(tensor.data_ptr() in self.on_device for tensor in module.parameters())


@pytest.fixture
def spy(monkeypatch):
    spy = Spy()
    monkeypatch.setattr(offload, "move", spy)
    return spy


def test_models_are_on_the_device_in_their_phase_alone(spy):
    reference, reward, policy = nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(2, 2)
    reward.register_buffer("scale", torch.ones(3))
    before = {name: value.clone() for name, value in reward.state_dict().items()}
    moved = Offload(GPU, {"reference": [reference], "scores": [reward]}, [policy])
    moved.put_away()
    with moved.bring("scores"):
        assert spy.holds(reward)
        assert reward.scale.data_ptr() in spy.on_device
        assert not spy.holds(reference)
    assert not spy.holds(reward)
    with moved.bring():
        assert spy.holds(reward)
        assert spy.holds(reference)
    assert all(torch.equal(value, before[name]) for name, value in reward.state_dict().items())
    with pytest.raises(ValueError, match="broken"), moved.bring("scores"):
        raise ValueError("broken")
    assert not spy.holds(reward)


def test_what_the_policy_shares_stays_and_frozen_weights_are_copied_to_the_cpu_once(spy):
    policy, own = nn.Linear(2, 2), nn.Linear(2, 2)
    reference = nn.Sequential(own, nn.Linear(2, 2))
    reference[1].weight = policy.weight
    pointer = policy.weight.data_ptr()
    moved = Offload(GPU, {"reference": [reference]}, [policy])
    moved.put_away()
    home = own.weight.data_ptr()
    assert policy.weight.data_ptr() == pointer
    for _ in range(2):
        with moved.bring("reference"):
            assert spy.holds(own)
    assert own.weight.data_ptr() == home


def test_the_state_of_an_optimizer_moves_and_trains_as_before(spy):
    results = []
    for moved in (Offload(), Offload(GPU, {"reference": [nn.Linear(1, 1)]})):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for step in range(3):
            with moved.bring_state(optimizer):
                moments = [each["exp_avg"].data_ptr() in spy.on_device for each in optimizer.state.values()]
                assert moments == [moved.is_on] * (2 if step else 0)
                model(torch.ones(2, 3)).sum().backward()
                optimizer.step()
            assert not any(each["exp_avg"].data_ptr() in spy.on_device for each in optimizer.state.values())
            optimizer.zero_grad()
        results.append(model.weight.detach().clone())
    assert torch.equal(*results)


def test_tables_that_are_shared_stay_shared_and_paged_tensors_stay(spy):
    table, paged = torch.ones(4), torch.ones(2)
    paged.is_paged = True
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW(weights)
    for weight in weights:
        optimizer.state[weight] = {"qmap1": table, "state1": paged, "step": 3}
    move_state(optimizer, GPU)
    first, second = (optimizer.state[weight] for weight in weights)
    assert first["qmap1"] is second["qmap1"] is not table
    assert first["state1"] is paged
    assert first["step"] == 3


def test_without_memory_of_its_own_a_device_is_refused():
    for device in ("cpu", "mps"):
        with pytest.raises(ConfigError, match=f"ppo.offload: moves .* this is {device}, where both are one"):
            check_offload(True, torch.device(device), "ppo")
    check_offload(False, torch.device("cpu"), "ppo")
    check_offload(True, GPU, "ppo")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    save_tiny_model(folder / "model", words=["a", "b"])
    reward = new_reward_model(folder / "model", generator=torch.Generator().manual_seed(0))
    save_model(folder / "reward", reward.model, reward.tokenizer, "")
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a", "a a", "b b")])
    return folder


def config(world, **more):
    ppo = {"batch_size": 8, "total_episodes": 16, "response_length": 4, "learning_rate": 0.01, "num_eval_prompts": 2}
    ppo |= {"save_steps": 1, "num_mini_batches": 2, "save_total_limit": 9, "device": "cpu", "eval_steps": 1}
    return build_config(
        {
            "model": str(world / "model"),
            "prompts": str(world / "prompts.jsonl"),
            "reward": [{"model": str(world / "reward")}],
            "eval": {"scorer": [{"model": str(world / "reward"), "name": "judge"}]},
            "ppo": ppo | more,
        }
    )


def train(settings, folder, resume="never"):
    with Run(folder, "ppo", settings, resume) as run:
        return train_ppo(settings, run)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"lora_rank": 2, "critic": "adapter"}], ids=["whole", "adapter"])
def test_a_run_moves_what_it_does_not_use_and_keeps_its_bits(world, tmp_path, monkeypatch, spy, more):
    train(config(world, **more), tmp_path / "plain")
    assert not spy.alive
    made, make, read, seen = [], setup.make_offload, Ensemble.read, set()

    def make_on_gpu(*given):
        made.append(make(*given))
        made[-1].device = GPU
        return made[-1]

    def look(ensemble, *texts):
        (member,) = ensemble.members
        seen.add(spy.holds(member))
        return read(ensemble, *texts)

    monkeypatch.setattr(setup, "check_offload", lambda *given: None)
    monkeypatch.setattr(setup, "make_offload", make_on_gpu)
    monkeypatch.setattr(Ensemble, "read", look)
    settings = config(world, **more, offload=True)
    train(settings, tmp_path / "moved")
    wanted = fingerprint(tmp_path / "plain")
    assert fingerprint(tmp_path / "moved") == wanted
    train(settings, tmp_path / "moved", str(tmp_path / "moved" / "checkpoint-1"))
    assert fingerprint(tmp_path / "moved") == wanted
    assert json.loads((tmp_path / "moved" / "result.json").read_text())["steps"] == 2
    assert seen == {True}
    for moved in made:
        assert len(moved.list_weights(["reference"])) == (0 if more else 23)
        assert not any(tensor.data_ptr() in spy.on_device for tensor in moved.list_weights(tuple(moved.groups)))
