import sys

import pytest

from likelier.engines import find
from likelier.engines.find import find_engine_python
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
