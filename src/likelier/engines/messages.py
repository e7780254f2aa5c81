"""Messages with tensors between two processes, over a socket that holds no more of them than a number.

A message is a memory of no name: tensors, then a line of JSON. The socket carries the memory's number and two sizes,
so that whoever sends goes on at once, however busy the other process is.
"""

import contextlib
import json
import mmap
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from likelier.engines.weights import SharedMemory, write_all
from likelier.engines.worker import read_weights

SIZES = struct.Struct("!QQ")
"""Bytes of the tensors, and of the line behind them."""


class Message(NamedTuple):
    """A message from one process to another."""

    words: dict[str, Any]
    tensors: dict[str, Tensor]


def send(connection: socket.socket, words: Mapping[str, Any], tensors: Mapping[str, Tensor] = {}) -> None:
    """Send a message. OSError: nobody reads."""
    with contextlib.closing(SharedMemory()) as memory:
        written = memory.write(tensors.items())
        line = json.dumps({"words": words, "layout": written["layout"]}).encode()
        write_all(memory.number, memoryview(line), written["size"])
        socket.send_fds(connection, [SIZES.pack(written["size"], len(line))], [memory.number])


def receive(connection: socket.socket) -> Message | None:
    """Return the next message; None if there will be none. OSError: the connection is broken."""
    data, numbers, _, _ = socket.recv_fds(connection, SIZES.size, 1)
    if len(data) < SIZES.size or not numbers:
        return None
    try:
        size, length = SIZES.unpack(data)
        with contextlib.closing(mmap.mmap(numbers[0], size + length, prot=mmap.PROT_READ)) as memory:
            content = json.loads(memory[size:])
        return Message(content["words"], dict(read_weights(numbers[0], size, content["layout"])))
    finally:
        for number in numbers:
            os.close(number)
