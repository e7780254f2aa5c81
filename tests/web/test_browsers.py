"""Browsers that are killed, closed or offline while people judge send every answer later, once (BATTERY U1)."""

import shutil

import pytest
from browsers import run_kills

pytestmark = [pytest.mark.battery, pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")]


def test_a_killed_browser_sends_each_answer_once(tmp_path):
    result = run_kills(tmp_path, kills=200)
    print(result.describe())
    assert (result.lost, result.doubled, result.changed) == (0, 0, 0)
