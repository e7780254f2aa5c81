"""Memory of each process of a PPO run, with whole and with sharded weights.

    python bench/shards.py [processes ...]

A Llama of 31 million parameters from a config, critic of its own, two iterations on a CPU. `held`: resident memory
behind the update, above that of the process before its models; `most`: the peak in an iteration, above the same.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MB = 1 << 20
ARCHITECTURE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8}


def main() -> None:
    """Run one process, and several with and without `shard`; print a line for each."""
    sizes = list(map(int, sys.argv[1:])) or [1, 2, 3]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder)
        for size, shard in [(size, shard) for size in sizes for shard in (False, True) if size > 1 or not shard]:
            launcher = [
                Path(sys.executable).with_name("torchrun"),
                f"--nproc-per-node={size}",
                __file__,
                "worker",
                name,
            ]
            result = subprocess.run([*launcher, str(int(shard))], capture_output=True, text=True)
            found = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
            assert len(found) == size, result.stderr
            most = {key: max(each[key] for each in found) // MB for key in found[0]}
            print(
                f"{size} processes, {'sharded' if shard else 'whole'}: held {most['held']} MB, most {most['most']} MB"
            )


def write_world(folder: Path) -> None:
    """Write a model with a tokenizer of characters, prompts, and a reward."""
    from likelier.finetune.from_scratch import new_causal_lm, new_tokenizer
    from likelier.text.models import save_model

    tokenizer = new_tokenizer("words", [" ".join(f"w{number}" for number in range(4000))], 4096)
    save_model(
        folder / "model", new_causal_lm({"model_type": "llama", **ARCHITECTURE}, tokenizer, 0), tokenizer, "a bench's"
    )
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"w{n} w1 w2"}) + "\n" for n in range(30)))
    (folder / "reward.py").write_text("def score(prompts, responses):\n    return [float(len(r)) for r in responses]\n")


def work(folder: Path, shard: bool) -> None:
    """Train in one of the processes, and print what it held."""
    from likelier.config import build_config
    from likelier.rlhf import train
    from likelier.rlhf.responses import ResponseQueue
    from likelier.runs.shared import train_stage

    found = {"before": resident()}
    ppo = {"batch_size": 12, "num_mini_batches": 2, "total_episodes": 24, "response_length": 8, "micro_batch_size": 2}
    ppo |= {"device": "cpu", "num_eval_prompts": 6, "shard": shard, "save_steps": 99}
    config = {"model": str(folder / "model"), "prompts": str(folder / "prompts.jsonl"), "ppo": ppo}
    config["reward"] = [{"function": f"{folder / 'reward.py'}:score"}]
    take, update = ResponseQueue.take, train.ppo_update

    def take_from_here(*given: object) -> object:
        Path("/proc/self/clear_refs").write_text("5")  # the peak from now on
        return take(*given)  # type: ignore[arg-type]

    def update_and_look(*given: object) -> object:
        result = update(*given)  # type: ignore[arg-type]
        found["held"], found["most"] = resident() - found["before"], peak() - found["before"]
        return result

    ResponseQueue.take, train.ppo_update = take_from_here, update_and_look  # type: ignore[method-assign, assignment]
    train_stage("ppo", build_config(config), folder / f"run-{os.environ['WORLD_SIZE']}-{shard}", "never")
    print(json.dumps(found), flush=True)


def resident() -> int:
    """Return the resident bytes of this process."""
    return read_status("VmRSS")


def peak() -> int:
    """Return the most resident bytes of this process since the last reset."""
    return read_status("VmHWM")


def read_status(name: str) -> int:
    """Return a number of bytes from Linux's status of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(Path(sys.argv[2]), sys.argv[3] == "1")
    else:
        main()
