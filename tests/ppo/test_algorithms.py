"""The table of algorithms: settings follow it, and a new algorithm is one record with its function."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from likelier.config import PPOConfig, build_config
from likelier.errors import ConfigError
from likelier.files import write_jsonl
from likelier.ppo.algorithms import ALGORITHMS
from tiny import save_tiny_model

SOURCE = Path(__file__).parents[2] / "src"
RECORD = """
        Algorithm(
            "batch_mean",
            "each response's reward minus the mean of the batch",
            "likelier.ppo.algorithms:batch_mean_advantages",
            discounts=False,
            defaults={"loss_aggregation": "fixed"},
        ),
    )
}


def batch_mean_advantages(inputs):
    totals = inputs.rewards.sum(1)
    return (totals - totals.mean())[:, None] * inputs.mask, None
"""
SCRIPT = """
import sys
from likelier.cli import main
from likelier.prove.fixed_points import fixed_point_name
from likelier.prove.matrix import make_matrix, random_table

rows = [config for config in make_matrix(random_table(0)) if config.algorithm == "batch_mean"]
print("rows of prove:", sorted(fixed_point_name(config) for config in rows), file=sys.stderr)
sys.exit(main())
"""


def test_names_are_the_records_and_the_schema_lists_them():
    assert list(ALGORITHMS) == ["ppo", "rloo", "grpo", "dr_grpo", "reinforce_pp"]
    assert PPOConfig.model_json_schema()["properties"]["algorithm"]["enum"] == list(ALGORITHMS)
    with pytest.raises(ConfigError, match="ppo.algorithm"):
        build_config({"ppo": {"algorithm": "a2c"}})


def test_no_other_file_compares_the_name_of_an_algorithm():
    names, comparisons = set(ALGORITHMS) - {"ppo"}, []
    for path in sorted((SOURCE / "likelier").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                literals = {each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)}
                attributes = {side.attr for side in sides if isinstance(side, ast.Attribute)}
                if "algorithm" in attributes or literals & names:
                    comparisons.append(f"{path.name}:{node.lineno}")
    assert comparisons == []


@pytest.mark.parametrize("name", ALGORITHMS)
def test_advantage_functions_exist_and_defaults_are_settings(name):
    algorithm = ALGORITHMS[name]
    assert callable(algorithm.load_advantages())
    config = PPOConfig(algorithm=name, responses_per_prompt=2)
    assert {key: getattr(config, key) for key in algorithm.defaults} == algorithm.defaults


def test_own_defaults_give_way_to_what_the_user_sets():
    assert PPOConfig(algorithm="dr_grpo", responses_per_prompt=2, whiten_advantages=True).whiten_advantages


@pytest.mark.slow
def test_a_new_algorithm_is_one_record_and_its_function(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "src" / "likelier" / "ppo" / "algorithms.py"
    text = table.read_text()
    assert text.endswith("        ),\n    )\n}\n")
    table.write_text(text.removesuffix("    )\n}\n") + RECORD.lstrip("\n"))
    save_tiny_model(tmp_path / "model", words=["a", "b"])
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a")])
    (tmp_path / "reward.py").write_text(
        "def count(prompts, responses):\n    return [float(r.count('a')) for r in responses]\n"
    )
    config = tmp_path / "toy.yaml"
    config.write_text(
        f"model: {tmp_path / 'model'}\nprompts: {tmp_path / 'prompts.jsonl'}\n"
        f"reward: [{{function: '{tmp_path / 'reward.py'}:count'}}]\n"
        "ppo: {algorithm: batch_mean, batch_size: 8, total_episodes: 16, response_length: 3, num_mini_batches: 1}\n"
    )
    command = [sys.executable, "-c", SCRIPT, "ppo", str(config), "--out", str(tmp_path / "run"), "--json"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    theory = ["best response", "optimum", "optimum", "optimum", "optimum", "pushed down", "pushed down"]
    assert f"rows of prove: {sorted([*theory, 'reversed', 'squares'])}" in done.stderr.splitlines()
    assert "algorithm: batch_mean" in (tmp_path / "run" / "config.yaml").read_text()
    assert "loss_aggregation: fixed" in (tmp_path / "run" / "config.yaml").read_text()
