"""The power fails under `likelier serve`: every answer that was acknowledged is there (BATTERY D3)."""

import shutil

import pytest
from power_loss import run

pytestmark = [pytest.mark.battery, pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")]


@pytest.mark.parametrize("control", ["", "normal", "off"])
def test_a_power_loss_takes_no_acknowledged_answer(tmp_path, control):
    result = run(tmp_path, images=500 if not control else 60, answers=400, clients=4, control=control)
    print(result.describe(), *result.faults[:3], sep="\n")
    assert result.differing > result.images / 4  # otherwise nothing was taken from the images
    if control:
        assert result.lost > 0  # a database that flushes less: the test sees that
    else:
        assert (result.lost, result.corrupt) == (0, 0)
