"""Every answer that was acknowledged is there, once, whatever was killed (BATTERY D1, D2)."""

import pytest
from cluster import find_programs
from kills import run_kills
from kills_postgresql import run_postgresql_kills

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("kills", "clients", "warm"),
    [
        (5, 4, True),
        pytest.param(1000, 8, True, marks=pytest.mark.battery),
        pytest.param(30, 2, False, marks=pytest.mark.battery),
    ],
)
def test_a_killed_server_loses_nothing_and_doubles_nothing(tmp_path, kills, clients, warm):
    result = run_kills(tmp_path, kills, clients, warm=warm)
    print(result.describe())
    assert result.is_clean, result.describe()
    assert result.acknowledged > kills


@pytest.mark.parametrize("kills", [1, pytest.param(300, marks=pytest.mark.battery)])
def test_a_killed_server_backend_or_postgresql_loses_nothing_and_doubles_nothing(tmp_path, kills):
    pytest.importorskip("psycopg")
    if find_programs() is None:
        pytest.skip("no PostgreSQL here: initdb was not found")
    result = run_postgresql_kills(tmp_path, kills, clients=4)
    print(result.describe())
    assert result.is_clean, result.describe()
    assert result.acknowledged > kills
