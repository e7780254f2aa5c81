"""Which prompts are trained on and which are held out."""

import pytest

from likelier import progress
from likelier.config import build_config
from likelier.files import write_jsonl
from likelier.text.prompts import load_prompts


@pytest.fixture
def plan_of(tmp_path):
    def load(texts, num_eval_prompts):
        write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in texts])
        settings = {"num_eval_prompts": num_eval_prompts, "batch_size": 4, "total_episodes": 8}
        return load_prompts(build_config({"prompts": str(tmp_path / "prompts.jsonl"), "ppo": settings}))

    return load


def test_a_fifth_at_most_is_held_out_and_it_is_said(plan_of, capsys, monkeypatch):
    monkeypatch.setattr(progress, "plain_lines", True)
    plan = plan_of([f"prompt {at % 12}" for at in range(40)], 64)  # 12 different ones
    assert (len(plan.train), len(plan.held_out)) == (10, 2)
    assert "12 different prompts, 2 of them (a fifth at most) to measure on" in capsys.readouterr().err


def test_enough_prompts_need_no_remark(plan_of, capsys, monkeypatch):
    monkeypatch.setattr(progress, "plain_lines", True)
    plan = plan_of([f"prompt {at}" for at in range(20)], 4)
    assert (len(plan.train), len(plan.held_out)) == (16, 4)
    assert not {prompt.text for prompt in plan.train} & {prompt.text for prompt in plan.held_out}
    assert capsys.readouterr().err == ""


def test_columns_stay_with_their_prompts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "plain_lines", True)
    lines = [{"prompt": f"prompt {at}", "truth": at} for at in range(20)] + [{"prompt": "prompt 3", "truth": "other"}]
    write_jsonl(tmp_path / "prompts.jsonl", lines)
    settings = {"num_eval_prompts": 4, "batch_size": 4, "total_episodes": 8}
    plan = load_prompts(build_config({"prompts": str(tmp_path / "prompts.jsonl"), "ppo": settings}))
    truths = {prompt.text: prompt.extra["truth"] for prompt in plan.train + plan.held_out}
    assert truths == {line["prompt"]: line["truth"] for line in lines}
    assert {prompt.extra["truth"] for prompt in plan.of_step(0)} <= set(truths.values())
    assert "repeated prompts with other columns: 1; the last of each counts" in capsys.readouterr().err
