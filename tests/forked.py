"""Work in a process of its own, forked from a server that has imported torch already: its start takes no seconds."""

import os
import signal
import sys
import time

from torchrun_helpers import FORKS


class Forked:
    """`work(*given)` in a process whose stdout and stderr are the files `out` and `err` in `folder`."""

    def __init__(self, folder, work, *given):
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.err = folder / "out", folder / "err"
        for file in (self.out, self.err):
            file.write_text("")
        self.process = FORKS.Process(target=run_forked, args=(self.out, self.err, work, *given))
        self.process.start()

    def is_running(self):
        return self.process.is_alive()

    def send_signal(self, number):
        assert self.is_running(), f"it has ended: {self.err.read_text()}"
        os.kill(self.process.pid, number)

    def wait(self, seconds=60):
        """Exit code, or minus the signal that killed it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"it did not end in {seconds} s"
        return self.process.exitcode


def run_forked(out, err, work, *given):
    for stream, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), stream)
    code = work(*given)
    sys.exit(code if isinstance(code, int) else 0)


def run_command(*words):
    """What `likelier` does as a process."""
    from likelier.cli import main

    sys.argv = ["likelier", *words]  # the line that says how to go on repeats it
    return main(list(words))


def kill_when_changed(folder, path, delay, work, *given):
    """Start `work(*given)`, and kill it `delay` seconds after the file `path` has changed; False: it ended before."""
    before = path.read_bytes() if path.exists() else b""
    forked = Forked(folder, work, *given)
    while forked.is_running() and (not path.exists() or path.read_bytes() == before):
        time.sleep(0.005)
    time.sleep(delay)
    if forked.is_running():
        forked.send_signal(signal.SIGKILL)
    return forked.wait() == -signal.SIGKILL
