"""Responses of real, tiny policies: sampled, cut, reloaded."""

import shutil

import pytest

from likelier.generation.protocol import GenerationSettings, Item
from likelier.generation.sampling import LivePolicies
from tiny import save_tiny_model

WORDS = ["the", "fox", "shared", "its", "bread", "with", "a", "bird", "and", "slept"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [save_tiny_model(root / name, WORDS, seed, context=32) for seed, name in enumerate("ab")]


def load(*sources, **settings):
    policies = LivePolicies(GenerationSettings(tuple(map(str, sources)), device="cpu", **settings))
    return policies, list(policies.refresh())


def look_again(policies):
    policies.looked_at = float("-inf")
    return list(policies.refresh())


def test_each_prompt_gets_a_response_of_its_policy_and_one_that_does_not_fit_an_error(folders):
    policies, loaded = load(*folders)
    names = [each["name"] for each in loaded]
    turns = [{"role": "user", "content": "the fox"}]
    answers = policies.sample([Item(0, "the fox"), Item(1, turns), Item(0, "bird " * 40), Item(1, "a bird")])
    assert [answer.model for answer in answers] == [names[0], names[1], "", names[1]]
    assert [answer.error for answer in answers] == ["", "", "too_long", ""]
    assert all(len(answer.text.split()) <= 16 for answer in answers)  # half of what it can read
    again = policies.sample([Item(0, "the fox")] * 2)
    assert again[0] != again[1]


def test_a_policy_is_loaded_again_once_its_folder_stands_still(folders, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folders[0], run / "model")
    policies, (first,) = load(run, response_length=4)
    assert look_again(policies) == []
    shutil.rmtree(run / "model")
    assert look_again(policies) == []  # a run is just replacing it
    shutil.copytree(folders[1], run / "model")
    assert look_again(policies) == []
    (second,) = look_again(policies)
    assert second["name"] != first["name"]
    assert policies.sample([Item(0, "a")])[0].model == second["name"]


def test_a_broken_folder_is_said_once_and_the_former_policy_goes_on(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path / "m")
    policies, (first,) = load(tmp_path / "m", response_length=4)
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert look_again(policies) == []
    (line,) = look_again(policies)
    assert line["error"].startswith(f"--policy {tmp_path / 'm'}: ")
    assert line["error"].endswith(f"; {first['name']} goes on")
    assert look_again(policies) == []
    assert policies.sample([Item(0, "a")])[0].model == first["name"]


def test_what_cannot_be_sampled_from_the_start_is_said_once(folders, tmp_path):
    policies, (line,) = load(tmp_path)
    assert "no model in it" in line["error"]
    assert look_again(policies) == []
    assert policies.sample([Item(0, "a")])[0].error == "not_loaded"
    _, (line,) = load(folders[0], response_length=32)
    assert line["error"].endswith("--response-length: 32 does not fit the model's 32 tokens")
