"""Models on a server in an evaluation; folders and files are in test_responses.py and test_compare.py."""

import pytest
import torch

from likelier.config import build_config
from likelier.errors import ConfigError
from likelier.evaluation.compare import evaluate
from likelier.evaluation.respondents import ServedModel, load_respondent
from likelier.files import read_json, write_jsonl
from servers import FakeServer, serve
from tiny import save_tiny_model


def test_a_model_on_a_server_against_a_folder(tmp_path):
    save_tiny_model(tmp_path / "model", words=["a", "b", "c", "d", "e"], context=16)
    write_jsonl(tmp_path / "prompts.jsonl", ({"prompt": f"a {letter}"} for letter in "bcde"))
    (tmp_path / "judge.py").write_text("def length(prompts, responses):\n    return [len(r) for r in responses]\n")
    fake = FakeServer()
    with serve(fake) as address:
        settings = {
            "model_a": str(tmp_path / "model"),
            "model_b": "fine",
            "server": address,
            "prompts": str(tmp_path / "prompts.jsonl"),
            "scorer": [{"function": f"{tmp_path}/judge.py:length"}],
            "response_length": 4,
            "responses_per_prompt": 2,
            "device": "cpu",
        }
        result = evaluate(build_config({"eval": settings}), tmp_path / "out")
    assert len(fake.asked) == 8
    assert len({body["seed"] for _, body in fake.asked}) == 8
    assert result.score_b == 2  # the last letter and a digit
    assert result.kl is None
    assert (result.b.response_length, result.b.ended_rate) == (2, 1)
    assert read_json(tmp_path / "out" / "evaluation.json")["model_b"] == "fine"


def test_what_is_asked_at_the_server(tmp_path):
    (tmp_path / "folder").mkdir()
    config = build_config(
        {"eval": {"server": "http://127.0.0.1:1/v1", "tools": ["likelier.text.calculator:calc"]}}
    ).eval
    assert not config.is_served(str(tmp_path / "folder"))
    assert not config.is_served("file.jsonl")
    served = load_respondent("name", torch.device("cpu"), config)
    assert isinstance(served, ServedModel)
    with pytest.raises(ConfigError, match="eval.tools: server http://127.0.0.1:1/v1 calls none of them"):
        served.check([], config)
