"""The OpenAPI schema: every route with its role, errors of our one shape, and for admins alone."""

import pytest

from likelier.feedback.store import Store
from likelier.web.access import ACCESS
from likelier.web.app import create_app
from page_visitors import add_pair, come_in


@pytest.fixture
def app(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as opened:
        add_pair(opened)
        yield create_app(opened)


def test_every_route_stands_in_it_with_its_role(app):
    schema = come_in(app, "admin").get("/owner/openapi.json").json()
    roles = {
        (method.upper(), path): operation["x-role"]
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }
    assert roles == {place: role or "everybody" for place, role in ACCESS.items()}
    assert schema["paths"]["/question"]["get"]["security"] == [{"session": []}]
    assert schema["paths"]["/"]["get"]["security"] == []
    assert schema["components"]["securitySchemes"]["session"]["name"] == "likelier"


def test_an_answer_is_described_as_it_is_checked_and_errors_as_they_are(app):
    client = come_in(app, "admin")
    schema = client.get("/owner/openapi.json").json()
    post = schema["paths"]["/judgements"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Answer"}
    answer = schema["components"]["schemas"]["Answer"]
    assert answer["properties"]["choice"]["enum"] == ["left", "right", "tie"]
    assert answer["additionalProperties"] is False
    problem = post["responses"]["422"]["content"]["application/json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}
    reply = client.post("/judgements", json={})
    assert (reply.status_code, list(reply.json())) == (422, schema["components"]["schemas"]["Problem"]["required"])
    references = set(find_references(schema))
    assert references <= {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}


def find_references(value):
    """Every `$ref` of a schema."""
    if isinstance(value, dict):
        yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from find_references(each)


@pytest.mark.parametrize("role", [None, "annotator", "reviewer"])
def test_it_is_for_admins_alone_and_no_page_shows_it(app, role):
    client = come_in(app, role)
    assert client.get("/owner/openapi.json").status_code == 403
    assert [client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3
