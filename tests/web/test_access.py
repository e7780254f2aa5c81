"""Every route against every role, from the route table itself: a new route without a row fails."""

import pytest
from fastapi.testclient import TestClient

from likelier.feedback.accounts import ROLES
from likelier.feedback.store import Store
from likelier.web.access import ACCESS
from likelier.web.app import create_app
from page_visitors import HERE, add_pair, come_in


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as opened:
        add_pair(opened)
        yield opened


def list_routes(app):
    return {(method, route.path) for route in app.routes for method in route.methods}


def test_the_table_has_each_route_and_no_other(store):
    assert list_routes(create_app(store)) == set(ACCESS)


@pytest.mark.parametrize("role", [None, *ROLES])
def test_a_role_may_do_what_the_table_says(store, role):
    app = create_app(store)
    client = come_in(app, role)
    for (method, path), least in sorted(ACCESS.items(), key=lambda item: item[0][1] == "/logout"):
        place = path.format(name="judge.js", sha256="0" * 64).replace("export/judge.js", "export/trl")
        reply = client.request(method, place, **({"json": {}} if method == "POST" else {}))
        allowed = least is None or (role is not None and ROLES.index(role) >= ROLES.index(least))
        if least is not None:
            assert (reply.status_code != 403) == allowed, (method, path)


def test_who_may_not_enter_a_page_reads_where_they_may_go(store):
    """They read `{"detail": ...}`."""
    app = create_app(store)
    ann, rita = come_in(app, "annotator"), come_in(app, "reviewer")
    for client, path, said, review in (
        (ann, "/owner", "You are an annotator here", False),
        (ann, "/review", "You are an annotator here", False),
        (rita, "/owner", "You are a reviewer here", True),
        (come_in(app, None), "/owner", "This link does not open", False),
    ):
        reply = client.get(path)
        assert (reply.status_code, said in reply.text) == (403, True), reply.text
        assert ('href="/review"' in reply.text) == review
    reply = rita.get("/review", params={"project": "gone"})
    assert (reply.status_code, "No project for you here" in reply.text) == (404, True)
    assert ann.get("/owner/state").json() == {"detail": "this is for the role admin"}


def test_a_route_that_is_not_in_the_table_is_refused_to_all(store):
    app = create_app(store)
    app.get("/new")(lambda: "secret")
    assert come_in(app, "admin").get("/new").json() == {"detail": "nobody may do this"}


def test_a_session_is_of_the_database_and_not_of_the_process(store):
    """Each restart of the server logged everybody out."""
    client = come_in(create_app(store), "annotator")
    after = TestClient(create_app(store), base_url=HERE, headers={"origin": HERE}, cookies=client.cookies)
    assert after.get("/question").json()["ids"]


def test_who_is_shut_out_is_refused_at_the_next_request(store):
    app = create_app(store)
    owner, ann = come_in(app, "admin"), come_in(app, "annotator")
    (person,) = [each for each in app.state.room.accounts.list_people() if each.name == "annotator"]
    assert owner.post("/owner/people", json={"annotator": person.annotator, "disabled": True}).status_code == 200
    assert ann.get("/question").status_code == 403


def test_guessing_links_is_slow(store):
    client = TestClient(create_app(store), base_url=HERE, headers={"origin": HERE})
    client.get("/", params={"token": "guessed"})
    replies = [client.post("/name", json={"name": "Eve"}).status_code for _ in range(22)]
    assert replies == [403] * 20 + [429] * 2
