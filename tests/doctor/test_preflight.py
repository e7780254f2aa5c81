"""Before a run: spread, chance, judges, pairs and people, on the zoo's model and on numbers worked out by hand."""

import json

import pytest
import torch

from likelier.bugs.run import load_bug_config
from likelier.config import build_config
from likelier.doctor import preflight
from likelier.doctor.preflight import (
    InitialSamples,
    best_of,
    check_judges,
    check_people,
    check_scores,
    pairwise_agreement,
    summarize_feedback,
)
from likelier.errors import ConfigError
from likelier.files import write_json, write_jsonl
from likelier.records import Preference

PLAIN = build_config({"ppo": {"response_length": 8}})


def sampled(scores, again=None, ended=1.0, **judged):
    """One row a prompt."""
    found = torch.tensor(scores)
    return InitialSamples(
        found, found if again is None else torch.tensor(again), judged, torch.full((found.numel(),), ended)
    )


def names(findings):
    return [finding.name for finding in findings]


VARIED = [[1.0, 2.0, 3.0], [2.0, 1.0, 0.0], [0.0, 4.0, 1.0]]


def test_scores_that_can_be_learned_from():
    assert check_scores(sampled(VARIED), PLAIN) == []


@pytest.mark.parametrize(
    "scores", [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [2.0, 2.0], [3.0, 1.0]], [[0.0, 0.001], [5.0, 5.001]]]
)
def test_no_spread_within_prompts(scores):
    assert names(check_scores(sampled(scores), PLAIN)) == ["no_reward_spread"]


def test_nearly_all_at_one_end():
    wide = torch.ones(10, 16)
    wide[:6, 0] = torch.arange(6) / 10
    found = check_scores(sampled(wide.tolist()), PLAIN)
    assert names(found) == ["scorer_saturated"]
    assert "highest" in found[0].cause


def test_a_score_that_is_not_the_same_twice():
    noisy = check_scores(sampled(VARIED, [[2.0, 1.0, 3.0], [1.0, 2.0, 0.5], [1.0, 3.0, 1.0]]), PLAIN)
    assert names(noisy) == ["scorer_noisy"]
    assert "varies by" in noisy[0].evidence


def test_responses_that_do_not_end():
    assert names(check_scores(sampled(VARIED, ended=0.0), PLAIN)) == ["never_ends"]
    fixed = build_config({"ppo": {"stop_token": None}})
    assert check_scores(sampled(VARIED, ended=0.0), fixed) == []


def test_best_of_by_hand():
    found = best_of(torch.tensor([[1.0, 2.0], [5.0, 3.0]]), torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
    assert (found["mean"], found["best"], found["gain"]) == (0.375, 0.75, 0.375)


def test_a_judge_whom_the_best_of_16_does_not_move():
    scores = torch.rand(20, 16, generator=torch.Generator().manual_seed(0))
    assert check_judges(sampled(scores.tolist(), friend=scores)) == []
    against = check_judges(sampled(scores.tolist(), other=-scores))
    assert (against[0].name, against[0].severity) == ("best_of_16_flat", "error")
    assert names(check_judges(sampled(scores.tolist(), constant=torch.zeros(20, 16)))) == ["best_of_16_flat"]


def test_prompts_that_a_judge_leaves_out_do_not_count():
    judged = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [0.5, 0.0]])
    found = best_of(torch.tensor([[1.0, 2.0], [9.0, 1.0], [5.0, 3.0]]), judged)
    assert (found["mean"], found["best"], found["gain"]) == (0.375, 0.75, 0.375)


def pair(comparison, annotator, chosen, target=1.0):
    rejected = "b" if chosen == "a" else "a"
    return Preference("p", chosen, rejected, target=target, annotator=annotator, comparison=comparison)


def test_agreement_counts_pairs_of_people_on_one_comparison():
    pairs = [pair("1", "ann", "a"), pair("1", "ben", "a"), pair("1", "cem", "b"), pair("2", "ann", "a")]
    pairs += [pair("3", "ann", "a", 0.5), pair("3", "ben", "b"), pair("", "", "a")]
    assert sorted(pairwise_agreement(pairs)[0]) == [0.0, 0.0, 1.0]


def test_few_pairs_and_people_who_disagree():
    assert check_people({"pairs": None, "agreement": None, "agreement_interval": None}) == []
    found = check_people({"pairs": 40, "agreement": 0.5, "agreement_interval": [0.4, 0.6]})
    assert names(found) == ["few_pairs", "low_agreement"]
    assert check_people({"pairs": 900, "agreement": 0.72, "agreement_interval": [0.7, 0.74]}) == []


def test_pairs_are_found_behind_a_reward_run(tmp_path):
    write_jsonl(tmp_path / "pairs" / "train.jsonl", [pair("1", "ann", "a"), pair("1", "ben", "b")])
    write_jsonl(tmp_path / "pairs" / "test.jsonl", [])
    run = tmp_path / "reward"
    write_json(run / "run.json", {"verb": "reward"})
    (run / "config.yaml").write_text(json.dumps({"data": str(tmp_path / "pairs")}))
    found = summarize_feedback(build_config({"reward": [{"model": str(run / "model")}, {"function": "a.py:b"}]}))
    assert (found["pairs"], found["agreement"]) == (2, 0.0)
    assert summarize_feedback(build_config({"reward": [{"function": "a.py:b"}]}))["pairs"] is None


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="^model: not set"):
        preflight.preflight(build_config({"reward": [{"function": "a.py:b"}]}))


@pytest.mark.slow
def test_the_zoos_healthy_config_passes_and_its_ill_ones_do_not(monkeypatch):
    monkeypatch.setattr(preflight, "NUM_PROMPTS", 12)
    judged = preflight.preflight(load_bug_config("healthy"))
    assert judged["findings"] == []
    assert judged["responses"] == 12 * 16
    assert judged["best_of_16"]["sincerity"]["gain_interval"][0] > 0
    drawn = preflight.preflight(load_bug_config("scorer_at_chance"))
    assert [finding["name"] for finding in drawn["findings"]] == ["scorer_noisy", "best_of_16_flat"]
    prompts_only = preflight.preflight(load_bug_config("advantage_zero"))
    assert [finding["name"] for finding in prompts_only["findings"]] == ["no_reward_spread"]
