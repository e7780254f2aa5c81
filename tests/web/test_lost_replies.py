"""Replies that are lost, requests that come twice and late, two tabs, other processes: each answer once (D7, D8)."""

import contextlib
import http.client
import json
import random
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from judges import Server, come_in, fill, read_acknowledged

from likelier.errors import LikelierError
from likelier.feedback.backup import back_up_store
from likelier.feedback.formats import export_file
from likelier.feedback.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server, its database, and four people."""
    folder = tmp_path_factory.mktemp("served")
    fill(folder / "f.db", 5200)
    server = Server(folder, folder / "f.db", warm=True, people=4)
    try:
        server.start()
        people = come_in(server, server.wait(), 4, folder)
        yield server, folder / "f.db", people
        for each in people:
            each.close()
    finally:
        server.close()


def read_stored(path):
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute("SELECT key, choice FROM judgements").fetchall()
    assert len(rows) == len({key for key, _ in rows})
    return {key.partition(":")[2]: choice for key, choice in rows}


def cut(person):
    """Send the answer, and hang up before there is a reply."""
    body = json.dumps(person.choose()).encode()
    head = (
        f"POST /judgements HTTP/1.1\r\nHost: 127.0.0.1:{person.port}\r\nOrigin: http://127.0.0.1:{person.port}\r\n"
        f"Cookie: {person.cookie}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", person.port)) as connection:
        connection.sendall(head.encode() + body)


def ignore(person):
    """Send the answer, and lose the reply on the way."""
    person.request("POST", "/judgements", person.choose())


def send_twice(person):
    """Send the answer from two tabs at the same moment."""
    person.choose()
    tabs = [replace(person, acknowledged=None, connection=None) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ignore, tabs))
    for tab in tabs:
        tab.close()


def lose_replies(person, count, seed):
    """Lose replies of so many requests; each answer is then sent once more, some earlier one too, changed."""
    draw, old = random.Random(seed), []
    for _ in range(count):
        draw.choice([cut, ignore, send_twice])(person)
        answer = dict(person.choose())
        assert person.judge() == 200
        old.append(answer)
        if draw.random() < 0.2:
            late = draw.choice(old) | {"choice": draw.choice(["left", "right", "tie"])}
            assert person.request("POST", "/judgements", late)[0] == 200


@pytest.mark.parametrize("count", [15, pytest.param(10_000, marks=pytest.mark.battery)])
def test_an_answer_whose_reply_was_lost_is_stored_once(served, count):
    _, db, people = served
    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(lose_replies, people, [count // len(people)] * len(people), range(len(people))))
    stored = read_stored(db)
    assert stored == read_acknowledged(people)
    assert len(stored) >= count // len(people) * len(people)


def judge_until(person, ended, statuses):
    """Judge on; an answer that was refused is sent again."""
    while not ended.is_set():
        with contextlib.suppress(OSError, http.client.HTTPException):
            statuses.append(person.judge())


@pytest.mark.parametrize("trials", [2, pytest.param(50, marks=pytest.mark.battery)])
def test_backups_and_exports_while_people_judge_have_all_that_was_acknowledged(served, tmp_path, trials):
    _, db, people = served
    ended, statuses = threading.Event(), []
    work = [threading.Thread(target=judge_until, args=(person, ended, statuses)) for person in people]
    for each in work:
        each.start()
    try:
        for trial in range(trials):
            before = read_acknowledged(people)
            with Store.open(db) as store:
                back_up_store(store, tmp_path / f"{trial}.db")
                export_file(store, "likelier", tmp_path / f"{trial}.jsonl")
            assert before.items() <= read_stored(tmp_path / f"{trial}.db").items()
            exported = [json.loads(line) for line in (tmp_path / f"{trial}.jsonl").read_text().splitlines()]
            keys = [record["id"].partition(":")[2] for record in exported if record["record"] == "judgement"]
            assert set(before) <= set(keys)
            assert len(keys) == len(set(keys))
    finally:
        ended.set()
        for each in work:
            each.join()
    assert set(statuses) <= {200, 503}  # 503: a reader kept the answer out of the file, and it was sent again
    assert read_acknowledged(people).items() <= read_stored(db).items()


def test_a_second_server_and_a_second_writer_are_refused_while_people_judge(served):
    server, db, people = served
    words = [sys.executable, "-m", "likelier", "serve", "--db", str(db), "--port", "0"]
    second = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    address = f"http://127.0.0.1:{server.port}"
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert f"in use by process {server.pid}, serving it at {address}" in second.stderr
    with Store.open(db) as store, pytest.raises(LikelierError, match="in use by process"):
        store.add_person("Eve")
    assert people[0].judge() == 200
