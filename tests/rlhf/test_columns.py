"""Columns of a prompt file in PPO: learned from, logged, kept over a resume, and named where they are missing."""

import json
import re
import shutil
from pathlib import Path

import pytest

from likelier.cli import main
from likelier.files import read_json, write_jsonl
from model_families import CHAT_TEMPLATE
from tiny import save_tiny_model

ROOT = Path(__file__).parents[2]
OWN = """
def share(prompts, responses, wanted):
    return [response.split().count(letter) / 4 for response, letter in zip(responses, wanted)]

def hit(prompts, responses, wanted):
    return [float(response.strip() == letter) for response, letter in zip(responses, wanted)]

def a_task(prompts, responses, *, wanted, **columns):
    assert set(columns) == {"note"}, columns
    return [float(response.count("a")) if letter == "a" else None for response, letter in zip(responses, wanted)]

def b_task(prompts, responses, wanted):
    return [float(response.count("b")) if letter == "b" else None for response, letter in zip(responses, wanted)]

def not_there(prompts, responses, reference):
    return [0.0 for _ in responses]
"""
TRL = """
import asyncio, os

def share(completions, wanted, **kwargs):
    texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
    return [text.split().count(letter) / 4 for text, letter in zip(texts, wanted)]

def everything(prompts, completions, completion_ids, trainer_state, log_metric, log_extra, wanted, note):
    assert all(len(ids) == 4 for ids in completion_ids)
    log_metric("progress", trainer_state.global_step / trainer_state.max_steps)
    log_extra("first", [completion[:1] for completion in completions])
    if trainer_state.global_step >= int(os.environ.get("FAIL_AT_STEP", 99)):
        raise RuntimeError("the service is down")
    return share(completions, wanted)

async def waits(prompts, completions, wanted, **kwargs):
    await asyncio.sleep(0)
    return share(completions, wanted)

def messages_only(prompts, completions, wanted, **kwargs):
    assert all(turns[-1]["role"] == "user" for turns in prompts)
    assert all(turns[0]["role"] == "assistant" for turns in completions)
    return share(completions, wanted)
"""
PPO = {"batch_size": 32, "response_length": 4, "learning_rate": 0.02, "kl_coef": 0.0, "stop_token": None}
PPO |= {"num_mini_batches": 2, "num_eval_prompts": 2, "save_steps": 2, "device": "cpu", "samples_per_step": 8}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny model, and prompts that end with the letter that is not wanted."""
    folder = tmp_path_factory.mktemp("columns")
    save_tiny_model(folder / "model", words=["a", "b"])
    letters = [(start, end) for start in ("a", "b", "a a", "a b", "b b") for end in "ab"]
    other = {"a": "b", "b": "a"}
    lines = [{"prompt": f"{start} {end}", "wanted": other[end], "note": None} for start, end in letters]
    write_jsonl(folder / "prompts.jsonl", lines)
    turns = [line | {"prompt": [{"role": "user", "content": line["prompt"]}]} for line in lines]
    write_jsonl(folder / "messages.jsonl", turns)
    (folder / "own.py").write_text(OWN)
    (folder / "trl_style.py").write_text(TRL)
    return folder


def ppo(world, out, functions, num_steps=3, prompts="prompts.jsonl", **settings):
    """Run `likelier ppo`; its exit code."""
    config = {key: settings.pop(key) for key in ("model", "eval") if key in settings}
    config = {"model": str(world / "model"), "prompts": str(world / prompts)} | config
    config["reward"] = [{"function": function, "name": f"source {at}"} for at, function in enumerate(functions)]
    config["ppo"] = PPO | {"total_episodes": 32 * num_steps} | settings
    out.parent.mkdir(exist_ok=True)
    (out.parent / f"{out.name}.yaml").write_text(json.dumps(config))
    words = ["ppo", str(out.parent / f"{out.name}.yaml"), "--out", str(out), "--json", "--resume", "auto"]
    return main(words)


def lines(folder, name="metrics"):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_policy_learns_what_a_column_says_of_each_prompt(world, tmp_path):
    short = {"response_length": 1, "learning_rate": 0.01}
    assert ppo(world, tmp_path / "run", [f"{world}/own.py:hit"], num_steps=12, **short) == 0
    scores = [line["score"] for line in lines(tmp_path / "run")]
    assert scores[0] < 0.3
    assert sum(scores[-3:]) / 3 > 0.9  # of eight prompts five want one letter: a constant answer gets 5/8
    for sample in lines(tmp_path / "run", "samples"):
        assert sample["extra"] == {"wanted": {"a": "b", "b": "a"}[sample["prompt"][-1]], "note": None}
        assert sample["score"] == float(sample["response"].strip() == sample["extra"]["wanted"])


@pytest.mark.slow
def test_functions_of_trl_give_the_same_run(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(world)
    functions = [f"{world}/own.py:share", "trl_style:share", "trl_style:everything", "trl_style:waits"]
    for name, function in zip("abcd", functions, strict=True):
        assert ppo(world, tmp_path / name, [function]) == 0, capsys.readouterr().err
    whole = lines(tmp_path / "a")
    assert lines(tmp_path / "b") == lines(tmp_path / "d") == whole
    found = lines(tmp_path / "c")
    assert [line.pop("logged/progress") for line in found] == pytest.approx([0, 1 / 3, 2 / 3])
    assert found == whole
    samples = lines(tmp_path / "c", "samples")
    assert [sample.pop("logged") for sample in samples] == [{"first": sample["response"][:1]} for sample in samples]
    assert samples == lines(tmp_path / "a", "samples")


@pytest.mark.slow
def test_messages_reach_trl_functions_as_messages(world, tmp_path, capsys):
    shutil.copytree(world / "model", tmp_path / "chat")
    settings = read_json(tmp_path / "chat" / "tokenizer_config.json") | {"chat_template": CHAT_TEMPLATE}
    (tmp_path / "chat" / "tokenizer_config.json").write_text(json.dumps(settings))
    function = f"{world}/trl_style.py:messages_only"
    code = ppo(world, tmp_path / "run", [function], 1, "messages.jsonl", model=str(tmp_path / "chat"))
    assert code == 0, capsys.readouterr().err
    assert lines(tmp_path / "run", "samples")[0]["prompt"].startswith("user: ")


@pytest.mark.slow
def test_each_prompt_is_scored_by_the_sources_of_its_task(world, tmp_path, capsys):
    judges = {"scorer": [{"function": f"{world}/own.py:b_task", "name": "b"}]}
    functions = [f"{world}/own.py:a_task", f"{world}/own.py:b_task"]
    assert ppo(world, tmp_path / "run", functions, 2, eval=judges, eval_steps=1, num_eval_prompts=2) == 0
    for sample in lines(tmp_path / "run", "samples"):
        assert sample["score"] == sample["response"].count(sample["extra"]["wanted"])
    for line in lines(tmp_path / "run"):
        low, high = sorted((line["score/source 0"], line["score/source 1"]))
        assert low <= line["score"] <= high
    assert ppo(world, tmp_path / "alone", functions[:1], 2) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"response \d+ has no score: source 0 returned None for it; its prompt begins '.*a'", line)


@pytest.mark.parametrize("where", ["reward", "judge"])
def test_a_missing_column_is_named_before_training(world, tmp_path, capsys, where):
    wrong, right = f"{world}/own.py:not_there", f"{world}/own.py:share"
    settings = {"eval": {"scorer": [{"function": wrong}]}} if where == "judge" else {}
    assert ppo(world, tmp_path / "run", [right if settings else wrong], **settings) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].endswith(
        f"reward function `{wrong}`: its parameter `reference` is no column of the prompts; known columns: note, wanted"
    )
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.slow
def test_a_run_with_columns_resumes_to_the_same_logs(world, tmp_path, monkeypatch):
    function = f"{world}/trl_style.py:everything"
    assert ppo(world, tmp_path / "whole", [function], num_steps=4) == 0
    monkeypatch.setenv("FAIL_AT_STEP", "3")
    assert ppo(world, tmp_path / "cut", [function], num_steps=4) == 1
    assert (tmp_path / "cut" / "checkpoint-2").is_dir()
    monkeypatch.delenv("FAIL_AT_STEP")
    assert ppo(world, tmp_path / "cut", [function], num_steps=4) == 0
    for name in ("metrics", "samples"):
        assert lines(tmp_path / "cut", name) == lines(tmp_path / "whole", name)


@pytest.mark.slow
def test_the_guide_runs_as_it_stands(world, tmp_path, monkeypatch, capsys):
    """docs/rewards.md: its prompts, its functions and its settings, on a tiny model."""
    guide = (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "prompts.jsonl").write_text(next(text for kind, text in blocks if kind == "json"))
    (tmp_path / "rewards.py").write_text("\n".join(text for kind, text in blocks if kind == "python"))
    (tmp_path / "my.yaml").write_text(next(text for kind, text in blocks if "prompts:" in text))
    monkeypatch.chdir(tmp_path)
    small = [f"model={world / 'model'}", "ppo.total_episodes=8", "ppo.batch_size=8", "ppo.device=cpu"]
    assert main(["ppo", "my.yaml", *small, "--out", "run", "--json"]) == 0, capsys.readouterr().err
    assert set(lines(tmp_path / "run")[0]) >= {"score/rewards.py:correct", "score/rewards.py:polite"}
    everywhere = "reward=[{function: 'rewards:brevity'}, {function: 'rewards:boxed', weight: 2.0}]"
    assert main(["ppo", "my.yaml", *small, everywhere, "--out", "trl", "--json"]) == 0, capsys.readouterr().err
    assert lines(tmp_path / "trl")[0]["logged/boxed"] == 0.0
    assert main(["doctor", "my.yaml", *small, "--json"]) == 0, capsys.readouterr().err
