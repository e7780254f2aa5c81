"""PPO of a model that calls tools: only its own tokens are trained, and a resumed run keeps its bits."""

import json

import pytest
import torch

from likelier.cli import main
from likelier.config import build_config
from likelier.errors import ConfigError, Stopped
from likelier.files import write_jsonl
from likelier.records import Prompt
from likelier.rlhf.setup import load_actors
from likelier.rlhf.train import train_ppo
from likelier.runs.run import Run
from likelier.text.logprobs import compute_response_logprobs
from likelier.training.setup import seeded_generator
from samplers import sample_rollouts
from tiny import save_tiny_model

pytestmark = pytest.mark.slow

MINE = """
def tool(text):
    return "c c" if "a" in text else "d"

def reward(prompts, responses):
    return [float(response.count("c")) for response in responses]

def by_token(prompts, responses, tokens):
    return [[0.0] * len(row) for row in tokens]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny model of few words, which calls the tool by chance in about one response of two."""
    folder = tmp_path_factory.mktemp("tools")
    save_tiny_model(folder / "model", words=["a", "b", "c", "d", "<tool>", "</tool>"])
    (folder / "mine.py").write_text(MINE)
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a", "a a", "b b")])
    return folder


def config_of(world, reward="reward", **settings):
    ppo = {"batch_size": 32, "total_episodes": 96, "response_length": 16, "learning_rate": 0.01, "save_steps": 1,
           "num_mini_batches": 2, "device": "cpu", "kl_coef": 0.1, "tools": [f"{world}/mine.py:tool"]}  # fmt: skip
    paths = {"model": str(world / "model"), "prompts": str(world / "prompts.jsonl")}
    source = {"function": f"{world}/mine.py:{reward}"}
    if reward == "by_token":
        source["per"] = "token"
    return build_config({**paths, "reward": [source], "ppo": ppo | settings})


def rollout_of(config):
    actors = load_actors(config)
    prompts = [Prompt(text) for text in ("a", "b", "a b", "b a") for _ in range(8)]
    generator = seeded_generator(0, 0, "test", torch.device("cpu"))
    return actors, sample_rollouts(actors, prompts, config.ppo, 0.1, generator)


def test_only_the_models_own_tokens_are_actions(world):
    actors, rollout = rollout_of(config_of(world))
    samples, batch = rollout.samples, rollout.batch
    inserted = samples.inserted
    assert inserted.any(1).sum() >= 3
    assert torch.equal(batch.mask, samples.mask & ~inserted)
    for name in ("old_logprobs", "old_values", "advantages", "returns"):
        assert getattr(batch, name)[inserted].abs().max() == 0, name
    # What the trainer reads is what the sampler read: the same tokens, tools' answers among them.
    logprobs, _ = compute_response_logprobs(
        actors.policy.model, samples.prompt_tokens, samples.prompt_mask, samples.tokens, samples.mask, 1.0
    )
    assert torch.allclose(logprobs[batch.mask], samples.logprobs[batch.mask], atol=1e-5)
    assert float(rollout.behaviour.max_gap) < 1e-5
    stats = rollout.stats()
    assert stats["tool_calls"] > 0
    assert stats["tool_tokens"] == pytest.approx(float(inserted.sum(1).float().mean()))
    assert stats["response_length"] == pytest.approx(float(batch.mask.sum(1).float().mean()))


