"""Reward services: what is asked and answered, and one line for each way a service can go wrong."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.error import HTTPError

import pytest

from batches import batch_of
from likelier.errors import ConfigError, LikelierError
from likelier.reward import service as service_module
from likelier.reward.service import http_source
from likelier.services import post as post_module
from likelier.services.post import post, read_wait


@pytest.fixture
def service() -> Iterator[tuple[str, list[object]]]:
    """A reward service that gives each answer in turn; the last one for ever."""
    answers: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            if body == "length":
                body = {"scores": [len(text) for text in asked["responses"]]}
            elif body == "columns":
                body = {"scores": asked["columns"]["points"]}
            elif body == "keys":
                body = {"scores": [len(asked)] * len(asked["responses"])}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", answers
        server.shutdown()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits between retries are counted, not waited."""
    waited: list[float] = []
    monkeypatch.setattr(post_module.time, "sleep", waited.append)
    return waited


def test_a_service(service: tuple[str, list[object]]):
    address, answers = service
    answers.append("length")
    scores = http_source(address)(batch_of(["p", [{"role": "user", "content": "hi"}]], ["abc", "é"]))
    assert scores.values.tolist() == [3.0, 1.0]
    assert scores.scored.tolist() == [True, True]


def test_a_service_is_sent_the_columns_only_where_there_are_any(service: tuple[str, list[object]]):
    address, answers = service
    answers.append("columns")
    with_columns = batch_of(["p", "q"], ["abc", "d"], reference=["abc", None], points=[2, 3])
    assert http_source(address)(with_columns).values.tolist() == [2.0, 3.0]
    answers[:] = ["keys"]
    assert http_source(address)(batch_of(["p", "q"], ["abc", "d"])).values.tolist() == [2.0, 2.0]
    assert http_source(address)(with_columns).values.tolist() == [3.0, 3.0]


def test_a_service_is_asked_again_three_times(service: tuple[str, list[object]], at_once: list[float]):
    address, answers = service
    answers.extend([(500, {}), (200, b"no JSON"), (503, {}), "length"])
    assert http_source(address)(batch_of(["p"], ["abc"])).values.tolist() == [3.0]
    assert len(at_once) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {}), "500"),
        (b"<html>", "JSONDecodeError"),
        ({"score": [1.0]}, "the answer has no `scores`"),
        ([1.0], "the answer has no `scores`"),
        ({"scores": [1.0, 2.0]}, "returned 2 scores for 1 responses"),
        (b'{"scores": [NaN]}', "returned nan at index 0"),
        ({"scores": [None]}, "returned NoneType at index 0"),
    ],
)
def test_a_service_that_fails_is_named_in_one_line(
    service: tuple[str, list[object]], at_once: list[float], answer: object, said: str
):
    address, answers = service
    answers.append(answer)
    with pytest.raises(LikelierError) as caught:
        http_source(address)(batch_of(["p"], ["a"]))
    assert said in str(caught.value)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {"detail": "no such\nmodel"}), "status 400: no such model"),
        ((401, {"error": {"message": "wrong key k+ey"}}), "status 401: wrong key ***"),
        ((404, b"<html>"), "status 404: Not Found"),
        ((403, b"\xff"), "status 403: Forbidden"),
        ((422, {"detail": [{"msg": "x"}]}), "status 422: [{'msg': 'x'}]"),
    ],
)
def test_a_refusal_is_told_at_once_with_its_reason(
    service: tuple[str, list[object]], at_once: list[float], answer: object, said: str
):
    address, answers = service
    answers.append(answer)
    with pytest.raises(LikelierError) as caught:
        post(address.replace("http://", "http://k%2Bey@"), b"{}", 1000, "judge")
    assert str(caught.value) == f"judge: {said}"
    assert at_once == []


