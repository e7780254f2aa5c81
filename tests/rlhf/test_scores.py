"""Shaping scores, against numbers worked out by hand; and every setting of it changes what the policy learns from."""

import json

import pytest
import torch

from likelier.config import PPOConfig
from likelier.rlhf.scores import ScoreMoments, Shaper, penalise_missing_end, transform_scores
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from tiny_ppo import make_config, make_world, train


def shaper(**settings):
    return Shaper(PPOConfig(**settings))


def test_transformed_by_hand():
    scores = torch.tensor([1.0, 2.0, 5.0])
    assert transform_scores(scores, 2.0, 0.5, None).tolist() == [-0.5, 0.0, 1.5]
    assert transform_scores(scores, 2.0, 0.5, 0.25).tolist() == [-0.25, 0.0, 0.25]


def test_moments_do_not_depend_on_the_cut():
    # 1, 2, 3, 6: mean 3, squared distances 4 + 1 + 0 + 9 = 14
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0])
    whole, parts = ScoreMoments().merge(scores), ScoreMoments().merge(scores[:1]).merge(scores[1:])
    assert whole == (4, 3.0, 14.0)
    assert parts == pytest.approx(whole)
    assert whole.inverse_std(eps=0.0) == pytest.approx((14 / 4) ** -0.5)


def test_a_missing_end_is_subtracted_from_or_replaces_the_score():
    scores, reasons = torch.tensor([1.0, 2.0, 3.0]), ["end_token", "length", "stop_string"]
    assert penalise_missing_end(scores, reasons, 0.5, None).tolist() == [1.0, 1.5, 3.0]
    assert penalise_missing_end(scores, reasons, None, -1.0).tolist() == [1.0, -1.0, 3.0]
    assert penalise_missing_end(scores, reasons, None, None).tolist() == [1.0, 2.0, 3.0]


def test_without_settings_scores_stay_as_they_are_bit_by_bit():
    scores = torch.randn(64, generator=torch.Generator().manual_seed(0)) * 1e3
    found, factor = shaper()(scores)
    assert torch.equal(found, scores)
    assert factor == 1.0


def test_a_batch_to_mean_0_and_deviation_1():
    scores = torch.tensor([1.0, 2.0, 3.0, 6.0])
    found, factor = shaper(reward_norm="batch")(scores)
    deviation = 3.5**0.5
    assert found.tolist() == pytest.approx([-2 / deviation, -1 / deviation, 0.0, 3 / deviation])
    assert factor == pytest.approx(1 / deviation)
    assert shaper(reward_norm="batch")(torch.full((5,), 0.1))[0].tolist() == [0.0] * 5  # equal scores say nothing


def test_running_moments_remember_earlier_batches():
    running = shaper(reward_norm="running")
    first, _ = running(torch.tensor([1.0, 3.0]))
    second, factor = running(torch.tensor([5.0, 7.0]))
    assert first.tolist() == pytest.approx([-1.0, 1.0])  # mean 2, deviation 1
    assert second.tolist() == pytest.approx([1 / 5**0.5, 3 / 5**0.5])  # of 1, 3, 5, 7: mean 4, variance 5
    assert factor == pytest.approx(5**-0.5)


def test_order_is_norm_then_scale_then_clip():
    found, factor = shaper(reward_norm="batch", reward_scale=2.0, reward_clip=1.5)(torch.tensor([0.0, 2.0]))
    assert found.tolist() == pytest.approx([-1.5, 1.5])  # -1 and 1, doubled, clipped
    assert factor == pytest.approx(2.0)


def test_centred_on_the_reference_only_where_asked():
    centring, plain = shaper(reward_center=True, reward_scale=3.0), shaper()
    for each in (centring, plain):
        each.set_reference_mean(0.5)
    assert centring(torch.tensor([1.0, 0.5]))[0].tolist() == [1.5, 0.0]
    assert plain(torch.tensor([1.0, 0.5]))[0].tolist() == [1.0, 0.5]


def test_state_survives_json_exactly():
    before, after = shaper(reward_norm="running"), shaper(reward_norm="running")
    before(torch.rand(7, generator=torch.Generator().manual_seed(0)))
    before.center = 1 / 3
    after.load(json.loads(json.dumps(before.state())))
    assert (after.center, after.moments) == (before.center, before.moments)


COUNT = "def reward(prompts, responses):\n    return [3.0 * text.count('a') + 1 for text in responses]\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("scores"), COUNT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"reward_center": True, "reward_scale": 0.5, "missing_eos_score": -1.0}, {"reward_norm": "running"}],
    ids=["center", "running"],
)
def test_what_it_remembers_is_resumed_to_the_same_bits(world, tmp_path, settings):
    plain = train(make_config(world), tmp_path / "plain")
    whole = train(make_config(world, **settings), tmp_path / "whole")
    assert [line["value_loss"] for line in whole] != [line["value_loss"] for line in plain]
    assert all(line["shaped_score"] != line["score"] for line in whole)
    cut = tmp_path / "whole" / "checkpoint-2"
    with Run(tmp_path / "whole", "ppo", make_config(world, **settings), str(cut)) as run:
        assert run.start == 2
        train_ppo(make_config(world, **settings), run)
    again = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert again == whole
