"""Serving: for this machine or protected, and one line where the port is taken."""

import os
import queue
import re
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request

import pytest
import uvicorn
from fastapi.testclient import TestClient

import fake_generation
from likelier.config import build_config
from likelier.errors import ConfigError, DataError, LikelierError
from likelier.feedback import database
from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.store import Store
from likelier.generation import process
from likelier.generation.protocol import GenerationSettings
from likelier.records import Prompt, Response
from likelier.web.app import create_app
from likelier.web.server import Access, Policies, check_content, listen, listen_for, make_access, serve
from page_visitors import add_pair


def test_a_taken_port_is_one_line():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(LikelierError, match=f"port {port}: Address already in use; give another --port") as caught:
            listen("127.0.0.1", port)
    assert "\n" not in str(caught.value)


def test_a_free_port_is_the_same_for_a_database_unless_it_is_taken(store):
    with listen_for(store, "127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen_for(store, "127.0.0.1", 0) as other:
            assert other.getsockname()[1] != port
    with listen_for(store, "127.0.0.1", 0) as again:
        assert again.getsockname()[1] == port


def test_who_follows_the_link_before_the_server_is_ready_waits_for_it():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), timeout=1) as visitor:
        assert visitor.getpeername() == listener.getsockname()


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "feedback.db", create=True) as opened:
        add_pair(opened)
        yield opened


def test_other_machines_need_protection(store):
    with pytest.raises(ConfigError, match="--host 0.0.0.0: other machines can reach it"):
        serve(store, port=0, access=Access(host="0.0.0.0"))


def test_a_certificate_that_cannot_be_used_is_named(store, tmp_path):
    key = tmp_path / "key.pem"
    for access, words in (
        (Access(tls_cert=key), "--tls-cert and --tls-key: give both"),
        (Access(tls_cert=key, tls_key=key), f"--tls-cert {key}: no such file"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            serve(store, port=0, access=access)
    key.write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be used with the key") as caught:
        serve(store, port=0, access=Access(tls_cert=key, tls_key=key))
    assert "\n" not in str(caught.value)


def test_a_circles_page_is_reached_as_its_settings_say(store):
    """Behind a proxy its name is ours and no other; the cookie is for HTTPS and this host alone."""
    settings = build_config({"circle": {"public_url": "https://judge.example.org", "port": 8123}}).circle
    app = create_app(store, site=make_access(settings, "circle").make_site(settings.port))
    answers = {}
    for host in ("judge.example.org", "127.0.0.1:8123", "evil.example", "192.168.0.7"):
        client = TestClient(app, base_url=f"https://{host}")
        answers[host] = client.get("/", params={"token": app.state.room.token}, follow_redirects=False)
    assert [answer.status_code for answer in answers.values()] == [303, 303, 403, 403]
    cookie = answers["judge.example.org"].headers["set-cookie"]
    assert cookie.startswith("__Host-likelier-443-invitation=")
    assert "Secure" in cookie


@pytest.mark.parametrize(
    ("block", "given", "words"),
    [
        ("circle", {"host": "0.0.0.0"}, "closed network circle.insecure_http"),
        (
            "eval",
            {"host": "0.0.0.0"},
            "eval.host 0.0.0.0: other machines can reach it, and what is sent could be read on",
        ),
        ("circle", {"insecure_http": True}, "circle.insecure_http: has no effect here"),
        (
            "circle",
            {"public_url": "http://judge.example.org"},
            "circle.public_url http://judge.example.org: give https",
        ),
        ("ppo", {"host": "0.0.0.0"}, "ppo.host 0.0.0.0: other machines can reach it"),
        ("eval", {"tls_cert": "cert.pem"}, "eval.tls_cert and eval.tls_key: give both"),
        ("eval", {"tls_cert": "no.pem", "tls_key": "no.pem"}, "eval.tls_cert no.pem: no such file"),
    ],
)
def test_what_serve_refuses_settings_are_refused_in(block, given, words):
    people = {"scorer": [{"people": "people.db"}]} if block == "eval" else {}
    reward = [{"people": "people.db"}] if block == "ppo" else []
    config = build_config({block: given | people, "reward": reward})
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        make_access(getattr(config, block), block)
    assert "\n" not in str(caught.value)


def test_other_machines_are_served_where_the_settings_protect_it():
    settings = build_config({"circle": {"host": "0.0.0.0", "insecure_http": True}}).circle
    site = make_access(settings, "circle").make_site(8123)
    assert (site.knows("192.168.0.7"), site.knows("evil.example"), site.cookie) == (True, False, "likelier-8123")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate")
def test_over_https_the_cookie_is_for_this_host_alone(store, tmp_path, monkeypatch):
    """The real server with a certificate of its own making, and a client that trusts it."""
    names = "subjectAltName=IP:127.0.0.1"
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=judge", "-addext"]
    subprocess.run([*make, names, *files], check=True, capture_output=True)
    links, servers, run = queue.Queue(), queue.Queue(), uvicorn.Server.run
    monkeypatch.setattr("webbrowser.open", links.put)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: (servers.put(self), run(self, sockets)))
    access = Access(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    thread = threading.Thread(
        target=serve, args=(store,), kwargs={"port": 0, "access": access, "open_browser": True}, daemon=True
    )
    thread.start()
    link = links.get(timeout=20)
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=trusted), urllib.request.HTTPCookieProcessor()
    )
    with opener.open(link, timeout=10) as reply:
        assert "max-age" in reply.headers["strict-transport-security"]
    base = link.partition("/?")[0]
    headers = {"Content-Type": "application/json", "Origin": base}
    with opener.open(urllib.request.Request(f"{base}/name", b'{"name": "Ann"}', headers), timeout=10) as reply:
        cookie = reply.headers["set-cookie"]
        assert reply.status == 200
    assert cookie.startswith("__Host-likelier-")
    assert all(part in cookie for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))
    servers.get(timeout=10).should_exit = True
    thread.join(timeout=20)


