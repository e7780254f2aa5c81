"""Connections of the judging page, over real sockets: nobody can hold it up or make it read without end."""

import http.client
import json
import queue
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest
import uvicorn

from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response
from likelier.records.media import read_media
from likelier.web import connections
from likelier.web.guards import MAX_BODY_BYTES
from likelier.web.server import serve

FILM_BYTES = 30 << 20


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page that is served, with a film to judge: its address, and the path of the link that opens it."""
    started, run = queue.Queue(), uvicorn.Server.run
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: (started.put(self), run(self, sockets)))
    links = queue.Queue()
    monkeypatch.setattr("webbrowser.open", links.put)
    with Store.open(tmp_path / "feedback.db", create=True) as store:
        add_film(store, tmp_path / "film.png")
        work = {"target": serve, "args": (store,), "kwargs": {"port": 0, "open_browser": True}, "daemon": True}
        thread = threading.Thread(**work)
        thread.start()
        host, _, path = links.get(timeout=20).removeprefix("http://").partition("/")
        server = started.get(timeout=20)
        yield host, f"/{path}"
        server.should_exit = True
        thread.join(timeout=20)


def add_film(store, path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(FILM_BYTES))
    film, prompt = read_media(path), Prompt("Which?")
    pair = [Response(prompt.id, media=film), Response(prompt.id, "b")]
    with store.transaction() as writer:
        writer.add_prompts([prompt])
        writer.add_media(film, path)
        writer.add_responses(pair)
        writer.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])


def connect(host):
    name, _, port = host.partition(":")
    return socket.create_connection((name, int(port)), timeout=10)


def read_to_end(connection):
    """All that arrives until the server closes; a connection that it resets has ended too."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            received += part
    return bytes(received)


def get(host, path="/static/judge.css", **headers):
    client = http.client.HTTPConnection(host, timeout=10)
    client.request("GET", path, headers=headers)
    reply = client.getresponse()
    reply.read()
    client.close()
    return reply


def test_connections_that_stay_half_open_shut_out_nobody(page, monkeypatch):
    """Slowloris: three times as many as there may be, while nobody's time is up."""
    host, link = page
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    with ExitStack() as stack:
        held = [stack.enter_context(connect(host)) for _ in range(24)]
        for number, each in enumerate(held):
            with suppress(OSError):  # closed for a later one
                each.sendall([b"", b"GET / HT", b"POST /name HTTP/1.1\r\nContent-Length: 10\r\n\r\n1"][number % 3])
        assert get(host, link).status == 303  # a judge comes in
        assert [get(host).status for _ in range(3)] == [200] * 3
        assert read_to_end(held[0]) == b""


@pytest.mark.parametrize("sent", ["", "GET /", "{name}Content-Length: 15\r\n\r\n{{"], ids=["nothing", "head", "body"])
def test_a_request_that_is_not_whole_in_time_is_ended_however_it_drips(page, monkeypatch, sent):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.7)
    host, _ = page
    name = f"POST /name HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\n"
    with connect(host) as connection:
        start = time.monotonic()
        connection.sendall(sent.format(name=name).encode())
        for _ in range(3 if sent else 0):
            time.sleep(0.1)
            connection.sendall(b"x")
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout")
        assert json.loads(body) == {"detail": "the request was not whole after 0.7 seconds"}
        assert time.monotonic() - start < 30


CHUNKS = f"send at most {MAX_BODY_BYTES} bytes, and no chunks"
BOTH = "not an HTTP request with a head of at most 32768 bytes"


@pytest.mark.parametrize(
    ("method", "length", "status", "detail"),
    [("POST", "", 413, CHUNKS), ("GET", "", 413, CHUNKS), ("PUT", "Content-Length: 10\r\n", 400, BOTH)],
)
def test_a_body_in_chunks_does_not_pass_the_limit(page, method, length, status, detail):
    """Nor with a length, which chunks count over: so two servers can see different requests (RFC 9112, 6.3)."""
    host, _ = page
    head = (
        f"{method} /judgements HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
        f"Content-Type: application/json\r\n{length}Transfer-Encoding: chunked\r\n\r\n"
    )
    with connect(host) as connection:
        connection.sendall(head.encode())
        num_sent = 0
        with suppress(OSError):
            while num_sent < 1 << 30:
                num_sent += len(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                connection.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
        assert num_sent < 50 << 20  # what the buffers of the network hold, and no more
    with connect(host) as connection:
        connection.sendall(head.encode())
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"connection: close" in head.lower()
    assert json.loads(body) == {"detail": detail}


@pytest.mark.parametrize("sent", ["no HTTP\r\n\r\n", "GET / HTTP/1.1\r\nCookie: {long}\r\n\r\n", "GET /{long}{long}"])
def test_what_is_no_request_or_has_too_long_a_head_is_refused(page, sent):
    with connect(page[0]) as connection:
        connection.sendall(sent.format(long="x" * connections.MAX_HEAD_BYTES).encode())
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(body) == {"detail": "not an HTTP request with a head of at most 32768 bytes"}


def test_requests_that_are_sent_at_once_are_answered_in_their_order(page):
    host, link = page
    with connect(host) as connection:
        paths = (link, "/static/none", "/static/judge.css")
        connection.sendall("".join(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n" for path in paths[:2]).encode())
        connection.sendall(f"GET {paths[2]} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        statuses = [part[:3] for part in read_to_end(connection).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"303", b"404", b"200"]


def test_a_long_body_of_a_foreign_request_is_not_read(page):
    with connect(page[0]) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 403 " in read_to_end(connection)  # and the connection is closed


def test_an_answer_that_nobody_reads_on_is_ended(page, monkeypatch):
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.2)
    host, link = page
    cookie = get(host, link).headers["set-cookie"].partition(";")[0]
    client = http.client.HTTPConnection(host, timeout=10)
    client.request(
        "POST",
        "/name",
        '{"name": "Ann"}',
        {"cookie": cookie, "origin": f"http://{host}"} | {"content-type": "application/json"},
    )
    reply = client.getresponse()
    cookie = reply.headers["set-cookie"].partition(";")[0]  # of the session; the one before held the link
    media = json.loads(reply.read())["shown"]["media"]
    ((_, film),) = media.items()
    with connect(host) as connection:
        connection.sendall(f"GET {film['url']} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n".encode())
        time.sleep(0.6)
        assert 0 < len(read_to_end(connection)) < FILM_BYTES
    client.close()
