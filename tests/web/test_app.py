"""The judging page: what it stores, whom it lets in, what it tells, and how it works in a browser."""

import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from likelier.errors import DataError
from likelier.feedback.media import MediaFolder
from likelier.feedback.questions import Shown
from likelier.feedback.secret import read_secret
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.records import Comparison, Judgement, Prompt, Response, read_prompts
from likelier.records.media import read_media
from likelier.web import room
from likelier.web.app import MEDIA_HEADERS, create_app
from likelier.web.guards import HEADERS
from likelier.web.ids import PageIds
from media_files import MP4, WEBM, image, sound
from page_visitors import add_pair
from served_page import start_serving, wait_until

HERE = "http://127.0.0.1:8000"
PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def fill(store, count=6, text="The fox shared its bread."):
    prompts = [Prompt(f"Story {number}. {PAYLOAD if number == 0 else ''}") for number in range(count)]
    pairs = [[Response(prompt.id, f"{text} {side}", model=f"secret-{side}") for side in "ab"] for prompt in prompts]
    store.add_prompts(prompts)
    store.add_responses([response for pair in pairs for response in pair])
    store.add_comparisons([Comparison(a.prompt_id, a.id, b.id) for a, b in pairs])


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "feedback.db", create=True) as opened:
        fill(opened)
        yield opened


NO_SESSION = "open the link that the server printed, or that you were sent"


def visitor(app, name="Ann"):
    """A browser that has come in by the link and given a name."""
    client = TestClient(app, base_url=HERE, headers={"origin": HERE})
    assert client.get("/", params={"token": app.state.room.token}).status_code == 200
    if name:
        assert client.post("/name", json={"name": name}).status_code == 200
    return client


def answer_to(question, choice="left", key="0000-0001", **changes):
    return {**question["ids"], "choice": choice, "key": key, "duration_seconds": 1.5, **changes}


def test_a_judgement_is_stored_with_all_that_belongs_to_it(store):
    app = create_app(store)
    client = visitor(app)
    question = client.get("/question").json()
    reply = client.post("/judgements", json=answer_to(question, "right")).json()
    (stored,) = store.judgements()
    asked = {name: app.state.room.ids.find(each) for name, each in question["ids"].items() if name != "ticket"}
    assert asked == {"comparison_id": stored.comparison_id, "left": stored.left, "right": stored.right}
    assert stored.choice == "right"
    assert stored.duration_seconds == 1.5
    assert stored.annotator.startswith("person-")
    assert "Ann" not in stored.annotator
    assert stored.created_at.endswith("+00:00")
    assert not stored.simulated
    assert reply["progress"]["judged"] == 1
    assert reply["ids"] != question["ids"]


def test_a_repeated_request_stores_once_and_answers_the_same(store):
    client = visitor(create_app(store, guesser=lambda prompt, left, right: 0.9))
    sent = answer_to(client.get("/question").json())
    first, second = client.post("/judgements", json=sent), client.post("/judgements", json=sent)
    changed = client.post("/judgements", json=sent | {"choice": "tie"})  # the same key: what is stored counts
    assert first.json()["guess"] == second.json()["guess"] == changed.json()["guess"]
    assert [judgement.choice for judgement in store.judgements()] == ["left"]


def test_nothing_is_acknowledged_that_is_not_stored(store, monkeypatch):
    def full_disk(record, screens):
        raise DataError("feedback.db: database or disk is full; make room")

    client = visitor(create_app(store))
    sent = answer_to(client.get("/question").json())
    with monkeypatch.context() as patch:
        patch.setattr(store, "store_answer", full_disk)
        reply = client.post("/judgements", json=sent)
    assert (reply.status_code, reply.json()) == (503, {"detail": "feedback.db: database or disk is full; make room"})
    assert reply.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert client.post("/judgements", json=sent).status_code == 200
    assert len(store.judgements()) == 1


def test_our_mistake_has_the_headers_too(store):
    def broken(prompt, left, right):
        raise ZeroDivisionError

    app = create_app(store, guesser=broken)
    client = TestClient(app, base_url=HERE, headers={"origin": HERE}, raise_server_exceptions=False)
    client.get("/", params={"token": app.state.room.token})
    reply = client.post("/name", json={"name": "Ann"})
    assert reply.status_code == 500
    assert "ZeroDivisionError" not in reply.text
    assert HEADERS.items() <= {key.title().replace("Csp", "CSP"): value for key, value in reply.headers.items()}.items()


