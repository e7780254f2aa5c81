"""Messages with tensors over a socket."""

import contextlib
import os
import socket

import pytest
import torch

from likelier.engines.messages import receive, send


@pytest.fixture
def ends():
    with contextlib.ExitStack() as stack:
        yield tuple(stack.enter_context(end) for end in socket.socketpair())


def test_messages_come_whole_and_in_order_and_leave_no_open_file(ends):
    ours, theirs = ends
    before = len(os.listdir("/dev/fd"))
    given = {"a": torch.arange(6.0).view(2, 3).t(), "drawn": torch.tensor([[True, False]])}
    send(ours, {"call": "sample", "prompts": ["é\n", [{"role": "user", "content": "x"}]]}, given)
    send(ours, {"call": "end"})
    # Larger than what a socket holds: whoever sends does not wait until it is read.
    send(ours, {}, {"weights": torch.full((1 << 20,), 0.1, dtype=torch.float64)})
    ours.shutdown(socket.SHUT_WR)
    first, second, third = (receive(theirs) for _ in range(3))
    assert first.words == {"call": "sample", "prompts": ["é\n", [{"role": "user", "content": "x"}]]}
    assert first.tensors.keys() == given.keys()
    assert all(torch.equal(first.tensors[name], tensor) for name, tensor in given.items())
    assert (second.words, second.tensors) == ({"call": "end"}, {})
    assert third.tensors["weights"].eq(0.1).all()
    assert receive(theirs) is None
    assert len(os.listdir("/dev/fd")) == before


def test_nobody_reads(ends):
    ours, theirs = ends
    theirs.close()
    with pytest.raises(OSError, match="Broken pipe"):
        send(ours, {"call": "sample"})
