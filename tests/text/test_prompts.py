"""Which prompts are trained on and which are held out."""

import pytest

from likelier import progress
from likelier.config import build_config
from likelier.errors import ConfigError, DataError
from likelier.files import write_jsonl
from likelier.records import Prompt
from likelier.text.prompts import check_prompts, load_prompts
from model_families import tiny_model, tiny_tokenizer


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
    assert {prompt.extra["truth"] for prompt in plan.batch(0)} <= set(truths.values())
    assert "repeated prompts with other columns: 1; the last of each counts" in capsys.readouterr().err


def test_a_prompt_that_is_too_long_is_named_by_its_line_in_the_shuffled_order_too(tmp_path):
    texts = ["a", "b", "c" * 200, "d", "e"]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n\n".join(f'{{"prompt": "{text}"}}' for text in texts) + "\n")  # blank lines count as lines
    plan = load_prompts(build_config({"prompts": str(path)}))
    with pytest.raises(DataError, match=rf"^{path}:5: the prompt has 200 tokens, at most 112 fit: 'ccc"):
        check_prompts(tiny_model(), tiny_tokenizer(bos=None), plan.train + plan.held_out, 16, "ppo.response_length")
    with pytest.raises(ConfigError, match="ppo.response_length: 128 does not fit the model's 128 tokens"):
        check_prompts(tiny_model(), tiny_tokenizer(), plan.train, 128, "ppo.response_length")


def test_a_prompt_with_a_token_that_the_model_has_no_embedding_for_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    model = tiny_model(vocab_size=len(tokenizer) - 1)
    assert check_prompts(model, tokenizer, [Prompt("ab")], 4, "ppo.response_length") == 3
    with pytest.raises(DataError, match=r"the token '<\|user\|>' has id 62, and .* has embeddings for 62 tokens only"):
        check_prompts(model, tokenizer, [Prompt("a"), Prompt("<|user|>b")], 4, "ppo.response_length")