def test_the_guess_is_kept_until_after_the_answer(store):
    client = visitor(create_app(store, guesser=lambda prompt, left, right: 0.8))
    question = client.get("/question").json()
    assert set(question) == {"done", "shown", "ids", "next", "progress", "writing"}
    assert question["progress"]["guesses"] == ""
    reply = client.post("/judgements", json=answer_to(question, "right")).json()
    assert reply["guess"] == {"side": "left", "confidence": 0.8, "hit": False}
    assert reply["progress"]["guesses"] == "guessed 0 of your last 1 (0–98 %)"
    assert reply["progress"]["hits"] == [False]


def test_the_guesser_sees_what_the_person_sees(store):
    seen = []
    client = visitor(create_app(store, guesser=lambda *shown: seen.append(shown) or 0.7))
    shown = client.get("/question").json()["shown"]
    assert seen[-2] == (shown["prompt"], shown["left"], shown["right"])  # the last is of the next question


def test_the_page_ends_after_as_many_as_were_wanted(store):
    app = create_app(store, wanted=2)
    ended = []
    app.state.room.when_finished = lambda: ended.append(True)
    client = visitor(app)
    for number in range(2):
        assert not ended
        question = client.get("/question").json()
        reply = client.post("/judgements", json=answer_to(question, key=f"0000-000{number}")).json()
    assert (reply["done"], reply["progress"]["judged"], ended) == (True, 2, [True])
    assert "shown" not in reply


def test_two_people_share_the_work(store):
    app = create_app(store, per_comparison=1)
    ann, bob = visitor(app, "Ann"), visitor(app, "Bob")
    for number, client in enumerate([ann, bob] * 3):
        question = client.get("/question").json()
        assert client.post("/judgements", json=answer_to(question, key=f"0000-000{number}")).status_code == 200
    assert ann.get("/question").json()["done"]
    assert store.counts()["annotators"] == 2
    assert len({judgement.comparison_id for judgement in store.judgements()}) == 6


def test_a_choice_of_comparisons_is_asked_until_each_is_judged(store):
    """Two of six, by two people each, one answer being there already: 3 are wanted, whoever else answers meanwhile."""
    chosen = [comparison.id for comparison in store.comparisons()[:2]]
    pair = store.comparisons()[0]
    store.add_judgement(Judgement(pair.id, "earlier", pair.response_a, pair.response_b, "left"))
    app = create_app(store, per_comparison=2, only=chosen)
    ended, (pair_id, other_id) = [], map(app.state.room.ids.hide, chosen)
    app.state.room.when_finished = lambda: ended.append(True)
    ann, bob = visitor(app, "Ann"), visitor(app, "Bob")
    first = ann.get("/question").json()
    assert first["progress"]["wanted"] == 3
    assert first["ids"]["comparison_id"] == pair_id  # begun by another, so asked first
    assert first["next"]["ids"]["comparison_id"] == other_id
    second = bob.get("/question").json()
    assert second["ids"]["comparison_id"] == other_id  # two are enough for the first: the earlier one and Ann
    assert second["next"] is None
    reply = ann.post("/judgements", json=answer_to(first)).json()
    assert (reply["progress"]["judged"], reply["ids"]["comparison_id"]) == (1, other_id)
    assert bob.post("/judgements", json=answer_to(second, key="0000-0002")).json()["done"]
    assert not ended
    assert ann.post("/judgements", json=answer_to(reply, key="0000-0003")).json()["progress"]["judged"] == 3
    assert ended == [True]


def test_a_question_reads_no_judgement_again(store, monkeypatch):
    """Each question read all judgements: 100,000 of them took seconds."""
    client = visitor(create_app(store))
    monkeypatch.setattr(store, "shown_after", lambda number, kind: pytest.fail("judgements were read"))
    monkeypatch.setattr(store, "judgements", lambda: pytest.fail("all judgements were read"))
    for number in range(4):
        question = client.get("/question").json()
        assert client.post("/judgements", json=answer_to(question, key=f"0000-000{number}")).status_code == 200


def test_a_judgement_of_another_process_with_an_earlier_number_counts(store, monkeypatch):
    """PostgreSQL gives out numbers before judgements are stored, so that a lower one may come later."""
    app, pair = create_app(store, per_comparison=1), store.comparisons()[0]
    monkeypatch.setattr(store.database, "path", None)  # as with PostgreSQL
    rows = [Shown(2, pair.id, "late", pair.responses)]
    monkeypatch.setattr(store, "shown_after", lambda after, kind=Judgement: [row for row in rows if row.number > after])
    monkeypatch.setattr(store, "count_stored", lambda kind=Judgement: len(rows))
    assert app.state.room.count_judged() == 1
    rows.insert(0, Shown(1, pair.id, "early", pair.responses))
    assert app.state.room.count_judged() == 1  # until they are counted again
    monkeypatch.setattr(room, "RECOUNT_SECONDS", 0.0)
    assert app.state.room.count_judged() == 2


