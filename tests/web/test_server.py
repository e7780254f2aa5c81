"""Serving: on this machine only, and one line where the port is taken."""

import os
import socket

import pytest
import uvicorn

from likelier.errors import ConfigError, LikelierError
from likelier.feedback import database
from likelier.feedback.store import Store
from likelier.web.server import listen, serve


def test_a_taken_port_is_one_line():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(LikelierError, match=f"port {port}: Address already in use; give another --port") as caught:
            listen("127.0.0.1", port)
    assert "\n" not in str(caught.value)


def test_who_follows_the_link_before_the_server_is_ready_waits_for_it():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), timeout=1) as visitor:
        assert visitor.getpeername() == listener.getsockname()


def test_the_server_listens_on_loopback_only(tmp_path):
    with (
        Store.open(tmp_path / "feedback.db", create=True) as store,
        pytest.raises(ConfigError, match="no accounts yet"),
    ):
        serve(store, host="0.0.0.0", port=0)


def test_the_socket_is_of_this_machine():
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_the_server_has_the_database_before_anybody_answers(tmp_path, monkeypatch):
    """Two servers could open on one database, and an import slip in beside one, until the first answer."""
    monkeypatch.setattr(database, "WAIT_FOR_SERVER_SECONDS", 0.1)
    seen = []

    def run(server, sockets):
        with Store.open(tmp_path / "feedback.db") as other, pytest.raises(LikelierError) as caught:
            serve(other, port=0)
        with sockets[0]:
            seen.append((f"http://127.0.0.1:{sockets[0].getsockname()[1]}", str(caught.value)))

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with Store.open(tmp_path / "feedback.db", create=True) as store:
        serve(store, port=0)
    ((address, message),) = seen
    assert f"in use by process {os.getpid()}, serving it at {address}; stop it first" in message
