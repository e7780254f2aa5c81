"""The API of the pages as an OpenAPI schema, for admins who script it: JSON alone, no page that loads scripts."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from likelier import __version__
from likelier.web.access import ACCESS
from likelier.web.site import Site

ERRORS = {
    "403": "No session, a role that may not, an unknown host name, or a request from another page.",
    "404": "There is no such file or format.",
    "409": "The judgement to be superseded was superseded already.",
    "413": "The body is too large, or comes in chunks.",
    "415": "The body is not JSON.",
    "422": "A field is missing or not allowed.",
    "429": "Too many wrong links; try again in a minute.",
    "503": "The database cannot be read or written.",
}
"""The errors that routes answer with; every one has the same shape."""
PROBLEM = {
    "type": "object",
    "properties": {"detail": {"type": "string", "description": "One line on what was wrong."}},
    "required": ["detail"],
}
DESCRIPTION = (
    "A session is a cookie: open an invitation's link, and send a name. Requests that change something come with the "
    "page's own `Origin` and JSON. `x-role` is the least role that may; each role may do what those before it may: "
    "annotator, reviewer, admin."
)


def add_schema(app: FastAPI, site: Site) -> None:
    """Add the route of the schema."""

    @app.get("/owner/openapi.json")
    def schema() -> dict[str, Any]:
        """Return this schema."""
        return describe_api(app, site)


def describe_api(app: FastAPI, site: Site) -> dict[str, Any]:
    """Return the OpenAPI 3.1 schema of all routes, each with its least role and the errors of ours."""
    schema = get_openapi(title="Likelier", version=__version__, description=DESCRIPTION, routes=app.routes)
    components = schema.setdefault("components", {})
    components["securitySchemes"] = {"session": {"type": "apiKey", "in": "cookie", "name": site.cookie}}
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = PROBLEM
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    errors = {status: {"description": text, "content": content} for status, text in ERRORS.items()}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            role = ACCESS[method.upper(), path]
            operation["x-role"] = role or "everybody"
            operation["security"] = [{"session": []}] if role else []
            operation["responses"] |= errors
    return schema
