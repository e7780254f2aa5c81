import json

import pytest

from likelier.cli import main
from likelier.files import write_jsonl
from tiny import save_tiny_model


@pytest.fixture
def run(capfd):
    """Run a verb in this process: exit code, stdout, stderr."""

    def call(*words):
        capfd.readouterr()
        code = main([str(word) for word in words])
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def config(tmp_path):
    folder = save_tiny_model(tmp_path / "model", words=["a", "b"])
    (folder / "model.safetensors").unlink()
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": "a"}, {"prompt": "a b"}])
    ppo = {"batch_size": 4, "num_mini_batches": 1, "total_episodes": 40, "response_length": 5}
    settings = {"model": str(folder), "prompts": str(tmp_path / "p.jsonl"), "reward": [{"function": "r.py:f"}]}
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(settings | {"ppo": ppo}))
    return path


def test_a_plan_for_a_gpu_of_a_name(run, config):
    code, out, err = run("plan", config, "--gpu", "A100", "--gpus", "2", "--price", "3", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["machine"] == {"name": "A100-80GB", "memory_bytes": 80 * 10**9, "gpus": 2}
    ppo = result["stages"]["ppo"]
    assert (ppo["fits"], ppo["steps"], ppo["tokens"]) == (True, 10, 200)
    assert sum(ppo["memory"]["parts"].values()) == ppo["memory"]["peak_bytes"]
    assert ppo["iteration_seconds"] == pytest.approx(sum(ppo["phase_seconds"].values()))
    assert ppo["cost"] == pytest.approx(ppo["seconds"] / 3600 * 3 * 2)


def test_a_size_gives_no_time_and_no_cost(run, config):
    code, out, _ = run("plan", config, "--gpu", "16GB", "--price", "1", "--json")
    ppo = json.loads(out)["stages"]["ppo"]
    assert (code, ppo["seconds"], ppo["cost"]) == (0, None, None)


def test_what_is_printed(run, config):
    code, out, _ = run("plan", config, "--gpu", "L4")
    assert code == 0
    assert out.startswith("ppo: up to 0.6 GB, in the phase `")
    assert "; fits (1 x L4, 24 GB)" in out
    assert "\nin all: 10 iterations, 200 tokens, " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpu", "H1000"], "--gpu: no GPU called 'H1000'; did you mean H100?"),
        (["--price", "2"], "--price: it is that of a GPU; give --gpu too"),
        (["model=/nowhere/x"], "no such model folder"),
    ],
)
def test_what_cannot_be_planned_is_said_in_a_line(run, config, words, message):
    code, out, err = run("plan", config, "--no-calibrate", *words)
    assert code in (2, 3)
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
