"""Browsers without a window, for the tests of the judging page."""

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
