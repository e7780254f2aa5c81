"""Small PPO runs: their reward, and a fingerprint of all that a resume must reproduce."""

import hashlib

from likelier.runs.checkpoints import list_checkpoints

REWARD = """
def count_a(prompts, responses):
    return [float(response.count("a")) for response in responses]
"""


def fingerprint(folder):
    """Hash of everything that must be the same after a resume."""
    files = [
        folder / "metrics.jsonl",
        folder / "samples.jsonl",
        *folder.glob("tokens.jsonl"),
        *sorted(list_checkpoints(folder)[0].glob("*.safetensors")),
    ]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
