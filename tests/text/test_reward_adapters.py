"""A reward model as an adapter with a head: every loader reads it, it resumes, and its base is part of the record."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

import likelier
from likelier.config import LoRA, RewardModelConfig, RewardSource
from likelier.errors import ConfigError, DataError, Stopped
from likelier.files import read_json
from likelier.reward.ensemble import load_ensemble
from likelier.reward.ensemble_kinds import prepare_ensemble
from likelier.reward.sources import make_scorer
from likelier.reward.start import Start
from likelier.runs.inputs import hash_input
from likelier.text.adapters import FrozenModels
from likelier.text.models import save_model
from likelier.text.reward_adapters import (
    add_reward_adapter,
    load_reward_adapters,
    save_merged_reward,
    save_reward_adapter,
)
from likelier.text.reward_model import RewardModel, new_reward_model
from model_families import tiny_tokenizer
from reward.test_train import digests, fill, settings, stop_after, train

PROMPTS, RESPONSES = ["the dog"] * 3, [" kind sun", " cruel sea", " kind cruel kind"]
TOKENS = torch.tensor([[1, 10, 6, 4, 8, 2]])  # <s> the dog kind sun </s>
LORA = {"lora_rank": 4, "learning_rate": 3e-2, "save_steps": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[dict[str, Any], Path]:
    return train(settings(folder, **LORA), folder / "run"), folder / "run"


def test_it_learns_beside_a_frozen_base(folder: Path, trained: tuple[dict[str, Any], Path]):
    result, run = trained
    assert result["accuracy"] >= 0.9
    assert result["ensemble_size"] == 1
    name = "model.layers.0.self_attn.q_proj.weight"
    base, merged = (load_file(path / "model.safetensors") for path in (folder / "base", run / "model"))
    assert torch.equal(base["model.embed_tokens.weight"], merged["model.embed_tokens.weight"])
    assert not torch.equal(base[name], merged[name])
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    assert adapter[f"base_model.model.{name.replace('.weight', '.lora_A.weight')}"].shape == (4, 16)
    checkpoint = load_file(run / "checkpoint-18" / "reward.safetensors")
    assert sum(map(torch.numel, checkpoint.values())) == sum(map(torch.numel, adapter.values()))


def test_other_tools_score_as_it_was_trained(trained: tuple[dict[str, Any], Path]):
    _, run = trained
    ensemble = load_ensemble(str(run), "cpu")
    score = float(ensemble.score_each(["the dog"], [" kind sun"])) + ensemble.means[0]
    loaders = (AutoPeftModelForSequenceClassification, AutoModelForSequenceClassification)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # peft's own
        for loader, name in (*((each, "adapter") for each in loaders), (loaders[1], "model")):
            model = loader.from_pretrained(run / name, num_labels=1).eval()
            assert float(model(input_ids=TOKENS).logits) == pytest.approx(score, abs=1e-5)


def test_run_adapter_and_merged_model_are_sources_of_one_score(trained: tuple[dict[str, Any], Path]):
    _, run = trained
    sources = [RewardSource(model=str(run / name)) for name in ("", "adapter", "model")]
    whole, adapter, merged = (make_scorer([source], "cpu") for source in sources)
    scores = [
        each.sources[name].score(PROMPTS, RESPONSES)
        for each, name in ((whole, "run"), (adapter, "adapter"), (merged, "model"))
    ]
    assert scores[0][0] > scores[0][1]
    assert torch.equal(scores[0], scores[1])
    torch.testing.assert_close(scores[2], scores[0], rtol=1e-4, atol=1e-4)
    assert likelier.load(run, "cpu").score(PROMPTS, RESPONSES) == scores[0].tolist()


def test_resumed_it_ends_with_the_same_bits(folder: Path, trained: tuple[dict[str, Any], Path], tmp_path: Path):
    _, run = trained
    with pytest.raises(Stopped):
        stop_after(settings(folder, **LORA), tmp_path / "run", 7)
    train(settings(folder, **LORA), tmp_path / "run", "auto")
    assert digests(tmp_path / "run") == digests(run)
    weights, again = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (run, tmp_path / "run"))
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


def test_the_base_is_hashed_with_the_adapter_and_missed_in_one_line(
    folder: Path, trained: tuple[dict[str, Any], Path], tmp_path: Path
):
    _, run = trained
    hashes = hash_input("model", str(run))
    assert hashes[str((folder / "base" / "model.safetensors").resolve())]
    assert set(hashes) >= {str(run / "adapter" / "adapter_model.safetensors"), str(run / "model" / "card.json")}
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace(str((folder / "base").resolve()), "/no/such/base"))
    with pytest.raises(DataError, match=r"its base /no/such/base is not there; .*merged model \(.*run/model\)"):
        load_ensemble(str(tmp_path / "run"), "cpu")
    assert load_ensemble(str(tmp_path / "run" / "model"), "cpu").score(PROMPTS, RESPONSES).shape == (3,)
    path.write_text("{}")
    with pytest.raises(DataError, match="adapter_config.json: no `base_model_name_or_path`"):
        load_ensemble(str(tmp_path / "run"), "cpu")


def test_layers_that_the_base_lacks_are_trained_and_saved_with_the_head(tmp_path: Path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = AutoConfig.for_model("roberta", vocab_size=64, pad_token_id=1, max_position_embeddings=34, **sizes)
    save_model(tmp_path / "base", AutoModel.from_config(config), tiny_tokenizer(), "")
    lora = LoRA(lora_rank=2)
    reward = new_reward_model(tmp_path / "base", generator=torch.Generator().manual_seed(0))
    assert reward.new_layers == ["classifier.dense"]
    add_reward_adapter(reward, lora, torch.Generator().manual_seed(1))
    with torch.no_grad():  # a step of training
        for weight in reward.parameters():
            weight.add_(0.1 * weight.requires_grad)
    save_reward_adapter(tmp_path / "adapter", str(tmp_path / "base"), reward)
    (loaded,) = load_reward_adapters([str(tmp_path / "adapter")])
    torch.testing.assert_close(loaded.score(["a b", "c"], ["d", "e f"]), reward.score(["a b", "c"], ["d", "e f"]))
    save_merged_reward(
        tmp_path / "model", str(tmp_path / "base"), tmp_path / "adapter", reward, ""
    )  # raises if peft scores otherwise
    with pytest.raises(ConfigError, match="it has no weights for classifier.dense; set ensemble: models"):
        several = RewardModelConfig(ensemble="adapters", ensemble_size=2)
        prepare_ensemble(new_reward_model(tmp_path / "base"), several, 0, 0, Start("base"))
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    del weights["base_model.model.classifier.dense.weight"]
    save_file(weights, tmp_path / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="it holds no weights for classifier.dense.weight; train"):
        load_reward_adapters([str(tmp_path / "adapter")])


@pytest.mark.parametrize("dtype", ["bfloat16", "4bit"])
def test_it_is_scored_on_the_base_that_it_was_trained_on(folder: Path, tmp_path: Path, dtype: str):
    train(settings(folder, **LORA, model_dtype=dtype), tmp_path / "run")
    assert read_json(tmp_path / "run" / "adapter" / "card.json")["model_dtype"] == dtype
    adapter, merged = (load_ensemble(str(tmp_path / "run" / name), "cpu") for name in ("adapter", "model"))
    scores = adapter.score(PROMPTS, RESPONSES)
    torch.testing.assert_close(merged.score(PROMPTS, RESPONSES), scores, rtol=1e-3, atol=1e-3)
    other = load_ensemble(str(tmp_path / "run" / "adapter"), "cpu", frozen=FrozenModels(dtype="float32"))
    assert (other.score(PROMPTS, RESPONSES) - scores).abs().max() > 1e-5
    whole = load_ensemble(str(tmp_path / "run" / "model"), "cpu", frozen=FrozenModels(dtype="8bit"))
    assert (whole.score(PROMPTS, RESPONSES) - scores).abs().max() > 1e-5
    assert isinstance(whole.members[0], RewardModel)
    assert whole.members[0].head.weight.dtype == torch.float32
