"""Browsers without a window, for the tests of the judging page."""

import http.cookiejar
import json
import threading
import urllib.request

from fastapi.testclient import TestClient

from likelier.records import Comparison, Prompt, Response

HERE = "http://127.0.0.1:8000"


def come_in(app, role):
    """A browser of a person with this role; None: without a session."""
    client = TestClient(app, base_url=HERE, headers={"origin": HERE})
    if role:
        client.get("/", params={"token": app.state.room.accounts.invite(role)})
        assert client.post("/name", json={"name": role}).status_code == 200
    return client


def add_pair(store):
    """Two responses to a prompt, to be compared."""
    prompt = Prompt("Tell me a story.")
    pair = Response(prompt.id, "yes"), Response(prompt.id, "no")
    store.add_prompts([prompt])
    store.add_responses(pair)
    store.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])


class Visitor(threading.Thread):
    """Somebody at a page that a run serves, over HTTP, from the first link that it prints on.

    `answer` answers a question and returns the next one; `wait` returns the next one where there is none yet, or None
    to leave.
    """

    def __init__(self, most):
        super().__init__(daemon=True)
        self.most, self.link, self.seen = most, None, []

    def follow(self, line):
        """Follow the first link that is printed."""
        if line.startswith("judge here") and self.link is None:
            self.link = line.rpartition(" ")[2]
            self.start()

    def run(self):
        self.at = self.link.partition("/?")[0]
        self.client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        try:
            self.client.open(self.link, timeout=20).read()
            question = self.post("/name", {"name": "Ann"})
            while len(self.seen) < self.most:
                while question["done"]:
                    question = self.wait(question)
                    if question is None:
                        return
                question = self.answer(question)
        except OSError:  # the page has ended
            pass

    def get(self, path):
        return self.client.open(self.at + path).read()

    def post(self, path, body):
        headers = {"Content-Type": "application/json", "Origin": self.at}
        request = urllib.request.Request(self.at + path, json.dumps(body).encode(), headers)
        return json.loads(self.client.open(request).read())