def test_a_busy_service_says_how_long_to_wait(service: tuple[str, list[object]], at_once: list[float]):
    address, answers = service
    answers.extend([(429, {}), (429, {"error": {"message": "rate limit"}})])
    with pytest.raises(LikelierError, match="status 429: rate limit, 3 retries made"):
        post(address, b"{}", 1000, "judge")
    assert at_once == [0.2, 0.4, 0.8]


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("3600", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0)])
def test_the_wait_that_a_service_asks_for(header: str, seconds: float):
    headers = Message()
    with HTTPError("", 429, "", headers, None) as busy:
        assert read_wait(busy) == 0.0
        headers["Retry-After"] = header
        assert read_wait(busy) == seconds


def test_a_service_that_is_not_there(at_once: list[float]):
    with pytest.raises(LikelierError, match="3 retries made; is it running"):
        http_source("http://127.0.0.1:9/")(batch_of(["p"], ["a"]))
    with pytest.raises(ConfigError, match="begins with http"):
        http_source("file:///etc/hostname")


@pytest.fixture
def raw_service() -> Iterator[tuple[str, list[list[bytes]]]]:
    """A server without manners: it sends the parts it was given, waits 0.15 s between them, and hangs up."""
    parts: list[list[bytes]] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            for part in parts.pop(0) if len(parts) > 1 else parts[0]:
                with contextlib.suppress(OSError):
                    self.wfile.write(part)
                time.sleep(0.15)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", parts
        server.shutdown()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([], "RemoteDisconnected"),
        ([b"nonsense\r\n\r\n"], "BadStatusLine"),
        ([HEAD + b'{"scores"'], "IncompleteRead"),
        ([b""] * 8, "no whole answer within 0.4 s"),  # says nothing for longer than the limit
        ([HEAD, *(bytes([letter]) for letter in b'{"scores": [1.0]}')], "no whole answer within 0.4 s"),  # drips
    ],
    ids=["hangs up", "no HTTP", "half an answer", "silent", "drips"],
)
def test_a_service_without_manners_is_left_in_time(
    raw_service: tuple[str, list[list[bytes]]], monkeypatch: pytest.MonkeyPatch, sent: list[bytes], said: str
):
    address, parts = raw_service
    parts.append(sent)
    monkeypatch.setattr(post_module, "HTTP_TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(post_module, "HTTP_RETRIES", 1)
    with pytest.raises(LikelierError) as caught:
        http_source(address)(batch_of(["p"], ["a"]))
    assert said in str(caught.value)
    assert f"reward service {address}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_endless_answer_is_left_at_the_limit_and_not_asked_for_again(
    raw_service: tuple[str, list[list[bytes]]], monkeypatch: pytest.MonkeyPatch, at_once: list[float]
):
    address, parts = raw_service
    parts.append([b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 200_000])
    monkeypatch.setattr(service_module, "MAX_BYTES", 100_000)
    with pytest.raises(LikelierError, match="the answer is longer than 101,024 bytes; send no more than was asked for"):
        http_source(address)(batch_of(["p"], ["a"]))
    assert 0.2 not in at_once  # no retry; the service itself waits 0.15 s


def test_a_redirect_is_not_followed(raw_service: tuple[str, list[list[bytes]]], at_once: list[float]):
    address, parts = raw_service
    parts.append([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/elsewhere\r\nContent-Length: 0\r\n\r\n"])
    with pytest.raises(LikelierError, match="points to http://127.0.0.1:9/elsewhere; redirects are not followed"):
        http_source(address)(batch_of(["p"], ["a"]))
    assert 0.2 not in at_once  # no retry; the service itself waits 0.15 s


def test_a_service_that_comes_to_its_senses(raw_service: tuple[str, list[list[bytes]]]):
    address, parts = raw_service
    parts.extend([[HEAD + b'{"scores"'], [b"x\r\n\r\n"], [HEAD, b'{"scores": [2.5]}']])
    assert http_source(address)(batch_of(["p"], ["a"])).values.tolist() == [2.5]
