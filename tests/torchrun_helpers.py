"""A function run in several real processes that meet over the loopback, as those of torchrun do."""

import contextlib
import io
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch.distributed as dist

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["likelier.rlhf.train"])
SECONDS = 120


def in_processes(size, work, *given, meet=True):
    """What `work(*given)` returns in each of `size` processes, by rank; None of one that died. `meet`:
    in `process_group`."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    pipes = [FORKS.Pipe(duplex=False) for _ in range(size)]
    workers = [
        FORKS.Process(target=answer, args=(pipe, variables(rank, size, store.port), work, given, meet), daemon=True)
        for rank, (_, pipe) in enumerate(pipes)
    ]
    for worker, (_, theirs) in zip(workers, pipes, strict=True):
        worker.start()
        theirs.close()
    try:
        told = [told_by(pipe) for pipe, _ in pipes]
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
            worker.close()
        for ours, _ in pipes:
            ours.close()
    failures = [text for failed, text in told if failed]
    assert not failures, "\n".join(failures)
    return [found for _, found in told]


def variables(rank, size, port):
    """What torchrun puts into the environment of a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the test holds the store, as torchrun does
    }


def told_by(pipe):
    assert pipe.poll(SECONDS), "a process neither answered nor ended"
    try:
        return pipe.recv()
    except EOFError:
        return False, None


def answer(pipe, environment, work, given, meet):
    """In the new process."""
    from likelier.distributed import process_group

    os.environ.update(environment)
    try:
        with process_group() if meet else contextlib.nullcontext():
            found = work(*given)
        pipe.send((False, found))
    except BaseException:
        pipe.send((True, traceback.format_exc()))


def likelier_here(*words):
    """Exit code, stdout and stderr of a command."""
    from likelier.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, words)))
    return code, out.getvalue(), err.getvalue()


def likelier_in_processes(size, temporary, *words):
    """The same in each of several processes, which put what is temporary into a folder."""
    temporary.mkdir(exist_ok=True)
    return in_processes(size, likelier_in, temporary, *words, meet=False)


def likelier_in(temporary, *words):
    """In one of several processes, with a folder for what is temporary, and without the wait for others at the end."""
    from likelier.cli import torchrun as several

    os.environ["TMPDIR"], several.WAIT_SECONDS = str(temporary), 0.1
    return likelier_here(*words)


def run_disturbed(words, folder, disturb):
    """Run a command by torchrun, which starts all again where one ends; `disturb(pids by rank)` after three steps."""
    launcher = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node=2", "--max-restarts=3"]
    command = [*launcher, "-m", "likelier", *words, "--resume", "auto"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as running:
        log = folder / "metrics.jsonl"
        while not log.exists() or log.read_text().count("\n") < 3:
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
        disturb(workers_of(running.pid))
        _, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    return err


def run_on_two_machines(words, folder, disturb):
    """Run a command by two launchers that meet over the loopback, each with a process of its own, which start again
    where one ends; `disturb(pids of the two)` after three steps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    launcher = [Path(sys.executable).with_name("torchrun"), "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"]
    launcher += ["--rdzv-backend=c10d", f"--rdzv-endpoint={place}", "--rdzv-id=test", "--local-addr=127.0.0.1"]
    command = [*launcher, "-m", "likelier", *words, "--resume", "auto"]
    machines = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(2)]
    log = folder / "metrics.jsonl"
    while not log.exists() or log.read_text().count("\n") < 3:
        assert machines[0].poll() is None, machines[0].communicate()
        time.sleep(0.05)
    disturb([worker for machine in machines for worker in workers_of(machine.pid).values()])
    errors = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], errors


def list_children(pid):
    """Process ids of the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_ended(pid, seconds=20):
    """Wait until a process has ended, whoever is to be told of it."""
    stat, until = Path(f"/proc/{pid}/stat"), time.monotonic() + seconds
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, f"process {pid} goes on"
        time.sleep(0.01)


def workers_of(launcher):
    """Process ids of the workers, by rank."""
    ranks = {}
    for child in list_children(launcher):
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks |= {int(each[5:]): child for each in variables if each.startswith(b"RANK=")}
    return ranks
