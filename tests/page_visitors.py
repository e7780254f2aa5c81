"""Browsers without a window, for the tests of the judging page."""

from fastapi.testclient import TestClient

HERE = "http://127.0.0.1:8000"


def come_in(app, role):
    """A browser of a person with this role; None: without a session."""
    client = TestClient(app, base_url=HERE, headers={"origin": HERE})
    if role:
        client.get("/", params={"token": app.state.room.accounts.invite(role)})
        assert client.post("/name", json={"name": role}).status_code == 200
    return client
