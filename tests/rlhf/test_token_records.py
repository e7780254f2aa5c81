"""Records of tokens against the metrics of the same step, against forward passes of single texts, and by hand."""

import json
import math

import pytest
import torch

from likelier.config import PPOConfig, RewardSource
from likelier.errors import ConfigError
from likelier.ppo.policy import Evaluation
from likelier.ppo.update import MinibatchResult
from likelier.records import Prompt
from likelier.reward.sources import make_scorer
from likelier.rlhf.rollout import Actors
from likelier.rlhf.scores import Shaper
from likelier.rlhf.token_records import find_last_logprobs, is_recorded, make_token_records, round_number
from likelier.text.adapters import apply_lora
from likelier.text.exact_sampler import ExactSampler
from likelier.text.models import load_causal_lm, load_tokenizer, make_frozen_copy
from likelier.text.policy import TextPolicy
from likelier.training.setup import seeded_generator
from samplers import sample_rollouts
from tiny_ppo import make_config, make_world, train

REWARD = "def reward(prompts, responses):\n    return [float(text.count('a')) for text in responses]\n"
COLUMNS = ("old_logprobs", "sampler_logprobs", "ref_logprobs", "rewards", "advantages", "ratios", "clipped")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), REWARD)


def read_records(folder):
    return [json.loads(line) for line in (folder / "tokens.jsonl").read_text().splitlines()]


def mean(numbers):
    return sum(numbers) / len(numbers)


def passes(rows, logprobs):
    logprobs = torch.tensor(logprobs)
    return MinibatchResult(torch.tensor(rows), Evaluation(logprobs, None, torch.zeros_like(logprobs)), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        {"critic": "separate", "lora_rank": 2},
        {"critic": "shared", "dual_clip": 1.5, "cliprange": 0.02},
        {"algorithm": "grpo", "responses_per_prompt": 4, "clip_high": 0.01},
        {"algorithm": "rloo", "responses_per_prompt": 2, "kl_place": "loss", "old_logprobs": "sampler"},
    ],
    ids=["separate and lora", "shared", "grpo", "rloo"],
)
def test_records_of_all_tokens_add_up_to_the_metrics(world, tmp_path, variant):
    """With one epoch each token is passed once, so that the means of a step's records are its metrics."""
    variant = {"num_mini_batches": 4, "cliprange": 0.05, **variant, "stop_token": "eos"}
    lines = train(make_config(world, token_records=8, micro_batch_size=1, **variant), tmp_path / "run")
    records = read_records(tmp_path / "run")
    assert [record["step"] for record in records] == [1] * 8 + [2] * 8 + [3] * 8
    for line in lines:
        step = [record for record in records if record["step"] == line["step"]]
        tokens = {name: [each for record in step for each in record[name]] for name in COLUMNS}
        assert len({len(column) for column in tokens.values()}) == 1
        assert mean(tokens["ratios"]) == pytest.approx(line["ratio"], abs=1e-5)
        assert mean(tokens["clipped"]) == pytest.approx(line["clipfrac"], abs=1e-6)
        assert sum(tokens["rewards"]) / 8 == pytest.approx(line["reward"], abs=1e-5)
        kl = sum(tokens["old_logprobs"]) - sum(tokens["ref_logprobs"])
        assert kl / 8 == pytest.approx(line["kl"], abs=1e-5)
        assert mean([len(record["tokens"]) for record in step]) == line["response_length"]
        assert mean([record["score"] for record in step]) == pytest.approx(line["score"])
        assert all((record["values"] is None) == ("value_loss" not in line) for record in step)
    assert any(clipped for record in records for clipped in record["clipped"])


