"""One server, several projects: each with its own room, and nobody in one that is not theirs."""

import pytest

from likelier.feedback.projects import add_guideline
from likelier.feedback.store import Store
from likelier.web.app import create_app
from page_visitors import add_pair, come_in


@pytest.fixture
def app(tmp_path):
    with Store.open(tmp_path / "f.db", create=True, project="a") as store:
        add_pair(store)
        add_pair(store.in_project("b"))
        yield create_app(store, all_projects=True)


def test_who_was_invited_to_one_sees_no_other(app):
    ann = come_in(app, "annotator")
    assert ann.get("/question").json()["ids"]
    assert ann.get("/question", params={"project": "a"}).json()["ids"]
    unknown, others = (ann.get("/question", params={"project": name}) for name in ("c", "b"))
    assert (unknown.status_code, others.status_code) == (404, 404)
    assert unknown.json() == others.json()  # nobody learns which there are
    assert ann.get("/", params={"project": "b"}).status_code == 403
    assert "project=b" not in ann.get("/").text


def test_an_owner_enters_each_and_answers_stay_apart(app):
    owner = come_in(app, "admin")
    question = owner.get("/question", params={"project": "b"}).json()
    sent = {**question["ids"], "choice": "left", "key": "0000-0001", "duration_seconds": 1.0}
    assert owner.post("/judgements", params={"project": "b"}, json=sent).status_code == 200
    states = {name: owner.get("/owner/state", params={"project": name}).json()["judgements"] for name in ("a", "b")}
    assert states == {"a": 0, "b": 1}
    assert app.state.rooms.count_judged() == 1  # what the terminal says at the end
    page = owner.get("/").text
    assert "project=a" in page
    assert "project=b" in page


def test_a_member_is_taken_in_and_out(app):
    owner, ann = come_in(app, "admin"), come_in(app, "annotator")
    (person,) = [each for each in app.state.rooms.accounts.list_people() if each.name == "annotator"]
    member = {"annotator": person.annotator, "member": True}
    assert owner.post("/owner/members", params={"project": "b"}, json=member).status_code == 200
    assert ann.get("/question", params={"project": "b"}).status_code == 200
    for name in ("a", "b"):
        owner.post("/owner/members", params={"project": name}, json=member | {"member": False})
    assert ann.get("/question").status_code == 404
    assert ann.get("/").status_code == 403


def test_an_invitation_is_to_the_project_of_the_page(app):
    owner, guest = come_in(app, "admin"), come_in(app, None)
    guest.get(owner.post("/owner/invitations", params={"project": "b"}, json={}).json()["path"])
    assert guest.post("/name", json={"name": "Gus"}).status_code == 200
    assert guest.get("/question", params={"project": "b"}).status_code == 200
    assert guest.get("/question", params={"project": "a"}).status_code == 404


def test_a_server_of_one_project_has_no_other(app, tmp_path):
    one = create_app(app.state.rooms.store)
    owner = come_in(one, "admin")
    assert owner.get("/question", params={"project": "b"}).status_code == 404
    assert owner.post("/owner/projects", json={"name": "c"}).status_code == 422


def test_a_link_to_a_project_that_is_not_served_says_so_and_stays_open(app):
    owner, guest = come_in(app, "admin"), come_in(app, None)
    link = owner.post("/owner/invitations", params={"project": "b"}, json={}).json()["path"]
    elsewhere = come_in(create_app(app.state.rooms.store), None)
    assert "It is to the project b, which is not served here" in elsewhere.get(link).text
    reply = elsewhere.post("/name", json={"name": "Gus"})
    assert (reply.status_code, reply.json()["detail"]) == (
        403,
        "this link is to the project b, which is not served here",
    )
    guest.get(link)
    assert guest.post("/name", json={"name": "Gus"}).status_code == 200


def test_who_is_in_comes_into_another_project_as_themselves(app):
    owner, ann = come_in(app, "admin"), come_in(app, "annotator")
    link = owner.post("/owner/invitations", params={"project": "b"}, json={}).json()["path"]
    assert "Begin as annotator" in ann.get(link).text
    assert ann.post("/name", json={}).status_code == 200
    people = app.state.rooms.accounts.list_people()
    assert [each.projects for each in people if each.name == "annotator"] == [("a", "b")]
    assert "Begin as" not in ann.get("/").text


def test_a_new_project_is_there_at_once(app):
    owner = come_in(app, "admin")
    assert owner.post("/owner/projects", json={"name": "c"}).json()["projects"] == ["a", "b", "c"]
    assert owner.get("/question", params={"project": "c"}).json()["done"]
    assert owner.post("/owner/projects", json={"name": "c/d"}).status_code == 422


def test_guidelines_are_those_of_the_project(app):
    rooms = app.state.rooms
    with rooms.store.in_project("b").transaction() as writer:
        add_guideline(writer, "Be *kind*.")
    owner = come_in(app, "admin")
    shown = owner.get("/owner/project", params={"project": "b"}).json()
    assert (shown["guidelines"]["version"], shown["guidelines_html"]) == (1, "<p>Be <em>kind</em>.</p>\n")
    assert owner.get("/owner/project", params={"project": "a"}).json()["guidelines"] is None
