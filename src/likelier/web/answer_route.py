"""Routes that take people's answers: read without FastAPI's general machinery, which costs more than to store one."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from likelier.web.access import check_access, get_person

Endpoint = TypeVar("Endpoint", bound=Callable[..., Response])
NUM_THREADS = 40
"""That wait for the disk at once; whoever comes then shares the next flush."""


class AnswerRoute(APIRoute):
    """A route `(answer, person, project) -> Response` for the role of `ACCESS`; the endpoint runs in a thread.

    The schema is that of any route. Its dependencies are not solved, nor the kind of its body looked for, with each
    request: session, body and project are read here (decision 0076).
    """

    threads = ThreadPoolExecutor(NUM_THREADS, "answer")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that FastAPI calls."""
        assert self.body_field is not None
        model: type[BaseModel] = self.body_field.field_info.annotation  # type: ignore[assignment]
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            await check_access(request)
            person, answer = get_person(request), parse_body(model, await request.body())
            project = request.query_params.get("project")
            return await asyncio.get_running_loop().run_in_executor(self.threads, endpoint, answer, person, project)

        return handle


def add_answer_route(app: FastAPI, path: str) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that adds a function as the route of a POST."""

    def add(endpoint: Endpoint) -> Endpoint:
        app.router.add_api_route(path, endpoint, methods=["POST"], route_class_override=AnswerRoute)
        return endpoint

    return add


def parse_body(model: type[BaseModel], body: bytes) -> BaseModel:
    """Return what a body holds. RequestValidationError: it is not of this model, or no JSON."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from error
