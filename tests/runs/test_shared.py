"""`likelier ppo` in several processes: one folder, one voice, the same training."""

import contextlib
import io
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import yaml

from likelier.cli import main
from likelier.files import read_jsonl, write_jsonl
from ppo_runs import REWARD, fingerprint
from tiny import save_tiny_model
from torchrun_helpers import in_processes, likelier_here, likelier_in_processes, run_disturbed


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Six steps on a tiny model, which prefers the letter a after them."""
    folder = tmp_path_factory.mktemp("config")
    save_tiny_model(folder / "model", words=["a", "b"])
    (folder / "reward.py").write_text(REWARD)
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a", "a a", "b b")])
    settings = {"batch_size": 32, "total_episodes": 32 * 6, "response_length": 4, "learning_rate": 0.02}
    settings |= {"save_steps": 2, "num_mini_batches": 2, "kl_coef": 0.01, "device": "cpu", "report_to": ["tensorboard"]}
    whole = {"model": str(folder / "model"), "prompts": str(folder / "prompts.jsonl"), "ppo": settings}
    whole["reward"] = [{"function": f"{folder / 'reward.py'}:count_a"}]
    (folder / "ppo.yaml").write_text(yaml.safe_dump(whole))
    return folder / "ppo.yaml"


def test_two_processes_train_as_one_does(config, tmp_path):
    (first, second), (code, out, _) = (
        likelier_in_processes(2, tmp_path / "tmp", "ppo", config, "--out", tmp_path / "two", "--json"),
        likelier_here("ppo", config, "--out", tmp_path / "one", "--json"),
    )
    assert (first[0], second, code) == (0, (0, "", ""), 0)
    assert first[2] == ""
    result, alone = json.loads(first[1]), json.loads(out)
    assert result["run"] == str(tmp_path / "two")
    assert result["after"] == {name: pytest.approx(value, abs=1e-4) for name, value in alone["after"].items()}
    assert alone["score_after"] > alone["score_before"] + 0.5
    same = [[line for _, line in read_jsonl(tmp_path / name / "metrics.jsonl")] for name in ("one", "two")]
    for one, two in zip(*same, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-6)
        assert two == {name: pytest.approx(value, abs=1e-4) for name, value in one.items()}
    names = [sorted(file.name for file in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert names[0] == names[1]
    assert not list((tmp_path / "tmp").iterdir())  # the second process's own folder is gone


VARIANTS = {
    "adapter": ["ppo.lora_rank=2", "ppo.critic=adapter", "ppo.kl_target=0.5"],
    "without critic": ["ppo.algorithm=rloo", "ppo.responses_per_prompt=4", "ppo.old_logprobs=sampler"],
    "critic apart": ["ppo.critic=separate", "ppo.micro_batch_size=3", "ppo.rollout_batch_size=5"],
    "loss": ["ppo.kl_place=loss", "ppo.kl_estimator=k2", "ppo.loss_aggregation=sequence", "ppo.target_kl=0.01"],
    "scores": ["ppo.reward_norm=running", "ppo.whiten_rewards=true", "ppo.stop_strings=[b]", "ppo.importance_cap=2"],
}


AGAIN = {"critic apart", "loss", "scores"}
"""Variants of which `make battery` sees to it."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.battery if name in AGAIN else ()) for name in VARIANTS]
)
def test_every_kind_of_training_is_the_same_in_two_processes(config, tmp_path, name):
    words = ["ppo", config, "ppo.total_episodes=64", "ppo.learning_rate=0.005", *VARIANTS[name], "--out"]
    code, _, err = likelier_here(*words, tmp_path / name / "one")
    assert code == 0, err
    assert [code for code, _, _ in likelier_in_processes(2, tmp_path / "tmp", *words, tmp_path / name / "two")] == [
        0,
        0,
    ]
    one, two = ([line for _, line in read_jsonl(tmp_path / name / run / "metrics.jsonl")] for run in ("one", "two"))
    assert len(one) == 2
    for alone, shared in zip(one, two, strict=True):
        assert shared == {key: pytest.approx(value, abs=1e-4, rel=1e-4) for key, value in alone.items()}, name


