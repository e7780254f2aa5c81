"""What Windows lacks is missed nowhere: the modules and signals that only POSIX has are taken away in a subprocess.

`filelock` is imported first, since it has a lock of its own on Windows; so is every other package that works there.
"""

import json
import subprocess
import sys

import pytest

TAKE_AWAY = """
import os, signal, sys
import filelock
{preload}
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "setitimer", "pthread_kill"):
    delattr(signal, name)
for name in ("setsid", "killpg", "getuid", "geteuid"):
    delattr(os, name)
"""


def run(code, preload="", **settings):
    script = TAKE_AWAY.format(preload=preload) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, **settings)


def test_the_package_and_its_help_need_nothing_that_windows_lacks():
    done = run(
        "import likelier.config, likelier.records, likelier.runs.run, likelier.runs.checkpoints, likelier.jobs\n"
        "import likelier.feedback.store, likelier.feedback.check, likelier.preferences.make, likelier.report.page\n"
        "from likelier.cli import main\n"
        "sys.exit(main(['--help']) or main(['check', '--help']))\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_a_database_is_filled_and_checked(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    done = run(
        "from likelier.cli import main\n"
        "code = main(['data', 'import', 'pairs.jsonl', '--format', 'trl', '--db', 'f.db', '--json'])\n"
        "sys.exit(code or main(['check', '--db', 'f.db', '--json']))\n",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line).get("judgements") for line in done.stdout.splitlines()] == [1, 1]


@pytest.mark.slow
def test_a_small_run_of_gym_and_its_refusal(tmp_path):
    """A run that another process holds is refused as ever; its signals and deadlines do without SIGALRM."""
    small = ["gym.num_envs=2", "gym.rollout_length=64", "gym.num_eval_episodes=2", "gym.gif=false"]
    words = ["gym", "CartPole-v1", "--steps", "256", *small, "--json", "--out", "run"]
    done = run(
        "from likelier.cli import main\n"
        "from likelier.runs.folder import make_folder, take_lock\n"
        "from pathlib import Path\n"
        f"code = main({words})\n"
        "make_folder(Path('busy')); lock = take_lock(Path('busy'))\n"
        f"print(main([*{words[:-1]}, 'busy']))\n"
        "sys.exit(code)\n",
        preload="import torch, gymnasium, safetensors.torch",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result, code = done.stdout.splitlines()
    assert json.loads(result)["steps"] == 256
    assert (code, done.stderr.splitlines()[-1]) == ("2", "likelier: busy: another process is training in this folder")


@pytest.mark.slow
def test_a_small_run_of_ppo(tmp_path):
    from tiny import save_tiny_model

    save_tiny_model(tmp_path / "model", ["the", "cat", "sat"])
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "the cat"}\n{"prompt": "the"}\n')
    (tmp_path / "reward.py").write_text(
        "def score(prompts, responses):\n    return [float(len(each)) for each in responses]\n"
    )
    (tmp_path / "ppo.yaml").write_text(
        "model: model\nprompts: prompts.jsonl\nreward: [{function: 'reward.py:score'}]\n"
        "ppo: {total_episodes: 8, batch_size: 4, response_length: 4, num_eval_prompts: 1}\n"
    )
    done = run(
        "from likelier.cli import main\nsys.exit(main(['ppo', 'ppo.yaml', '--out', 'run', '--json']))\n",
        preload="import torch, transformers, safetensors.torch, tokenizers\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert (tmp_path / "run" / "latest").read_text() == "checkpoint-2\n"
