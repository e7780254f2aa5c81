"""`import likelier` is light, and offers the Python interface lazily."""

import subprocess
import sys

import pytest

import likelier


def test_importing_likelier_loads_no_torch():
    heavy = "print([name for name in ('torch', 'transformers', 'pydantic', 'numpy') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, likelier; {heavy}"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_names_of_the_interface_are_there_and_callable():
    assert likelier.__all__ == ["load", "train_dpo", "train_gym", "train_ppo", "train_reward", "train_sft"]
    assert all(callable(getattr(likelier, name)) for name in likelier.__all__)
    assert set(likelier.__all__) <= set(dir(likelier))


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'likelier' has no attribute 'train_pppo'"):
        likelier.train_pppo  # noqa: B018