@pytest.mark.parametrize("critic", [None, "shared", "separate"])
def test_padding_end_tokens_and_adapters_change_no_number(world, critic):
    """Prompts of several lengths in one batch: each record equals passes over its own text alone, without padding."""
    model, tokenizer = load_causal_lm(world / "model"), load_tokenizer(world / "model")
    reference = make_frozen_copy(model)
    config = PPOConfig(
        batch_size=12, total_episodes=12, response_length=6, token_records=9, lora_rank=2, temperature=0.7
    )
    policy = TextPolicy.build(model, critic, temperature=0.7)
    apply_lora(model, config, "ppo", 0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    scorer = make_scorer([RewardSource(function=f"{world / 'reward.py'}:reward")], "cpu")
    actors = Actors(policy, reference, tokenizer, ExactSampler(model, tokenizer), scorer, Shaper(config))
    prompts = [Prompt(text) for text in ("a", "a b a b a", "b b")] * 4
    if critic is None:
        config = config.model_copy(update={"algorithm": "reinforce_pp"})
    rollout = sample_rollouts(actors, prompts, config, 0.05, seeded_generator(0, 0, "test"))
    records = list(make_token_records(rollout, [], 1, config, tokenizer))

    assert len(records) == 9
    assert {record["stop_reason"] for record in records} == {"end_token", "length"}
    for row, record in enumerate(records):
        asked = tokenizer(record["prompt"])["input_ids"]
        text, start = torch.tensor([asked + record["token_ids"]]), len(asked)
        with torch.no_grad():
            for name, network in (("old_logprobs", model), ("ref_logprobs", reference)):
                logprobs = (network(input_ids=text).logits / 0.7).log_softmax(-1)[0, start - 1 : -1]
                wanted = logprobs.gather(1, text[0, start:, None])[:, 0].tolist()
                assert record[name] == pytest.approx(wanted, abs=1e-4)
            assert record["sampler_logprobs"] == pytest.approx(record["old_logprobs"], abs=1e-4)
            if critic is not None:
                trunk = policy.critic or model.base_model
                states = trunk(input_ids=text).last_hidden_state[0, start - 1 : -1]
                assert record["values"] == pytest.approx(policy.value_head(states).tolist(), abs=1e-4)
        assert (record["values"] is None) == (critic is None)
        assert (record["token_ids"][-1] == tokenizer.eos_token_id) == (record["stop_reason"] == "end_token")
        assert sum(record["rewards"]) == pytest.approx(float(rollout.rewards[row].sum()), abs=1e-5)
        assert record["ratios"] == record["clipped"] == [None] * len(record["tokens"])  # no minibatch was trained on


def test_ratios_are_of_the_last_pass_that_reached_a_token():
    used = [passes([1, 0], [[-1.0, -2.0], [-3.0, -4.0]]), passes([2, 3], [[-5.0, -6.0]] * 2)]
    used += [passes([3, 1], [[-7.0, -7.0], [-8.0, -9.0]])]
    last = find_last_logprobs(used, torch.zeros(5, 2))
    assert last[:4].tolist() == [[-3.0, -4.0], [-8.0, -9.0], [-5.0, -6.0], [-7.0, -7.0]]
    assert last[4].isnan().all()
    assert find_last_logprobs(used, torch.zeros(1, 2)).tolist() == [[-3.0, -4.0]]


@pytest.mark.slow
def test_a_loss_of_ones_own_clips_nothing_that_could_be_named(world, tmp_path):
    (world / "mine.py").write_text(
        "def loss(logprobs, old_logprobs, ref_logprobs, advantages, mask, kl_coef):\n    return -advantages*logprobs\n"
    )
    train(make_config(world, token_records=1, loss=f"{world / 'mine.py'}:loss"), tmp_path / "run")
    record = read_records(tmp_path / "run")[-1]
    assert set(record["clipped"]) == {None}
    assert None not in record["ratios"]


@pytest.mark.parametrize(
    ("steps", "records", "length", "kept"),
    [
        (10, 4, 256, [*range(1, 11)]),
        (2_000, 4, 256, None),  # 2,048,000 tokens: every 9th step
        (5, 1, 200_000, [1, 5]),
        (6, 1, 100_000, [1, 4, 6]),
    ],
)
def test_long_runs_keep_every_kth_step_and_the_last(steps, records, length, kept):
    config = PPOConfig(batch_size=4, total_episodes=4 * steps, token_records=records, response_length=length)
    recorded = [step for step in range(1, steps + 1) if is_recorded(step, config)]
    assert recorded == (kept or [*range(1, 2_001, 9), 2_000])


def test_more_records_than_responses_are_refused(world):
    with pytest.raises(ConfigError, match=r"ppo: token_records 9 is above batch_size 8"):
        make_config(world, token_records=9)


@pytest.mark.slow
def test_records_begin_where_a_run_is_resumed_with_them(world, tmp_path):
    whole = make_config(world, token_records=2)
    train(whole, tmp_path / "whole")
    folder = tmp_path / "run"
    train(make_config(world), folder)
    assert not (folder / "tokens.jsonl").exists()
    train(whole, folder, str(folder / "checkpoint-2"))
    assert read_records(folder) == read_records(tmp_path / "whole")[4:]


def test_numbers_have_six_digits():
    assert [round_number(x) for x in (-1.23456789, 1e-9, math.nan, -math.inf)] == [-1.23457, 1e-9, None, None]
