"""Runs the judging page on this machine."""

import socket
import webbrowser
from collections.abc import Collection

import uvicorn

from likelier.errors import ConfigError, LikelierError, Stopped, Terminated
from likelier.feedback.store import Store
from likelier.terminal import print_stderr
from likelier.web.app import Guesser, create_app
from likelier.web.connections import Connection
from likelier.web.guards import LOOPBACK


def serve(
    store: Store,
    host: str = "127.0.0.1",
    port: int = 8000,
    open_browser: bool = False,
    wanted: int | None = None,
    per_comparison: int | None = None,
    guesser: Guesser | None = None,
    only: Collection[str] | None = None,
) -> int:
    """Serve the page until Ctrl-C, or until there are `wanted` new judgements; returns how many there are.

    With `only`, ids of comparisons, serve until `per_comparison` different people have judged each of these. A link is
    printed on stderr; it works once, and then a new one for the next person is printed.
    ConfigError: an address that other machines can reach (there are no accounts yet). LikelierError: the port is taken,
    or another process has the database.
    Stopped: SIGTERM after there were judgements.
    """
    if host not in LOOPBACK:
        raise ConfigError(f"--host {host}: the page has no accounts yet, so it listens on 127.0.0.1 only")
    store.prepare_to_write()  # now and not at the first answer: two servers would show everybody the same questions
    listener = listen(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    store.show_address(address)
    app = create_app(store, guesser, wanted, per_comparison, only)
    room = app.state.room
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        proxy_headers=False,
        server_header=False,
    )
    server = uvicorn.Server(config)
    room.announce = lambda token: print_stderr(f"for another person: {address}/?token={token}")
    room.when_finished = lambda: setattr(server, "should_exit", True)
    print_stderr(f"judge here: {address}/?token={room.token}")
    if open_browser:
        webbrowser.open(f"{address}/?token={room.token}")
    try:
        server.run(sockets=[listener])
    except Terminated as error:
        if stored := store.counts()["judgements"] - room.num_before:
            count = "1 judgement is" if stored == 1 else f"{stored} judgements are"
            raise Stopped(f"stopped by SIGTERM; {count} stored in {store.name}") from error
        raise
    return int(room.count_judged())


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket, so that a browser that follows the link at once waits instead of failing.

    LikelierError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise LikelierError(f"port {port}: {error.strerror}; give another --port, or 0 for a free one") from error
    return listener