def test_the_socket_is_of_this_machine():
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_the_server_has_the_database_before_anybody_answers(store, tmp_path, monkeypatch):
    """Two servers could open on one database, and an import slip in beside one, until the first answer."""
    monkeypatch.setattr(database, "WAIT_FOR_SERVER_SECONDS", 0.1)
    seen = []

    def run(server, sockets):
        with Store.open(tmp_path / "feedback.db") as other, pytest.raises(LikelierError) as caught:
            serve(other, port=0)
        with sockets[0]:
            seen.append((f"http://127.0.0.1:{sockets[0].getsockname()[1]}", str(caught.value)))

    monkeypatch.setattr(uvicorn.Server, "run", run)
    serve(store, port=0)
    ((address, message),) = seen
    assert f"in use by process {os.getpid()}, serving it at {address}; stop it first" in message


def serve_with(store, folder, **settings):
    policies = Policies(GenerationSettings((str(folder),)), **settings)
    serve(store, port=0, access=Access(policies=policies))


def test_policies_need_prompts_and_conversations_a_policy(store, tmp_path, monkeypatch):
    """One line each, before anything is stored."""
    monkeypatch.setattr("likelier.text.model_folder_check.check_model_folder", lambda path: None)
    with pytest.raises(DataError, match="no model in it; give a model folder"):
        serve_with(store, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with Store.open(tmp_path / "empty.db", create=True) as empty:
        with pytest.raises(DataError, match="no prompt for the policy to answer; give some with --prompts FILE"):
            serve_with(empty, tmp_path)
        with pytest.raises(DataError, match="or --policy DIR answers prompts while people judge"):
            serve(empty, port=0)
        assert empty.database.is_useless()
    with store.transaction() as writer:
        write_settings(writer, ProjectSettings(ask="conversations"))
    with pytest.raises(ConfigError, match="people converse with a model here; give it with --policy DIR"):
        serve(store, port=0)


def test_the_generating_process_ends_with_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr("likelier.text.model_folder_check.check_model_folder", lambda path: None)
    monkeypatch.setattr(process, "COMMAND", fake_generation.COMMAND)
    started, launch = queue.Queue(), process.Generator.launch
    monkeypatch.setattr(process.Generator, "launch", lambda self: (each := launch(self), started.put(each))[0])

    def run(server, sockets):
        sockets[0].close()
        started.put(started.get(timeout=10))

    monkeypatch.setattr(uvicorn.Server, "run", run)
    (tmp_path / "config.json").write_text("{}")
    with Store.open(tmp_path / "new.db", create=True) as new:
        serve_with(new, tmp_path, prompts=[Prompt("Tell me a story.")])
        assert [prompt.text for prompt in new.prompts()] == ["Tell me a story."]
    assert started.get_nowait().wait(5) != 0


def test_ratings_need_responses_and_no_comparison(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        prompt = Prompt("p")
        store.add_prompts([prompt])
        with store.transaction() as writer:
            write_settings(writer, ProjectSettings(ask="ratings"))
        with pytest.raises(DataError, match="no comparison to judge"):
            check_content(store, Access())
        store.add_responses([Response(prompt.id, "r")])
        check_content(store, Access())
