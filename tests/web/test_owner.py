"""The owner's page: figures, people, invitations, exports."""

import hashlib
import io
import json
import sys
import zipfile

import pytest

from likelier.feedback.formats import export_file, import_file
from likelier.feedback.store import Store
from likelier.records import Comparison, Media, Prompt, Response
from likelier.web.app import create_app
from likelier.web.owner import describe_agreement, list_flags
from page_visitors import come_in


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as opened:
        for number in range(3):
            prompt = Prompt(f"Tell me story {number}.")
            pair = Response(prompt.id, "yes", "secret-model"), Response(prompt.id, "no", "secret-model")
            opened.add_prompts([prompt])
            opened.add_responses(pair)
            opened.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])
        yield opened


def judge(client, number):
    question = client.get("/question").json()
    sent = {**question["ids"], "choice": "left", "key": f"0000-000{number}", "duration_seconds": 1.5}
    assert client.post("/judgements", json=sent).status_code == 200


def test_it_tells_how_far_everybody_is(store):
    app = create_app(store, per_comparison=2)
    owner, ann = come_in(app, "admin"), come_in(app, "annotator")
    for number in range(3):
        judge(ann, number)
    judge(owner, 0)
    state = owner.get("/owner/state").json()
    assert (state["comparisons"], state["judgements"], state["missing"]) == (3, 4, 2)
    assert [(each["name"], each["judgements"]) for each in state["people"]] == [("admin", 1), ("annotator", 3)]
    assert [each["annotator"] for each in state["newest"]] == ["admin", "annotator", "annotator", "annotator"]
    assert owner.get("/owner").status_code == 200


def test_figures_are_there_before_the_first_judgement(store):
    state = come_in(create_app(store), "admin").get("/owner/state").json()
    assert (state["judgements"], state["alpha"], state["newest"]) == (0, None, [])


def test_a_project_of_ratings_has_their_agreement_and_flags():
    scales = [
        {"responses": 5, "alpha_ordinal": 0.1, "alpha_ordinal_interval": [0.0, 0.3]},
        {"responses": 30, "alpha_ordinal": 0.6, "alpha_ordinal_interval": [0.5, 0.7]},
    ]
    rated = {"alpha": None, "alpha_interval": None, "rating_agreement": scales}
    assert describe_agreement(rated) == {"alpha": 0.6, "alpha_interval": [0.5, 0.7]}
    assert describe_agreement(rated | {"alpha": 0.4}) == {"alpha": 0.4, "alpha_interval": None}
    assert describe_agreement({}) == {"alpha": None, "alpha_interval": None}
    assert list_flags({"flags": ["left", "random"], "rating_flags": ["random"]}) == ["left", "random"]
    assert list_flags({}) == []


def test_a_link_that_it_makes_opens_once(store):
    app = create_app(store)
    owner = come_in(app, "admin")
    invitation = owner.post("/owner/invitations", json={"role": "reviewer"}).json()
    guest = come_in(app, None)
    assert guest.get(invitation["path"]).status_code == 200
    assert guest.post("/name", json={"name": "Rita"}).status_code == 200
    assert [each.role for each in app.state.room.accounts.list_people()] == ["admin", "reviewer"]
    assert come_in(app, None).get(invitation["path"]).status_code == 403


def test_a_link_to_ones_own_account_asks_for_no_name(store):
    app = create_app(store)
    owner, ann = come_in(app, "admin"), come_in(app, "annotator")
    (person,) = [each for each in app.state.room.accounts.list_people() if each.name == "annotator"]
    link = owner.post("/owner/invitations", json={"annotator": person.annotator}).json()["path"]
    assert 'id="question"' in ann.get(link).text  # who is in already goes on
    device = come_in(app, None)
    page = device.get(link).text
    assert ("Begin as annotator" in page, 'id="name"' in page) == (True, False)
    assert device.post("/name", json={}).status_code == 200
    assert len(app.state.room.accounts.list_people()) == 2
    stranger = come_in(app, None)
    stranger.get(owner.post("/owner/invitations", json={}).json()["path"])
    assert stranger.post("/name", json={"name": " "}).json() == {"detail": "name: give one"}


def test_its_qr_code_is_square_and_of_zeros_and_ones(store):
    code = come_in(create_app(store), "admin").post("/owner/invitations", json={}).json()["code"]
    assert {len(row) for row in code} == {len(code)}
    assert set("".join(code)) == {"0", "1"}


@pytest.mark.parametrize("sent", [{"role": "owner"}, {"annotator": "nobody"}, {"role": "admin", "more": 1}])
def test_a_wrong_invitation_is_refused(store, sent):
    assert come_in(create_app(store), "admin").post("/owner/invitations", json=sent).status_code == 422


def test_owners_cannot_shut_themselves_out(store):
    app = create_app(store)
    owner = come_in(app, "admin")
    (person,) = app.state.room.accounts.list_people()
    reply = owner.post("/owner/people", json={"annotator": person.annotator, "disabled": True})
    assert (reply.status_code, reply.json()) == (422, {"detail": "you cannot shut yourself out"})


def test_an_export_is_that_of_the_command_line(store, tmp_path):
    app = create_app(store)
    owner = come_in(app, "admin")
    judge(owner, 0)
    for name in ("likelier", "trl"):
        reply = owner.get(f"/owner/export/{name}")
        export_file(store, name, tmp_path / name)
        assert reply.content == (tmp_path / name).read_bytes()
        assert reply.headers["content-disposition"] == f"attachment; filename*=UTF-8''default-{name}.jsonl"
    assert len([json.loads(line) for line in reply.content.splitlines()]) == 1
    assert owner.get("/owner/export/nothing").status_code == 404


@pytest.mark.parametrize(
    ("name", "suffix", "start"),
    [
        ("csv", "csv", b"prompt,"),
        ("parquet", "parquet", b"PAR1"),
        ("label-studio", "json", b"["),
        ("openai", "jsonl", b"{"),
    ],
)
def test_an_export_is_named_and_made_as_the_formats_own_tool_reads_it(store, name, suffix, start):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    owner = come_in(create_app(store), "admin")
    judge(owner, 0)
    reply = owner.get(f"/owner/export/{name}")
    assert reply.content.startswith(start)
    assert reply.headers["content-disposition"].endswith(f"''default-{name}.{suffix}")


def test_an_export_with_media_is_an_archive_that_can_be_imported(store, tmp_path):
    source = tmp_path / "dot.gif"
    source.write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")
    media = Media("image/gif", hashlib.sha256(source.read_bytes()).hexdigest(), source.stat().st_size)
    with store.transaction() as writer:
        writer.add_media(media, source)
        prompt = Prompt("Draw a dot.")
        pair = Response(prompt.id, media=media), Response(prompt.id, "a dot")
        writer.add_prompts([prompt])
        writer.add_responses(pair)
        writer.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])
    reply = come_in(create_app(store), "admin").get("/owner/export/likelier")
    assert reply.headers["content-disposition"].endswith("''default-likelier.zip")
    zipfile.ZipFile(io.BytesIO(reply.content)).extractall(tmp_path / "out")
    with Store.open(tmp_path / "other.db", create=True) as other:
        import_file(tmp_path / "out" / "likelier.jsonl", "likelier", other)
        assert other.media() == store.media()


def test_an_export_that_cannot_be_made_says_why(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    reply = come_in(create_app(store), "admin").get("/owner/export/parquet")
    assert (reply.status_code, reply.json()) == (422, {"detail": "parquet: the server lacks the package pyarrow"})
