"""What a run was started with: compared when it is resumed, refused by name, accepted and recorded."""

import pytest

from likelier.config import build_config
from likelier.errors import ConfigError, DataError
from likelier.files import read_json, write_json
from likelier.runs.record import (
    RunRecord,
    check_changes,
    compare_folder,
    list_changes,
    make_record,
    read_record,
    refuse_other_verb,
)

VERSIONS = {"python": "3.11.7", "likelier": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6", "transformers": "5.23.0"}
INPUTS = {"prompts": {"prompts.jsonl": "a" * 64}, "model": {"m/config.json": "b" * 64, "m/old.json": "c" * 64}}


def record(processes=1, inputs=INPUTS, **versions):
    return RunRecord("1234", processes, VERSIONS | versions, inputs)


def names(before, now, verb="ppo"):
    return [change.name for change in list_changes(before, now, verb)]


def test_each_input_that_changed_is_named_with_its_file():
    assert names(record(), record()) == []
    files = {"m/config.json": "b" * 64, "m/new.json": "d" * 64}
    now = record(inputs={"prompts": {"prompts.jsonl": "9" * 64}, "model": files})
    assert [str(change) for change in list_changes(record(), now, "ppo")] == [
        "prompts prompts.jsonl (aaaaaaaa, now 99999999)",
        "model m/old.json (cccccccc, now absent)",
        "model m/new.json (absent, now dddddddd)",
    ]


def test_what_was_not_recorded_is_not_compared():
    more = INPUTS | {"reward.0.model": {"r/config.json": "e" * 64}}
    assert names(record(), record(inputs=more)) == []
    assert names(record(inputs=more), record()) == []  # it is gone: the stage says so


@pytest.mark.parametrize(
    ("verb", "versions", "expected"),
    [
        ("ppo", {"torch": "2.14.0"}, ["torch"]),
        ("ppo", {"torch": "2.13.0+cpu"}, ["torch"]),
        ("ppo", {"python": "3.11.9", "likelier": "0.2.0"}, []),
        ("ppo", {"python": "3.12.0"}, ["python"]),
        ("gym", {"transformers": "5.24.0", "numpy": "2.5.0"}, ["numpy"]),
        ("dpo", {"transformers": "5.24.0"}, ["transformers"]),
    ],
)
def test_versions_that_decide_the_numbers_are_compared(verb, versions, expected):
    assert names(record(), record(**versions), verb) == expected


def test_the_number_of_processes_is_compared():
    assert [str(change) for change in list_changes(record(), record(processes=2), "ppo")] == [
        "number of processes (1, now 2)"
    ]


def test_changes_are_refused_in_one_line_or_returned_to_be_recorded(capsys):
    now = record(torch="2.14.0", likelier="0.2.0")
    with pytest.raises(ConfigError) as caught:
        check_changes("runs/a/checkpoint-2", record(), now, "ppo", False)
    assert str(caught.value) == (
        "runs/a/checkpoint-2: changed since: torch (2.13.0, now 2.14.0); bring back what was, "
        "or go on with what is now by --accept-changes"
    )
    assert check_changes("runs/a", record(), now, "ppo", True) == [
        {"name": "torch", "before": "2.13.0", "now": "2.14.0"},
        {"name": "likelier", "before": "0.1.0", "now": "0.2.0"},
    ]
    assert capsys.readouterr().err == "runs/a: goes on with another torch (2.13.0, now 2.14.0)\n"


@pytest.mark.parametrize(
    "damage",
    [{"run_id": 7}, {"inputs": [1]}, {"inputs": {"model": 3}}, {"versions": None}, {"processes": "two"}],
    ids=lambda damage: next(iter(damage)),
)
def test_a_damaged_record_is_one_line(tmp_path, damage):
    write_json(tmp_path / "run.json", record().to_json())
    assert read_record(tmp_path) == record()
    write_json(tmp_path / "run.json", record().to_json() | damage)
    with pytest.raises(DataError, match=r"run.json: damaged"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(DataError, match=r"run.json: expected a JSON object, got list"):
        read_record(tmp_path)


@pytest.mark.parametrize(("name", "maker"), [("demo.json", "demo"), ("round-1/x", "circle"), ("trial-1/x", "search")])
def test_the_folder_of_another_command_is_refused_by_both_names(tmp_path, name, maker):
    refuse_other_verb(tmp_path, "ppo")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    refuse_other_verb(tmp_path, maker)
    with pytest.raises(ConfigError, match=f"a folder of `{maker}`, not of `ppo`; resume it with {maker}"):
        refuse_other_verb(tmp_path, "ppo")
    write_json(tmp_path / "run.json", {"verb": "sft"})
    with pytest.raises(ConfigError, match="a folder of `sft`, not of `ppo`"):
        refuse_other_verb(tmp_path, "ppo")


def test_a_circle_whose_reward_code_changed_goes_on_only_if_told_to(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward.py").write_text("one")
    (tmp_path / "out").mkdir()
    config = build_config({"model": "m", "reward": [{"function": "reward.py:f"}]})
    compare_folder(tmp_path / "out", "circle", config, False)
    started = read_json(tmp_path / "out/run.json")
    assert (started["verb"], started["changes"]) == ("circle", [])
    (tmp_path / "reward.py").write_text("two")
    with pytest.raises(ConfigError, match=r"out: changed since: reward.0.function reward.py \(7692c3ad, now 3fc4ccfe"):
        compare_folder(tmp_path / "out", "circle", config, False)
    compare_folder(tmp_path / "out", "circle", config, True)
    now = read_json(tmp_path / "out/run.json")
    assert now["run_id"] == started["run_id"]
    assert [change["name"] for change in now["changes"]] == ["reward.0.function reward.py"]
    compare_folder(tmp_path / "out", "circle", config, False)
    (tmp_path / "other.py").write_text("one")  # another setting is no changed input: the circle makes it anew
    other = build_config({"model": "m", "reward": [{"function": "other.py:f"}]})
    compare_folder(tmp_path / "out", "circle", other, False)
    assert "older version" not in capsys.readouterr().err


def test_a_circle_of_an_older_version_goes_on_with_a_warning(tmp_path, capsys):
    (tmp_path / "round-1").mkdir()
    compare_folder(tmp_path, "circle", build_config({}), False)
    assert "made by an older version, which recorded no inputs" in capsys.readouterr().err
    assert read_json(tmp_path / "run.json")["changes"][0]["now"] == "not compared"


def test_a_gym_run_records_gymnasium():
    assert "gymnasium" in make_record("gym", build_config({})).versions