def test_the_link_opens_once(store):
    app = create_app(store)
    announced = []
    app.state.room.announce = announced.append
    token = app.state.room.token
    first = TestClient(app, base_url=HERE, headers={"origin": HERE}, follow_redirects=False)
    reply = first.get("/", params={"token": token})
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    assert "HttpOnly" in reply.headers["set-cookie"]
    assert "SameSite=lax" in reply.headers["set-cookie"]
    assert first.get("/", params={"token": token}).status_code == 303  # who is in stays in
    assert first.get("/").status_code == 200
    assert announced == []  # a chat program that looks at a link does not use it up
    assert first.post("/name", json={"name": "Ann"}).status_code == 200
    stranger = TestClient(app, base_url=HERE).get("/", params={"token": token})
    assert stranger.status_code == 403
    assert "Each link opens once" in stranger.text
    assert announced == [app.state.room.token]
    assert announced != [token]
    assert TestClient(app, base_url=HERE).get("/", params={"token": announced[0]}).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", "ü" * 30])
def test_no_page_without_the_link(store, token):
    client = TestClient(create_app(store), base_url=HERE, headers={"origin": HERE})
    assert client.get("/", params={"token": token}).status_code == 403
    assert client.get("/question").status_code == 403
    assert client.post("/name", json={"name": "Eve"}).status_code == 403
    assert client.post("/judgements", json={}).status_code == 403
    assert store.counts()["annotators"] == 0


def test_no_question_without_a_name(store):
    client = visitor(create_app(store), name="")
    assert client.get("/question").status_code == 403
    assert client.post("/name", json={"name": "  "}).status_code == 422


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:8000", "origin": "http://127.0.0.1.evil.example:8000"}, 403),
        ({"host": "[::1", "origin": "http://[::1"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=application/json"}, 415),
        ({"content-length": "20001"}, 413),
        ({"content-length": "-1"}, 413),
        ({"content-length": ""}, 413),
    ],
)
def test_what_our_page_would_not_send_is_refused(store, headers, status):
    client = visitor(create_app(store))
    question = client.get("/question").json()
    reply = client.post("/judgements", json=answer_to(question), headers=headers)
    assert reply.status_code == status
    assert list(reply.json()) == ["detail"]
    assert store.judgements() == []


def test_a_request_without_an_origin_is_refused(store):
    client = visitor(create_app(store))
    question = client.get("/question").json()
    del client.headers["origin"]
    assert client.post("/judgements", json=answer_to(question)).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "127.0.0.1", "localhost:1", "[::1]:8000"])
def test_names_of_this_machine_are_known(store, host):
    client = TestClient(create_app(store), base_url=HERE)
    assert client.get("/static/judge.css", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"choice": "both"}, "choice: Input should be 'left', 'right' or 'tie'"),
        ({"key": "drop table"}, "key: String should match pattern"),
        ({"duration_seconds": -1}, "duration_seconds: Input should be greater than or equal to 0"),
        ({"duration_seconds": "NaN"}, "duration_seconds"),
        ({"annotator": "someone else"}, "annotator: Extra inputs are not permitted"),
        ({"simulated": True}, "simulated: Extra inputs are not permitted"),
        ({"left": "0123456789abcdef"}, "there is nothing of this id here"),
        ({"comparison_id": "0123456789abcdef"}, "there is nothing of this id here"),
    ],
)
def test_a_wrong_answer_is_named_and_not_stored(store, changes, said):
    client = visitor(create_app(store))
    reply = client.post("/judgements", json=answer_to(client.get("/question").json()) | changes)
    assert reply.status_code == 422
    assert reply.json()["detail"].startswith(said)
    assert store.judgements() == []


def test_every_route_and_every_error_has_the_headers(store):
    client = visitor(create_app(store))
    paths = ["/", "/question", "/static/judge.js", "/static/judge.css", "/static/../app.py", "/nothing", "/docs"]
    replies = [client.get(path) for path in paths] + [client.put("/judgements"), client.post("/name", content=b"x")]
    for reply in replies:
        assert {name: reply.headers[name] for name in HEADERS} == HEADERS, reply.url
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 200, 404, 404, 404, 405, 415]


def test_the_page_does_not_tell_who_wrote_what(store):
    client = visitor(create_app(store, guesser=lambda *shown: 0.9))
    question = client.get("/question")
    told = question.text + client.get("/").text + client.post("/judgements", json=answer_to(question.json())).text
    assert "secret" not in told


def fill_with_media(store, tmp_path, pairs):
    """Comparisons of these responses, each bytes of a file or a text; one prompt a pair."""
    with store.transaction() as writer:
        for number, pair in enumerate(pairs):
            prompt = Prompt(f"Draw disc number {number}.")
            writer.add_prompts([prompt])
            responses = [
                media_response(writer, tmp_path, prompt, content, f"m{side}") for side, content in enumerate(pair)
            ]
            writer.add_responses(responses)
            writer.add_comparisons([Comparison(prompt.id, responses[0].id, responses[1].id)])


