"""A reward run's features: the input of the last layer, from which its score follows."""

import numpy as np
import pytest
import torch

from likelier.asking.reward_run import LoadedRun
from likelier.asking.worker import Chooser
from likelier.errors import LikelierError
from likelier.files import write_json
from likelier.text.models import save_model
from likelier.text.reward_model import find_score_head, new_reward_model
from tiny import save_tiny_model

PROMPTS, TEXTS = ["good", "bad", "good"], ["bad bad bad", "good", "bad"]


@pytest.fixture
def run(tmp_path):
    base = save_tiny_model(tmp_path / "base", ["good", "bad"])
    for number, name in enumerate(["model", "model-1"]):
        reward = new_reward_model(base, generator=torch.Generator().manual_seed(number))
        save_model(tmp_path / "run" / name, reward.model, reward.tokenizer, "A test.")
        write_json(tmp_path / "run" / name / "card.json", {"score_mean": float(number)})
    return tmp_path / "run"


def test_scores_are_features_times_the_last_layer_less_each_models_mean(run):
    loaded = LoadedRun(str(run), "cpu")
    features, scores = loaded.describe(PROMPTS, TEXTS)
    members = loaded.ensemble.members
    weight = find_score_head(members[0].model).weight[0].detach().double().numpy()
    np.testing.assert_allclose(features @ weight, scores[0], atol=1e-5)
    for number, member in enumerate(members):
        np.testing.assert_allclose(scores[number], member.score(PROMPTS, TEXTS).numpy() - number, atol=1e-5)


def test_a_run_that_was_trained_again_is_read_again(run):
    chooser = Chooser("disagreement", str(run))
    new = {"responses": [["a", "good", "bad"], ["b", "good", "good"]], "comparisons": [["ab", "a", "b"]], "answers": []}
    assert chooser.choose({"project": "p", "size": 4, **new}) == ["ab"]
    before = chooser.run
    nothing = {"responses": [], "comparisons": [], "answers": []}
    chooser.choose({"project": "p", "size": 4, **nothing})
    assert chooser.run is before
    write_json(run / "model-1" / "card.json", {"score_mean": 2.0})
    assert chooser.choose({"project": "p", "size": 4, **nothing}) == ["ab"]
    assert chooser.run is not before


def test_a_run_without_its_models_is_one_line(tmp_path):
    with pytest.raises(LikelierError):
        LoadedRun(str(tmp_path / "nothing"), "cpu")
