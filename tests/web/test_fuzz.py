"""Requests made from the API's schema, fitting and not: no server error, and errors of one shape (BATTERY X9)."""

import json
import random
import warnings
from collections import Counter
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, seed, settings

from likelier.feedback.store import Store
from likelier.web.access import PAGES
from likelier.web.app import create_app
from likelier.web.guards import HEADERS
from likelier.web.schema import describe_api
from likelier.web.site import Site
from page_visitors import HERE, add_pair, come_in

schemathesis = pytest.importorskip("schemathesis")
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
ONLY_POSITIVE = {"GET /static/{name}"}
"""Any text is a name: nothing can be wrong with it."""
INJECTIONS = [
    "' OR 1=1 --",
    '"; DROP TABLE judgements; --',
    "1); ATTACH 'x' AS y; --",
    "\0",
    "%00",
    "{{7*7}}",
    "../../x",
]


def list_operations(app):
    schema = schemathesis.openapi.from_dict(describe_api(app, Site()))
    return [result.ok() for result in schema.get_all_operations()]


def find_known(store, room):
    """Values that get a request past the first checks, by the name of the field; the ticket is the owner's."""
    pair, ids = store.comparisons()[0], room.ids
    owner = next(each.annotator for each in room.accounts.list_people() if each.role == "admin")
    return {
        "comparison_id": ids.hide(pair.id),
        "left": ids.hide(pair.response_a),
        "right": ids.hide(pair.response_b),
        "ticket": ids.make_ticket(owner, pair.id),
        "key": "0000-0001",
        "choice": "left",
        "duration_seconds": 1,
        "annotator": "person-00000000",
    }


def send(client, case, known, draw):
    """Send a case, with values that exist in the place of some of its own, or with injections."""
    query = dict(case.query or {})
    body = case.body
    if isinstance(body, dict):
        body = {key: known[key] if key in known and draw.random() < 0.5 else value for key, value in body.items()}
        if body and draw.random() < 0.2:
            body[draw.choice(list(body))] = draw.choice(INJECTIONS)
    elif draw.random() < 0.1:
        query[draw.choice(["token", "language", "to", "project", "order", "filter"])] = draw.choice(INJECTIONS)
    content = None
    if case.method == "POST":
        content = body if isinstance(body, bytes) else json.dumps(body, default=str).encode("utf-8", "surrogatepass")
    pairs = "&".join(
        f"{quote(str(key), errors='replace')}={quote(str(value), errors='replace')}" for key, value in query.items()
    )
    url = f"{case.formatted_path}?{pairs}" if pairs else case.formatted_path
    return client.request(case.method, url, content=content, headers={"content-type": "application/json"})


def fuzz(store, num_requests):
    """Send about as many requests to all operations, as nobody, an annotator and an admin; returns their statuses."""
    app = create_app(store)
    clients = [come_in(app, role) for role in (None, "annotator", "admin")]
    browsers = [
        TestClient(app, base_url=HERE, headers={"origin": HERE}, cookies=each.cookies, raise_server_exceptions=False)
        for each in clients
    ]
    cookies = [dict(browser.cookies) for browser in browsers]
    known, draw, statuses = find_known(store, app.state.room), random.Random(0), Counter()
    operations = [
        (each, mode)
        for each in list_operations(app)
        for mode in (MODES[:1] if each.label in ONLY_POSITIVE else MODES)
        if each.label != "POST /logout"  # it would end the sessions
    ]

    def check(case, label):
        number = draw.choice([0, 1, 1, 2, 2])
        reply = send(browsers[number], case, known, draw)
        browsers[number].cookies.clear()
        browsers[number].cookies.update(cookies[number])
        statuses[reply.status_code] += 1
        assert reply.status_code < 500, (label, reply.text)
        assert {name: reply.headers[name] for name in HEADERS} == HEADERS
        if reply.status_code >= 400 and label not in ("GET /", *(f"GET {page}" for page in PAGES)):
            assert list(reply.json()) == ["detail"]

    for operation, mode in operations:
        make_cases(operation, mode, num_requests // len(operations) + 1, check)
    return statuses


def make_cases(operation, mode, count, check):
    """Call `check(case, label)` with `count` different requests of an operation."""

    @seed(0)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def request(case):
        check(case, operation.label)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        request()


@pytest.mark.parametrize("num_requests", [10, pytest.param(10_000, marks=pytest.mark.battery)])
def test_no_request_is_a_server_error(tmp_path, num_requests):
    with Store.open(tmp_path / "f.db", create=True) as store:
        add_pair(store)
        statuses = fuzz(store, num_requests)
        print(dict(statuses))
        assert statuses.total() >= num_requests
        assert {200, 403, 404, 422} <= set(statuses)  # it came further than to the door
        assert store.counts()["comparisons"] == 1
