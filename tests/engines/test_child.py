"""What a process beside this one is given of its threads and its environment. test_process.py shows how it ends."""

import gc

import torch

from likelier.engines.child import copy_environment, divide_threads


class Sampler:
    """Whatever draws."""


def test_both_have_half_of_the_threads_for_as_long_as_both_are_there():
    before = torch.get_num_threads()
    try:
        for threads, ours, theirs in ((1, 1, 1), (2, 1, 1), (5, 3, 2)):
            torch.set_num_threads(threads)
            sampler = Sampler()
            assert divide_threads(sampler, torch.device("cpu")) == theirs
            assert torch.get_num_threads() == ours
            del sampler
            gc.collect()
            assert torch.get_num_threads() == threads
        assert divide_threads(Sampler(), torch.device("cuda")) is None
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


def test_another_process_is_none_of_torchruns(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "LEFT_OUT", "KEPT"):
        monkeypatch.setenv(name, "1")
    environment = copy_environment(["LEFT_OUT"], "3", 2)
    assert environment.keys().isdisjoint({"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "LEFT_OUT"})
    assert (environment["KEPT"], environment["CUDA_VISIBLE_DEVICES"], environment["OMP_NUM_THREADS"]) == ("1", "3", "2")
