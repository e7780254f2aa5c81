"""A share of what is divided, and what is gathered for a while."""

import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

from likelier.config import build_config
from likelier.files import write_jsonl
from likelier.plan.machine import Machine
from likelier.plan.memory import Phase
from likelier.plan.plan import make_plans
from likelier.plan.sharding import count_gathered, divide_phase
from tiny import save_tiny_model


def test_a_phase_in_one_of_three_processes():
    phase = Phase("update", {"process": 7, "weights": 90, "optimizer": 61, "gradients": 30, "activations": 5})
    parts = {"process": 7, "weights": 30 + 4, "optimizer": 21, "gradients": 10, "activations": 5}
    assert divide_phase(phase, 3, gathered=4) == Phase("update", parts)


def make_llama(layers):
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 32}
    return AutoModelForCausalLM.from_config(LlamaConfig(**sizes, num_hidden_layers=layers))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_two_layers_and_what_stands_beside_them_are_gathered(layers):
    model = make_llama(layers)
    layer, beside = 4 * 8 * 8 + 3 * 8 * 16 + 2 * 8, 2 * 32 * 8 + 8
    assert sum(weight.numel() for weight in model.parameters()) == layers * layer + beside
    assert count_gathered([model]) == 4 * (beside + min(layers, 2) * layer)
    assert count_gathered([model], trains=True) == 4 * (beside + min(layers, 2) * layer + layer)
    assert count_gathered([model, make_llama(1)]) == count_gathered([model])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    save_tiny_model(folder / "model", words=["a", "b"])
    for name in ("train", "valid", "test"):
        pairs = [{"prompt": "a", "chosen": "b", "rejected": "a", "conversation": str(row)} for row in range(8)]
        write_jsonl(folder / "data" / f"{name}.jsonl", pairs)
    write_jsonl(folder / "sft.jsonl", [{"prompt": "a", "completion": "b"}] * 32)

    def make(stage, **settings):
        data = folder / ("sft.jsonl" if stage == "sft" else "data")
        ppo = {"max_prompt_tokens": 8, "num_mini_batches": 2, "batch_size": 8, "response_length": 8}
        block = settings | (ppo if stage == "ppo" else {"batch_size": 8, "num_epochs": 1})
        whole = {"model": str(folder / "model"), "data": str(data), stage: block}
        return build_config(whole | ({"reward": [{"function": "r.py:f"}]} if stage == "ppo" else {}))

    return make


@pytest.mark.parametrize("stage", ["sft", "reward_model", "dpo", "ppo"])
def test_each_stage_is_divided_where_it_shards_and_there_are_several(config, stage):
    alone, beside, sharded = (
        make_plans(config(stage, shard=shard), Machine("24GB", 24 * 10**9, None, count=count))[0]
        for shard, count in ((True, 1), (False, 4), (True, 4))
    )
    update = [{phase.name: phase for phase in plan.phases}["update"].parts for plan in (alone, beside, sharded)]
    for part in ("optimizer", "gradients"):
        assert update[0][part] == update[1][part]
        assert update[2][part] == pytest.approx(update[1][part] / 4, abs=2)
    assert update[1]["activations"] < update[0]["activations"]  # of a fourth of the rows
    assert alone.tokens == beside.tokens
