"""Reward models as sources: alone, several together, with and without a card."""

import json
import math
from pathlib import Path

import pytest
import torch

from batches import batch_of
from likelier.config import RewardSource
from likelier.errors import ConfigError, DataError
from likelier.files import write_json
from likelier.reward.ensemble import Ensemble, combine_scores, load_ensemble
from likelier.reward.sources import make_scorer
from likelier.text.models import save_model
from likelier.text.reward_model import load_reward_model, new_reward_model
from tiny import save_tiny_model


def save_reward_run(run: Path, base: Path, means: list[float]) -> None:
    """A reward run with one model for each mean."""
    for number, mean in enumerate(means):
        folder = run / (f"model-{number}" if number else "model")
        folder.parent.mkdir(exist_ok=True)
        reward = new_reward_model(base, generator=torch.Generator().manual_seed(number))
        save_model(folder, reward.model, reward.tokenizer, "A test.")
        write_json(folder / "card.json", {"score_mean": mean})


def test_reward_models_alone_and_together(tmp_path: Path):
    base, run = save_tiny_model(tmp_path / "base", ["good", "bad"]), tmp_path / "run"
    save_reward_run(run, base, [0.25, -1.0])
    prompts, responses = ["good", "bad"], ["bad bad", "good"]
    batch = batch_of(prompts, responses)
    first, second = (load_reward_model(run / name).score(prompts, responses) for name in ("model", "model-1"))

    alone = make_scorer([RewardSource(model=str(run / "model"))], "cpu")
    assert alone(batch).tolist() == pytest.approx((first - 0.25).tolist())
    assert alone.judge(batch).by_source["model"].disagreement is None

    both = make_scorer([RewardSource(model=str(run))], "cpu")
    expected = ((first - 0.25) + (second + 1.0)) / 2
    half_distance = ((first - 0.25) - (second + 1.0)).abs() / 2
    assert both(batch).tolist() == pytest.approx(expected.tolist())
    assert both.judge(batch).by_source["run"].disagreement.tolist() == pytest.approx(half_distance.tolist())

    cautious = make_scorer([RewardSource(model=str(run), caution=2.0)], "cpu")
    assert cautious(batch).tolist() == pytest.approx((expected - 2.0 * half_distance).tolist())


def test_scores_of_two_models_are_combined_by_hand():
    scores = torch.tensor([[1.0, 0.0, 2.0], [4.0, 0.0, -2.0]])  # means 2.5, 0, 0; deviations 1.5, 0, 2
    assert combine_scores(scores).tolist() == [2.5, 0.0, 0.0]
    assert combine_scores(scores, "mean", 2.0).tolist() == [-0.5, 0.0, -4.0]
    assert combine_scores(scores, "min").tolist() == [1.0, 0.0, -2.0]
    assert combine_scores(scores, "uncertainty_weighted", 0.5).tolist() == [1.375, 0.0, -2.0]


def test_the_minimum_compares_models_that_are_centred(tmp_path: Path):
    base, run = save_tiny_model(tmp_path / "base", ["good", "bad"]), tmp_path / "run"
    save_reward_run(run, base, [0.25, -100.0])  # not centred the first would always be the lower one
    first, second = (load_reward_model(run / name).score(["good"], ["bad"]) for name in ("model", "model-1"))
    lowest = make_scorer([RewardSource(model=str(run), combine="min")], "cpu")
    assert lowest(batch_of(["good"], ["bad"])).tolist() == pytest.approx(
        torch.minimum(first - 0.25, second + 100.0).tolist()
    )
    assert float(second + 100.0) > float(first - 0.25)


def test_a_single_model_has_nothing_to_combine(tmp_path: Path):
    base, run = save_tiny_model(tmp_path / "base", ["good"]), tmp_path / "run"
    save_reward_run(run, base, [0.0])
    with pytest.raises(ConfigError, match="combine: min needs several models, and .* has one"):
        make_scorer([RewardSource(model=str(run), combine="min")], "cpu")


def test_a_model_without_a_card_is_taken_as_it_is(tmp_path: Path):
    base, run = save_tiny_model(tmp_path / "base", ["good"]), tmp_path / "run"
    save_reward_run(run, base, [0.5])
    (run / "model" / "card.json").unlink()
    ensemble = load_ensemble(str(run / "model"), "cpu")
    assert isinstance(ensemble, Ensemble)
    assert ensemble.means == [0.0]


@pytest.mark.parametrize(
    ("mean", "reason"), [("much", "score_mean"), (None, "score_mean"), (math.inf, "card.json: Infinity is not JSON")]
)
def test_a_damaged_card_is_bad_data(tmp_path: Path, mean: object, reason: str):
    base, run = save_tiny_model(tmp_path / "base", ["good"]), tmp_path / "run"
    save_reward_run(run, base, [0.5])
    (run / "model" / "card.json").write_text(json.dumps({"score_mean": mean}))
    with pytest.raises(DataError, match=reason):
        load_ensemble(str(run), "cpu")
