"""The wheel: one version, everything in it that a run needs, and a demo from it outside of the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import likelier

ROOT = Path(__file__).parents[1]
MINIATURE = """
import likelier, sys
from pathlib import Path
from likelier.cli import main
from likelier.demo import panel, run
assert likelier.__file__.startswith(sys.argv[1]), likelier.__file__
run.NUM_PROMPTS, panel.COMPARISONS = 60, 120
small = {"total_episodes": 32, "batch_size": 16, "num_eval_prompts": 8, "eval_steps": 1, "save_steps": 2}
run.SETTINGS["ppo"] |= small
run.SETTINGS["circle"] |= {"num_eval_prompts": 12}
run.SETTINGS["reward_model"] |= {"num_epochs": 1}
words = ["demo", "--seed", "1", "--taste", "kind", "--json"]
first, weights = main([*words, "--out", "demo"]), Path("demo/policy/model/model.safetensors")
written = weights.stat().st_mtime_ns
again = main([*words, "--resume", "demo"])
assert weights.stat().st_mtime_ns == written, "what was done was done again"
sys.exit(first or again)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the built wheel unpacked as `pip install --target` does."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site", wheel


def run_there(folder, arguments, cwd):
    """Python with the installed package alone in front of what the environment brings."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_one_version_in_one_place(installed):
    folder, wheel = installed
    assert wheel.name == f"likelier-{likelier.__version__}-py3-none-any.whl"
    assert likelier.__version__ not in (ROOT / "pyproject.toml").read_text()
    assert f"\nVersion: {likelier.__version__}\n" in next(folder.glob("likelier-*/METADATA")).read_text()


def test_everything_that_a_run_needs_is_in_it(installed):
    names = set(zipfile.ZipFile(installed[1]).namelist())
    tracked = subprocess.run(["git", "ls-files", "src/likelier"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name.removeprefix("src/") for name in tracked.stdout.split()} - names == set()


def test_its_command_starts_outside_of_the_checkout(installed, tmp_path):
    done = run_there(installed[0], ["-m", "likelier", "demo", "--help"], tmp_path)
    assert (done.returncode, "embedded model" in done.stdout) == (0, True)
    assert run_there(installed[0], ["-m", "likelier", "--version"], tmp_path).stdout == f"{likelier.__version__}\n"


@pytest.mark.slow
def test_a_demo_in_miniature_runs_from_it(installed, tmp_path):
    done = run_there(installed[0], ["-c", MINIATURE, str(installed[0])], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    result, again = map(json.loads, done.stdout.splitlines())
    assert result["annotators"] == 12
    assert len(result["spammers_planted"]) == 3
    assert [arm["name"] for arm in result["arms"]] == ["check on", "check off", "nobody misbehaves", "no KL penalty"]
    assert len(result["arms"][0]["curve"]) == 3
    assert "Simulated." in (tmp_path / "demo/report.html").read_text()
    assert json.loads((tmp_path / "demo/check.json").read_text())["planted"] == result["spammers_planted"]
    assert again["arms"] == result["arms"]  # everything was done already


@pytest.mark.battery
def test_the_whole_demo_runs_from_it(installed, tmp_path):
    done = run_there(installed[0], ["-m", "likelier", "demo", "--out", "demo", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"win_rate"' in done.stdout
