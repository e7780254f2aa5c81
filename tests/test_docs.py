"""The reference is what the code says: every verb, setting and metric stands in it, each once."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from likelier.cli import app
from likelier.cli.reference import list_commands, write_reference
from likelier.config import Block, Config, build_config, list_settings, load_config
from likelier.files import write_jsonl
from likelier.metrics import SHARED
from likelier.records import Preference
from likelier.runs.run import Run
from likelier.stages import STAGES
from tiny import save_tiny_model

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
VERBS = [name for name, _ in list_commands(typer.main.get_command(app).commands)]
TYPES = {name: field.annotation for name, field in Config.model_fields.items()}
BLOCKS = {name: kind for name, kind in TYPES.items() if isinstance(kind, type) and issubclass(kind, Block)}
SETTINGS = [name for name in TYPES if name not in BLOCKS]
SETTINGS += [f"{name}.{field}" for name, block in BLOCKS.items() for field in list_settings(block)]
INTERFACE_VERBS = {
    "demo", "circle", "candidates", "serve", "data import", "data export", "data backup", "data erase", "check",
    "plan-judgements", "preferences", "sft", "reward", "dpo", "ppo", "eval", "report", "prove", "doctor", "explain",
    "gym", "mdp", "search", "plan", "tokens", "chat", "config check", "config show", "config schema", "env",
}  # fmt: skip
INTERFACE_METRICS = [
    "step", "episodes", "score", "reward", "kl", "entropy", "response_length", "policy_loss", "value_loss", "approx_kl",
    "clipfrac", "ratio", "kl_coef", "learning_rate", "optimizer_steps",
]  # fmt: skip


def test_the_reference_is_the_generated_one():
    assert write_reference() == REFERENCE, "run: python -m likelier.cli.reference > docs/reference.md"


def test_the_verbs_are_those_of_the_interface():
    assert set(VERBS) == INTERFACE_VERBS
    assert len(VERBS) == len(INTERFACE_VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_once(verb):
    assert REFERENCE.count(f"### `likelier {verb}`\n") == 1 + (verb in STAGES)  # a stage has metrics too


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_once(setting):
    section = REFERENCE.partition("## Settings")[2].partition("## Metrics")[0]
    assert section.count(f"\n| `{setting}` |") == 1


def test_every_setting_and_verb_has_its_line():
    assert "|  |\n" not in REFERENCE.partition("## Settings")[2].partition("## Metrics")[0]
    for block in (Config, *BLOCKS.values()):
        assert [name for name, field in block.model_fields.items() if not field.description] == []
    assert [name for name, command in list_commands(typer.main.get_command(app).commands) if not command.help] == []


@pytest.mark.parametrize("stage", STAGES)
def test_each_metric_once(stage):
    section = REFERENCE.rpartition("## Metrics")[2].partition(f"### `likelier {stage}`")[2].partition("###")[0]
    for metric in STAGES[stage].metrics:
        assert section.count(f"\n| `{metric.name}` |") == 1
        assert metric.definition.endswith(".")
    names = [metric.name for metric in (*SHARED, *STAGES[stage].metrics)]
    assert len(names) == len(set(names))


def test_names_of_the_interface_are_there():
    ppo = STAGES["ppo"]
    for name in INTERFACE_METRICS:
        assert ppo.find_metric(name).name == name
    assert ppo.find_metric("score/helpfulness").name == "score/<source>"
    assert ppo.find_metric("score/") is None
    assert ppo.find_metric("nonsense") is None


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_logs_is_defined(stage, tmp_path):
    folder = save_tiny_model(tmp_path / "model", words=["a", "b"])
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a")])
    write_jsonl(tmp_path / "sft.jsonl", [{"text": "a b a b"}])
    write_jsonl(tmp_path / "known.jsonl", [{"prompt": "a", "completion": " b"}])
    pairs = [Preference("a", chosen="a b", rejected="b", comparison=str(at), conversation=str(at)) for at in range(6)]
    for part in ("train", "valid", "test"):
        write_jsonl(tmp_path / "pairs" / f"{part}.jsonl", pairs)
    (tmp_path / "reward.py").write_text(
        "def length(prompts, responses):\n    return [float(len(r)) for r in responses]\n"
    )
    source = {"function": f"{tmp_path / 'reward.py'}:length"}
    small = {"batch_size": 4, "device": "cpu"}
    config = build_config(
        {
            "model": str(folder),
            "prompts": str(tmp_path / "prompts.jsonl"),
            "data": str(tmp_path / ("pairs" if STAGES[stage].folds == "conversation" else "sft.jsonl")),
            "reward": [source],
            "sft": small | {"max_steps": 1, "eval_steps": 1},
            "dpo": small | {"eval_steps": 1},
            "reward_model": small | {"num_epochs": 1},
            "ppo": small
            | {
                "total_episodes": 4,
                "response_length": 3,
                "eval_steps": 1,
                "responses_per_prompt": 2,
                "kl_place": "loss",
                "tools": ["likelier.text.calculator:calc"],
            },
            "gym": {"total_steps": 64, "num_envs": 4, "rollout_length": 16, "num_eval_episodes": 1, "gif": False},
            "eval": {"scorer": [source], "knowledge": str(tmp_path / "known.jsonl")},
        }
    )
    with Run(tmp_path / "run", stage, config) as run:
        STAGES[stage].load_trainer()(config, run)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    logged = {name for line in lines for name in line}
    assert [name for name in sorted(logged) if STAGES[stage].find_metric(name) is None] == []
    documented = {metric.name for metric in (*SHARED, *STAGES[stage].metrics) if "<" not in metric.name}
    # rlhf/test_people.py, control/preferences/test_learned.py and rlhf/test_responses.py have these.
    documented -= {name for name in documented if name.startswith(("people/", "preferences/", "staleness"))}
    assert documented - logged == set()


def test_every_config_file_passes():
    files = sorted((ROOT / "configs").glob("*.yaml"))
    assert {"stories.yaml", "hh.yaml"} <= {file.name for file in files}
    for file in files:
        load_config(file)


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_tour_of_the_readme_has_all_that_its_verbs_need(name):
    """Both tell the same commands, on the settings that stand below them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    settings, commands = re.findall(r"^model: .*?(?=```)|^likelier .*?(?=```)", text, flags=re.MULTILINE | re.DOTALL)[
        ::-1
    ]
    words = [shlex.split(line, comments=True) for line in commands.splitlines()]
    assert words == [shlex.split(line, comments=True) for line in english.splitlines() if line.startswith("likelier ")]
    (asked,) = (line for line in words if line[1] == "eval")
    evaluation = build_config(yaml.safe_load(settings), [word for word in asked if "=" in word]).eval
    assert all((evaluation.model_a, evaluation.model_b, evaluation.prompts, evaluation.scorer))


def test_the_readme_names_no_verb_or_file_that_is_not_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^likelier (data \w+|config \w+|[\w-]+)", text, flags=re.MULTILINE))
    assert named - set(VERBS) - {"--help"} == set()
    for path in re.findall(r"configs/[\w./-]+\.yaml", text):
        assert (ROOT / path).is_file(), path
