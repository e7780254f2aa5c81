"""The verb answers with the keys of INTERFACE, and the page's table says what theory says."""

import json
import re
from pathlib import Path

import pytest

from likelier.cli import main
from likelier.cli.prove import COLUMNS, format_row, to_markdown, verdict
from likelier.ppo.algorithms import ALGORITHMS
from likelier.prove.fixed_points import fixed_point_name
from likelier.prove.matrix import describe_place, make_matrix, random_table

PAGE = Path(__file__).parents[2] / "docs" / "prove.md"
ROW = {
    "algorithm": "dpo",
    "estimator": None,
    "place": None,
    "group": None,
    "expected": True,
    "distance": 0.00123,
    "reached": True,
    "fixed_point": "optimum",
    "fixed_point_distance": 0.5,
    "fixed_point_to_optimum": 0.0,
}


def test_of_an_own_loss_it_is_said_whether_it_reaches_the_optimum():
    own = ROW | {"algorithm": "own", "reached": False, "fixed_point": "reversed", "fixed_point_distance": 0.1234}
    assert verdict({"rows": [own], "holds": False}) == (
        "your loss does not reach pi*; of the ends in docs/prove.md `reversed` is nearest, 0.12 away"
    )
    assert verdict({"rows": [own | {"reached": True}], "holds": True}) == "your loss reaches pi*"
    assert verdict({"rows": [ROW], "holds": False}).startswith("rows in red")


def test_a_row_as_people_read_it():
    assert format_row(ROW) == ["dpo", "–", "–", "–", "optimum", "0.0012", "yes", "0.5000"]
    assert to_markdown([ROW]).splitlines()[2] == "| dpo | – | – | – | optimum | 0.0012 | yes | 0.5000 |"


@pytest.mark.slow
def test_an_own_loss_on_an_own_table(tmp_path, capfd):
    (tmp_path / "t.yaml").write_text('vocabulary: 2\nlength: 1\nbeta: 0.5\nrewards: {"0": 1}\n')
    (tmp_path / "l.py").write_text(
        "def f(logprobs, old, ref, advantages, mask, kl_coef):\n    return -logprobs.mean()\n"
    )
    words = ["prove", "--loss", f"{tmp_path / 'l.py'}:f", "--table", str(tmp_path / "t.yaml"), "--json"]
    assert main(words) == 0
    out, err = capfd.readouterr()
    answer = json.loads(out)
    assert err == ""
    assert answer["rows"][0].keys() >= {"algorithm", "estimator", "place", "expected", "distance", "reached"}
    assert answer["holds"] is False  # that loss makes whatever was sampled likelier
    assert answer["responses"] == 2


def test_what_cannot_be_read_is_one_line(tmp_path, capfd):
    assert main(["prove", "--table", str(tmp_path / "none.yaml")]) == 2
    assert main(["prove", "--loss", "nowhere.py:f"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 2
    assert "no such file" in err


def test_the_pages_table_is_the_codes():
    """Each row of docs/prove.md is in the matrix and has the end that theory gives it."""
    lines = re.findall(r"^\| (.*) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    start = lines.index(" | ".join(COLUMNS))
    rows = [line.split(" | ") for line in lines[start + 2 :] if line.count(" | ") == len(COLUMNS) - 1]
    found = {tuple(row[:4]): (row[4], row[6]) for row in rows}
    for config in make_matrix(random_table(0)):
        name = fixed_point_name(config)
        group = str(config.responses_per_prompt) if ALGORITHMS[config.algorithm].needs_groups else "–"
        assert found.pop((config.algorithm, config.kl_estimator, describe_place(config), group)) == (
            name,
            "yes" if name == "optimum" else "no",
        )
    assert found.pop(("dpo", "–", "–", "–")) == ("optimum", "yes")
    assert found.pop(("best_of_n", "–", "–", "–")) == ("best of 4", "no")
    assert found == {}
