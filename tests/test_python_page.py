"""docs/python.md: its blocks, run one after the other in a folder with a tiny model."""

import re
from pathlib import Path

import pytest

from likelier.files import write_jsonl
from likelier.records import Preference
from tiny import save_tiny_model

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "my-model", words=["a", "b"])
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in ("a", "b", "a b", "b a") * 5])
    write_jsonl(tmp_path / "texts.jsonl", [{"text": "a b a b"}] * 16)
    pairs = [Preference("a", chosen="a b", rejected="b", comparison=str(at), conversation=str(at)) for at in range(8)]
    for part in ("train", "valid", "test"):
        write_jsonl(tmp_path / f"preferences/{part}.jsonl", pairs)
    assert len(BLOCKS) >= 8
    names = {"__name__": "__main__"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/python.md, block {number + 1}", "exec"), names)
    assert "train_gym: an environment gives its own rewards; leave out reward" in capsys.readouterr().out
    config = (tmp_path / "runs/my-ppo/config.yaml").read_text(encoding="utf-8")
    assert "function: python callable __main__.mentions_b" in config


def test_blocks_are_short():
    assert max(len([line for line in block.splitlines() if line.strip()]) for block in BLOCKS) <= 10
