"""Plain lines where there is no terminal."""

from likelier import progress as module
from likelier.progress import progress


def test_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(module, "plain_lines", True)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", -1.0)
    with progress("ppo", 2) as bar:
        bar.advance()
        bar.advance(note="score 1.5")
    assert capsys.readouterr().err == "ppo: 1/2\nppo: 2/2 score 1.5\n"


def test_short_jobs_print_nothing(capsys):
    with progress("ppo", 1) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("ppo", 3) as bar:
        bar.advance(3, "kl 0.1")
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "kl 0.1" in shown
