"""The server is killed under load and started again: every outbox is emptied, nothing is lost (BATTERY L5)."""

import pytest
from restart import run


@pytest.mark.battery
def test_outboxes_are_emptied_after_a_restart_under_load(tmp_path):
    result = run(tmp_path, people=100, interval=1.0, restarts=5)
    print(result.describe())
    assert (result.lost, result.doubled) == (0, 0)
    assert min(result.waiting) > 0