def media_response(writer, tmp_path, prompt, content, model):
    if isinstance(content, str):
        return Response(prompt.id, content, model)
    path = tmp_path / "file"
    path.write_bytes(content)
    record = read_media(path)
    writer.add_media(record, path)
    return Response(prompt.id, model=model, media=record)


@pytest.fixture
def gallery(tmp_path):
    """A store with three pairs: two images, a sound and a text, two videos (of which only the first bytes are real)."""
    with Store.open(tmp_path / "media.db", create=True) as opened:
        pairs = [(image("red"), image("blue", "WEBP")), (sound(), "La la la."), (WEBM, MP4)]
        fill_with_media(opened, tmp_path, pairs)
        yield opened


def test_a_question_names_the_media_files_and_not_who_made_them(gallery):
    client, seen = visitor(create_app(gallery, guesser=lambda *texts: pytest.fail("the guesser reads texts only"))), {}
    for number in range(3):
        shown = (reply := client.get("/question").json())["shown"]
        assert set(shown) == {"prompt", "turns", "left", "right", "html", "cut", "media"}
        assert not {"model", "m0", "m1"} & set(str(shown["media"]).split("'"))
        for side in ("left", "right"):
            assert bool(shown[side]) != (side in shown["media"])
        for part in shown["media"].values():
            seen[part["kind"]] = client.get(part["url"])
            assert part["url"].startswith("/media/")
        assert client.post("/judgements", json=answer_to(reply, key=f"0000-000{number}")).status_code == 200
    assert set(seen) == {"image/png", "image/webp", "audio/wav", "video/webm", "video/mp4"}
    for kind, reply in seen.items():
        assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "content-disposition" not in reply.headers
    assert seen["image/png"].content == image("red")


def test_media_files_are_served_to_who_came_in_by_the_link_and_by_known_hash_only(gallery, tmp_path):
    app = create_app(gallery)
    client, url = visitor(app), f"/media/{gallery.media()[0].sha256}"
    assert client.get(url).status_code == 200
    assert TestClient(app, base_url=HERE).get(url).json() == {"detail": NO_SESSION}
    assert client.get(url, headers={"host": "evil.example"}).status_code == 403
    stray = tmp_path / "media.db.media" / ("a" * 64)
    stray.write_bytes(image("green"))  # in the folder, but no response
    for name in ("a" * 64, "../media.db", "..%2Fmedia.db", url[7:].upper(), url[7:] + ".png", ".", ""):
        assert client.get(f"/media/{name}").status_code == 404, name
    only = visitor(create_app(gallery, per_comparison=1, only=[]))
    assert only.get(url).status_code == 404  # not of these comparisons


def test_a_part_of_a_file_can_be_asked_for(gallery):
    client, data = visitor(create_app(gallery)), sound()
    (record,) = [record for record in gallery.media() if record.kind == "audio/wav"]
    url = f"/media/{record.sha256}"
    assert client.get(url).headers["accept-ranges"] == "bytes"
    part = client.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    expected = HEADERS | MEDIA_HEADERS
    assert {name: part.headers[name] for name in expected} == expected
    assert client.get(url, headers={"range": "bytes=-5"}).content == data[-5:]
    assert client.get(url, headers={"range": "bytes=999999-"}).status_code == 416
    assert client.get(url, headers={"range": "bytes=" + ",".join(["0-1"] * 1000)}).status_code == 416


