"""Hashes of what a run reads: each input by its setting, and nothing that it does not read."""

import functools
import hashlib

import pytest

from likelier.config import build_config
from likelier.runs.inputs import hash_downloads, hash_inputs


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a model, prompts, pairs, and code, whose content is their own name."""
    monkeypatch.chdir(tmp_path)
    names = ["model/config.json", "model/model.safetensors", "model/tokenizer.json", "model/README.md", "prompts.jsonl"]
    names += ["critic/config.json", "text.txt", "pairs/train.jsonl", "pairs/test.jsonl", "loss.py", "reward.py"]
    names += ["run/model/model.safetensors", "run/model-1/model.safetensors", "run/model-2/card.json", "mdp.yaml"]
    names += ["shapes/__init__.py", "shapes/round.py"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


MODEL = {f"model/{name}": sha(f"model/{name}") for name in ("config.json", "model.safetensors", "tokenizer.json")}


def test_ppo_reads_prompts_models_rewards_judges_and_code(place):
    settings = {"model": "model", "prompts": "prompts.jsonl", "data": "pairs"}
    settings |= {"reward": [{"model": "run"}, {"http": "http://localhost:1"}, {"function": "shapes.round:circle"}]}
    settings |= {"eval": {"scorer": [{"function": "reward.py:judge"}]}}
    config = build_config(settings | {"ppo": {"critic_model": "critic", "loss": "loss.py:mine"}})
    names = ("run/model/model.safetensors", "run/model-1/model.safetensors", "run/model-2/card.json")
    assert hash_inputs("ppo", config) == {
        "ppo.critic_model": {"critic/config.json": sha("critic/config.json")},
        "ppo.loss": {"loss.py": sha("loss.py")},
        "model": MODEL,
        "prompts": {"prompts.jsonl": sha("prompts.jsonl")},
        "reward.0.model": {name: sha(name) for name in names},
        "reward.2.function": {"shapes.round": sha("shapes/round.py")},
        "eval.scorer.0.function": {"reward.py": sha("reward.py")},
    }


def test_a_stage_that_measures_nothing_reads_no_prompts(place):
    settings = {"model": "model", "data": "pairs", "prompts": "prompts.jsonl", "reward": [{"function": "reward.py:f"}]}
    pairs = {"pairs/train.jsonl": sha("pairs/train.jsonl"), "pairs/test.jsonl": sha("pairs/test.jsonl")}
    for verb in ("dpo", "reward"):
        assert hash_inputs(verb, build_config(settings)) == {"model": MODEL, "data": pairs}
    assert hash_inputs("sft", build_config(settings)) == {
        "model": MODEL,
        "data": {"pairs/train.jsonl": sha("pairs/train.jsonl")},
    }
    measured = hash_inputs("dpo", build_config(settings | {"dpo": {"eval_steps": 2}}))
    assert measured.keys() == {"model", "data", "prompts", "reward.0.function"}


def test_from_scratch_it_reads_a_text_and_the_tokenizer_of_a_folder(place):
    config = build_config({"data": "text.txt", "sft": {"architecture": {"model_type": "llama"}, "tokenizer": "model"}})
    assert hash_inputs("sft", config) == {"sft.tokenizer": MODEL, "data": {"text.txt": sha("text.txt")}}


@pytest.mark.parametrize(
    ("env_id", "files"),
    [
        ("CartPole-v1", {}),
        ("reward.py:make", {"reward.py": sha("reward.py")}),
        ("mdp.yaml", {"mdp.yaml": sha("mdp.yaml")}),
        ("shapes:Round-v0", {"shapes": sha("shapes/__init__.py")}),
    ],
)
def test_an_environment_of_ones_own_is_code(place, env_id, files):
    assert hash_inputs("gym", build_config({"gym": {"env_id": env_id}})) == ({"gym.env_id": files} if files else {})


def test_of_a_function_from_python_its_own_source_counts(place):
    def short(prompts, responses):
        return [0.0 for _ in responses]

    class Judge:
        def __call__(self, prompts, responses):
            return [0.0 for _ in responses]

    for function, name in ((short, "short"), (functools.partial(short), "partial"), (Judge(), "Judge")):
        config = build_config({"reward": [{"function": function}]})
        (key,) = hash_inputs("ppo", config)["reward.0.function"]
        assert key.startswith("python callable ")
        assert name in key
    invented = eval("lambda prompts, responses: [0.0]")
    assert hash_inputs("ppo", build_config({"reward": [{"function": invented}]})) == {}


def test_what_is_not_there_is_left_to_the_stage(place):
    config = build_config({"model": "no/such/model", "prompts": "none.jsonl", "reward": [{"function": "none.py:f"}]})
    assert hash_inputs("ppo", config) == {}
    assert hash_inputs("ppo", build_config({"reward": [{"function": "no.such:f"}]})) == {}


def test_a_model_of_the_hub_is_hashed_once_it_is_there(place, monkeypatch):
    config = build_config({"model": "someone/small", "prompts": "prompts.jsonl"})
    before = hash_inputs("ppo", config)
    assert before.keys() == {"prompts"}
    monkeypatch.setattr("likelier.runs.inputs.find_hub_copy", lambda name: place / "model")
    files = {f"someone/small/{name.removeprefix('model/')}": value for name, value in MODEL.items()}
    assert hash_downloads("ppo", config, before) == before | {"model": files}
