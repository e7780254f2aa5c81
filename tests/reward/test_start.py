"""A reward model that goes on from a trained one: its first scores are those of the other, whatever it is made of."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file

from likelier.config import Config
from likelier.errors import ConfigError, DataError, Stopped
from likelier.files import read_json, write_jsonl
from likelier.reward.ensemble import load_ensemble
from likelier.reward.train import Member
from likelier.runs.inputs import hash_inputs
from likelier.text.convention import mark_made
from likelier.text.models import load_tokenizer
from likelier.text.tokens import encode_conversations
from peft_folders import save_peft_adapter
from reward.test_train import WORDS, digests, draw_pairs, settings, stop_after, train
from tiny import save_tiny_model

PROMPTS, RESPONSES = ["the dog"] * 3, [" kind sun", " cruel sea", " kind cruel kind"]
KINDS: dict[str, dict[str, Any]] = {
    "whole": {},
    "adapter": {"lora_rank": 4, "lora_targets": ["q_proj", "up_proj"], "learning_rate": 3e-2},
    "heads": {"ensemble": "heads", "ensemble_size": 2},
    "adapters": {"ensemble": "adapters", "ensemble_size": 2, "lora_rank": 2},
    "length": {"length_debias": True},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind."""
    folder = tmp_path_factory.mktemp("start")
    save_tiny_model(folder / "base", [*WORDS, "the"])
    for seed, (part, count) in enumerate({"train": 48, "valid": 24}.items()):
        write_jsonl(folder / "preferences" / f"{part}.jsonl", draw_pairs(count, seed))
    for kind, more in KINDS.items():
        train(settings(folder, **more | {"num_epochs": 1}), folder / kind)
    return folder


def go_on(folder: Path, start: str, **more: Any) -> Config:
    return settings(folder, **{"from": str(folder / start), "num_epochs": 1, "learning_rate": 1e-3} | more)


def score_raw(run: Path) -> torch.Tensor:
    """Scores of each member, not centred: [K, 3]."""
    ensemble = load_ensemble(str(run), "cpu")
    return ensemble.score_each(PROMPTS, RESPONSES) + torch.tensor(ensemble.means)[:, None]


@pytest.mark.parametrize(
    ("start", "more"),
    [
        ("whole", {}),
        ("whole/model", {}),
        ("whole", {"lora_rank": 2}),
        ("adapter", {"lora_rank": 4}),
        ("adapter/adapter", {"lora_rank": 4}),
        ("adapter", {}),
        ("adapter/adapter", {}),
        ("heads", KINDS["heads"]),
        ("adapters", KINDS["adapters"]),
    ],
    ids=[
        "whole",
        "folder",
        "new adapter",
        "adapter",
        "adapter folder",
        "merged",
        "adapter folder merged",
        "heads",
        "adapters",
    ],
)
def test_it_begins_at_the_scores_of_the_other(folder: Path, start: str, more: dict[str, Any]):
    wanted = score_raw(folder / start)
    config = go_on(folder, start, **more)
    for number in range(1 if more.get("ensemble") != "adapters" else 2):
        member = Member(config, number)
        found = member.reward.read(PROMPTS, RESPONSES).scores
        torch.testing.assert_close(found, wanted if len(found) > 1 else wanted[number][None], rtol=1e-4, atol=1e-4)


def test_an_adapter_goes_on_from_its_own_base_and_its_result_loads(folder: Path, tmp_path: Path):
    config = go_on(folder, "adapter", lora_rank=4, save_steps=2).model_copy(update={"model": ""})
    train(config, tmp_path / "run")
    before, after = (
        load_file(path / "adapter" / "adapter_model.safetensors") for path in (folder / "adapter", tmp_path / "run")
    )
    assert before.keys() == after.keys()  # of q_proj and up_proj alone
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert read_json(tmp_path / "run" / "adapter" / "card.json")["from"] == str(folder / "adapter" / "adapter")
    config_file = read_json(tmp_path / "run" / "adapter" / "adapter_config.json")
    assert config_file["base_model_name_or_path"] == str((folder / "base").resolve())
    with pytest.raises(Stopped):
        stop_after(config, tmp_path / "again", 1)
    train(config, tmp_path / "again", "auto")
    assert digests(tmp_path / "again") == digests(tmp_path / "run")
    assert score_raw(tmp_path / "run").shape == (1, 3)


