"""Running the judging page on this machine."""

import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable

import uvicorn

from likelier.errors import ConfigError, LikelierError
from likelier.feedback.store import Store
from likelier.web.app import LOOPBACK, Guesser, create_app


def serve(
    store: Store,
    host: str = "127.0.0.1",
    port: int = 8000,
    open_browser: bool = False,
    wanted: int | None = None,
    per_comparison: int | None = None,
    guesser: Guesser | None = None,
) -> int:
    """Serve the page until Ctrl-C, or until there are `wanted` new judgements; returns how many there are.

    ConfigError: an address other people can reach (there are no accounts yet). LikelierError: the port is taken.
    """
    if host not in LOOPBACK:
        raise ConfigError(f"--host {host}: the page has no accounts yet, so it listens on 127.0.0.1 only")
    app = create_app(store, guesser, wanted, per_comparison)
    listener = listen(host, port)
    link = f"http://{host}:{listener.getsockname()[1]}/?token={app.state.room.token}"
    print(f"judge here: {link}", file=sys.stderr, flush=True)
    if open_browser:
        webbrowser.open(link)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=75))
    if wanted is not None:
        threading.Thread(target=stop_when_finished, args=(server, app.state.room.finished), daemon=True).start()
    server.run(sockets=[listener])
    return int(app.state.room.judged())


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. LikelierError: the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise LikelierError(f"port {port}: {error.strerror}; give another --port, or 0 for a free one") from error
    return listener


def stop_when_finished(server: uvicorn.Server, finished: Callable[[], bool]) -> None:
    while not finished():
        time.sleep(0.2)
    time.sleep(1.0)  # the page shows that it is done
    server.should_exit = True
