"""HTTP connections that nobody can hold open for others: a request arrives in time, and there are so many at once."""

import asyncio
import itertools
import json
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

REQUEST_SECONDS = 10.0
"""How long a browser may take to send a request, head and body: ours are of some hundred bytes."""
STALLED_SECONDS = 60.0
"""How long a browser may leave an answer unread, as with a film that it does not play on."""
MAX_CONNECTIONS = 200
"""How many may be open at once. A browser holds up to six; a process may open 256 files or more."""
MAX_HEAD_BYTES = 32_768
"""Of a request's first line and headers; ours have one or two thousand."""
REASONS = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


IN_ORDER: "WeakKeyDictionary[ServerState, dict[Connection, None]]" = WeakKeyDictionary()
"""Each server's open connections, the oldest first."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which by itself waits without end for a request, and for an answer to be read.

    It parses by llhttp, as Node.js does, which is much faster than h11 and sets no limit to a head by itself.

    With `MAX_CONNECTIONS` open, a newcomer closes the oldest one that only waits for its other side: whoever holds
    connections open without asking anything (slowloris) shuts out nobody.
    """

    deadline: asyncio.TimerHandle | None = None
    is_reading = True
    """False from the end of a request to the end of its answer."""
    has_head = False
    num_head_bytes = 0
    """That have arrived of a request, of those whose head is not whole yet."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close another connection if there are too many, and wait for the first request."""
        super().connection_made(transport)
        self.in_order = IN_ORDER.setdefault(self.server_state, {})
        self.in_order[self] = None
        if len(self.connections) > MAX_CONNECTIONS and not self.close_oldest():
            self.refuse(503, f"{MAX_CONNECTIONS} requests are being answered; try again")
        self.set_deadline(REQUEST_SECONDS)

    def close_oldest(self) -> bool:
        """Close the oldest other connection that only waits for its other side. False: there is none."""
        oldest = next((each for each in self.in_order if each is not self and each.is_waiting()), None)
        if oldest:
            oldest.transport.abort()
            oldest.forget()  # it is lost a moment later; until then it would be chosen again
        return oldest is not None

    def forget(self) -> None:
        """Count the connection no more."""
        self.connections.discard(self)
        self.in_order.pop(self, None)

    def is_waiting(self) -> bool:
        """True while a request is not whole yet, or its answer is not read."""
        return self.is_reading or bool(self.flow.write_paused)

    def data_received(self, data: bytes) -> None:
        """Read on; a request that has begun must be whole in time, however slowly its bytes drip in."""
        self.num_head_bytes += len(data)
        super().data_received(data)
        if not self.is_reading:
            self.clear_deadline()
        elif not self.has_head and self.num_head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("")
        elif self.deadline is None:
            self.set_deadline(REQUEST_SECONDS)

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        super().on_message_begin()
        self.is_reading = True

    def on_headers_complete(self) -> None:
        """Answer a request. ValueError, which becomes an error 400: its head is too long."""
        if self.num_head_bytes > MAX_HEAD_BYTES and self.measure_head() > MAX_HEAD_BYTES:  # not only with its body
            raise ValueError("too long")
        self.has_head = True
        super().on_headers_complete()

    def measure_head(self) -> int:
        """Count the bytes of a request's address and headers."""
        return len(self.url) + sum(map(len, itertools.chain.from_iterable(self.headers)))

    def on_message_complete(self) -> None:
        """End a request."""
        super().on_message_complete()
        self.is_reading = self.has_head = False
        self.num_head_bytes = 0

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is there already."""
        self.is_reading = self.is_reading or not self.pipeline
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that this is no request, or one with too long a head."""
        self.refuse(400, f"not an HTTP request with a head of at most {MAX_HEAD_BYTES} bytes")

    def pause_writing(self) -> None:
        """Wait until the other side reads on, but not for ever."""
        super().pause_writing()
        self.set_deadline(STALLED_SECONDS)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self.clear_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.clear_deadline()
        self.forget()
        super().connection_lost(exc)

    def set_deadline(self, seconds: float) -> None:
        """Close the connection after some seconds, unless the deadline is cleared before."""
        self.clear_deadline()
        self.deadline = self.loop.call_later(seconds, self.give_up)

    def clear_deadline(self) -> None:
        """Let the connection live."""
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None

    def give_up(self) -> None:
        """Close the connection; say why unless an answer has begun."""
        if self.cycle and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
        else:
            self.refuse(408, f"the request was not whole after {REQUEST_SECONDS:g} seconds")

    def refuse(self, status: int, detail: str) -> None:
        """Send an error in the shape that all have, and close the connection."""
        if self.transport.is_closing():
            return
        body = json.dumps({"detail": detail})
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii"))
        self.transport.close()
