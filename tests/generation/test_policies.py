"""Which model a policy's folder holds, and when it is another one."""

import os
import re

import pytest

from likelier.errors import DataError
from likelier.files import write_json
from likelier.generation.policies import find_policy, is_former


def make_model(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_model_folder_and_a_run_are_named_by_what_was_given(tmp_path):
    model, run = make_model(tmp_path / "m"), tmp_path / "run"
    make_model(run / "model")
    for folder, holds in ((model, model), (run, run / "model")):
        policy = find_policy(str(folder))
        assert policy.model == str(holds)
        assert re.fullmatch(rf"{re.escape(str(folder))}@[0-9a-f]{{8}}", policy.name)
        assert find_policy(str(folder)) == policy


def test_an_adapter_is_a_policy(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert find_policy(str(tmp_path)).model == str(tmp_path)


def test_another_file_is_another_version(tmp_path):
    model = make_model(tmp_path / "m")
    before = find_policy(str(model))
    os.utime(model / "config.json", ns=(1, 1))
    assert find_policy(str(model)).name != before.name


def test_of_a_circle_the_newest_accepted_round_counts(tmp_path):
    for number, report in ((1, {"accepted": True}), (2, {}), (10, {"accepted": False}), (11, None)):
        folder = tmp_path / f"round-{number}"
        make_model(folder / "policy" / "model")
        if report is not None:
            write_json(folder / "circle.json", report)
    policy = find_policy(str(tmp_path))
    assert policy.model == str(tmp_path / "round-2" / "policy" / "model")
    assert policy.version.startswith("round-2-")
    write_json(tmp_path / "round-10" / "circle.json", {"accepted": True})
    assert find_policy(str(tmp_path)).version.startswith("round-10-")


def test_a_folder_without_a_model_is_one_line_and_a_hubs_name_is_not_watched(tmp_path):
    with pytest.raises(DataError, match="no model in it; give a model folder, the folder of a run"):
        find_policy(str(tmp_path))
    assert find_policy("owner/name").name == "owner/name"


def test_former_policies_are_told_from_present_ones_and_from_imported_models():
    now = {"runs/ppo@0123abcd"}
    assert is_former("runs/ppo@ffffffff", now)
    assert is_former("circle@round-2-ffffffff", now)
    assert not is_former("runs/ppo@0123abcd", now)
    assert not is_former("gpt-4", now)
    assert not is_former("me@example.org", now)
    assert not is_former("runs/ppo@ffffffff", ())  # not yet known: what was answered before a restart stays
