"""A chat template is a program from elsewhere: it ends, and it writes no more than fits."""

import sys

import pytest

from likelier.config import build_config
from likelier.errors import DataError
from likelier.evaluation.compare import evaluate
from likelier.files import write_jsonl
from likelier.records import Preference
from likelier.runs.run import Run
from likelier.stages import STAGES
from likelier.text import chat_template
from likelier.text.chat_template import (
    KWARGS,
    get_template_kwargs,
    raises_to_a_power,
    render_template,
    set_template_kwargs,
)
from likelier.text.conversation import render, render_conversation
from likelier.text.models import load_tokenizer, save_model
from likelier.text.reward_adapters import load_reward_adapters
from likelier.text.reward_model import new_reward_model
from likelier.text.tokens import encode_prompts
from model_families import tiny_model, tiny_tokenizer

TALK = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
DOUBLING = "{% set ns = namespace(s='xy') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}"


def tokenizer_with(template):
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.name_or_path, tokenizer.chat_template = "models/chat", template
    return tokenizer


@pytest.fixture
def low_limits(monkeypatch):
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 0.1)
    monkeypatch.setattr(chat_template, "MAX_NEW_BYTES", 32 << 20)


@pytest.mark.parametrize(
    "endless",
    [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "{{ lipsum(n=1000000) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    ],
    ids=["silent loop", "loop that writes", "slow function", "macro"],
)
def test_a_template_that_never_ends_is_one_line_with_the_model_folder(low_limits, endless):
    with pytest.raises(DataError, match=r"^models/chat: the chat template has not ended after 0\.1 s; give another"):
        render_template(tokenizer_with(endless), TALK)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
@pytest.mark.parametrize(
    "greedy",
    [DOUBLING, "{{ 'a' * 10000000000 }}", "{{ 'a'|center(10000000000) }}"],
    ids=["doubling", "times", "filter"],
)
def test_a_template_that_doubles_is_one_line_and_takes_no_memory(low_limits, monkeypatch, greedy):
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 60.0)
    with pytest.raises(DataError, match=r"^models/chat: the chat template takes more than 32 MiB"):
        render_template(tokenizer_with(greedy), TALK)
    assert len(bytearray(64 << 20)) == 64 << 20  # the limit is gone again


def test_a_text_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(chat_template, "MAX_CHARACTERS", 10)
    assert render_template(tokenizer_with("{{ 'a' * 10 }}"), TALK) == "a" * 10
    with pytest.raises(DataError, match=r"^models/chat: the chat template writes 11 characters, at most 10 may be"):
        render_template(tokenizer_with("{{ 'a' * 11 }}"), TALK)


def test_a_power_is_refused_because_nothing_could_stop_it():
    assert raises_to_a_power("{{ 9 ** (9 ** 9) }}")
    assert raises_to_a_power("{{ messages|length ** 2 }}")
    assert not raises_to_a_power("**bold** {{ dict(**dict(a=1)) }}{{ dict(a=1, **dict(b=1)) }}{# 2 ** 3 #}{{ '**' }}")
    with pytest.raises(DataError, match="models/chat: the chat template raises numbers to a power"):
        render(tokenizer_with("{{ 9 ** (9 ** 9) }}"), TALK)


@pytest.mark.parametrize("failing", ["{{ (3).splitlines() }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"])
def test_an_error_of_the_template_is_no_internal_error(failing):
    with pytest.raises(DataError, match=r"^the chat template refuses these messages"):
        render(tokenizer_with(failing), TALK)


def test_a_debugger_goes_on_after_a_template():
    def trace(frame, event, argument):
        return None

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        render_template(tokenizer_with("{{ messages|length }}"), TALK)
        left = sys.gettrace()
    finally:
        sys.settrace(previous)
    assert left is trace


THINKING = (
    "{% for turn in messages %}{{ turn.content }}{% endfor %}{% if thinking is false %}NO{% else %}YES{% endif %}"
)