def test_it_goes_on_to_the_same_bits(config, tmp_path):
    words = ["ppo", config, "--out", tmp_path / "whole"]
    assert [code for code, _, _ in likelier_in_processes(2, tmp_path / "tmp", *words)] == [0, 0]
    stopped = in_processes(2, stopped_after_three, config, tmp_path / "stopped", meet=False)
    assert [code for code, _ in stopped] == [75, 75]
    assert "likelier: stopped after step 3; go on with: likelier" in stopped[0][1]
    assert stopped[1][1] == ""
    again = likelier_in_processes(2, tmp_path / "tmp", "ppo", config, "--out", tmp_path / "stopped", "--resume", "auto")
    assert [code for code, _, _ in again] == [0, 0]
    assert fingerprint(tmp_path / "stopped") == fingerprint(tmp_path / "whole")


def stopped_after_three(config, folder):
    """SIGTERM reaches one process only, and the second, before the third step is over; both stop after it."""
    from likelier.rlhf import train

    make = train.make_rollout

    def make_then_signal(*given):
        rollout = make(*given)
        if os.environ["RANK"] == "1" and next(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return rollout

    steps, train.make_rollout = iter(range(9)), make_then_signal
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = main(["ppo", str(config), "--out", str(folder)])
    return code, err.getvalue()


def test_a_wrong_setting_leaves_no_folder(config, tmp_path):
    words = ["ppo", config, "ppo.num_mini_batches=32", "--out", tmp_path / "out"]
    told = likelier_in_processes(2, tmp_path / "tmp", *words)
    line = "likelier: ppo.num_mini_batches: 32 leaves minibatches of 1 rows to 2 processes; give each at least one\n"
    assert told[0] == (2, "", line)
    assert told[1][0] == 2
    assert not (tmp_path / "out").exists()


def test_a_reward_that_fails_in_the_first_process_ends_the_other(config, tmp_path):
    (tmp_path / "raises.py").write_text("def score(prompts, responses):\n    raise ValueError('no score today')\n")
    reward = f"reward=[{{function: {tmp_path}/raises.py:score}}]"
    words = ["ppo", config, reward, "--json", "--out", tmp_path / "out"]
    first, second = likelier_in_processes(2, tmp_path / "tmp", *words)
    what = f"likelier: reward function `{tmp_path}/raises.py:score` raises ValueError: no score today\n"
    assert (first, second) == ((1, "", what), (1, "", ""))
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Ten steps in two processes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    words = ["ppo", config, "ppo.total_episodes=320", "--out", folder / "run"]
    assert [code for code, _, _ in likelier_in_processes(2, folder / "tmp", *words)] == [0, 0]
    return folder / "run"


def disturbed(config, folder, disturb):
    """The same by torchrun, which starts all again where one ends; `disturb(pids by rank)` after three steps."""
    return run_disturbed(["ppo", config, "ppo.total_episodes=320", "--out", folder], folder, disturb)


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to find the processes in")


@needs_proc
@pytest.mark.battery
def test_torchrun_starts_it_again_after_a_kill(config, whole, tmp_path):
    """The real launcher: one process is killed, all are started again, and the end has the same bits."""
    err = disturbed(config, tmp_path / "run", lambda workers: os.kill(workers[1], signal.SIGKILL))
    assert "likelier: another process of this run has ended" in err or "likelier: stopped" in err
    assert fingerprint(tmp_path / "run") == fingerprint(whole)


@needs_proc
@pytest.mark.battery
@pytest.mark.parametrize("trial", range(30))
def test_kills_of_either_process_at_any_moment(config, whole, tmp_path, trial):
    chance = random.Random(trial)

    def kill(workers):
        time.sleep(chance.uniform(0.0, 1.0))
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[trial % 2], signal.SIGKILL)

    disturbed(config, tmp_path / "run", kill)
    assert fingerprint(tmp_path / "run") == fingerprint(whole)


@needs_proc
@pytest.mark.battery
@pytest.mark.parametrize("rank", [0, 1])
def test_others_wait_for_a_process_that_stands_still(config, whole, tmp_path, rank):
    def hold(workers):
        os.kill(workers[rank], signal.SIGSTOP)
        time.sleep(60.0)
        os.kill(workers[rank], signal.SIGCONT)

    assert "likelier: " not in disturbed(config, tmp_path / "run", hold)
    assert fingerprint(tmp_path / "run") == fingerprint(whole)
