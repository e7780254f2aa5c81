"""Conversations: what is stored, what goes on from which pick, who may; and the page in a browser."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import likelier
from fake_generation import COMMAND
from likelier.feedback.store import Store
from likelier.generation import process
from likelier.generation.process import Generator
from likelier.generation.protocol import GenerationSettings
from likelier.web import converse
from likelier.web.app import create_app
from likelier.web.live import Live
from likelier.web.server import Access, Policies
from page_visitors import come_in
from served_page import start_serving, wait_until

PAYLOAD = "<img src=x onerror=alert(1)>"


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "feedback.db", create=True) as opened:
        yield opened


@contextlib.contextmanager
def conversing(store, *policies):
    generator = Generator(GenerationSettings(policies or ("one",)), COMMAND)
    generator.start()
    try:
        yield create_app(store, live=Live(generator, "conversations"))
    finally:
        generator.close()


@pytest.fixture
def app(store):
    with conversing(store) as made:
        yield made


def write(client, text, number, after=None):
    reply = client.post("/messages", json={"key": f"0000-{number:04}", "text": text, "after": after})
    assert reply.status_code == 200, reply.text
    return reply.json()


def pick(client, question, choice, number=0, **changes):
    answer = {**question["ids"], "choice": choice, "key": f"1111-{number:04}", "duration_seconds": 1.0, **changes}
    reply = client.post("/judgements", json=answer)
    assert reply.status_code == 200, reply.text
    return question["ids"]["comparison_id"]


def test_a_conversation_goes_on_from_the_pick_and_is_feedback_like_any_other(app, store):
    ann = come_in(app, "annotator")
    first = write(ann, f"Hello {PAYLOAD}", 1)
    second = write(ann, "And then?", 2, pick(ann, first, "right"))
    turns = [("user", f"Hello {PAYLOAD}"), ("assistant", first["shown"]["right"]), ("user", "And then?")]
    assert [(turn["role"], turn["content"]) for turn in second["shown"]["turns"]] == turns
    pick(ann, second, "left", 1)
    third = store.judged()[-1]
    assert third.prompt.text == second["shown"]["turns"]
    assert third.left.text == second["shown"]["left"]
    assert third.left.model == "one@00000001"
    assert len({prompt.conversation for prompt in store.prompts()}) == 1
    assert all(prompt.conversation for prompt in store.prompts())
    assert "one@" not in str(second)
    assert store.erase_person("annotator")[1:] == (0, 2, 2)  # with all that grew out of their words
    assert (store.prompts(), store.judgements()) == ([], [])


def test_who_judges_in_conversations_is_told_how_far_they_are(app):
    ann = come_in(app, "annotator")
    pick(ann, write(ann, "Hello", 1), "right")
    assert ann.get("/question").json()["done"]
    assert ann.get("/question").json()["progress"]["own"] == 1


def test_of_a_tie_the_left_answer_goes_on_and_a_changed_pick_counts(app):
    ann = come_in(app, "annotator")
    first = write(ann, "Hello", 1)
    after = pick(ann, first, "tie", both_bad=True)
    assert write(ann, "Why?", 2, after)["shown"]["turns"][1]["content"] == first["shown"]["left"]
    pick(ann, first, "right", 1, supersedes="1111-0000")
    assert write(ann, "Why so?", 3, after)["shown"]["turns"][1]["content"] == first["shown"]["right"]


def test_a_message_that_is_sent_again_gets_the_same_answers_after_a_restart_too(app, store):
    ann = come_in(app, "annotator")
    first = write(ann, "Hello", 1)
    assert write(ann, "Hello", 1) == first
    with conversing(store) as restarted:
        client = come_in(restarted, None)
        client.cookies = ann.cookies
        assert write(client, "Hello", 1) == first
        client.post("/skip", json={"comparison_id": first["ids"]["comparison_id"]})
        assert write(client, "Hello", 2)["ids"] != first["ids"]


def test_nobody_goes_on_from_what_they_have_not_picked(app):
    ann, eve = come_in(app, "annotator"), come_in(app, "reviewer")
    first = write(ann, "Hello", 1)
    message = {"key": "0000-0002", "text": "And?", "after": first["ids"]["comparison_id"]}
    assert ann.post("/messages", json=message).status_code == 409
    pick(ann, first, "left")
    assert eve.post("/messages", json=message).status_code == 409
    assert eve.post("/messages", json=message | {"after": "0" * 16}).status_code == 422
    assert ann.post("/messages", json=message).status_code == 200


@pytest.mark.parametrize("text", ["", " \n", "x" * 8001, "half a letter \ud800"])
def test_a_message_has_words_and_an_end(app, text):
    ann = come_in(app, "annotator")
    body, headers = json.dumps({"key": "0000-0001", "text": text}), {"content-type": "application/json"}
    assert ann.post("/messages", content=body, headers=headers).status_code == 422


def test_8000_letters_of_any_language_fit(app):
    assert write(come_in(app, "annotator"), "答" * 8000, 1)["ids"]


def test_what_the_model_cannot_answer_is_said_without_its_name(app):
    ann = come_in(app, "annotator")
    assert write(ann, "long", 1) == {"refused": "too_long"}
    assert write(ann, "same", 2) == {"refused": "same"}
    assert write(ann, "die", 3) == {"refused": "failed"}


def test_nobody_writes_faster_than_people_do(app, monkeypatch):
    monkeypatch.setattr(converse, "WAIT_SECONDS", 0.0)
    ann = come_in(app, "annotator")
    replies = [ann.post("/messages", json={"key": f"0000-{i:04}", "text": f"slow {i}"}).status_code for i in range(4)]
    assert replies == [202, 202, 429, 429]


def test_a_project_without_conversations_or_a_model_takes_no_message(store):
    assert (
        come_in(create_app(store), "annotator").post("/messages", json={"key": "0" * 8, "text": "a"}).status_code == 422
    )


def test_two_policies_answer_one_each(store):
    with conversing(store, "one", "two") as app:
        pick(ann := come_in(app, "annotator"), write(ann, "Hello", 1), "left")
    (judged,) = store.judged()
    assert {judged.left.model, judged.right.model} == {"one@00000001", "two@00000001"}


def test_while_the_generating_process_is_away_people_judge_on_and_it_comes_back(app):
    ann = come_in(app, "annotator")
    first = write(ann, "Hello", 1)
    os.kill(app.state.rooms.live.generator.process.pid, signal.SIGKILL)
    after = pick(ann, first, "left")
    assert write(ann, "Are you there?", 2, after)["ids"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "scheme", "locale"),
    [
        (360, "light", "zh-CN"),
        pytest.param(360, "dark", "en", marks=pytest.mark.battery),
        pytest.param(1280, "light", "en", marks=pytest.mark.battery),
    ],
)
def test_a_conversation_in_a_browser(chromium, store, monkeypatch, width, scheme, locale):
    """By keys: write, pick, undo, pick again, skip, go on; nobody's script runs, nothing is wider than a phone."""
    monkeypatch.setattr(process, "COMMAND", COMMAND)
    monkeypatch.setattr("likelier.text.model_folder_check.check_model_folder", lambda path: None)
    policies = Policies(GenerationSettings(("one",)), conversations=True)
    link, end = start_serving(store, monkeypatch, access=Access(policies=policies), wanted=3)
    context = chromium.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme, locale=locale)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append("a payload ran"))
    page.goto(link)
    page.locator("#name").fill("Ann")
    page.keyboard.press("Enter")
    page.locator("#message").wait_for()
    shoot(page, "empty")
    wait_until(page, "document.activeElement.id === 'message'")
    page.keyboard.type(f"Hello {PAYLOAD} 1 2 0")  # digits in a message are no picks
    page.keyboard.press("Enter")
    page.locator("#choose").wait_for()
    shoot(page, "two answers")
    right = page.locator("#right").text_content()
    page.keyboard.press("2")
    page.locator("#write").wait_for()
    assert page.locator("#turns li").nth(1).text_content().endswith(right)
    page.locator("#undo-last").click()
    page.locator("#choose").wait_for()
    left = page.locator("#left").text_content()
    page.wait_for_timeout(200)
    page.keyboard.press("0")
    page.locator("#write").wait_for()
    wait_until(page, "document.activeElement.id === 'message'")
    page.keyboard.type("Once more")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please.")
    page.keyboard.press("Enter")
    page.locator("#choose").wait_for()
    page.wait_for_timeout(200)
    page.keyboard.press("s")
    wait_until(page, "document.querySelector('#message').value === 'Once more\\nplease.'")
    page.reload()
    wait_until(page, "document.querySelector('#message').value === 'Once more\\nplease.'")
    assert page.locator("#turns li").count() == 2
    wait_until(page, "document.activeElement.id === 'message'")
    page.keyboard.press("Enter")
    page.locator("#choose").wait_for()
    shoot(page, "later")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.activeElement.id") == "choose"
    page.wait_for_timeout(200)
    page.keyboard.press("b")
    page.locator("#fresh").click()
    assert page.locator("#turns li").count() == 0
    wait_until(page, "document.activeElement.id === 'message'")
    page.keyboard.type("A new one")
    page.keyboard.press("Enter")
    page.locator("#choose").wait_for()
    page.wait_for_timeout(200)
    page.keyboard.press("1")
    assert end() == 3
    assert said == []
    context.close()
    judged = store.judged()
    assert [(each.judgement.choice, each.judgement.both_bad) for each in judged] == [
        ("tie", False),
        ("tie", True),
        ("left", False),
    ]
    assert judged[1].prompt.text[1] == {"role": "assistant", "content": left}


