"""`config check` names all that is wrong, and what is not there."""

import json
from pathlib import Path

import pytest

from likelier.cli import main


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(text, *options):
        Path("c.yaml").write_text(text)
        code = main(["config", "check", "c.yaml", *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_every_wrong_setting_is_named_not_only_the_first(check):
    code, line = check("seed: -1\nppo: {gamma: 2, lambda: 1}\nmodell: x\n")
    assert code == 2
    assert "seed: Input should be greater than or equal to 0, got -1; " in line
    assert "ppo.gamma: Input should be less than or equal to 1, got 2; " in line
    assert "unknown setting `ppo.lambda`" in line
    assert "unknown setting `modell`; did you mean `model`?" in line


def test_certificates_of_a_circles_page_are_looked_for(check):
    code, line = check("circle: {host: 0.0.0.0, tls_cert: cert.pem, tls_key: key.pem}\n")
    assert code == 3
    assert "circle.tls_cert: cert.pem: no such file; circle.tls_key: key.pem: no such file" in line


def test_every_file_and_model_that_is_not_there_is_named(check):
    Path("runs/empty").mkdir(parents=True)
    code, line = check(
        "model: ./none\nprompts: none.jsonl\ndata: none\n"
        "reward: [{model: runs/empty}, {function: 'none.py:f'}, {function: 'no_such_module:f'}]\n"
        "gym: {env_id: 'mine.py:make'}\n"
        "eval: {model_a: runs/none, model_b: a/b/c, prompts: no.jsonl, scorer: [{model: runs/judge}]}\n"
    )
    assert (code, line.count("\n")) == (3, 1)
    for fault in (
        "model: ./none: no such folder", "prompts: none.jsonl: no such file", "data: none: no such file",
        "reward.0.model: runs/empty: no model in it", "reward.1.function: none.py:f: no such file or module",
        "reward.2.function: no_such_module:f: no such file or module", "eval.model_a: runs/none: no such folder",
        "eval.model_b: a/b/c: no such folder", "eval.prompts: no.jsonl: no such file",
        "eval.scorer.0.model: runs/judge: no such folder", "gym.env_id: mine.py:make: no such file or module",
    ):  # fmt: skip
        assert fault in line


def test_what_is_there_or_may_be_on_the_hub_passes(check):
    Path("p.jsonl").write_text('{"prompt": "a"}\n')
    Path("r.py").write_text("def f(prompts, responses): ...\n")
    text = (
        "model: Qwen/Qwen2.5-0.5B-Instruct\nprompts: p.jsonl\nreward: [{function: 'r.py:f'}, {http: 'http://host'}]\n"
    )
    code, printed = check(text + "gym: {env_id: CartPole-v1}\n", "--json")
    on_hub = ["model: Qwen/Qwen2.5-0.5B-Instruct"]
    assert (code, json.loads(printed)) == (0, {"file": "c.yaml", "ok": True, "on_hub": on_hub})
    assert "not here, so taken for a name on the hub" in check(text)[1]
