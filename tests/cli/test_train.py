import json
import subprocess
import sys

import pytest

from likelier.files import write_jsonl
from tiny import save_tiny_model

LIMITED = """
import resource, sys
import likelier.finetune.sft, likelier.training.setup
from likelier.cli import main
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 300_000_000, resource.RLIM_INFINITY))
sys.exit(main(["sft", "c.yaml", "--out", "run", "--json"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and counts the memory of a process")
def test_a_run_that_fails_for_memory_says_what_to_change(tmp_path):
    """256 texts of 128 tokens have logits over 4,000 words: half a gigabyte, where 300 MB are left."""
    words = [f"w{number}" for number in range(4000)]
    save_tiny_model(tmp_path / "model", words=words, context=130)
    write_jsonl(tmp_path / "texts.jsonl", [{"text": " ".join(words[at : at + 126])} for at in range(300)])
    config = {"model": "model", "data": "texts.jsonl", "sft": {"batch_size": 256, "max_length": 128, "device": "cpu"}}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    done = subprocess.run([sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(
        "likelier: out of memory; change, what costs least first: sft.micro_batch_size=64, "
        "sft.gradient_checkpointing=true, sft.optimizer=adamw_8bit, sft.bf16=true, sft.lora_rank=16, "
        "sft.model_dtype=4bit, sft.max_length=64 ("
    )