def shoot(page, name):
    """Keep a picture where `LIKELIER_PICTURES` names a folder: somebody looks at them before a release."""
    if folder := os.environ.get("LIKELIER_PICTURES"):
        size, scheme = page.viewport_size["width"], page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        language = page.evaluate("document.documentElement.lang")
        page.screenshot(path=f"{folder}/{name}-{size}-{'dark' if scheme else 'light'}-{language}.png", full_page=True)


DEMO = str(Path(likelier.__file__).parent / "demo" / "model")


@pytest.fixture
def talking():
    """Starts `likelier serve --conversations` with the demo's model; returns the process and its first link."""
    servers = []

    def start(db, port):
        words = [sys.executable, "-m", "likelier", "serve", "--db", str(db), "--port", str(port), "--policy", DEMO]
        words += ["--conversations", "--response-length", "12"]
        servers.append(subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True))
        return servers[-1], servers[-1].stderr.readline().split()[-1]

    yield start
    for server in servers:
        server.kill()
        server.wait()
        server.stderr.close()


@pytest.mark.battery
def test_a_conversation_with_a_real_model_and_a_restart_in_the_middle(chromium, talking, tmp_path):
    """The server is killed while the model writes: the message is kept and answered once the server is back."""
    db = tmp_path / "talk.db"
    server, link = talking(db, 0)
    context = chromium.new_context()
    page = context.new_page()
    page.goto(link)
    page.locator("#name").fill("Ann")
    page.keyboard.press("Enter")
    page.locator("#message").wait_for()
    page.keyboard.type("Tell me of a fox.")
    page.keyboard.press("Enter")
    page.locator("#choose").wait_for(timeout=60_000)
    picked = page.locator("#left").text_content()
    page.wait_for_timeout(200)
    page.keyboard.press("1")
    page.locator("#write").wait_for()
    page.keyboard.type("And a bird.")
    os.kill(find_child(server.pid), signal.SIGSTOP)  # so that the model writes when the server dies
    page.keyboard.press("Enter")
    page.locator("#writing").wait_for()
    worker = find_child(server.pid)
    server.kill()
    os.kill(worker, signal.SIGCONT)
    server.wait()
    page.get_by_text("No connection").wait_for()
    server, _ = talking(db, urlsplit(link).port)
    page.locator("#choose").wait_for(timeout=60_000)
    page.wait_for_timeout(200)
    page.keyboard.press("2")
    page.get_by_text("2 by you").wait_for()
    context.close()
    child = find_child(server.pid)
    server.terminate()
    server.wait(timeout=20)
    with Store.open(db) as store:
        first, second = store.judged()
    assert second.prompt.text == [
        {"role": "user", "content": "Tell me of a fox."},
        {"role": "assistant", "content": first.left.text},
        {"role": "user", "content": "And a bird."},
    ]
    assert first.left.text.strip() in picked
    assert not any(Path(f"/proc/{pid}").exists() for pid in (worker, child))


def find_child(pid):
    """The process that a server has started."""
    (child,) = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return int(child)
