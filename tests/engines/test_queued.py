"""An engine whose calls wait in a queue."""

import threading

import pytest
import torch

from likelier.engines.queued import QueuedEngine


class SlowEngine:
    """Makes each call once it is let; `generate` returns what was loaded before."""

    def __init__(self):
        self.may_go, self.weights, self.adapter = threading.Event(), {}, None

    def load_weights(self, weights):
        self.may_go.wait()
        self.weights = dict(weights)

    def load_adapter(self, folder):
        self.adapter = folder

    def generate(self, prompts, seeds, settings):
        if settings.get("refuse"):
            raise RuntimeError(settings["refuse"])
        return [(self.weights["w"].item(), self.adapter, prompt) for prompt in prompts]


def test_calls_return_at_once_and_see_what_was_loaded_before_them():
    engine, weight = SlowEngine(), torch.tensor(1.0)
    queued = QueuedEngine(engine)
    waits = []
    for version in (1.0, 2.0):
        weight.fill_(version)
        queued.load_weights(iter([("w", weight)]))
        queued.load_adapter(f"adapter {version}")
        waits.append(queued.ask([[7]], [0], {}))
    weight.fill_(3.0)  # the trainer goes on while nothing is loaded yet
    engine.may_go.set()
    assert [wait() for wait in waits] == [[(1.0, "adapter 1.0", [7])], [(2.0, "adapter 2.0", [7])]]
    assert queued.generate([[8]], [0], {}) == [(2.0, "adapter 2.0", [8])]


def test_nothing_is_drawn_behind_a_call_that_failed():
    engine = SlowEngine()
    engine.may_go.set()
    queued = QueuedEngine(engine)
    queued.load_weights([("w", torch.tensor(1.0))])
    first, second = queued.ask([[1]], [0], {"refuse": "no room"}), queued.ask([[1]], [0], {})
    for wait in (first, second, second):
        with pytest.raises(RuntimeError, match="no room"):
            wait()
