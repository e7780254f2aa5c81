import pytest
import torch

from likelier.config import build_config
from likelier.plan.memory import split_weights
from likelier.plan.models import build_actors, count_trained
from likelier.plan.trace import count_bytes, list_weights
from likelier.rlhf.setup import load_actors
from likelier.text.reward_model import new_reward_model
from peft_folders import save_peft_adapter
from tiny import save_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    save_tiny_model(folder / "model", words=["a", "b"])
    reward = new_reward_model(folder / "model")
    reward.model.save_pretrained(folder / "reward")
    reward.tokenizer.save_pretrained(folder / "reward")
    save_peft_adapter(folder / "model", folder / "adapter", modules_to_save=["lm_head"])
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"critic": "shared"},
        {"algorithm": "rloo", "responses_per_prompt": 2},
        {"lora_rank": 2},
        {"lora_rank": 2, "critic": "adapter"},
        {"lora_rank": 2, "critic": "adapter", "model_dtype": "bfloat16"},
        {"lora_rank": 2, "model_dtype": "8bit"},
        {"lora_rank": 2, "model_dtype": "4bit"},
        {"model_dtype": "bfloat16"},
    ],
)
@pytest.mark.parametrize("start", ["model", "adapter"])
def test_planned_models_hold_what_loaded_ones_hold(place, settings, start):
    if start == "adapter" and "lora_rank" in settings:
        settings = settings | {"lora_rank": 4, "lora_alpha": 8}
    config = build_config(
        {
            "model": str(place / start),
            "reward": [{"model": str(place / "reward")}],
            "ppo": settings | {"device": "cpu"},
        }
    )
    planned, actors = build_actors(config, CPU), load_actors(config)
    loaded = [source.members[0].model for source in actors.scorer.sources.values()]
    real = count_bytes(list_weights(actors.policy, actors.reference, *loaded))
    parts = split_weights([planned.policy, planned.reference, *planned.rewards.models])
    # In 4 and 8 bits each layer has a table of a kilobyte too, which all share in a plan's eyes: it has none.
    tables = 60_000 if settings.get("model_dtype") in ("4bit", "8bit") else 0
    assert real - tables <= sum(parts.values()) <= real
    assert count_trained([planned.policy]) == count_trained([actors.policy])
    assert (parts["adapters"] > 0) == ("lora_rank" in settings)
