"""The workflow: it can be read, runs the two commands on every version, and everything it runs is there."""

import re
import shlex
from pathlib import Path

import yaml

from likelier.config import load_config

ROOT = Path(__file__).parents[1]
FILE = ROOT / ".github" / "workflows" / "test.yml"
WORKFLOW = yaml.safe_load(FILE.read_text(encoding="utf-8"))


def commands(job):
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_the_two_commands_run_on_linux_and_macos_with_every_python():
    assert commands("both-commands") == ["make demo", "make test"]
    matrix = WORKFLOW["jobs"]["both-commands"]["strategy"]["matrix"]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest"], "python": ["3.11", "3.12", "3.13"]}


def test_what_it_makes_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    made = {line.split()[1] for job in WORKFLOW["jobs"] for line in commands(job) if line.startswith("make ")}
    assert made <= targets
    assert {"demo", "test", "docs"} <= targets


def test_what_windows_runs_is_there():
    lines = commands("windows")
    assert [line.split()[:2] for line in lines[2:]] == [["likelier", verb] for verb in ("--help", "gym", "ppo")]
    _, _, path, *overrides, _, _ = shlex.split(lines[-1])
    config = load_config(ROOT / path, overrides)
    assert config.ppo.total_episodes == 64
    assert "[gym]" in lines[0]


def test_no_address_stands_in_it():
    assert "://" not in FILE.read_text(encoding="utf-8")
    assert "index-url" not in FILE.read_text(encoding="utf-8")