@pytest.mark.parametrize("more", [{}, {"modules_to_save": ["embed_tokens"]}], ids=["head", "embeddings too"])
@pytest.mark.parametrize("rank", [None, 4])
def test_an_adapter_of_peft_goes_on_and_peft_loads_the_result(
    folder: Path, tmp_path: Path, more: dict[str, Any], rank: int | None
):
    theirs = save_peft_adapter(folder / "base", tmp_path / "peft", is_classifier=True, **more)
    kept = set(read_json(tmp_path / "peft" / "adapter_config.json")["modules_to_save"])
    assert kept >= {"score", *more.get("modules_to_save", [])}
    lora: dict[str, Any] = {"lora_rank": rank, "lora_alpha": 8} if rank else {}
    config = go_on(tmp_path, "peft", **lora)
    config = config.model_copy(update={"data": str(folder / "preferences"), "model": str(folder / "base")})
    first = Member(config, 0).reward.read(PROMPTS, RESPONSES).scores
    torch.testing.assert_close(first, score_by(theirs, tmp_path / "peft"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(score_raw(tmp_path / "peft"), first, rtol=1e-4, atol=1e-5)
    train(config, tmp_path / "run")
    found = score_raw(tmp_path / "run")
    assert (found - first).abs().max() > 1e-4
    if rank:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's own
            again = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "run" / "adapter", num_labels=1)
        torch.testing.assert_close(score_by(again, tmp_path / "run" / "adapter"), found, rtol=1e-4, atol=1e-5)
    else:
        assert not (tmp_path / "run" / "adapter").exists()
    torch.testing.assert_close(score_raw(tmp_path / "run" / "model"), found, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def score_by(model: Any, folder: Path) -> torch.Tensor:
    """Scores of a classifier that peft loaded, by the tokenizer of a folder or its base: [1, 3]."""
    tokenizer = load_tokenizer(folder)
    mark_made(tokenizer)
    rows = encode_conversations(tokenizer, PROMPTS, RESPONSES)
    return torch.cat([model.eval()(input_ids=torch.tensor([row])).logits for row in rows]).T


def test_an_adapter_that_is_more_than_lora_is_refused(folder: Path, tmp_path: Path):
    save_peft_adapter(folder / "base", tmp_path / "dora", is_classifier=True, use_dora=True)
    save_peft_adapter(folder / "base", tmp_path / "policy")
    for name, words in (("dora", "`use_dora` is True, and only plain LoRA"), ("policy", "an adapter for CAUSAL_LM")):
        for run in (lambda path: load_ensemble(path, "cpu"), lambda path: Member(go_on(Path("/"), path), 0)):
            with pytest.raises(DataError, match=words):
                run(str(tmp_path / name))


def test_a_new_adapter_on_a_trained_model_has_that_as_its_base(folder: Path, tmp_path: Path):
    train(go_on(folder, "whole", lora_rank=2), tmp_path / "run")
    config = read_json(tmp_path / "run" / "adapter" / "adapter_config.json")
    assert config["base_model_name_or_path"] == str((folder / "whole" / "model").resolve())
    merged = load_ensemble(str(tmp_path / "run" / "model"), "cpu").score(PROMPTS, RESPONSES)
    torch.testing.assert_close(load_ensemble(str(tmp_path / "run"), "cpu").score(PROMPTS, RESPONSES), merged)


def test_the_length_term_goes_on_too(folder: Path):
    weights = read_json(folder / "length" / "model" / "card.json")["length_weights"]
    term = Member(go_on(folder, "length", length_debias=True), 0).length
    assert term is not None
    assert term.weights.tolist() == pytest.approx(weights)
    assert any(weights)


def test_what_it_goes_on_from_is_an_input_of_the_run(folder: Path):
    hashes = hash_inputs("reward", go_on(folder, "adapter", lora_rank=4))
    assert str(folder / "adapter" / "adapter" / "adapter_model.safetensors") in hashes["reward_model.from"]
    assert str((folder / "base" / "model.safetensors").resolve()) in hashes["reward_model.from"]


@pytest.mark.parametrize(
    ("start", "more", "error", "words"),
    [
        ("adapter", {"lora_rank": 8}, ConfigError, "lora_rank: 8, and the adapter in .* has 4; set that"),
        ("adapter", {"lora_rank": 4, "lora_alpha": 8}, ConfigError, "lora_alpha: 8, and the adapter in .* has 32"),
        (
            "adapter",
            {"lora_rank": 4, "lora_targets": ["k_proj"]},
            ConfigError,
            "lora_targets: the adapter in .* its own",
        ),
        (
            "adapters",
            {"lora_rank": 2},
            ConfigError,
            "has 2 models to go on with, and .*ensemble_size is 1; give as many",
        ),
        ("whole", {"ensemble_size": 3}, ConfigError, "has 1 models to go on with, and .*ensemble_size is 3"),
        ("whole", KINDS["heads"], ConfigError, "heads goes on with a run of several heads"),
        ("heads", {}, ConfigError, "heads goes on with a run of several heads, and only that"),
        ("heads", {"ensemble": "heads", "ensemble_size": 3}, ConfigError, "ensemble_size: 3, and .* has 2 heads"),
        ("base", {}, DataError, "base: 2 labels; a reward model has exactly 1"),
        ("nowhere", {}, DataError, "nowhere: no such model folder"),
    ],
)
def test_what_cannot_go_on_is_one_line(
    folder: Path, tmp_path: Path, start: str, more: dict[str, Any], error: type[Exception], words: str
):
    with pytest.raises(error, match=words) as caught:
        train(go_on(folder, start, **more), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
