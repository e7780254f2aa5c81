"""A chat template is a program from elsewhere: it ends, and it writes no more than fits."""

import sys

import pytest

from likelier.errors import DataError
from likelier.text import chat_template
from likelier.text.chat_template import raises_to_a_power, render_template
from likelier.text.conversation import render
from model_families import tiny_tokenizer

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
