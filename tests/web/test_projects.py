"""What the owner sets up on the page is stored, checked, and at work with the next question."""

import json

import pytest

from likelier.feedback.store import Store
from likelier.web.app import create_app
from page_visitors import add_pair, come_in


@pytest.fixture
def app(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        yield create_app(store, all_projects=True)


@pytest.fixture
def owner(app):
    return come_in(app, "admin")


def test_settings_are_kept_and_at_work(app, owner):
    settings = owner.get("/owner/project").json()["settings"]
    changed = settings | {"per_comparison": 1, "tags": ["too long"], "strength": False}
    assert owner.post("/owner/settings", json=changed).json()["settings"] == changed
    assert owner.get("/owner/state").json()["per_comparison"] == 1
    assert app.state.room.settings.tags == ("too long",)


@pytest.mark.parametrize("wrong", [{"per_comparison": 0}, {"ask": "poems"}, {"gold_share": 0.9}, {"colour": "red"}])
def test_wrong_settings_are_refused(owner, wrong):
    assert owner.post("/owner/settings", json=wrong).status_code == 422


def test_guidelines_get_versions(owner):
    first = owner.post("/owner/guidelines", json={"text": "Be fair."}).json()
    second = owner.post("/owner/guidelines", json={"text": "Be **fair**.\n\n<script>alert(1)</script>"}).json()
    assert (first["guidelines"]["version"], second["guidelines"]["version"], len(second["versions"])) == (1, 2, 2)
    assert "<script>" not in second["guidelines_html"]


def test_prompts_are_typed_in_once(owner):
    first = owner.post("/owner/prompts", json={"texts": ["Once", "Once", " "]}).json()
    again = owner.post("/owner/prompts", json={"texts": ["Once"]}).json()
    assert (first["stored"], again["stored"], again["prompts"]) == (1, 0, 2)


def test_a_file_is_asked_about_at_once(owner):
    line = {"record": "comparison", "prompt": "Say a", "left": "a", "right": "b"}
    reply = owner.post("/owner/import", json={"name": "pairs.jsonl", "content": json.dumps(line)}).json()
    assert (reply["counts"]["format"], reply["counts"]["stored"], reply["comparisons"]) == ("likelier", 1, 2)
    judged = owner.get("/question").json()
    assert {judged["shown"]["prompt"], judged["next"]["shown"]["prompt"]} == {"Say a", "Tell me a story."}


def test_a_file_of_an_unknown_format_is_answered_with_an_example(owner):
    detail = owner.post("/owner/import", json={"name": "x.csv", "content": "q,a\n1,2\n"}).json()["detail"]
    message, *example = detail.split("\n")
    assert message.startswith("x.csv: CSV with ")
    assert example[0] == "prompt,chosen,rejected"


@pytest.mark.parametrize("name", ["x.parquet", "x.JSONL.GZ"])
def test_a_packed_file_is_for_the_command_line(owner, name):
    reply = owner.post("/owner/import", json={"name": name, "content": "PAR1"})
    detail = f"{name}: the page sends texts only; `likelier data import` reads this file"
    assert (reply.status_code, reply.json()) == (422, {"detail": detail})


def test_a_bad_file_is_one_line_with_its_name(owner):
    reply = owner.post("/owner/import", json={"name": "pairs.jsonl", "content": '{"prompt": 3}\n'})
    assert reply.status_code == 422
    assert reply.json()["detail"].startswith("pairs.jsonl")
    assert "/tmp" not in reply.json()["detail"]


def test_gold_is_chosen_from_the_comparisons(app, owner):
    (each,) = owner.get("/owner/comparisons").json()["comparisons"]
    sent = {"comparison_id": each["comparison_id"], "kind": "gold", "better": each["responses"][1]["id"]}
    assert owner.post("/owner/gold", json=sent).json()["gold"] == 1
    assert owner.get("/owner/comparisons").json()["comparisons"][0]["gold"]["better"] == sent["better"]
    assert owner.post("/owner/gold", json=sent | {"better": "somebody"}).status_code == 422
    assert owner.post("/owner/gold", json=sent | {"kind": None}).json()["gold"] == 0
    settings = owner.get("/owner/project").json()["settings"] | {"ask": "ratings"}
    assert owner.post("/owner/settings", json=settings).status_code == 200
    reply = owner.post("/owner/gold", json=sent)
    said = "gold and training items are comparisons, and people give ratings here"
    assert (reply.status_code, reply.json()["detail"]) == (422, said)


def test_large_bodies_are_for_who_is_logged_in(app, owner):
    large = {"name": "a.jsonl", "content": "x" * 30_000}
    assert owner.post("/owner/import", json=large).status_code == 422
    assert come_in(app, None).post("/owner/import", json=large).status_code == 413
    assert owner.post("/owner/import", json=large | {"content": "x" * 9_000_000}).status_code == 413