def test_arguments_reach_the_template_and_stay_with_the_model(tmp_path):
    tokenizer = tokenizer_with(THINKING)
    save_model(tmp_path / "model", tiny_model(), tokenizer, "")
    prompts = [TALK[1:]]
    plain, given = load_tokenizer(tmp_path / "model"), load_tokenizer(tmp_path / "model", {"thinking": False})
    assert [render(each, prompts[0]) for each in (plain, given)] == ["hiYES", "hiNO"]
    assert encode_prompts(given, prompts, 60).tokens.tolist() != encode_prompts(plain, prompts, 60).tokens.tolist()
    save_model(tmp_path / "trained", tiny_model(), given, "")
    assert render(load_tokenizer(tmp_path / "trained"), prompts[0]) == "hiNO"
    assert render(load_tokenizer(tmp_path / "trained", {"thinking": True}), prompts[0]) == "hiYES"
    reward = new_reward_model(tmp_path / "trained")
    assert render_conversation(reward.tokenizer, prompts[0], "b") == "hibNO"


def test_every_verb_passes_the_setting_on(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(chat_template, "get_template_kwargs", lambda tokenizer: seen.append(tokenizer) or {})
    save_model(tmp_path / "model", tiny_model(), tokenizer_with(THINKING), "")
    rows = [{"prompt": [{"role": "user", "content": letter * 3}]} for letter in "abcdefghijkl"]
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    pairs = [Preference(row["prompt"], "a b", "c", conversation=str(at)) for at, row in enumerate(rows)]
    write_jsonl(tmp_path / "pairs" / "train.jsonl", pairs)
    write_jsonl(
        tmp_path / "sft.jsonl", [{"messages": [*row["prompt"], {"role": "assistant", "content": "a"}]} for row in rows]
    )
    (tmp_path / "reward.py").write_text(
        "def count(prompts, responses):\n    return [len(text) for text in responses]\n"
    )
    block = {"device": "cpu", "batch_size": 4}
    settings = {
        "model": str(tmp_path / "model"),
        "prompts": str(tmp_path / "prompts.jsonl"),
        "reward": [{"function": f"{tmp_path}/reward.py:count"}],
        "chat_template_kwargs": {"thinking": False},
        "sft": block | {"max_steps": 1},
        "dpo": block | {"num_epochs": 1},
        "reward_model": block | {"num_epochs": 1, "lora_rank": 2},
        "ppo": block | {"total_episodes": 4, "response_length": 3, "num_eval_prompts": 2, "num_mini_batches": 1},
    }
    data = {"sft": "sft.jsonl", "dpo": "pairs", "reward": "pairs", "ppo": ""}
    for verb, name in data.items():
        config = build_config(settings | {"data": str(tmp_path / name) if name else ""})
        with Run(tmp_path / verb, verb, config) as run:
            STAGES[verb].load_trainer()(config, run)
        assert {str(each.init_kwargs.get(KWARGS)) for each in seen} == {"{'thinking': False}"}, verb
        seen.clear()
    block = {"scorer": settings["reward"], "prompts": settings["prompts"], "response_length": 3, "device": "cpu"}
    evaluate(
        build_config(settings | {"eval": block | {"model_a": settings["model"], "model_b": settings["model"]}}),
        tmp_path / "eval",
    )
    assert {str(each.init_kwargs.get(KWARGS)) for each in seen} == {"{'thinking': False}"}
    monkeypatch.undo()
    assert render(load_tokenizer(tmp_path / "ppo" / "model"), rows[0]["prompt"]) == "aaaNO"
    (adapter,) = load_reward_adapters([str(tmp_path / "reward" / "adapter")])
    assert render(adapter.reward.tokenizer, rows[0]["prompt"]) == "aaaNO"


def test_a_folder_from_elsewhere_names_no_other_template():
    tokenizer = tokenizer_with(THINKING)
    set_template_kwargs(tokenizer, {"chat_template": "{{ 9 ** 9 }}", "tokenize": True, "thinking": False})
    assert get_template_kwargs(tokenizer) == {"thinking": False}
    assert render(tokenizer, TALK) == "be kindhiNO"
    tokenizer.init_kwargs[KWARGS] = "no object"
    assert get_template_kwargs(tokenizer) == {}
