"""Corpora of what attackers send: scripts in every field, paths, other origins, redirects (BATTERY X)."""

import itertools
from urllib.parse import quote

import pytest
from judges import Server

from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response
from likelier.web.access import ACCESS
from likelier.web.app import create_app
from page_visitors import come_in
from payloads import PAYLOADS, SCRIPTS


def fill(store, payloads):
    """A comparison for each payload, which is in its prompt, both responses and the names of their models."""
    prompts = [Prompt(f"{payload} {number}") for number, payload in enumerate(payloads)]
    pairs = [[Response(prompt.id, f"{prompt.text} {side}", f"{prompt.text}") for side in "ab"] for prompt in prompts]
    with store.transaction() as writer:
        writer.add_prompts(prompts)
        writer.add_responses([response for pair in pairs for response in pair])
        writer.add_comparisons([Comparison(one.prompt_id, one.id, two.id) for one, two in pairs])


def test_a_thousand_scripts_are_sent_as_json_and_never_as_a_page(tmp_path):
    assert len(set(PAYLOADS)) == 1000
    with Store.open(tmp_path / "f.db", create=True) as store:
        fill(store, PAYLOADS[::50])
        app = create_app(store)
        owner = come_in(app, "admin")
        for payload in PAYLOADS[7::100]:
            person = come_in(app, None)
            person.get("/", params={"token": app.state.room.accounts.invite("annotator")})
            reply = person.post("/name", json={"name": payload[:100]})
            question = reply.json()
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["x-content-type-options"] == "nosniff"
            sent = {**question["ids"], "choice": "left", "key": "0000-0001", "duration_seconds": 1}
            assert person.post("/judgements", json=sent).status_code == 200
            page = person.get("/").text
            assert payload[:100] not in page or "<" not in payload[:100]
        assert owner.get("/owner/state").headers["content-type"] == "application/json"
        page = owner.get("/owner").text
        assert not [payload for payload in PAYLOADS if "<" in payload and payload in page]


@pytest.mark.slow
def test_no_script_runs_in_a_browser(chromium, tmp_path):
    """Prompts, responses and the owner's name are payloads; each is shown, judged, and in the owner's list.

    All of them, in every field: test_scripts.py.
    """
    payloads = PAYLOADS[3::500]
    with Store.open(tmp_path / "f.db", create=True) as store:
        fill(store, payloads)
    server = Server(tmp_path, tmp_path / "f.db", people=1)
    context = chromium.new_context()
    try:
        server.start()
        link = server.wait()
        context.add_init_script("window.alert = () => { document.documentElement.dataset.hit = 'yes' }")
        page, said = context.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.port}{link}")
        page.get_by_label("Your name").fill(SCRIPTS[1])
        page.get_by_role("button", name="Begin").click()
        for number in range(len(payloads)):
            page.get_by_text(f"{number} judged").wait_for()
            assert page.evaluate("document.documentElement.dataset.hit") is None
            page.wait_for_timeout(200)
            page.keyboard.press("1")
        page.get_by_text("Thank you").wait_for()
        page.goto(f"http://127.0.0.1:{server.port}/owner")
        page.get_by_text(SCRIPTS[1]).first.wait_for()
        assert page.evaluate("document.documentElement.dataset.hit") is None
        assert page.evaluate("document.querySelectorAll('img, iframe, object, video, [onerror], [onload]').length") == 0
        assert said == []
    finally:
        context.close()
        server.close()


PARTS = ["..", ".", "%2e%2e", "..%2f", "%252e%252e", "..\\", "..%5c", "%c0%ae%c0%ae", "\u2025", "CON", "NUL", "%00"]
TARGETS = ["etc/passwd", "app.py", "f.db", "judge.js%00.png", "C:/Windows/win.ini", "judge.js/..", "JUDGE.JS", ""]
FOLDERS = ["/static", "/media", "/owner/export", "/static/judge.js", ""]


def test_no_path_leads_out_of_the_tables_of_names(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        fill(store, ["a"])
        owner = come_in(create_app(store), "admin")
        paths = [
            f"{folder}/{'/'.join([part] * 3)}/{target}" for folder in FOLDERS for part in PARTS for target in TARGETS
        ]
        assert len(paths) == 480
        pages = [owner.get(place).content for place in ("/", "/owner", "/static/judge.js")]  # where /a/.. goes away
        for path in paths:
            reply = owner.get(quote(path, safe="/%\\:"))
            assert reply.content in pages or 400 <= reply.status_code < 500, (path, reply.status_code)
            assert "root:" not in reply.text
            assert "SQLite format" not in reply.text


@pytest.mark.parametrize(
    "body", [b"[" * 19_000, b'{"name":' * 2000, b"9" * 19_000, b'{"name": "\xff"}', b"\0", b'{"a":1e999999999}', b"nul"]
)
def test_a_body_that_is_a_bomb_is_refused(tmp_path, body):
    with Store.open(tmp_path / "f.db", create=True) as store:
        fill(store, ["a"])
        person = come_in(create_app(store), "annotator")
        reply = person.post("/judgements", content=body, headers={"content-type": "application/json"})
        assert reply.status_code in (400, 422)
        assert list(reply.json()) == ["detail"]


FOREIGN = [
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": ""}, 403),
    ({"origin": "http://127.0.0.1:8001"}, 403),
    ({"origin": "https://127.0.0.1:8000"}, 403),
    ({"origin": "http://127.0.0.1:8000.evil.example"}, 403),
    ({"host": "evil.example", "origin": "http://evil.example"}, 403),
    ({"content-type": "text/plain"}, 415),
    ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ({"content-type": "application/json-patch"}, 415),
]


def test_no_route_that_changes_something_listens_to_another_page(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        fill(store, ["a"])
        owner = come_in(create_app(store), "admin")
        changing = [(method, path) for method, path in ACCESS if method != "GET"]
        assert len(changing) >= 5
        for (method, path), (headers, status) in itertools.product(changing, FOREIGN):
            place = path.replace("{", "").replace("}", "")
            reply = owner.request(method, place, content=b"{}", headers={"content-type": "application/json"} | headers)
            assert reply.status_code == status, (path, headers)
        assert owner.get("/question").status_code == 200  # nobody was logged out


def test_redirects_stay_here(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as store:
        fill(store, ["a"])
        client = come_in(create_app(store), "annotator")
        client.follow_redirects = False
        for place in (
            "//evil.example",
            "https://evil.example",
            "/\\evil",
            "javascript:alert(1)",
            "%2f%2fevil",
            "\t//evil",
        ):
            for query in ({"to": place, "language": "zh"}, {"next": place, "language": "zh"}, {"token": place}):
                reply = client.get("/", params=query)
                assert reply.headers.get("location", "/") == "/"
                assert reply.status_code in (303, 422)


def test_no_secret_is_printed(tmp_path, capfd):
    """Tokens of links and sessions stand on stderr only as the links that it is told to print (X7, X16)."""
    with Store.open(tmp_path / "f.db", create=True) as store:
        fill(store, ["a"])
        app = create_app(store)
        person = come_in(app, "annotator")
        person.get("/", params={"token": "canary-token"})
        person.post("/judgements", content=b"{", headers={"content-type": "application/json"})
        person.get("/nothing?session=canary-session")
        session = person.cookies[next(iter(person.cookies))]
        printed = "".join(capfd.readouterr())
        assert "canary" not in printed
        assert session not in printed
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert session.encode() not in stored
        assert app.state.room.token.encode() not in stored
