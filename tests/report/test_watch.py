"""The report that is served while a run goes on: on this machine alone, written anew, refreshed until the end."""

import threading
import urllib.error
import urllib.request

import pytest

from likelier.errors import DataError
from likelier.report.watch import have_ended, make_server


@pytest.fixture
def ask(tmp_path):
    """Ask the server, whose page counts how often it was written; `state` decides what goes wrong."""
    state = {"written": 0, "over": False, "error": None}

    def write():
        if state["error"]:
            raise state["error"]
        state["written"] += 1
        (tmp_path / "page.html").write_text(f"written {state['written']}")

    server = make_server(tmp_path / "page.html", write, lambda: state["over"], 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def request(path="/", **headers):
        address = f"http://127.0.0.1:{server.server_port}{path}"
        try:
            reply = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=5)
        except urllib.error.HTTPError as error:
            reply = error
        with reply:
            return reply.status, reply.headers.get("Refresh"), reply.read().decode()

    yield state, request
    server.shutdown()
    server.server_close()
    thread.join()


def test_it_is_written_anew_and_refreshed_until_the_runs_have_ended(ask):
    state, request = ask
    assert request() == (200, "5", "written 1")
    state["over"] = True
    assert request() == (200, None, "written 2")
    state["error"] = DataError("runs/a: no such run folder")
    assert request() == (503, "5", "runs/a: no such run folder")


def test_other_sites_and_other_files_are_refused(ask):
    _, request = ask
    assert request(Host="evil.example")[0] == 403
    assert request("/../../etc/passwd")[0] == 404


def test_a_run_has_ended_when_it_has_a_result(tmp_path):
    (tmp_path / "ppo").mkdir()
    (tmp_path / "ppo" / "metrics.jsonl").write_text("")
    assert not have_ended([tmp_path])
    (tmp_path / "ppo" / "result.json").write_text("{}")
    assert have_ended([tmp_path])
    assert have_ended([tmp_path / "ppo"])
