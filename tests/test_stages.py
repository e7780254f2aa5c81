"""The table of stages: each row names what is there, and a new stage is its folder, its settings and its row."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from likelier.config import Config, Training
from likelier.files import read_jsonl
from likelier.stages import STAGES

SOURCE = Path(__file__).parents[1] / "src" / "likelier"
BLOCK = '''
"""Settings of a walk."""

from likelier.config.base import Block, Positive


class ToyConfig(Block):
    """A walk."""

    rate: float = 0.5
    """Share of the way that a step goes."""
    steps: Positive = 4
    """Steps of the whole run."""
    device: str = "cpu"
    """Where it walks."""
    save_steps: Positive = 50
    """A checkpoint every so many steps."""
    save_total_limit: Positive = 2
    """Checkpoints kept."""
    report_to: list[str] = []
    """Other places that receive the metrics."""
    run_name: str = ""
    """Name of the run there."""
'''
TRAINER = '''
"""A stage that walks towards ten: the smallest that logs, saves, resumes and is stopped by a signal."""

import os
import signal

from likelier.files import read_json, write_json


def train_toy(config, run):
    place = read_json(run.checkpoint / "place.json")["place"] if run.checkpoint else float(config.seed)
    for step in range(run.start + 1, config.toy.steps + 1):
        place += config.toy.rate * (10.0 - place)
        run.log(step, {"distance": 10.0 - place})
        if os.environ.get("TOY_STOPS_AFTER") == str(step):
            os.kill(os.getpid(), signal.SIGTERM)
        run.end_step(step, config.toy.steps, lambda folder: write_json(folder / "place.json", {"place": place}))
    return run.finish({"steps": config.toy.steps, "distance": 10.0 - place})
'''
IMPORT = "from likelier.config.toy import ToyConfig\n"
FIELD = '    toy: ToyConfig = ToyConfig()\n    """A walk."""\n'
ROW = """    Stage(
        verb="toy",
        block="toy",
        trainer="likelier.toy.train:train_toy",
        help="Walk towards ten.",
        title="Walk",
        inputs=(),
        search_metric="distance",
        search_direction="min",
        metrics=(Metric("distance", "What is left of the way.", "metres"),),
        curves={"distance": "Distance left"},
    ),
"""


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.verb)
def test_a_row_names_what_is_there(stage):
    trainer = stage.load_trainer()
    assert (trainer.__name__, trainer.__module__) == (f"train_{stage.verb}", stage.module)
    assert not stage.examiner or stage.load_examiner().__name__ == f"examine_{stage.verb}"
    block = type(getattr(Config(), stage.block))
    assert issubclass(block, Training)
    assert set(stage.inputs) <= {"model", "prompts", "data", "reward"} <= set(Config.model_fields)
    assert all(stage.find_metric(name) for name in stage.curves)
    head, _, field = stage.memory_setting.partition(".")
    assert head == stage.block
    assert field in block.model_fields


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A copy of the package with one more stage: its folder, a field of `Config`, a row. `likelier(*words)` runs it."""
    root = tmp_path_factory.mktemp("toy")
    package = root / "src" / "likelier"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "toy").mkdir()
    (package / "toy" / "train.py").write_text(TRAINER)
    (package / "config" / "toy.py").write_text(BLOCK)
    insert_before(package / "config" / "load.py", "from likelier.config.yaml_file", IMPORT)
    insert_before(package / "config" / "load.py", "    search: SearchConfig", FIELD)
    insert_before(package / "stages.py", '    Stage(\n        verb="sft"', ROW)
    (root / "config.yaml").write_text("toy: {steps: 3}\n")

    def run(*commands, **variables):
        """Exit code, stdout and stderr of each command; one process runs all of them, as imports take a second."""
        done = subprocess.run(
            [sys.executable, "-c", RUN_COMMANDS, json.dumps([list(map(str, words)) for words in commands])],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root / "src")} | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    return root, run


RUN_COMMANDS = """
import contextlib, io, json, sys
from likelier.cli import main
answers = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main()
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


def insert_before(path, text, new):
    source = path.read_text()
    assert source.count(text) == 1
    path.write_text(source.replace(text, new + text))


def test_a_new_stage_has_its_command_and_settings(toy):
    _, run = toy
    verbs, command, schema = run(["--help"], ["toy", "--help"], ["config", "schema", "toy"])
    assert "Walk towards ten." in verbs[1]
    assert "CONFIG.yaml" in command[1]
    assert json.loads(schema[1])["properties"]["rate"]["default"] == 0.5


@pytest.mark.slow
def test_a_new_stage_trains_stops_resumes_and_is_reported(toy):
    root, run = toy
    train = ["toy", "config.yaml", "--json", "--out"]
    ((code, _, err),) = run([*train, "run"], TOY_STOPS_AFTER="2")
    assert code == 75
    assert err.endswith("go on with: likelier toy config.yaml --json --out run --resume auto\n")
    whole, resumed, report, doctor = run(
        [*train, "whole"], [*train, "run", "--resume", "auto"], ["report", "run", "-o", "page.html"], ["doctor", "run"]
    )
    result = json.loads(resumed[1])
    assert (result["steps"], result["distance"]) == (3, 1.25)  # 10 halved three times
    assert (root / "run/metrics.jsonl").read_bytes() == (root / "whole/metrics.jsonl").read_bytes()
    assert [line["distance"] for _, line in read_jsonl(root / "run/metrics.jsonl")] == [5.0, 2.5, 1.25]
    assert (whole[0], report[0], doctor[0]) == (0, 0, 3)
    assert "the doctor reads runs of reward, ppo and gym" in doctor[2]
    page = (root / "page.html").read_text()
    assert "Training: Walk" in page
    assert "<figcaption>Distance left <span>metres</span>" in page


@pytest.mark.slow
def test_a_new_stage_is_searched(toy):
    root, run = toy
    space = "search={stage: toy, folds: 2, space: {toy.rate: [0.1, 0.9]}}"
    words = ["search", "config.yaml", space, "--out", "search", "--workers", "2", "--json"]
    search, check = run(words, ["config", "check", root / "search" / "best.yaml"])
    found = json.loads(search[1])
    assert (found["metric"], found["direction"]) == ("distance", "min")
    assert found["best"]["values"] == {"toy.rate": 0.9}
    assert found["best"]["scores"] == pytest.approx([0.01, 0.009])  # a thousandth of the way from seeds 0 and 1
    assert check[0] == 0
