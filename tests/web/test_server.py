"""Serving: on this machine only, and one line where the port is taken."""

import socket

import pytest

from likelier.errors import ConfigError, LikelierError
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
