"""What every test stands on: one thread, a quiet hub, and the shared data where it is present."""

import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch

from likelier import progress
from typecheck import start_checks

torch.set_num_threads(1)
# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup() -> None:
    """Check shapes and types at the beginning of each test, and print notes whatever the test before it asked for."""
    start_checks()
    progress.plain_lines = True


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models beside the checkout; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared: the real models and data are not here")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A PostgreSQL server of its own (bench/cluster.py); skips where there is none."""
    pytest.importorskip("psycopg")
    from cluster import Cluster, find_programs

    if find_programs() is None:
        pytest.skip("no PostgreSQL here: initdb was not found")
    made = Cluster()
    yield made
    made.close()


ALLOWED_SKIPS = ("no ../shared", "this machine has CUDA", "no CUDA")
"""Reasons that no installation could mend; any other skip means that a tool is missing."""


def tools_were_installed() -> bool:
    """CI, as root on Debian: `make test` has installed every tool there."""
    return os.environ.get("CI") == "true" and os.geteuid() == 0 and Path("/etc/debian_version").exists()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, Any]:
    """Where every tool was installed, a test that skips for want of one has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and tools_were_installed():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            report.outcome, report.longrepr = "failed", f"{item.nodeid}: a missing tool in CI: {reason}"
    return report


@pytest.fixture(scope="module")
def chromium():
    """Debian's chromium, driven by Playwright; skips where it is absent."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    as_root = os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if as_root else [])
        yield browser
        browser.close()
