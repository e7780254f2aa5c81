import pytest

from likelier.errors import ConfigError
from likelier.plan.machine import GPUS, Rates, find_machine, match_gpu
from likelier.plan.trace import Operation


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("h100", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("A100", "A100-80GB"),
        ("a100-40gb", "A100-40GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("NVIDIA RTX A6000", "A6000"),
        ("banana", None),
    ],
)
def test_names_of_gpus(name, row):
    assert match_gpu(name) == row


def test_every_row_is_found_by_its_own_name():
    assert [match_gpu(name) for name in GPUS] == list(GPUS)


def test_a_size_gives_memory_alone():
    machine = find_machine("24GB", 2, calibrate=True)
    assert (machine.memory, machine.rates, machine.count, machine.is_cpu) == (24 * 10**9, None, 2, False)


def test_an_unknown_gpu_names_the_nearest():
    with pytest.raises(ConfigError, match="no GPU called 'H1000'; did you mean H100"):
        find_machine("H1000", 1, calibrate=False)


def test_an_operation_takes_as_long_as_its_arithmetic_or_its_memory():
    rates = Rates(bandwidth=100.0, single=10.0, half=20.0, thin=1.0, kernel=0.5)
    work = {Operation(40, 100, False): 2, Operation(40, 100, True): 1, Operation(0, 300, False): 1}
    assert rates.time(work) == 2 * 4.5 + 2.5 + 3.5
    assert rates.scale(0.5).time(work) == 2 * (2 * 4.5 + 2.5 + 3.5)


def test_no_calibration_no_times():
    machine = find_machine(None, 1, calibrate=False)
    assert machine.rates is None
    assert machine.memory > 10**8
