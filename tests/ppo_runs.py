"""Small PPO runs: their reward, and a fingerprint of all that a resume must reproduce."""

import hashlib

from likelier.files import write_jsonl
from likelier.runs.checkpoints import list_checkpoints
from tiny import save_tiny_model

REWARD = """
def count_a(prompts, responses):
    return [float(response.count("a")) for response in responses]
"""


def write_world(folder):
    """Write a tiny model, the reward and six prompts."""
    save_tiny_model(folder / "model", words=["a", "b"])
    (folder / "reward.py").write_text(REWARD)
    write_jsonl(folder / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a", "a a", "b b")])
    return folder


def fingerprint(folder):
    """Hash of everything that must be the same after a resume."""
    files = [
        folder / "metrics.jsonl",
        folder / "samples.jsonl",
        *folder.glob("tokens.jsonl"),
        *sorted(list_checkpoints(folder)[0].glob("*.safetensors")),
    ]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
