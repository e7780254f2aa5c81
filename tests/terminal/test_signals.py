"""A signal during the imports ends a command at once, in one line, with its exit code; no foreign code can lose it."""

import signal
import subprocess
import sys

import pytest

from likelier.terminal.signals import LINES, is_importing

BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
START = "import os, signal, time; from likelier.terminal.signals import end_on_signals; end_on_signals()\n"


def run(script, folder, **variables):
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, check=False, timeout=60, env=variables or None
    )


@BOTH
def test_before_a_command_begins_a_signal_ends_it_in_one_line(tmp_path, number, code):
    done = run(f"{START}os.kill(os.getpid(), {number:d}); time.sleep(30)", tmp_path)
    assert (done.returncode, done.stderr) == (code, LINES[number])


def test_ctrl_c_that_the_shell_had_ignored_stays_ignored(tmp_path):
    ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    done = run(f"{ignore}{START}os.kill(os.getpid(), signal.SIGINT); print('goes on')", tmp_path)
    assert (done.returncode, done.stdout) == (0, b"goes on\n")


@BOTH
def test_an_import_that_swallows_exceptions_does_not_swallow_a_signal(tmp_path, number, code):
    lines = ["import os, signal, time", "try:", f"    os.kill(os.getpid(), {number:d})", "    time.sleep(1)"]
    (tmp_path / "swallows.py").write_text("\n".join([*lines, "except BaseException:", "    pass"]))
    script = "import sys; sys.path.insert(0, '')\nfrom likelier.cli.process import run_reporting_failures\n"
    script += "def work():\n    import swallows\n    return 0\nsys.exit(run_reporting_failures(work, ['prove']))"
    done = run(script, tmp_path)
    assert (done.returncode, done.stderr) == (code, LINES[number])


def test_an_import_is_seen_in_the_frames(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "looks.py").write_text(
        "import sys\nfrom likelier.terminal.signals import is_importing\nseen = is_importing(sys._getframe())"
    )
    import looks

    assert looks.seen
    assert not is_importing(sys._getframe())
