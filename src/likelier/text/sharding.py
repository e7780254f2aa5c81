"""Models whose weights are sharded over all processes, by PyTorch's FSDP2 (Zhao et al. 2023, "PyTorch FSDP").

Each process holds an n-th of every weight, of its gradient and of its moments. A layer's weights are gathered before it
runs, the next layer's meanwhile, and freed behind it; the backward pass gathers them again, and sums gradients into the
parts of the processes. Decoding would gather every layer for every token, so it runs on a whole copy of the weights,
gathered once for all responses and freed behind them.
"""

import contextlib
import copy
from collections.abc import Iterator
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from likelier.config import Memory
from likelier.distributed import SHARDED, gather_tensor, get_world_size
from likelier.errors import ConfigError
from likelier.progress import print_note
from likelier.text.checkpoint_layers import list_layers
from likelier.text.logprobs import is_head_separable
from likelier.text.policy import TextPolicy
from likelier.text.reward_model import RewardModel

SKELETONS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
"""The same modules as a sharded model's, without weights."""


def is_sharding(memory: Memory, block: str | None = None) -> bool:
    """True if the settings shard weights, and there are several processes to hold them; with `block`, else a note."""
    if block and memory.shard and get_world_size() == 1:
        print_note(f"{block}.shard: one process holds all weights; start several with torchrun")
    return memory.shard and get_world_size() > 1


def pick_loading_device(shards: bool, device: torch.device) -> torch.device:
    """Return where weights are loaded: what is sharded may not fit on one device, and goes there layer by layer."""
    return torch.device("cpu") if shards else device


def shard_policy(policy: TextPolicy, device: torch.device) -> None:
    """Shard a policy and its critic, in place; `device` holds the parts."""
    shard_causal_lm(policy.model, device, policy.bf16)
    if policy.critic is not None:
        shard_module(policy.critic, device, policy.bf16)
    if policy.value_head is not None:
        shard_module(policy.value_head, device, bf16=False)


def shard_causal_lm(model: PreTrainedModel, device: torch.device, bf16: bool | None) -> None:
    """Shard a language model, in place; with `bf16` its layers are gathered in half of the bytes."""
    is_head_separable(model)  # remembered: the test runs the model whole
    SKELETONS[model] = copy_without_weights(model)
    shard_module(model, device, bool(bf16))


def shard_reward_model(reward: RewardModel, device: torch.device, bf16: bool | None = False) -> None:
    """Shard a reward model, in place; with `bf16` its layers are gathered, and it is always run, in bfloat16.

    ConfigError: a model whose texts are run one by one, so that the processes would not keep step.
    """
    if not reward.can_pad:
        name = reward.model.config.model_type
        raise ConfigError(f"shard: {name} reads texts one by one and cannot be sharded; give a decoder-only model")
    SKELETONS[reward] = copy_without_weights(reward, reward.tokenizer)
    shard_module(reward, device, bool(bf16), entry="run")


def shard_module(module: nn.Module, device: torch.device, bf16: bool, entry: str = "run_function") -> None:
    """Shard a module and each of its layers, in place. `entry`: a method that runs it beside its forward.

    Mixed precision as PyTorch's guide has it: weights in bfloat16, gradients summed in float32. Hidden states between
    layers keep their float32, as under autocast.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (get_world_size(),))
    half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    whole = MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in reversed(list_layers(module)):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, mp_policy=half if bf16 else whole)
    # What stands beside the layers is freed too: sharded weights can be read at any time but in a pass.
    fully_shard(module, mesh=mesh, reshard_after_forward=True, mp_policy=whole)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)  # losses are divided already, by what the whole minibatch counts
            part.set_force_sum_reduction_for_comms(True)  # Gloo has no other
    if entry == "run_function":
        module.run_function = run_function  # type: ignore[assignment]
    register_fsdp_forward_method(module, entry)
    SHARDED[module] = bf16


def run_function(function: Any, *inputs: Any) -> Any:
    """Return what the function returns."""
    return function(*inputs)


def copy_without_weights(module: nn.Module, *shared: Any) -> Any:
    """Copy modules, with parameters that have a shape alone, and the very buffers and `shared` objects."""
    memo: dict[int, Any] = {id(each): each for each in chain(module.buffers(), shared)}
    for weight in module.parameters():
        memo[id(weight)] = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
    return copy.deepcopy(module, memo)


@contextlib.contextmanager
def gather_weights(model: Any, to_save: bool = False) -> Iterator[Any]:
    """Yield a whole copy of a sharded model, in evaluation mode; any other model itself.

    Every process holds it on its device; with `to_save` rank 0 alone, in main memory, and in the others the copy is
    empty. All processes must come here. The weights are gathered one by one and freed at the end.
    """
    if model not in SKELETONS:
        yield model
        return
    skeleton = SKELETONS[model]
    empty = dict(skeleton.named_parameters(remove_duplicate=False))
    buffers = dict(skeleton.named_buffers(remove_duplicate=False)) if to_save else {}
    gathered: dict[int, nn.Parameter] = {}
    try:
        for name, weight in model.named_parameters(remove_duplicate=False):
            if id(weight) not in gathered:  # two layers may share a weight
                whole = gather_tensor(weight, to_rank_0=to_save)
                gathered[id(weight)] = empty[name] if whole is None else nn.Parameter(whole, requires_grad=False)
            set_tensor(skeleton, name, gathered[id(weight)])
        for name, buffer in buffers.items():
            set_tensor(skeleton, name, buffer.cpu())
        yield skeleton
    finally:
        for name, tensor in (empty | buffers).items():
            set_tensor(skeleton, name, tensor)


def set_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Replace a parameter or a buffer by its dotted name."""
    owner, _, last = name.rpartition(".")
    setattr(module.get_submodule(owner), last, tensor)