def test_the_gradient_is_that_of_the_models_own_tokens(world):
    actors, rollout = rollout_of(config_of(world))
    samples, batch, policy = rollout.samples, rollout.batch, actors.policy
    (policy.evaluate(batch.inputs, batch.actions, batch.mask).logprobs * batch.advantages).sum().backward()
    found = [parameter.grad.clone() for parameter in policy.model.parameters()]
    policy.zero_grad()
    total = torch.zeros(())
    for row in range(len(batch)):  # each response by itself, through the model's own forward
        prompt = samples.prompt_tokens[row][samples.prompt_mask[row]]
        response = samples.tokens[row][samples.mask[row]]
        logits = policy.model(input_ids=torch.cat([prompt, response])[None]).logits[0, len(prompt) - 1 : -1]
        of_tokens = logits.log_softmax(1).gather(1, response[:, None])[:, 0]
        own = ~samples.inserted[row][samples.mask[row]]
        total = total + (of_tokens * batch.advantages[row][samples.mask[row]])[own].sum()
    total.backward()
    for mine, parameter in zip(found, policy.model.parameters(), strict=True):
        assert torch.allclose(mine, parameter.grad, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"critic": "shared"}, {"kl_place": "loss"}, {"old_logprobs": "sampler", "critic": "shared"}]
    + [{"algorithm": name, "responses_per_prompt": 4} for name in ("grpo", "reinforce_pp")],
)
def test_the_first_ratio_is_exactly_one(world, tmp_path, settings):
    config = config_of(world, total_episodes=64, save_steps=99, **settings)
    with Run(tmp_path / "run", "ppo", config) as run:
        result = train_ppo(config, run)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        metrics = json.loads(line)
        assert metrics["tool_calls"] > 0
        if "old_logprobs" not in settings:
            assert metrics["first_ratio_deviation"] == 0.0
        assert metrics["sampler_difference_max"] < 1e-4
    assert abs(result["before"]["eval_kl"]) == 0.0


def test_a_resumed_run_keeps_its_bits(world, tmp_path):
    config = config_of(world)

    def train(folder, resume="never", stop_after=None):
        with Run(tmp_path / folder, "ppo", config, resume) as run:
            end_step = run.end_step

            def end_and_stop(step, *given):
                end_step(step, *given)
                if step == stop_after:
                    raise Stopped("asked to")

            run.end_step = end_and_stop
            train_ppo(config, run)

    train("whole")
    with pytest.raises(Stopped):
        train("cut", stop_after=2)
    train("cut", "auto")
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "</tool> c c" in (tmp_path / "whole" / "samples.jsonl").read_text()


def test_the_records_of_tokens_have_nothing_to_say_of_a_tools(world, tmp_path):
    config = config_of(world, token_records=8, total_episodes=32)
    with Run(tmp_path / "run", "ppo", config) as run:
        train_ppo(config, run)
    records = [json.loads(line) for line in (tmp_path / "run" / "tokens.jsonl").read_text().splitlines()]
    names = ["old_logprobs", "sampler_logprobs", "ref_logprobs", "values", "rewards", "advantages", "ratios", "clipped"]
    unknown = 0
    for record in records:
        tokens = [token.strip() for token in record["tokens"]]
        for place, known in enumerate(zip(*(record[name] for name in names), strict=True)):
            assert len({number is None for number in known}) == 1
            if known[0] is None:
                unknown += 1
                assert "</tool>" in tokens[:place]
                assert tokens[place] in ("c", "d")
    assert unknown


def test_an_evaluation_with_tools(world, tmp_path):
    settings = {"model_a": str(world / "model"), "model_b": str(world / "model"),
                "prompts": str(world / "prompts.jsonl"), "scorer": [{"function": f"{world}/mine.py:reward"}],
                "response_length": 16, "responses_per_prompt": 8, "device": "cpu"}  # fmt: skip
    scores = {}
    for name, tools in (("with", [f"{world}/mine.py:tool"]), ("without", [])):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"eval": settings | {"tools": tools}}))
        assert main(["eval", str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path / name), "--json"]) == 0
        result = json.loads((tmp_path / name / "evaluation.json").read_text())
        scores[name] = result["score_b"]
        assert result["kl"] == 0.0
    assert scores["with"] > scores["without"]


def test_what_does_not_go_with_tools(world, tmp_path, capsys):
    with pytest.raises(ConfigError, match="ppo.tools: tokens of their answers earn nothing, and per: token"):
        load_actors(config_of(world, "by_token"))
    with pytest.raises(ConfigError, match="ppo.tools: the sampler given from Python calls none"):
        load_actors(config_of(world), sampler=load_actors(config_of(world)).sampler)
    config = config_of(world).model_dump(mode="json") | {"circle": {}}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    assert main(["circle", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "c"), "--json"]) == 2
    assert "ppo.tools: a circle's people compare answers" in capsys.readouterr().err
