"""The preallocated cache against the one that grows, and dropping rows from it."""

import torch

from likelier.text.cache import BLOCK, PreallocatedLayer, make_cache, preallocated_layers
from model_families import tiny_model


def test_states_are_appended_and_rows_dropped() -> None:
    layer, draw = PreallocatedLayer(torch.float32), torch.Generator().manual_seed(0)
    parts = [torch.randn(3, 2, size, 4, generator=draw) for size in (2, 1)]
    for part in parts:
        keys, values = layer.update(part, -part)
    whole = torch.cat(parts, 2)
    assert torch.equal(keys, whole)
    assert torch.equal(values, -whole)
    assert layer.get_seq_length() == 3
    room = layer.all_keys.data_ptr()
    layer.update(parts[1], parts[1])
    assert layer.all_keys.data_ptr() == room  # nothing was allocated anew
    layer.batch_select_indices(torch.tensor([2, 0]))
    keys, _ = layer.update(parts[1][[2, 0]], parts[1][[2, 0]])
    assert torch.equal(keys, torch.cat([whole, parts[1], parts[1]], 2)[[2, 0]])


def test_room_grows_by_whole_blocks_and_what_is_not_filled_is_zero() -> None:
    layer = PreallocatedLayer(torch.float32)
    part = torch.ones(1, 2, BLOCK - 1, 4)
    layer.update(part, part)
    assert layer.all_keys.shape == (1, 2, BLOCK, 4)
    keys, _ = layer.update(2 * part[:, :, :2], part[:, :, :2])
    assert layer.all_keys.shape == (1, 2, 2 * BLOCK, 4)
    assert torch.equal(keys, torch.cat([part, 2 * part[:, :, :2]], 2))
    assert not layer.all_keys[:, :, BLOCK + 1 :].any()


def test_the_dtype_is_that_of_the_cache() -> None:
    layer = PreallocatedLayer(torch.bfloat16)
    keys, values = layer.update(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert (keys.dtype, values.dtype) == (torch.bfloat16, torch.bfloat16)


def test_windows_are_left_to_transformers() -> None:
    assert make_cache(tiny_model("llama"), torch.float32)[1]
    mixed, plain = make_cache(tiny_model("gemma3_text"), torch.float32)
    assert not plain
    assert len(preallocated_layers(mixed)) == 1
    assert not make_cache(tiny_model("mistral"), torch.float32)[1]


def test_a_model_says_the_same_with_either_cache() -> None:
    tokens = torch.randint(0, 64, (2, 9), generator=torch.Generator().manual_seed(0))
    for family in ("gpt2", "llama", "gemma3_text"):
        model = tiny_model(family)
        cache, _ = make_cache(model, torch.float32)
        with torch.no_grad():
            first = model(input_ids=tokens[:, :6], past_key_values=cache, use_cache=True).logits
            second = model(input_ids=tokens[:, 6:], past_key_values=cache, use_cache=True).logits
            whole = model(input_ids=tokens).logits
        assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-4)
