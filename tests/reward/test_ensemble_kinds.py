"""Heads on one trunk and adapters on one base: they learn, differ, load as they were trained, and resume."""

import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

import likelier
from batches import batch_of
from likelier.config import RewardSource
from likelier.errors import DataError, Stopped
from likelier.files import read_json
from likelier.records import Preference
from likelier.reward.ensemble import load_ensemble
from likelier.reward.ensemble_kinds import Bootstrap
from likelier.reward.sources import make_scorer
from likelier.runs.inputs import find_model_files
from reward.test_train import digests, draw_pairs, fill, settings, stop_after, train

PROMPTS, RESPONSES = ["the dog"] * 3, [" kind sun", " cruel sea", " kind cruel kind"]
SETTINGS = {"heads": {"learning_rate": 3e-3}, "adapters": {"learning_rate": 3e-2, "lora_rank": 4}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module", params=["heads", "adapters"])
def trained(request: Any, folder: Path) -> tuple[str, dict[str, Any], Path]:
    kind = request.param
    config = settings(folder, ensemble=kind, ensemble_size=2, save_steps=4, **SETTINGS[kind])
    return kind, train(config, folder / kind), folder / kind


def test_each_kind_learns_and_its_members_differ(trained: tuple[str, dict[str, Any], Path]):
    kind, result, run = trained
    assert result["accuracy"] >= 0.9
    assert result["steps"] == 3 * 6 * (1 if kind == "heads" else 2)
    scores = load_ensemble(str(run), "cpu").score_each(PROMPTS, RESPONSES)
    assert scores.shape == (2, 3)
    assert (scores[0] - scores[1]).abs().min() > 1e-4
    assert all(row[0] > row[1] for row in scores)


def test_a_source_and_the_python_interface_read_the_run(trained: tuple[str, dict[str, Any], Path]):
    _, _, run = trained
    scores = load_ensemble(str(run), "cpu").score_each(PROMPTS, RESPONSES)
    assert likelier.load(run, "cpu").score(PROMPTS, RESPONSES) == pytest.approx(scores.mean(0).tolist())
    lowest = make_scorer([RewardSource(model=str(run), combine="min")], "cpu").sources[run.name]
    assert lowest.combine(scores).tolist() == scores.min(0).values.tolist()


def test_members_are_centred_on_the_training_responses(trained: tuple[str, dict[str, Any], Path]):
    pairs = draw_pairs(96, seed=0)
    texts = [text for pair in pairs for text in (pair.chosen, pair.rejected)]
    scores = load_ensemble(str(trained[2]), "cpu").score_each(["the dog"] * 192, texts)
    assert scores.mean(1).tolist() == pytest.approx([0.0, 0.0], abs=1e-5)


def test_other_tools_read_the_mean_of_heads_and_the_first_adapter(trained: tuple[str, dict[str, Any], Path]):
    kind, _, run = trained
    plain = AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    ensemble = load_ensemble(str(run), "cpu")
    tokens = torch.tensor([[1, 10, 6, 4, 8, 2]])  # <s> the dog kind sun </s>
    with torch.no_grad():
        said = float(plain(input_ids=tokens).logits)
    scores = ensemble.score_each(["the dog"], [" kind sun"])[:, 0] + torch.tensor(ensemble.means)
    assert said == pytest.approx(float(scores.mean() if kind == "heads" else scores[0]), abs=1e-4)


def test_peft_reads_each_adapter_with_its_head(folder: Path, trained: tuple[str, dict[str, Any], Path]):
    kind, _, run = trained
    if kind != "adapters":
        return
    ensemble, tokens = load_ensemble(str(run), "cpu"), torch.tensor([[1, 10, 6, 4, 8, 2]])
    scores = ensemble.score_each(["the dog"], [" kind sun"])[:, 0] + torch.tensor(ensemble.means)
    for name, score in zip(("adapter", "adapter-1"), scores.tolist(), strict=True):
        base = AutoModelForSequenceClassification.from_pretrained(folder / "base", num_labels=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's own
            adapted = PeftModel.from_pretrained(base, str(run / name)).eval()
        with torch.no_grad():
            assert float(adapted(input_ids=tokens).logits) == pytest.approx(score, abs=1e-4)
    members: Any = ensemble.members[0]
    frozen = members.reward.model.get_submodule("model.layers.0.self_attn.q_proj").base_layer.weight
    assert torch.equal(
        frozen, load_file(folder / "base" / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    )


def test_what_the_scores_are_made_of_is_hashed(trained: tuple[str, dict[str, Any], Path]):
    kind, _, run = trained
    names = {str(Path(name).relative_to(run)) for name in find_model_files(str(run)) if name.startswith(str(run))}
    wanted = {"model/heads.safetensors"} if kind == "heads" else {"adapter-1/adapter_model.safetensors"}
    assert wanted | {"model/model.safetensors", "model/card.json"} <= names


@pytest.mark.parametrize("stop_at", [7, 18])
def test_resumed_each_kind_ends_with_the_same_bits(
    trained: tuple[str, dict[str, Any], Path], folder: Path, tmp_path: Path, stop_at: int
):
    kind, _, run = trained
    if kind == "heads" and stop_at == 18:
        stop_at = 17
    config = settings(folder, ensemble=kind, ensemble_size=2, save_steps=4, **SETTINGS[kind])
    with pytest.raises(Stopped):
        stop_after(config, tmp_path / "run", stop_at)
    train(config, tmp_path / "run", "auto")
    assert digests(tmp_path / "run") == digests(run)
    for path in [*run.glob("model/heads.safetensors"), *run.glob("adapter*/adapter_model.safetensors")]:
        again = load_file(tmp_path / "run" / path.relative_to(run))
        assert all(torch.equal(value, again[name]) for name, value in load_file(path).items())


def test_a_base_that_is_gone_is_one_line(folder: Path, trained: tuple[str, dict[str, Any], Path], tmp_path: Path):
    kind, _, run = trained
    if kind != "adapters":
        return
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace(str((folder / "base").resolve()), "/no/such/base"))
    with pytest.raises(DataError, match="adapter: its base /no/such/base is not there"):
        load_ensemble(str(tmp_path / "run"), "cpu")


def test_bootstrap_weights_belong_to_conversations_and_average_one():
    pairs = [Preference("p", "a", "b", conversation=str(number // 2)) for number in range(4000)]
    weights = Bootstrap(0, 3).draw_weights(pairs).double()
    assert weights.shape == (3, 4000)
    assert torch.equal(weights[:, ::2], weights[:, 1::2])
    assert weights.mean(1).tolist() == pytest.approx([1.0] * 3, abs=0.1)  # exponential: standard deviation 1
    assert (weights > math.log(2)).double().mean(1).tolist() == pytest.approx([0.5] * 3, abs=0.05)
    assert torch.equal(Bootstrap(0, 3).draw_weights(pairs[10:20]).double(), weights[:, 10:20])
    assert not torch.equal(Bootstrap(1, 3).draw_weights(pairs[10:20]).double(), weights[:, 10:20])
    assert torch.equal(Bootstrap(0, 1).draw_weights(pairs[:2]), torch.ones(1, 2))


def test_the_card_of_heads_has_the_mean_of_each(trained: tuple[str, dict[str, Any], Path]):
    kind, _, run = trained
    card = read_json(run / "model" / "card.json")
    if kind == "heads":
        assert sum(card["score_means"]) / 2 == pytest.approx(card["score_mean"])
    else:
        assert "score_means" not in card


def test_responses_unlike_the_training_are_told(trained: tuple[str, dict[str, Any], Path]):
    kind, _, run = trained
    scorer = make_scorer([RewardSource(model=str(run), name="rm")], "cpu")
    known = [text for pair in draw_pairs(60, seed=11) for text in (pair.chosen, pair.rejected)]
    strange = ["the the the the the the the the the the the the the the"] * 3
    scores = scorer.judge(batch_of(["the dog"] * 123, known + strange)).by_source["rm"]
    assert set(scores.signs) == {"distance", "high_distance", "high_disagreement"}
    assert float(scores.signs["high_distance"][:120].mean()) < 0.15
    if kind == "heads":  # the trunk under the adapters has not learned to tell words apart
        assert scores.signs["high_distance"][120:].tolist() == [1.0] * 3
    assert likelier.load(run / "model", "cpu").score(["the dog"], [" kind"])  # whose disagreement is unknown