def test_a_media_file_that_is_missing_is_named_and_the_page_goes_on(gallery):
    client, record = visitor(create_app(gallery)), gallery.media()[0]
    gallery.media_folder.find(record).unlink()
    reply = client.get(f"/media/{record.sha256}")
    assert reply.status_code == 503
    assert f"{record.sha256}: missing" in reply.json()["detail"]
    assert client.get("/question").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_in_a_browser(chromium, store, monkeypatch, capfd, width, scheme):
    link, end = start_serving(store, monkeypatch, wanted=5, guesser=lambda prompt, left, right: 0.8)
    context = chromium.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme, has_touch=width < 400)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append("a payload ran"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(link)
    page.get_by_label("Your name").fill("Ann 10")  # digits in a name are no answers
    page.get_by_role("button", name="Begin").click()
    for number, key in enumerate("1201"):
        page.get_by_text(f"{number} of 5", exact=True).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.wait_for_timeout(200)  # nobody reads two answers in less: a key that comes sooner is a double one
        page.keyboard.press(key)
    page.get_by_text("4 of 5").wait_for()
    page.get_by_text("The reward model guessed 2 of your last 3").wait_for()
    page.reload()  # who is in stays in
    button = page.get_by_role("button", name="Right is better")
    button.tap() if width < 400 else button.click()
    page.get_by_text("That was all. Thank you.").wait_for()
    assert end() == 5
    assert [judgement.choice for judgement in store.judgements()] == ["left", "right", "tie", "left", "right"]
    assert all(0 < judgement.duration_seconds < 60 for judgement in store.judgements())
    assert len({judgement.comparison_id for judgement in store.judgements()}) == 5  # none is asked twice
    assert said == []
    assert {url.split("/")[2] for url in asked} == {link.split("/")[2]}
    assert "token" not in page.url
    context.close()
    printed = capfd.readouterr().err.splitlines()
    assert printed[0] == f"judge here: {link}"
    assert len(printed) == 2


@pytest.mark.slow
def test_characters_that_a_browser_obeys_are_seen(chromium, tmp_path, monkeypatch):
    """In the prompt and both responses, rendered and raw: none turns the words around it."""
    prompt = Prompt("Say \u202eolleh")
    plain, marked = Response(prompt.id, "plain\u202e \x1btext"), Response(prompt.id, "مرحبا **bold\u2066** `f(x)`")
    with Store.open(tmp_path / "f.db", create=True) as store:
        store.add_prompts([prompt])
        store.add_responses([plain, marked])
        store.add_comparisons([Comparison(prompt.id, plain.id, marked.id)])
        link, _ = start_serving(store, monkeypatch, wanted=1)
        page = chromium.new_page()
        page.goto(link)
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Begin").click()
        page.get_by_text("bold").wait_for()
        assert page.locator("#prompt .control").all_inner_texts() == ["U+202E"]
        seen = sorted(page.locator(".text .control").all_inner_texts())
        assert seen == ["U+001B", "U+202E", "U+2066"]
        directions = page.locator(".text :is(p, code)").evaluate_all(
            "all => all.map((e) => getComputedStyle(e).direction)"
        )
        assert directions == ["rtl", "ltr"]  # code is read from left to right in every language
        page.keyboard.press("r")
        page.get_by_text("**bold").wait_for()
        assert sorted(page.locator(".text .control").all_inner_texts()) == seen
        assert page.locator(".control").first.get_attribute("title") == "RIGHT-TO-LEFT OVERRIDE"
        assert re.search("[\u202a-\u202e\u2066-\u2069\x1b]", page.locator("main").inner_text()) is None
        page.get_by_role("button", name="Left is better").click()
        page.get_by_text("That was all. Thank you.").wait_for()
        page.close()


@pytest.mark.slow
def test_an_answer_waits_until_it_is_stored(chromium, store, monkeypatch):
    """The server takes it at the third attempt; the page sends the same key each time and stores one judgement."""
    link, end = start_serving(store, monkeypatch, wanted=1)
    page, keys = chromium.new_page(), []

    def unreliable(route):
        keys.append(route.request.post_data_json["key"])
        if len(keys) == 1:
            route.abort()
        elif len(keys) == 2:
            route.fulfill(status=503, json={"detail": "the disk is full"})
        else:
            route.continue_()

    page.route("**/judgements", unreliable)
    page.goto(link)
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("0 of 1").wait_for()
    page.wait_for_timeout(200)
    page.keyboard.press("2")
    page.get_by_text("No connection. Your answers are kept here").wait_for()
    page.keyboard.press("1")  # while one answer is under way there is no other
    page.get_by_text("the disk is full").wait_for()
    page.get_by_text("That was all. Thank you.").wait_for()
    assert end() == 1
    assert len(set(keys)) == 1
    assert len(keys) == 3
    assert [judgement.choice for judgement in store.judgements()] == ["right"]
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_images_and_sounds_in_a_browser(chromium, tmp_path, monkeypatch, width):
    """Shown whole and within the width, judged by key; a player has controls; a file that cannot be shown says so.

    The files of the next question are in the browser before its turn.
    """
    find, served = MediaFolder.find, []
    monkeypatch.setattr(MediaFolder, "find", lambda self, media: served.append(media.sha256) or find(self, media))
    with Store.open(tmp_path / "media.db", create=True) as store:
        wide = image("red", size=(1600, 1200))
        fill_with_media(store, tmp_path, [(wide, image("blue", "WEBP")), (sound(), "La la la."), (WEBM, sound(220))])
        served.clear()
        link, end = start_serving(store, monkeypatch, wanted=3)
        context = chromium.new_context(viewport={"width": width, "height": 740})
        page, failed = context.new_page(), []
        page.on("console", lambda message: failed.append(message.text) if "Content Security" in message.text else None)
        page.goto(link)
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Begin").click()
        for number in range(3):
            page.get_by_text(f"{number} of 3", exact=True).wait_for()
            wait_until(
                page, "[...document.querySelectorAll('img, audio')].every((e) => e.naturalWidth || e.readyState)"
            )
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            prompt = page.locator("#prompt").text_content()
            if "number 0" in prompt:
                assert page.locator("article img").count() == 2
                sizes = page.evaluate("[...document.querySelectorAll('img')].map((each) => each.naturalWidth)")
                assert sorted(sizes) == [64, 1600]
            if "number 1" in prompt:
                assert page.evaluate("document.querySelector('audio').controls")
                page.locator("audio").focus()  # the keys answer from a player too
            if "number 2" in prompt:
                page.get_by_text("This file cannot be shown").wait_for()
            page.wait_for_timeout(200)
            assert len(set(served)) >= (3, 5, 5)[number]  # of a question one or two
            page.keyboard.press("2")
        page.get_by_text("That was all. Thank you.").wait_for()
        assert all(served.count(each.sha256) == 1 for each in store.media() if each.kind.startswith("image"))
        assert end() == 3
        assert [judgement.choice for judgement in store.judgements()] == ["right"] * 3
        assert failed == []
        context.close()


def test_answers_to_a_database_that_was_moved_are_refused_and_the_terminal_says_so(store, tmp_path, capfd):
    """They were acknowledged, and stood nowhere."""
    guest = visitor(create_app(store))
    question = guest.get("/question").json()
    assert guest.post("/judgements", json=answer_to(question)).status_code == 200
    store.path.rename(tmp_path / "moved.db")
    question = guest.post("/judgements", json=answer_to(question, key="0000-0002"))
    assert question.status_code == 503
    assert "moved or replaced since it was opened" in question.json()["detail"]
    assert guest.get("/question").status_code == 503
    assert capfd.readouterr().err.count("moved or replaced") == 1


def test_an_answer_that_is_changed_supersedes_the_first(store):
    client = visitor(create_app(store))
    question = client.get("/question").json()
    first = client.post("/judgements", json=answer_to(question, "left")).json()
    change = answer_to(question, "tie", key="0000-0002", both_bad=True, supersedes="0000-0001")
    changed = client.post("/judgements", json=change).json()
    assert (first["progress"]["judged"], changed["progress"]["judged"]) == (1, 1)
    assert changed["ids"] == first["ids"]  # the next question is the same
    (current,) = store.judgements()
    assert (current.choice, current.both_bad) == ("tie", True)
    assert store.counts()["judgements"] == 1
    assert len(list(store.judged_by_content(everything=True))) == 2  # nothing is ever edited
    assert client.post("/judgements", json=change).status_code == 200  # a repeated request
    again = client.post("/judgements", json=change | {"key": "0000-0003"})
    assert (again.status_code, again.json()["detail"]) == (409, "this answer was changed already, or is not yours")


def test_a_second_tab_changes_an_answer_and_adds_none(store):
    """Both tabs show the question; it counted twice, once for each side."""
    client = visitor(create_app(store))
    question = client.get("/question").json()
    client.post("/judgements", json=answer_to(question, "left"))
    second = answer_to(question, "right", key="0000-0002")
    for _ in range(2):  # the second time as a request that is repeated
        assert client.post("/judgements", json=second).json()["progress"]["judged"] == 1
    assert [(each.choice, each.key[-4:]) for each in store.judgements()] == [("right", "0002")]
    left, right = question["ids"]["right"], question["ids"]["left"]  # a repeat, which has its sides reversed
    reversed_sides = answer_to(question, "left", key="0000-0003") | {"left": left, "right": right}
    assert client.post("/judgements", json=reversed_sides).json()["progress"]["judged"] == 2
    assert len(store.judgements()) == 2


def test_without_a_ticket_a_question_is_on_the_screen_or_was_answered(store):
    app = create_app(store)
    ann = visitor(app, "Ann")
    question = ann.get("/question").json()
    held = answer_to({"ids": {name: each for name, each in question["ids"].items() if name != "ticket"}})
    assert ann.post("/judgements", json=held).status_code == 200
    assert ann.post("/judgements", json=held).status_code == 200  # sent again
    changed = held | {"choice": "right", "key": "0000-0002", "supersedes": "0000-0001"}
    assert ann.post("/judgements", json=changed).status_code == 200
    given, ids = ann.get("/question").json(), app.state.room.ids
    screen = {given["ids"]["comparison_id"], given["next"]["ids"]["comparison_id"], held["comparison_id"]}
    other = next(each for each in store.comparisons() if ids.hide(each.id) not in screen)
    sides = {"comparison_id": other.id, "left": other.response_a, "right": other.response_b}
    stranger = held | {name: ids.hide(each) for name, each in sides.items()} | {"key": "0000-0003"}
    reply = ann.post("/judgements", json=stranger)
    assert (reply.status_code, reply.json()["detail"]) == (422, "ticket: this question was not given to you")
    assert [each.choice for each in store.judgements()] == ["right"]


def test_nobody_changes_the_answer_of_somebody_else(store):
    app = create_app(store)
    ann, eve = visitor(app, "Ann"), visitor(app, "Eve")
    question = ann.get("/question").json()
    ann.post("/judgements", json=answer_to(question))
    theft = answer_to(question, "right", key="0000-0002", supersedes="0000-0001")
    reply = eve.post("/judgements", json=theft)
    assert (reply.status_code, reply.json()["detail"]) == (422, "ticket: this question was not given to you")
    (known,) = [each.annotator for each in app.state.room.accounts.list_people() if each.name == "Eve"]
    given = app.state.room.ids.make_ticket(known, store.judgements()[0].comparison_id)  # to both
    assert eve.post("/judgements", json=theft | {"ticket": given}).status_code == 409
    assert [judgement.choice for judgement in store.judgements()] == ["left"]


def test_a_comparison_that_was_skipped_is_not_asked_again(store):
    client = visitor(create_app(store))
    question = client.get("/question").json()
    reply = client.post("/skip", json={"comparison_id": question["ids"]["comparison_id"]}).json()
    assert reply["ids"] == question["next"]["ids"]
    assert store.judgements() == []
    for number in range(5):
        reply = client.post("/judgements", json=answer_to(reply, key=f"0000-000{number}")).json()
    assert reply["done"]


def test_strength_is_of_a_side(store):
    client = visitor(create_app(store))
    question = client.get("/question").json()
    assert client.post("/judgements", json=answer_to(question, "tie", strength=2)).status_code == 422
    assert client.post("/judgements", json=answer_to(question, "left", both_bad=True)).status_code == 422
    assert client.post("/judgements", json=answer_to(question, "left", strength=3)).status_code == 200
    assert store.judgements()[0].strength == 3


@pytest.mark.slow
def test_undo_skip_and_both_bad_by_keys(chromium, store, monkeypatch):
    link, end = start_serving(store, monkeypatch, wanted=3)
    page, said = chromium.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(link)
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("0 of 3").wait_for()
    skipped = page.locator("#prompt").text_content()
    page.keyboard.press("s")
    wait_until(page, f"document.querySelector('#prompt').textContent !== {skipped!r}")
    first = page.locator("#prompt").text_content()
    page.keyboard.press("1")
    page.get_by_text("1 of 3").wait_for()
    page.keyboard.press("u")
    page.get_by_text("Your last answer, to be changed").wait_for()
    assert page.locator("#prompt").text_content() == first
    page.wait_for_timeout(200)
    page.keyboard.press("b")
    page.get_by_text("Your last answer, to be changed").wait_for(state="hidden")
    for number in (1, 2):
        page.get_by_text(f"{number} of 3", exact=True).wait_for()
        page.wait_for_timeout(200)
        page.keyboard.press("2")
    page.get_by_text("That was all. Thank you.").wait_for()
    assert end() == 3
    assert [(each.choice, each.both_bad) for each in store.judgements()] == [
        ("tie", True),
        ("right", False),
        ("right", False),
    ]
    assert said == []
    page.close()


@pytest.mark.slow
def test_the_very_last_answer_can_be_undone(chromium, tmp_path, monkeypatch):
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        link, _ = start_serving(store, monkeypatch)
        page = chromium.new_page()
        page.goto(link)
        page.get_by_label("Your name").fill("Ann")
        page.locator("#who button").click()
        page.locator("#question").wait_for()
        page.keyboard.press("1")
        page.get_by_text("That was all. Thank you.").wait_for()
        page.keyboard.press("u")
        page.get_by_text("Your last answer, to be changed").wait_for()
        page.wait_for_timeout(200)
        page.keyboard.press("0")
        page.get_by_text("That was all. Thank you.").wait_for()
        assert [each.choice for each in store.judgements()] == ["tie"]
        page.close()


FILL_OUTBOX = """rows => new Promise((resolve, reject) => {
  const request = indexedDB.open("likelier", 1);
  request.onsuccess = () => {
    const transaction = request.result.transaction("answers", "readwrite"), store = transaction.objectStore("answers");
    rows.forEach((row) => store.add(row));
    const all = store.getAll();
    transaction.oncomplete = () => { request.result.close(); resolve(all.result.map(({ answer }) => answer.key)); };
    transaction.onerror = () => reject(transaction.error);
  };
})"""


@pytest.mark.slow
def test_kept_answers_of_others_and_of_other_projects_stay_and_hold_nothing_up(chromium, tmp_path, monkeypatch):
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        (pair,) = store.comparisons()
        link, _ = start_serving(store, monkeypatch)
        page = chromium.new_page()
        page.goto(link)
        page.get_by_label("Your name").fill("Ann")
        page.locator("#who button").click()
        page.locator("#question").wait_for()
        ids = PageIds(read_secret(store, "page ids"))
        subject = {"comparison_id": pair.id, "left": pair.response_a, "right": pair.response_b}
        answer = {name: ids.hide(each) for name, each in subject.items()} | {"choice": "left", "ticket": "0" * 16}
        keys = ["0000-0001", "0000-0002"]
        kept = [{"answer": answer | {"key": key, "duration_seconds": 1}, "path": "/judgements"} for key in keys]
        rows = [kept[0] | {"person": "person-eve"}, kept[1] | {"about": "gone"}]
        assert page.evaluate(FILL_OUTBOX, rows) == keys
        page.keyboard.press("2")
        page.get_by_text("Not stored yet: 1 of your answers").wait_for()
        assert not page.get_by_text("Every answer is stored").is_visible()
        (stored,) = store.judgements()
        assert (stored.choice, stored.key[-4:] in ("0001", "0002")) == ("right", False)
        assert page.evaluate(FILL_OUTBOX, []) == keys
        page.context.clear_cookies()  # the session ends
        page.keyboard.press("u")
        page.get_by_text("Your last answer, to be changed").wait_for()
        page.wait_for_timeout(200)
        page.keyboard.press("1")
        page.get_by_text("Not stored yet: 2 of your answers").wait_for()
        page.close()


def start_process(db, port):
    """`likelier serve` as a process of its own; returns it with its first link and the port."""
    words = [sys.executable, "-m", "likelier", "serve", "--db", str(db), "--port", str(port)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    link = process.stderr.readline().split()[-1]
    return process, link, urlsplit(link).port


@pytest.mark.battery  # test_kills.py kills servers too
def test_a_killed_server_loses_no_answer_and_no_session(chromium, store, tmp_path):
    """The page promised to keep answers; with the process the session was gone, and the answer with it."""
    store.close()
    process, link, port = start_process(store.path, 0)
    context = chromium.new_context()
    page = context.new_page()
    page.goto(link)
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("0 judged").wait_for()
    process.kill()
    process.communicate()
    for key in "12":  # the next question is here already
        page.wait_for_timeout(200)
        page.keyboard.press(key)
    page.get_by_text("No connection. Your answers are kept here").wait_for()
    page.close()  # and with it all that was not on the disk
    process, _, _ = start_process(store.path, port)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_text("2 judged, 2 by you").wait_for()
    context.close()
    process.kill()
    process.communicate()
    with Store.open(store.path) as again:
        assert sorted(judgement.choice for judgement in again.judgements()) == ["left", "right"]


@pytest.mark.slow
def test_the_page_in_chinese(chromium, store, monkeypatch):
    link, end = start_serving(store, monkeypatch, wanted=1)
    context = chromium.new_context(locale="zh-CN", viewport={"width": 360, "height": 740})
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(link)
    page.get_by_role("link", name="English").click()
    page.get_by_text("Which answer is better?").wait_for()
    page.get_by_role("link", name="中文").click()
    page.get_by_label("你的名字").fill("小明")
    page.get_by_role("button", name="开始").click()
    page.get_by_text("0 / 1").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.keyboard.press("1")
    page.get_by_text("全部完成，谢谢。").wait_for()
    assert end() == 1
    assert said == []
    context.close()


def test_a_prompt_is_shown_with_its_pictures_and_no_path(tmp_path):
    """One address for each mark in its text; a reward model, which reads texts, guesses nothing."""
    (tmp_path / "a.png").write_bytes(image("red"))
    parts = [{"type": "image", "path": "a.png"}, {"type": "text", "text": "How many?"}]
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": [{"role": "user", "content": parts}]}])
    (prompt,) = read_prompts(tmp_path / "p.jsonl")
    responses = [Response(prompt.id, text, "m") for text in ("one", "two")]
    with Store.open(tmp_path / "p.db", create=True) as store:
        with store.transaction() as writer:
            writer.add_prompts([prompt])
            writer.add_responses(responses)
            writer.add_comparisons([Comparison(prompt.id, responses[0].id, responses[1].id)])
        client = visitor(create_app(store, guesser=lambda *texts: pytest.fail("the guesser reads texts only")))
        reply = client.get("/question")
        assert str(tmp_path) not in reply.text
        (turn,) = reply.json()["shown"]["turns"]
        assert (turn["role"], turn["content"]) == ("user", "\ufffcHow many?")
        (picture,) = turn["pictures"]
        shown = client.get(picture["url"])
        assert (picture["kind"], shown.status_code, shown.content) == ("image/png", 200, image("red"))
