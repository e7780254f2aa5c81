"""The notebooks of examples/notebooks run from top to bottom, with fewer steps; what is stored in them is public."""

import json
import re
from pathlib import Path

import matplotlib
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
SMALL = {
    "ppo.ipynb": {"UPDATES": 40, "CARTPOLE_STEPS": 1024},
    "feedback.ipynb": {"PROMPTS": 60, "COMPARISONS": 150, "EPISODES": 128},
}


def read_cells(name):
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run_notebook(name, tmp_path, monkeypatch):
    """Run the code cells; the names they leave."""
    matplotlib.use("Agg")
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in read_cells(name):
        exec(compile("".join(cell["source"]), name, "exec"), names)
        if "settings" in cell["metadata"].get("tags", ()):
            names |= SMALL[name]
    matplotlib.pyplot.close("all")
    return names


def test_ppo(tmp_path, monkeypatch, capsys):
    names = run_notebook("ppo.ipynb", tmp_path, monkeypatch)
    assert names["policy"].probabilities()[[0, 1], [0, 1]] == pytest.approx(1, abs=0.05)
    assert "values of the best policy [0.45 1.   0.  ]" in capsys.readouterr().out


@pytest.mark.slow
def test_feedback(tmp_path, monkeypatch):
    names = run_notebook("feedback.ipynb", tmp_path, monkeypatch)
    assert names["run"].result["steps"] == 1
    assert len(names["wins"]) == 200


@pytest.mark.parametrize("name", SMALL)
def test_stored_outputs(name):
    """They were run in order, with the settings that stand there, and name no folder of a machine."""
    cells = read_cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    text = json.dumps([output for cell in cells for output in cell["outputs"] if output["output_type"] == "stream"])
    assert not re.search(r"(?<!\w)/\w+/", text)
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
