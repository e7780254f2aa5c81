"""Model folders that are refused before anything in them is used."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from likelier.errors import DataError
from likelier.text.model_folder_check import check_model_folder, is_hub_reachable
from likelier.text.models import load_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The smallest folder that passes."""
    write_config(tmp_path, {"model_type": "llama"})
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    check_model_folder(tmp_path)
    return tmp_path


def test_more_layers_than_the_weights_can_fill_are_refused(folder: Path) -> None:
    write_config(folder, {"model_type": "llama", "num_hidden_layers": 10})
    check_model_folder(folder)
    for layers in (10**12, -1):
        write_config(folder, {"model_type": "llama", "num_hidden_layers": layers})
        refused(folder, f"`num_hidden_layers` is {layers}, the weights hold 1 tensors")


def write_config(folder: Path, config: object, name: str = "config.json") -> None:
    (folder / name).write_text(json.dumps(config))


def write_header(folder: Path, header: dict[str, object], data: bytes) -> None:
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(DataError, match=f"^[^\n]*{reason}[^\n]*$"):
        check_model_folder(folder)


def test_code_is_refused_at_any_depth(folder: Path) -> None:
    write_config(folder, {"model_type": "llama", "text_config": {"auto_map": {"AutoModel": "x.Y"}}})
    refused(folder, "config.json: `auto_map` asks to run code")
    write_config(folder, {"model_type": "llama"})
    write_config(folder, {"auto_map": {"AutoTokenizer": ["x.Y", None]}}, "tokenizer_config.json")
    refused(folder, "tokenizer_config.json: `auto_map` asks to run code")


def test_kernels_from_a_hub_are_refused(folder: Path) -> None:
    write_config(folder, {"model_type": "llama", "_attn_implementation": "somebody/kernel"})
    refused(folder, "asks for kernels from a hub")


def test_configs_that_are_missing_or_broken(folder: Path) -> None:
    for text, reason in (("{", "broken JSON"), ("[]", "expected a JSON object, got list"), ("{}", "no `model_type`")):
        (folder / "config.json").write_text(text)
        refused(folder, reason)
    (folder / "config.json").write_text("[" * 100_000)
    refused(folder, "broken JSON")
    (folder / "config.json").write_text(" " * 10_000_001)
    refused(folder, "too large for a config")
    (folder / "config.json").unlink()
    refused(folder, "no config.json")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt"])
def test_pickles_alone_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    check_model_folder(folder)  # beside safetensors they are never touched
    (folder / "model.safetensors").unlink()
    refused(folder, f"weights only as {name}, which can run code")


def test_missing_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "no model.safetensors")


def test_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = "model.safetensors.index.json"
    write_config(folder, {"weight_map": {"a": "model-1.safetensors"}}, index)
    check_model_folder(folder)
    write_config(folder, {"weight_map": {"a": "model-2.safetensors"}}, index)
    refused(folder, "model-2.safetensors: missing")
    write_config(folder, {"weight_map": {"a": "../model-1.safetensors"}}, index)
    refused(folder, "lies outside of the folder")
    write_config(folder, {}, index)
    refused(folder, "no `weight_map`")


def tensor(start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


def test_headers_that_lie_are_refused(folder: Path) -> None:
    write_header(folder, {"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12))
    refused(folder, "not sound safetensors")
    write_header(folder, {"a": tensor(0, 8)}, bytes(4))
    refused(folder, "not sound safetensors")
    write_header(folder, {"a": tensor(0, 8)}, bytes(12))
    refused(folder, "not sound safetensors")
    write_header(folder, {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, bytes(8))
    refused(folder, "not sound safetensors")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    refused(folder, "not sound safetensors")
    (folder / "model.safetensors").write_bytes(b"")
    refused(folder, "not sound safetensors")
    write_header(folder, {}, b"")
    refused(folder, "holds no tensors")


def test_a_name_beside_other_folders_is_a_folder_not_a_hub_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking the hub for a misspelt runs/ppo-2 would take half a minute without a network, and name it to strangers."""
    monkeypatch.chdir(tmp_path)
    check_model_folder("runs/ppo-2")
    (tmp_path / "runs" / "ppo-1").mkdir(parents=True)
    with pytest.raises(DataError, match="runs/ppo-2: no such model folder"):
        check_model_folder("runs/ppo-2")


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A free port, where the hub is looked for."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = int(taken.getsockname()[1])
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{found}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    is_hub_reachable.cache_clear()
    yield found
    is_hub_reachable.cache_clear()


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *args: object) -> None: ...


def test_a_hub_that_answers_anything_is_there(port: int) -> None:
    with HTTPServer(("127.0.0.1", port), NotFound) as server:
        threading.Thread(target=server.handle_request).start()
        assert is_hub_reachable()


def test_a_hub_that_does_not_answer_is_not_asked_again_and_again(port: int) -> None:
    """Without a network its client tries for a minute before it says that a misspelt name is not there."""
    began = time.monotonic()
    with pytest.raises(DataError, match="^gpt2-misspelt: [^\n]*no such folder[^\n]*the hub does not answer"):
        load_tokenizer("gpt2-misspelt")
    assert time.monotonic() - began < 30


def test_hub_names_pass_and_missing_folders_do_not(tmp_path: Path) -> None:
    check_model_folder("openai-community/gpt2")
    check_model_folder("gpt2")
    for path in (tmp_path / "absent", "./gpt2", "a/b/c", "~/model"):
        with pytest.raises(DataError, match="no such model folder"):
            check_model_folder(path)
