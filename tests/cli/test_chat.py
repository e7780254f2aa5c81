"""`likelier chat` on lines of stdin, and at a terminal."""

import io
import sys

import pytest

from likelier.cli import main
from likelier.cli.chat import talk
from likelier.demo.make_prior import MODEL
from tiny import save_tiny_model

WORDS = ["the", "fox", "shared", "its", "bread"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("chat") / "tiny", WORDS, context=64))


def chat(monkeypatch, lines, *words):
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return main(["chat", *words, "--response-length", "3", "--device", "cpu"])


def test_lines_are_answered_in_turn_and_commands_obeyed(folder, monkeypatch, capsys):
    assert chat(monkeypatch, "the fox\n\n/again\n/new\n/nix\nits bread\n", folder) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert said.err.count("/nix: no such command; /new begins another conversation") == 1


def test_two_models_answer_side_by_side(folder, monkeypatch, capsys):
    assert chat(monkeypatch, "the fox\n", folder, str(MODEL), "--plain") == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert folder[:20] in head


def test_what_cannot_be_is_one_line(folder, monkeypatch, capsys):
    assert chat(monkeypatch, "", folder, "--plain", "--system", "the fox") == 2
    assert chat(monkeypatch, "", folder, "--temperature", "0") == 2
    assert chat(monkeypatch, "the " * 100, folder) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "likelier: --system: with --plain there are no turns that it could begin; leave one out"
    assert lines[1] == "likelier: --temperature: must be above 0, got 0.0"
    assert "tiny: this has" in lines[-1]


def test_an_answer_is_scored_and_ctrl_c_stops_it(monkeypatch, capsys):
    class Echo:
        name = "echo"

        def make_prompt(self, message):
            return message

        def answer(self, message, show):
            if message == "stop":
                raise KeyboardInterrupt
            show(message)
            return message

    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\nstop\n"))
    talk([Echo()], lambda prompt, text: float(len(text)))
    said = capsys.readouterr()
    assert said.out == "hello\n[score +5.000]\n\n"
    assert said.err == "stopped; the answer is not part of the conversation\n"
