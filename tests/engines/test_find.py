import sys

import pytest
import torch

from likelier.engines import find
from likelier.engines.find import find_engine_python, find_gpu, find_sampler_gpu
from likelier.errors import ConfigError


def test_where_vllm_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "own" / ".venv"))
    with pytest.raises(ConfigError, match=r"sampler: vllm: is not installed here, and there is no \.venv-vllm: pip"):
        find_engine_python(None)
    for folder in (tmp_path / "own", tmp_path):  # beside the own environment; before it here
        python = folder / ".venv-vllm" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch()
        assert find_engine_python(None) == python
    other = tmp_path / "other" / "bin" / "python"
    other.parent.mkdir(parents=True)
    other.touch()
    assert find_engine_python(str(tmp_path / "other")) == find_engine_python(str(other)) == other
    with pytest.raises(ConfigError, match="engine_python: nowhere/python: no such file"):
        find_engine_python("nowhere/python")
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: name)
    assert find_engine_python(None) is None


def test_a_sampler_draws_on_a_gpu_on_which_nobody_trains(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert find_gpu(cpu) is find_sampler_gpu(cpu) is None
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert (find_gpu(gpu), find_sampler_gpu(gpu)) == ("1", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert (find_gpu(gpu), find_sampler_gpu(gpu)) == ("5", "7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)  # one for each process, and one left for two samplers
    assert find_sampler_gpu(gpu) == "5"
    assert find_gpu(torch.device("cuda:0")) == "4"
